"""Specification of the files of scalars: they are files of the sample, as those of fields are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aerozarr.config.fields import domains_of
from aerozarr.config.load_settings import load_settings
from aerozarr.errors import BrokenSample
from aerozarr.source.datasets import resolve_dataset
from aerozarr.source.folders import FolderSource
from aerozarr.source.open_source import open_source
from aerozarr.source.samples import Listing
from aerozarr.source.source import Source
from unit.listing_helpers import BACKENDS, FILEMAP, Tree, ids, open_tree, skipped

SCALARS = {"drag": "forces.csv::Cd", "mach": "conditions.json::mach?"}


@pytest.fixture(params=BACKENDS)
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tree]:
    with open_tree(request.param, tmp_path / "source") as tree:
        for sample in ("a", "b", "c"):
            tree.sample(sample)
        tree.put("a/forces.csv", b"Cd\n0.3\n")
        tree.put("b/forces.csv", b"Cd\n0.4\n")
        tree.put("b/conditions.json", b'{"mach": 0.1}')
        yield tree


def source_of(tree: Tree, **config: Any) -> Source:
    place = {"source_url": tree.url} if "splits" not in config else {"source_root": tree.url}
    settings = load_settings({"filemap": FILEMAP, "scalars": SCALARS, **place, **config})
    return open_source(settings, resolve_dataset(settings), tree.url)


def names(source: Source, listing: Listing) -> dict[str, list[str]]:
    return {one.id: [s.name for s in source.scalars_of(one)] for one in listing.samples}


def test_a_sample_without_one_is_incomplete_unless_it_is_optional(tree: Tree) -> None:
    source = source_of(tree)
    listing = source.list()
    assert names(source, listing) == {"a": ["drag"], "b": ["drag", "mach"]}
    assert skipped(listing) == {"c": ("incomplete", "forces.csv")}
    assert source.still_holds("a") and not source.still_holds("c")


def test_so_it_is_in_a_dataset_root(tree: Tree) -> None:
    tree.lines("train.txt", "a", "b", "c")
    source = source_of(tree, splits=["train"], split_files={"train": "train.txt"})
    listing = source.list()
    assert names(source, listing) == {"a": ["drag"], "b": ["drag", "mach"]}
    assert skipped(listing) == {"c": ("incomplete", "forces.csv")}


def test_a_change_of_its_file_is_one_of_the_sample(tree: Tree) -> None:
    def prints() -> dict[str, str]:
        return {one.id: one.fingerprint for one in source_of(tree).list().samples}

    before = prints()
    tree.put("a/conditions.json", b'{"mach": 0.2}')  # an optional one that comes
    tree.put("b/forces.csv", b"Cd\n0.45\n")
    after = prints()
    assert before.keys() == after.keys() == {"a", "b"}
    assert all(before[sample] != after[sample] for sample in before)
    tree.remove("a/conditions.json")
    assert prints()["a"] == before["a"]


def test_a_file_of_several_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_tree("memory", tmp_path) as tree:
        tree.sample("a")
        tree.put("a/c.json", b'{"U": 3, "T": 4}')
        source = source_of(tree, scalars={"speed": "c.json::U", "heat": "c.json::T"})
        assert isinstance(source, FolderSource)
        (sample,) = source.list().samples
        read: list[str] = []
        location = type(source.base)
        original = location.read
        monkeypatch.setattr(
            location, "read", lambda self, file: read.append(file) or original(self, file)
        )
        load = source.loader(sample, domains_of(source.dataset.filemap, source.settings))
        assert [load(one) for one in source.scalars_of(sample)] == [3, 4]
        assert read.count("c.json") == 1


def test_without_the_setting_its_files_are_none_of_the_samples(tree: Tree) -> None:
    listing = source_of(tree, scalars={}).list()
    assert ids(listing) == ["a", "b", "c"]
    assert all(one.files == ("points.pt", "pressure.pt") for one in listing.samples)


CLASS = """
class Cars:
    FILEMAP = {"surface_position": "points", "surface_pressure": "p"}

    def __init__(self, root, split):
        self.split = split

    def __len__(self):
        return 2

    def _load(self, index, name):
        return {"forces": {"Cd": 0.5 + index}, "mach": 0.8}[name]
"""


def test_a_class_loads_them_by_the_names_that_the_setting_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cars_with_scalars.py").write_text(CLASS)
    monkeypatch.syspath_prepend(tmp_path)
    settings = load_settings(
        {
            "dataset": "cars_with_scalars.Cars",
            "source_root": str(tmp_path),
            "splits": ["train"],
            "scalars": {"drag": "forces::Cd", "mach": "mach", "lift": "forces::Cl"},
        }
    )
    source = open_source(settings, resolve_dataset(settings), str(tmp_path))
    sample = source.list().samples[1]
    drag, mach, lift = source.scalars_of(sample)
    load = source.loader(sample)
    assert (load(drag), load(mach)) == (1.5, 0.8)
    with pytest.raises(BrokenSample, match=r"lift \(forces\): the dataset class raised KeyError"):
        load(lift)
