"""Specification of splits: parts of them, and what holds for all roots of datasets."""

from __future__ import annotations

from typing import Any

import pytest

from aerozarr.errors import SettingsError
from aerozarr.source.samples import Listing, ids_by_split
from aerozarr.source.splits import parse_split
from unit.listing_helpers import LocalTree, Tree, by_split, ids, listing_of

# The syntax of a part of a split

TEN = [f"run_{number}" for number in range(10)]

PARTS: dict[str, list[str]] = {
    "train": TEN,
    " train ": TEN,
    "train[:]": TEN,
    "train[::]": TEN,
    "train[:4]": TEN[:4],
    "train[4:]": TEN[4:],
    "train[2:5]": TEN[2:5],
    "train[1:9:3]": TEN[1:9:3],
    "train[::4]": TEN[::4],
    "train[:6:2]": TEN[:6:2],
    "train[6::2]": TEN[6::2],
    "train[2:5:]": TEN[2:5],
    "train[-3:]": TEN[-3:],
    "train[:-3]": TEN[:-3],
    "train[-5:-2]": TEN[-5:-2],
    "train[::-1]": TEN[::-1],
    "train[8:2:-2]": TEN[8:2:-2],
    "train[:50]": TEN,
    "train[50:]": [],
    "train[5:2]": [],
    "train[0]": TEN[:1],
    "train[3]": TEN[3:4],
    "train[-1]": TEN[9:],
    "train[-10]": TEN[:1],
    "train[007]": TEN[7:8],
}


@pytest.mark.parametrize(("text", "expected"), PARTS.items(), ids=list(PARTS))
def test_a_part_of_a_split_is_what_python_makes_of_it(text: str, expected: list[str]) -> None:
    request = parse_split(text)
    assert request.name == "train"
    assert request.of(TEN) == expected


@pytest.mark.parametrize("name", ["train", "my-split", "fold 3", "träin", "a.b", "a:b", "7"])
def test_a_split_may_have_any_name_without_brackets(name: str) -> None:
    assert parse_split(name).name == name
    assert parse_split(f"{name}[1:]").name == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "[3]",
        "[:]",
        "train[",
        "train]",
        "train[]",
        "train[ ]",
        "train[3",
        "train3]",
        "train[3]]",
        "train[[3]]",
        "train[3][4]",
        "train[3]x",
        "train[x]",
        "train[1.5]",
        "train[1,2]",
        "train[1-2]",
        "train[0-50]",
        "train[0-50:2]",
        "train[-1-2]",
        "train[+1]",
        "train[--1]",
        "train[-]",
        "train[1:2:3:4]",
        "train[::0]",
        "train[::00]",
        "train[::-0]",
        "train[1:5:0]",
        "train[10%]",
    ],
)
def test_what_is_no_split_is_refused(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_split(text)
    assert f"splits: {text!r}" in str(caught.value)
    assert "train[:50]" in str(caught.value).replace(repr(text), "")  # how it is written


@pytest.mark.parametrize("text", ["train[10]", "train[-11]", "train[99999]"])
def test_a_single_sample_that_is_not_there_is_refused_with_those_that_are(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_split(text).of(TEN)
    message = str(caught.value)
    assert f"splits: {text!r}" in message
    assert "10 samples" in message
    assert "train[0] to train[9]" in message


# All dataset roots


def root_of_lists(tree: Tree, **config: Any) -> Listing:
    split_files = {"train": "train.txt", "test": "test.txt"}
    config = {"splits": ["train", "test"], **config}
    return listing_of(dataset="emmi_wing", source_root=tree.url, split_files=split_files, **config)


@pytest.fixture
def lists(tree: Tree) -> Tree:
    tree.samples(*(f"run_{number}" for number in range(6)))
    tree.lines("train.txt", "run_0", "run_1", "run_2", "run_3")
    tree.lines("test.txt", "run_4", "run_5")
    return tree


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (1, ["run_0", "run_4"]),
        (2, ["run_0", "run_1", "run_4", "run_5"]),
        (3, ["run_0", "run_1", "run_2", "run_4", "run_5"]),
        (None, [f"run_{number}" for number in range(6)]),
    ],
)
def test_limit_is_per_split(limit: int | None, expected: list[str], lists: Tree) -> None:
    assert ids(root_of_lists(lists, limit=limit)) == expected


@pytest.mark.parametrize(
    ("splits", "expected", "doubled"),
    [
        (["train[:3]", "train[2:4]"], ["run_0", "run_1", "run_2", "run_3"], ["run_2"]),
        (["train[1]", "train[1]"], ["run_1"], ["run_1"]),
        (["train[::-1]", "train[0]"], ["run_3", "run_2", "run_1", "run_0"], ["run_0"]),
        (["test", "train[:1]", "test"], ["run_4", "run_5", "run_0"], ["run_4", "run_5"]),
    ],
    ids=["parts that overlap", "one twice", "one of all again", "a whole split twice"],
)
def test_what_is_asked_for_twice_is_converted_once_with_a_warning(
    splits: list[str], expected: list[str], doubled: list[str], lists: Tree
) -> None:
    listing = root_of_lists(lists, splits=splits)
    assert ids(listing) == expected
    assert len(listing.warnings) == len(doubled)
    for sample_id, warning in zip(doubled, listing.warnings, strict=True):
        assert sample_id in warning


