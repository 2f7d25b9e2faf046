"""Specification of families of splits: the files that list them, and what is asked of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from aerozarr.errors import SettingsError
from aerozarr.source import datasets
from aerozarr.source.samples import Listing, ids_by_split
from aerozarr.source.splits import PermutationRule
from unit.listing_helpers import (
    BACKENDS,
    FILEMAP,
    LocalTree,
    MemoryTree,
    Tree,
    ids,
    listing_of,
    open_tree,
    skipped,
)

RUNS = [f"run_{number}" for number in range(1, 7)]
FAMILIES = {
    "baseline": {"train": ["run_4", "run_1", "run_2"], "test": ["run_6"]},
    "drag": {"train": ["run_1", "run_3"], "test": ["run_6", "run_4"]},
}


@pytest.fixture(params=BACKENDS)
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tree]:
    with open_tree(request.param, tmp_path / "root") as opened:
        opened.samples(*RUNS)
        yield opened


@pytest.fixture
def local(tmp_path: Path) -> LocalTree:
    tree = LocalTree(tmp_path / "root")
    tree.samples(*RUNS)
    return tree


def put(tree: Tree, content: object, file: str = "splits.json") -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    tree.put(file, text.encode())


def wing(tree: Tree, *splits: str, file: object = "splits.json", **config: Any) -> Listing:
    """List a dataset whose preset has no splits."""
    config = {"dataset": "emmi_wing", "split_manifest": file, "splits": [*splits], **config}
    return listing_of(source_root=tree.url, **config)


def ahmed(tree: Tree, *splits: str, file: object = "splits.json", **config: Any) -> Listing:
    """List a dataset whose preset cuts splits from a permutation of run_1 to run_500."""
    return wing(tree, *splits, file=file, dataset="ahmedml", **config)


def refusal(tree: Tree, *splits: str, **config: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        wing(tree, *(splits or ("baseline/train",)), **config)
    assert all(c.isprintable() for c in str(caught.value))
    return str(caught.value)


# What a file may look like

RECORDS = [
    {"family": family, "split": split, "ids": of}
    for family, splits in FAMILIES.items()
    for split, of in splits.items()
]
SINGLE = [
    {"family": record["family"], "split": record["split"], "id": sample_id, "note": "x"}
    for record in RECORDS
    for sample_id in record["ids"]
]
LINES = [f"{row['family']},{row['split']},{row['id']}" for row in SINGLE]

LAYOUTS: dict[str, object] = {
    "an object of objects": FAMILIES,
    "indented": json.dumps(FAMILIES, indent=2),
    "with a byte order mark": f"\ufeff{json.dumps(FAMILIES)}",
    "records with ids": RECORDS,
    "records of one id": SINGLE,
    "csv": "\n".join(["family,split,id", *LINES]),
    "csv of Windows, with a spreadsheet's empty rows": "\r\n".join(
        ["Family, Split ,ID", *LINES, "", ",,", ""]
    ),
    "csv with other columns": "\n".join(
        ["split,n,family,id"] + [f"{row['split']},7,{row['family']},{row['id']}" for row in SINGLE]
    ),
    "csv with semicolons": "\n".join(["family;split;id", *LINES]).replace(",", ";"),
    "csv with tabs": "\n".join(["family\tsplit\tid", *LINES]).replace(",", "\t"),
    "csv with several ids in a cell": "\n".join(
        ["family,split,ids"]
        + [f'{row["family"]},{row["split"]},"{", ".join(row["ids"])}"' for row in RECORDS]
    ),
    "csv with ids apart by spaces": "\n".join(
        ["family,split,ids"]
        + [f"{row['family']},{row['split']},{' '.join(row['ids'])}" for row in RECORDS]
    ),
    "ids as ls and find write them": {
        family: {split: [f"./{sample_id}/" for sample_id in of] for split, of in splits.items()}
        for family, splits in FAMILIES.items()
    },
}


@pytest.mark.parametrize("content", LAYOUTS.values(), ids=list(LAYOUTS))
def test_a_split_manifest_may_be(content: object, local: LocalTree) -> None:
    put(local, content)
    asked = [f"{family}/{split}" for family, splits in FAMILIES.items() for split in splits]
    listing = wing(local, *asked)
    assert ids_by_split(listing.samples) == {
        f"{family}/{split}": of
        for family, splits in FAMILIES.items()
        for split, of in splits.items()
    }
    assert listing.warnings == []


def test_a_sample_of_several_families_is_listed_once(tree: Tree) -> None:
    put(tree, FAMILIES)
    listing = wing(tree, "drag/train", "baseline/train", "baseline/test")
    assert ids(listing) == ["run_1", "run_3", "run_4", "run_2", "run_6"]
    assert ids_by_split(listing.samples) == {
        "drag/train": ["run_1", "run_3"],
        "baseline/train": ["run_4", "run_1", "run_2"],
        "baseline/test": ["run_6"],
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("baseline/train[:2]", ["run_4", "run_1"]),
        ("baseline/train[-1]", ["run_2"]),
        ("baseline/train[::2]", ["run_4", "run_2"]),
        (" baseline/train ", ["run_4", "run_1", "run_2"]),
    ],
)
def test_a_part_of_a_familys_split(text: str, expected: list[str], local: LocalTree) -> None:
    put(local, FAMILIES)
    listing = wing(local, text)
    assert ids_by_split(listing.samples) == {"baseline/train": expected}


@pytest.mark.parametrize("written", ["splits.json", "{here}/own.csv", "own.csv"])
def test_a_split_manifest_may_lie_at(
    written: str, tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tree, FAMILIES)
    monkeypatch.chdir(tmp_path)
    put(LocalTree(tmp_path), "family,split,id\nbaseline,train,run_5\n", "own.csv")
    file = written.format(here=tmp_path)
    expected = ["run_5"] if "own" in written else FAMILIES["baseline"]["train"]
    assert ids(wing(tree, "baseline/train", file=file)) == expected
    assert ids(wing(tree, "baseline/train", file={"file": file})) == expected


def test_a_split_manifest_may_lie_at_a_url(tree: Tree) -> None:
    elsewhere = MemoryTree()
    put(elsewhere, FAMILIES, "lists/splits.json")
    listing = wing(tree, "drag/test", file=f"{elsewhere.url}/lists/splits.json")
    elsewhere.close()
    assert ids(listing) == ["run_6", "run_4"]


# Families beside other splits


def test_the_presets_own_splits_stay_and_families_stand_beside_them(tree: Tree) -> None:
    put(tree, FAMILIES)
    rule = datasets.load_preset("ahmedml").splits
    assert isinstance(rule, PermutationRule)
    numbers = rule.ids("train", None)  # type: ignore[arg-type] # not looked at
    assert numbers is not None
    own = [sample_id for sample_id in numbers if sample_id in RUNS]
    alone = listing_of(dataset="ahmedml", source_root=tree.url)
    listing = ahmed(tree, "train", "baseline/test", "test", "val")
    found = ids_by_split(listing.samples)
    assert found["train"] == own == ids_by_split(alone.samples)["train"]
    assert found["baseline/test"] == ["run_6"]
    assert sorted(ids(listing)) == RUNS


def test_without_a_request_for_a_family_nothing_changes(local: LocalTree) -> None:
    put(local, FAMILIES)
    alone = listing_of(dataset="ahmedml", source_root=local.url)
    listing = listing_of(dataset="ahmedml", source_root=local.url, split_manifest="splits.json")
    assert listing.to_json() == alone.to_json()


def test_families_stand_beside_split_files(local: LocalTree) -> None:
    put(local, FAMILIES)
    local.lines("mine.txt", "run_5")
    local.lines("other.txt", "run_2")
    files = {"mine": "mine.txt", "drag/train": "other.txt"}
    listing = wing(local, "mine", "baseline/test", "drag/train", split_files=files)
    found = ids_by_split(listing.samples)
    assert found == {"mine": ["run_5"], "baseline/test": ["run_6"], "drag/train": ["run_2"]}


def test_blacklists_and_categories_hold_for_families_too(local: LocalTree) -> None:
    local.samples("A_1", "A_2", "B_1")
    local.lines("train_design_ids.txt", "A_1")
    local.lines("blacklist.txt", "A_2")
    put(local, {"wake": {"train": ["B_1", "A_2", "A_1"]}})
    config: dict[str, Any] = {"dataset": "drivaernet"}
    assert ids(wing(local, "wake/train", **config)) == ["B_1", "A_1"]
    assert ids(wing(local, "wake/train", categories=["A"], **config)) == ["A_1"]


def test_a_preset_may_have_the_rule(
    local: LocalTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = {"rule": "manifest", "file": "splits.json", "id_format": "run_{}"}
    folder = tmp_path / "presets"
    folder.mkdir()
    (folder / "windsor.yaml").write_text(yaml.safe_dump({"filemap": FILEMAP, "splits": rule}))
    monkeypatch.setattr(datasets, "PRESETS", folder)
    put(local, {"drag": {"train": [3, 1]}})
    put(local, {"drag": {"train": [2]}}, "other.json")
    config: dict[str, Any] = {"dataset": "windsor", "source_root": local.url}
    assert ids(listing_of(splits=["drag/train"], **config)) == ["run_3", "run_1"]
    other = listing_of(splits=["drag/train"], split_manifest="other.json", **config)
    assert ids(other) == ["run_2"]
    with pytest.raises(SettingsError, match=r"has none of train, test, val\. .*lists drag/train"):
        listing_of(**config)
    local.remove("splits.json")
    with pytest.raises(SettingsError, match=r"^split_manifest: 'splits\.json' is neither below"):
        listing_of(splits=["drag/train"], **config)


# Ids that are numbers

NUMBERS: dict[str, object] = {
    "numbers": {"drag": {"train": [3, 1]}},
    "texts of digits": {"drag": {"train": ["3", " 001"]}},
    "numbers among ids": [
        {"family": "drag", "split": "train", "ids": [3]},
        {"family": "drag", "split": "train", "id": "run_1"},
    ],
    "csv": "family,split,id\ndrag,train,3\ndrag,train,1\n",
}


@pytest.mark.parametrize("content", NUMBERS.values(), ids=list(NUMBERS))
def test_numbers_stand_for_what_id_format_says(content: object, local: LocalTree) -> None:
    put(local, content)
    said = {"file": "splits.json", "id_format": "run_{}"}
    assert ids(wing(local, "drag/train", file=said)) == ["run_3", "run_1"]
    # Of a preset that numbers its folders, without a word.
    assert ids(ahmed(local, "drag/train")) == ["run_3", "run_1"]


def test_a_number_may_have_leading_zeros(local: LocalTree) -> None:
    local.sample("case_0007")
    put(local, {"drag": {"train": [7]}})
    for id_format in ("case_{:04}", "case_{:04d}"):
        said = {"file": "splits.json", "id_format": id_format}
        assert ids(ahmed(local, "drag/train", file=said)) == ["case_0007"]


def test_without_a_format_a_text_of_digits_is_an_id_and_a_number_is_refused(
    local: LocalTree,
) -> None:
    local.sample("12")
    put(local, {"drag": {"train": ["12"]}})
    assert ids(wing(local, "drag/train")) == ["12"]
    put(local, {"drag": {"train": [12]}})
    message = refusal(local, "drag/train")
    assert "drag/train: 12 is a number" in message
    assert "id_format: 'run_{}'" in message


def test_a_number_and_its_id_are_the_same_sample(local: LocalTree) -> None:
    put(local, {"baseline": {"train": [1, "run_1"]}})
    said = {"file": "splits.json", "id_format": "run_{}"}
    assert "baseline/train names 'run_1' twice" in refusal(local, file=said)


# What is refused


def test_a_split_that_no_family_has_is_refused_with_those_there_are(local: LocalTree) -> None:
    put(local, FAMILIES)
    message = refusal(local, "baseline/train", "baseline/trian[:3]")
    assert "splits: 'splits.json' has no 'baseline/trian'. Did you mean baseline/train?" in message
    assert "baseline/train, baseline/test, drag/train, drag/test" in message
    assert "has no 'bsaeline/train'. Did you mean" in refusal(local, "bsaeline/train")


def test_a_family_without_a_split_is_refused_with_its_splits(local: LocalTree) -> None:
    put(local, FAMILIES)
    message = refusal(local, "drag")
    assert "'drag' is a family" in message
    assert "drag/train, drag/test" in message


def test_a_split_that_lists_nothing_is_refused(local: LocalTree) -> None:
    put(local, {"baseline": {"train": [], "test": ["run_1"]}})
    assert "splits: 'baseline/train' has no sample in 'splits.json'" in refusal(local)
    assert ids(wing(local, "baseline/test")) == ["run_1"]


@pytest.mark.parametrize("dataset", ["ahmedml", "shapenet_car", "drivaernet"])
def test_a_family_is_refused_where_no_file_lists_any(dataset: str, local: LocalTree) -> None:
    local.lines("train_design_ids.txt", "run_1")
    local.samples("param1/run_1")
    with pytest.raises(SettingsError, match=r"^splits: 'baseline/train' .*Set split_manifest"):
        listing_of(dataset=dataset, source_root=local.url, splits=["train", "baseline/train"])


def test_many_splits_are_not_all_named(local: LocalTree) -> None:
    put(local, {"f": {f"\x1b{number}": ["run_1"] for number in range(500)}})
    message = refusal(local, "f/x")
    assert len(message) < 1000
    assert message.endswith(" ….")


@pytest.mark.parametrize("file", ["none.json", "none/none.json", "lists", "latin.json"])
def test_a_split_manifest_is_refused_that_is(file: str, local: LocalTree) -> None:
    local.put("lists/x")
    local.put("latin.json", "ü".encode("latin-1"))
    message = refusal(local, file=file)
    assert message.startswith(f"split_manifest: {file!r} is n")


def test_a_secret_in_its_url_is_not_shown(local: LocalTree) -> None:
    message = refusal(local, file="memory://none/splits.json?token=hunter2")
    assert "hunter2" not in message


DAMAGED: dict[str, tuple[str, str]] = {
    "empty": ("", "it is empty"),
    "blank": (" \n\n", "it is empty"),
    "without families": ("{}", "it lists no split"),
    "without records": ("[]", "it lists no split"),
    "a header alone": ("family,split,id\n", "it lists no split"),
    "cut short": ('{"baseline": {"train": ["run_1"', "it is no JSON: Expecting"),
    "a web page": ("<!DOCTYPE html>\n<html>", "its first line is '<!DOCTYPE html>'"),
    "an id list": ("run_1\nrun_2\n", "its first line is 'run_1'"),
    "splits without a family": ('{"train": ["run_1"]}', "train: ['run_1'] is no object"),
    "deeper": ('{"a": {"b": {"c": ["run_1"]}}}', "a/b: {'c': ['run_1']} is no list of ids"),
    "a text for a list": ('{"a": {"b": "run_1"}}', "a/b: 'run_1' is no list of ids"),
    "a list of ids": ('["run_1"]', "record 1 is no object with family"),
    "a record without ids": ('[{"family": "a", "split": "b"}]', "record 1 is no object with"),
    "a record with both": (
        '[{"family": "a", "split": "b", "id": "x", "ids": ["y"]}]',
        "record 1 is no object with",
    ),
    "a record without a family": (
        '[{"split": "b", "id": "x"}]',
        "record 1: None is no name of a family",
    ),
    "a record with an empty split": (
        '[{"family": "a", "split": " ", "id": "x"}]',
        "record 1: ' ' is no name of a split",
    ),
    "an id that is none": ('{"a": {"b": [null]}}', "a/b: None is no id"),
    "an id that is true": ('{"a": {"b": [true]}}', "a/b: True is no id"),
    "an id with a fraction": ('{"a": {"b": [1.0]}}', "a/b: 1.0 is no id"),
    "an id below 0": ('{"a": {"b": [-1]}}', "a/b: -1 is no id"),
    "an id of many digits": ('{"a": {"b": [1' + "0" * 400 + "]}}", "is no id"),
    "an id of too many digits": ('{"a": {"b": [1' + "0" * 5000 + "]}}", "limit"),
    "an id that is no number": ('{"a": {"b": [NaN]}}', "a/b: nan is no id"),
    "an empty id": ('{"a": {"b": ["run_1", ""]}}', "a/b: '' is no id"),
    "an id of two": ('{"a": {"b": [["run_1"]]}}', "a/b: ['run_1'] is no id"),
    "an id twice": ('{"a": {"b": ["run_1", "run_1/"]}}', "a/b names 'run_1' twice"),
    "an id twice in records": (
        '[{"family": "a", "split": "b", "id": "x"}, {"family": "a", "split": "b", "id": "x"}]',
        "record 2: a/b names 'x' twice",
    ),
    "an id twice in csv": (
        "family,split,id\na,b,run_1\na,b,run_1\n",
        "line 3: a/b names 'run_1' twice",
    ),
    "a family twice": ('{"a": {"b": ["x"]}, "a": {"c": ["y"]}}', "it has 'a' twice"),
    "a split twice": ('{"a": {"b": ["x"], "b": ["y"]}}', "it has 'b' twice"),
    "two splits of one name": (
        '{"a": {"b/c": ["x"]}, "a/b": {"c": ["y"]}}',
        "'a/b/c' may be two splits",
    ),
    "nested": ("[" * 100_000, "nested too deeply"),
    "csv without a split": ("family,id\na,run_1\n", "its first line is 'family,id'"),
    "csv with id and ids": ("family,split,id,ids\n", "its first line is 'family,split,id,ids'"),
    "csv with a short row": ("family,split,id\na,b\n", "line 2 has 2 values for 3 columns"),
    "csv with an open quote": ('family,split,id\na,b,"run_1\n', "line 2: unexpected end of data"),
    "csv without a family": ("family,split,id\n,b,run_1\n", "line 2: '' is no name of a family"),
    "csv without an id": ("family,split,id\na,b,\n", "line 2: a/b: '' is no id"),
}


@pytest.mark.parametrize(("content", "why"), DAMAGED.values(), ids=list(DAMAGED))
def test_a_split_manifest_is_refused(content: str, why: str, local: LocalTree) -> None:
    put(local, content)
    message = refusal(local)
    assert message.startswith("split_manifest: 'splits.json' cannot be used: ")
    assert why in message
    assert "families of splits: JSON as" in message
    assert len(message) < 600


@pytest.mark.parametrize(
    "hostile",
    ["../outside", "/outside", "a/../../outside", "a\\b", "..", "a\0b", "\ud800", "x" * 300],
    ids=ascii,
)
def test_an_id_cannot_lead_out_of_the_root(hostile: str, tree: Tree, tmp_path: Path) -> None:
    LocalTree(tmp_path).samples("outside")
    put(tree, {"baseline": {"train": [hostile, "run_1"]}})
    listing = wing(tree, "baseline/train")
    assert ids(listing) == ["run_1"]
    assert skipped(listing) == {hostile: ("invalid_id", "")}
