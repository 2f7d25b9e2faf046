"""Specification of tables with a row for each sample: which row is whose, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aerozarr.config.load_settings import load_settings
from aerozarr.errors import BrokenSample, SettingsError, StoreError
from aerozarr.source.datasets import resolve_dataset
from aerozarr.source.open_source import open_source
from aerozarr.source.sample_table import find_sample, read_samples, table_of
from aerozarr.source.samples import Cell, Listing, Sample
from aerozarr.source.source import Source
from unit.listing_helpers import BACKENDS, FILEMAP, Tree, ids, open_tree

BY_RUN = {"id_column": "run", "id_format": "run_{}"}
DRAG = {"drag": {"table": "forces_all.csv::Cd", **BY_RUN}}
TABLE = "run, Cd, Cl\n1, 0.25, 0.1\n2, 0.3, nan\n10, 4e-1, x\n"


@pytest.fixture(params=BACKENDS)
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tree]:
    with open_tree(request.param, tmp_path / "source") as tree:
        tree.samples("run_1", "run_2", "run_10")
        tree.put("forces_all.csv", TABLE.encode())
        yield tree


def source_of(tree: Tree, scalars: Any = DRAG, **config: Any) -> Source:
    place = {"source_url": tree.url} if "splits" not in config else {"source_root": tree.url}
    settings = load_settings({"filemap": FILEMAP, "scalars": scalars, **place, **config})
    return open_source(settings, resolve_dataset(settings), tree.url)


def loaded(source: Source, sample: Sample) -> dict[str, Any]:
    load = source.loader(sample)
    return {scalar.name: load(scalar) for scalar in source.scalars_of(sample)}


def values(source: Source) -> dict[str, dict[str, Any]]:
    return {sample.id: loaded(source, sample) for sample in source.list().samples}


def fingerprints(tree: Tree, **config: Any) -> dict[str, str]:
    return {one.id: one.fingerprint for one in source_of(tree, **config).list().samples}


def test_each_sample_has_the_value_of_its_row(tree: Tree) -> None:
    expected = {"run_1": {"drag": 0.25}, "run_2": {"drag": 0.3}, "run_10": {"drag": 0.4}}
    assert values(source_of(tree)) == expected
    several = {**DRAG, "lift": {"table": "forces_all.csv::Cl", **BY_RUN}}
    found = values(source_of(tree, several))
    assert found["run_1"] == {"drag": 0.25, "lift": 0.1}
    assert found["run_10"] == {"drag": 0.4, "lift": "x"}
    assert repr(found["run_2"]["lift"]) == "nan"


def test_in_a_dataset_root_the_table_is_below_it(tree: Tree) -> None:
    tree.lines("train.txt", "run_2", "run_1")
    source = source_of(tree, splits=["train"], split_files={"train": "train.txt"})
    assert values(source) == {"run_2": {"drag": 0.3}, "run_1": {"drag": 0.25}}


@pytest.mark.parametrize(
    ("said", "table"),
    [
        ({"id_column": "run", "id_format": "run_{}"}, "run,Cd\n01,0.5\n2,1\n10,2\n"),
        ({"id_column": "case"}, "case;Cd\nrun_1;0.5\nrun_2;1\nrun_10;2\n"),
        ({"id_column": "run", "id_format": "run_{}"}, "run\tCd\nrun_1\t0.5\n2\t1\n10\t2\n"),
        ({"id_column": "run", "id_format": "run_{}"}, "\ufeffrun,Cd\r\n1,0.5\r\n2,1\r\n10,2\r\n"),
    ],
)
def test_whose_row_it_is_the_settings_say(tree: Tree, said: dict[str, str], table: str) -> None:
    tree.put("forces_all.csv", table.encode())
    found = values(source_of(tree, {"drag": {"table": "forces_all.csv::Cd", **said}}))
    assert found == {"run_1": {"drag": 0.5}, "run_2": {"drag": 1.0}, "run_10": {"drag": 2.0}}


def test_leading_zeros_and_folders_are_part_of_the_format(tmp_path: Path) -> None:
    with open_tree("local", tmp_path / "source") as tree:
        tree.samples("a/run_0001", "a/run_0012")
        tree.put("t.csv", b"run,Cd\n1,0.5\n12,1.5\n")
        said = {"table": "t.csv::Cd", "id_column": "run", "id_format": "a/run_{:04}"}
        found = values(source_of(tree, {"drag": said}))
        assert found == {"a/run_0001": {"drag": 0.5}, "a/run_0012": {"drag": 1.5}}


def test_a_table_is_read_once_a_listing_and_by_no_job(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = {**DRAG, "lift": {"table": "forces_all.csv::Cl", **BY_RUN}}
    source = source_of(tree, several)
    read: list[str] = []
    location = type(source.base)  # type: ignore[attr-defined] # a source of folders
    original = location.read
    monkeypatch.setattr(
        location, "read", lambda self, file: read.append(file) or original(self, file)
    )
    samples = source.list().samples
    assert read == ["forces_all.csv"]
    tree.remove("forces_all.csv")
    assert loaded(source, samples[0]) == {"drag": 0.25, "lift": 0.1}


def test_a_sample_changes_with_its_own_row_alone(tree: Tree) -> None:
    before = fingerprints(tree)
    # Rows and columns that come, and rows that move, concern nobody who was there.
    tree.put("forces_all.csv", b"Cs,run,Cd,Cl\n,7,1,1\n,10,4e-1,x\n,2,0.3,9\n,1,0.25,\n,,,\n")
    assert fingerprints(tree) == before
    tree.put("forces_all.csv", TABLE.replace("0.3", "0.31").encode())
    after = fingerprints(tree)
    assert {one for one in before if before[one] != after[one]} == {"run_2"}
    tree.put("forces_all.csv", TABLE.replace("2, 0.3, nan\n", "").encode())
    after = fingerprints(tree)
    assert {one for one in before if before[one] != after[one]} == {"run_2"}
    assert all(before[one] != known for one, known in fingerprints(tree, scalars={}).items())


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("run,Cd\n1,1\n10,1\n", "it has no row of this sample by its column 'run'"),
        ("run,Cd\n1,1\n2,1\n10,1\n2,1\n", "it has 2 rows of this sample .* in lines 3, 5"),
        ("run,Cd\n1,1\n2,1\n02,1\n10,1\n", "it has 2 rows of this sample"),
        ("run,Cd\n1,1\n2,\n10,1\n", "its column 'Cd' is empty in line 3; write a value; nan"),
        ("run,Cd\n1,1\n2\n10,1\n", "its column 'Cd' is empty in line 3"),
        ("run,Cd\n1,1\n2,0,3\n10,1\n", "its line 3 has 3 values, and its header 2 columns"),
        ("run;Cd\n1;1\n2;0,3\n10;1\n", "line 3, column 'Cd': it holds '0,3', with a comma"),
        ("run,Cd\n1,1\n2,1e999\n10,1\n", "line 3, column 'Cd': it holds 1e999, which is beyond"),
        ("run,Cd\n1,1\n2,n/a\n10,1\n", "line 3, column 'Cd': it holds a str, 'n/a', where a num"),
    ],
)
def test_what_is_wrong_with_a_row_breaks_its_sample_alone(
    tree: Tree, table: str, message: str
) -> None:
    tree.put("forces_all.csv", table.encode())
    source = source_of(tree, {"drag": {**DRAG["drag"], "kind": "number"}})
    listing = source.list()
    by_id = {sample.id: sample for sample in listing.samples}
    with pytest.raises(BrokenSample, match=message) as caught:
        loaded(source, by_id["run_2"])
    assert (caught.value.field, caught.value.file) == ("drag", "forces_all.csv")
    assert loaded(source, by_id["run_1"]) == loaded(source, by_id["run_10"]) == {"drag": 1.0}


def test_with_a_question_mark_a_sample_may_lack_a_row(tree: Tree) -> None:
    tree.put("forces_all.csv", b"run,Cd\n1,0.5\n2,\n")
    source = source_of(tree, {"drag": {"table": "forces_all.csv::Cd?", **BY_RUN}})
    one, ten, two = source.list().samples
    assert (one.id, ten.id, two.id) == ("run_1", "run_10", "run_2")
    assert loaded(source, one) == {"drag": 0.5}
    assert loaded(source, ten) == {}
    with pytest.raises(BrokenSample, match="is empty in line 3"):
        loaded(source, two)
    tree.put("forces_all.csv", b"run,Cd\n77,0.5\n")
    listing = source.list()
    assert "has a row of no sample" in listing.warnings[0]
    assert all(loaded(source, sample) == {} for sample in listing.samples)


@pytest.mark.parametrize(
    ("scalar", "message"),
    [
        (
            {"table": "force_all.csv::Cd", **BY_RUN},
            r"scalars\.drag\.table: 'force_all\.csv' is neither .* there is forces_all\.csv\.",
        ),
        (
            {"table": "forces_all.csv::Cx", **BY_RUN},
            "scalars.drag: 'forces_all.csv' has no column 'Cx'; its header has run, Cd, Cl. Did",
        ),
        (
            {"table": "forces_all.csv::Cd", "id_column": "case"},
            "has no column 'case'; its header has run, Cd, Cl",
        ),
        (
            {"table": "forces_all.csv::Cd", "id_column": "run"},
            "has a row of no sample: its column 'run' gives 1, 2, 10, and samples are run_1",
        ),
        (
            {"table": "forces_all.csv::Cd", "id_column": "run", "id_format": "run_{:02}"},
            None,
        ),
        (
            {"table": "forces_all.csv::Cd", "id_column": "run", "id_format": "r{}"},
            r"column 'run', by id_format 'r\{\}', gives r1, r2, r10, and samples are run_1, run_10",
        ),
        ({"table": "empty.csv::Cd", **BY_RUN}, "'empty.csv' has no row of values"),
        ({"table": "header.csv::Cd", **BY_RUN}, "'header.csv' has no row of values"),
        ({"table": "quote.csv::Cd", **BY_RUN}, "'quote.csv' is damaged, or no table"),
        ({"table": "latin.csv::Cd", **BY_RUN}, "'latin.csv' is no UTF-8 text"),
        ({"table": "twice.csv::Cd", **BY_RUN}, "has 2 columns 'Cd'; its header has run, Cd, Cd"),
    ],
)
def test_a_table_that_cannot_be_used_stops_the_listing(
    tree: Tree, scalar: dict[str, str], message: str | None
) -> None:
    source = source_of(tree, {"drag": scalar})
    if message is None:  # one sample is found, and that is no fault of the settings
        assert ids(source.list()) == ["run_1", "run_10", "run_2"]
        return
    if scalar["table"].startswith(("force", "forces")):
        with pytest.raises(SettingsError, match=message):
            source.list()
        return
    tree.put("empty.csv", b"")
    tree.put("header.csv", b"run,Cd\n\n")
    tree.put("quote.csv", b'run,Cd\n1,"0.5\n')
    tree.put("latin.csv", b"run,Cd\n1,\xe4\n")
    tree.put("twice.csv", b"run,Cd,Cd\n1,2,3\n")
    with pytest.raises(SettingsError, match=message):
        source.list()


def test_cells_are_in_the_sample_table_where_there_are_some(tree: Tree, tmp_path: Path) -> None:
    scalars = {"note": {"table": "notes.csv::note", "kind": "text", **BY_RUN}}
    odd = 'a\0b\t"c", é'
    quoted = odd.replace('"', '""')
    tree.put("notes.csv", f'run,note\n1,"{quoted}"\n10,007\n'.encode())
    source = source_of(tree, scalars)
    listing = source.list()
    path = tmp_path / "samples.tsv"
    path.write_bytes(table_of(listing.samples))
    found = read_samples(path)
    assert found == listing.samples
    assert Listing.from_json(listing.to_json()) == listing
    assert listing.digest() != Listing([replace(s, cells=()) for s in found]).digest()
    assert found[0].cells == (Cell("note", odd, 2),)
    assert find_sample(path, "run_10") == found[1]
    assert [loaded(source, sample)["note"] for sample in found[:2]] == [odd, "007"]
    without = source_of(tree, {}).list().samples
    assert b"cells" not in table_of(without)
    path.write_bytes(table_of(without))
    with pytest.raises(StoreError, match="run_1: note: the sample table says nothing of it"):
        loaded(source, find_sample(path, "run_1"))


CLASS = """
class Cars:
    FILEMAP = {"surface_position": "points", "surface_pressure": "p"}

    def __init__(self, root, split):
        self.ids = ["a", "b"]

    def __len__(self):
        return 2

    def sample_id(self, index):
        return self.ids[index]

    def _load(self, index, name):
        return {"mach": 0.8}[name]
"""


def test_samples_of_a_class_have_rows_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cars_with_a_table.py").write_text(CLASS)
    monkeypatch.syspath_prepend(tmp_path)
    with open_tree("local", tmp_path / "source") as tree:
        config = {"dataset": "cars_with_a_table.Cars", "filemap": None, "splits": ["train"]}
        first = source_of(tree, {}, **config).list().samples
        tree.put("t.csv", f"id,Cd\n{first[0].id},0.5\n".encode())
        said = {"drag": {"table": "t.csv::Cd?", "id_column": "id"}, "mach": "mach"}
        source = source_of(tree, said, **config)
        one, two = source.list().samples
        assert loaded(source, one) == {"drag": 0.5, "mach": 0.8}
        assert loaded(source, two) == {"mach": 0.8}
        assert one.fingerprint != first[0].fingerprint