def test_a_sample_of_two_splits_is_listed_once_and_is_in_both(lists: Tree) -> None:
    lists.lines("test.txt", "run_4", "run_1")
    listing = root_of_lists(lists, splits=["test", "train"])
    assert ids(listing) == ["run_4", "run_1", "run_0", "run_2", "run_3"]
    assert ids_by_split(listing.samples) == {
        "test": ["run_4", "run_1"],
        "train": ["run_0", "run_1", "run_2", "run_3"],
    }
    assert by_split(listing) == {
        "test": ["run_4", "run_1"],
        "train": ["run_0", "run_2", "run_3"],
    }
    assert listing.warnings == []


def test_a_split_of_shared_samples_alone_is_there(lists: Tree) -> None:
    lists.lines("test.txt", "run_3", "run_1")
    listing = root_of_lists(lists, splits=["train", "test"])
    assert ids_by_split(listing.samples)["test"] == ["run_3", "run_1"]
    assert ids(listing) == ["run_0", "run_1", "run_2", "run_3"]


def test_limit_counts_the_samples_of_each_split(lists: Tree) -> None:
    lists.lines("test.txt", "run_3", "run_1", "run_4")
    listing = root_of_lists(lists, splits=["train", "test"], limit=2)
    assert ids(listing) == ["run_0", "run_1", "run_3"]
    assert ids_by_split(listing.samples) == {
        "train": ["run_0", "run_1"],
        "test": ["run_3", "run_1"],
    }


@pytest.mark.parametrize("line", ["run_1/", "./run_1", "./run_1/", "././run_1//", " run_1/ "])
def test_ids_are_taken_as_ls_and_find_write_them(line: str, lists: Tree) -> None:
    lists.lines("train.txt", line, "./run_2/")
    listing = root_of_lists(lists, splits=["train"])
    assert ids(listing) == ["run_1", "run_2"]
    assert listing.skipped == []


def test_a_sample_that_a_list_names_twice_is_converted_once_with_a_warning(lists: Tree) -> None:
    lists.lines("train.txt", "run_0", "run_1", "run_0")
    listing = root_of_lists(lists, splits=["train"])
    assert ids(listing) == ["run_0", "run_1"]
    [warning] = listing.warnings
    assert "run_0" in warning


def test_an_incomplete_sample_asked_for_twice_is_reported_once(lists: Tree) -> None:
    lists.remove("run_0/points.pt")
    listing = root_of_lists(lists, splits=["train", "train[0]"])
    assert [row.id for row in listing.skipped] == ["run_0"]


def test_a_warning_is_safe_for_the_terminal(lists: Tree) -> None:
    lists.sample("\x1b[31mred")
    lists.lines("train.txt", "\x1b[31mred", "\x1b[31mred")
    listing = root_of_lists(lists, splits=["train"])
    assert listing.warnings
    assert all(warning.isprintable() for warning in listing.warnings)


def test_the_split_is_part_of_the_digest(lists: Tree) -> None:
    forth = root_of_lists(lists, splits=["train", "test"])
    back = root_of_lists(lists, splits=["test", "train"])
    again = root_of_lists(lists, splits=["train", "test"])
    assert forth.digest() == again.digest() != back.digest()


@pytest.mark.parametrize("text", ["train[9]", "test[2]", "train[-5]"])
def test_a_single_sample_beyond_its_split_is_refused(text: str, lists: Tree) -> None:
    with pytest.raises(SettingsError) as caught:
        root_of_lists(lists, splits=[text])
    assert f"splits: {text!r}" in str(caught.value)


def test_a_split_that_cannot_be_read_is_refused_before_any_is_listed(lists: Tree) -> None:
    with pytest.raises(SettingsError, match="splits: 'test\\['"):
        root_of_lists(lists, splits=["train", "test["])


def test_splits_that_the_dataset_lacks_altogether_are_refused(lists: Tree) -> None:
    with pytest.raises(SettingsError) as caught:
        root_of_lists(lists, splits=["validation", "training"])
    assert "splits" in str(caught.value)
    assert "validation" in str(caught.value)


@pytest.mark.parametrize("dataset", ["shapenet_car", "drivaerml", "ahmedml", "drivaernet"])
@pytest.mark.parametrize(
    "content",
    [["other/points.pt"], ["points.pt", "pressure.pt"], ["deep/run_1/p.pt", "deep/param0/a/p.pt"]],
    ids=["with other folders", "that is a sample itself", "whose dataset lies deeper"],
)
def test_a_root_is_refused(dataset: str, content: list[str], tree: Tree) -> None:
    for path in content:
        tree.put(path)
    with pytest.raises(SettingsError) as caught:
        listing_of(dataset=dataset, source_root=tree.url)
    message = str(caught.value)
    assert f"source_root: {tree.url!r}" in message
    assert f"no {dataset} dataset" in message
    assert "Set source_root" in message


def test_an_empty_root_is_refused(local: LocalTree) -> None:
    with pytest.raises(SettingsError, match="no drivaerml dataset"):
        listing_of(dataset="drivaerml", source_root=local.url)


@pytest.mark.parametrize("dataset", ["shapenet_car", "drivaerml", "drivaernet", "emmi_wing"])
def test_a_root_that_is_not_there_is_refused(dataset: str, tree: Tree) -> None:
    url = f"{tree.url}/nowhere"
    with pytest.raises(SettingsError, match="not there") as caught:
        listing_of(dataset=dataset, source_root=url)
    assert f"source_root: {url!r}" in str(caught.value)
