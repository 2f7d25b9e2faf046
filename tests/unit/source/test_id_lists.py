"""Specification of id lists: Emmi-Wing's, and those of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aerozarr.errors import SettingsError
from aerozarr.source.samples import Listing
from unit.listing_helpers import LocalTree, MemoryTree, Tree, by_split, ids, listing_of, skipped


def wings(tree: Tree) -> None:
    tree.samples(*(f"run_{number}" for number in range(1, 6)))
    tree.lines("lists/train.txt", "run_3", "run_1", "run_5")
    tree.lines("test.txt", "run_4")


def wing(tree: Tree, **config: Any) -> Listing:
    return listing_of(dataset="emmi_wing", source_root=tree.url, **config)


def test_emmi_wing_is_split_by_the_lists_given(tree: Tree) -> None:
    wings(tree)
    split_files = {"train": "lists/train.txt", "test": "test.txt"}
    listing = wing(tree, split_files=split_files, splits=["test", "train"])
    assert ids(listing) == ["run_4", "run_3", "run_1", "run_5"]
    assert by_split(listing) == {"test": ["run_4"], "train": ["run_3", "run_1", "run_5"]}


def test_emmi_wing_wants_its_design_parameters_too(tree: Tree) -> None:
    files = [
        "surface_position.pt",
        "surface_pressure.pt",
        "surface_wall_shear_stress.pt",
        "volume_position.pt",
        "volume_pressure.pt",
        "volume_velocity.pt",
        "volume_vorticity.pt",
    ]
    tree.sample("run_1", [*files, "design_parameters.pt"])
    tree.sample("run_2", files)
    tree.lines("train.txt", "run_1", "run_2")
    config: dict[str, Any] = {"split_files": {"train": "train.txt"}, "splits": ["train"]}
    listing = wing(tree, filemap=None, **config)
    assert ids(listing) == ["run_1"]
    assert skipped(listing) == {"run_2": ("incomplete", "design_parameters.pt")}


@pytest.mark.parametrize("dataset", ["emmi_wing", "example"])
def test_a_dataset_without_a_split_rule_asks_for_split_files(dataset: str, tree: Tree) -> None:
    wings(tree)
    with pytest.raises(SettingsError, match=r"^source_root: .*split_files"):
        listing_of(dataset=dataset, source_root=tree.url)


@pytest.mark.parametrize("dataset", ["shapenet_car", "drivaerml", "ahmedml", "drivaernet"])
def test_split_files_take_the_place_of_a_presets_rule(dataset: str, tree: Tree) -> None:
    wings(tree)
    config: dict[str, Any] = {"split_files": {"mine": "lists/train.txt"}, "splits": ["mine[:2]"]}
    listing = listing_of(dataset=dataset, source_root=tree.url, **config)
    assert ids(listing) == ["run_3", "run_1"]
    assert listing.warnings == []


@pytest.mark.parametrize(
    "written",
    ["lists/train.txt", "{lists}/mine.txt", "file://{lists}/mine.txt", "here/mine.txt"],
    ids=["a name below the root", "an absolute path", "a file URL", "a path from the work folder"],
)
def test_an_id_list_may_lie_at(
    written: str, tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wings(tree)
    monkeypatch.chdir(tmp_path)
    LocalTree(tmp_path).lines("here/mine.txt", "run_3", "run_1", "run_5")
    file = written.format(lists=tmp_path / "here")
    listing = wing(tree, split_files={"train": file}, splits=["train"])
    assert ids(listing) == ["run_3", "run_1", "run_5"]


@pytest.mark.parametrize("name", ["lists/train.txt", "train.txt"])
def test_an_id_list_may_lie_at_a_url(name: str, tree: Tree) -> None:
    wings(tree)
    lists = MemoryTree()
    lists.lines(name, "run_2")
    listing = wing(tree, split_files={"train": f"{lists.url}/{name}"}, splits=["train"])
    lists.close()
    assert ids(listing) == ["run_2"]


def test_an_id_list_may_lie_at_the_top_of_a_file_system(tree: Tree) -> None:
    wings(tree)
    lists = MemoryTree()
    name = f"{lists.root[1:]}.txt"
    lists.fs.pipe_file(f"/{name}", b"run_2\n")
    try:
        listing = wing(tree, split_files={"train": f"memory://{name}"}, splits=["train"])
    finally:
        lists.fs.rm(f"/{name}")
        lists.close()
    assert ids(listing) == ["run_2"]


def test_a_list_below_the_root_comes_before_one_in_the_work_folder(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wings(tree)
    monkeypatch.chdir(tmp_path)
    LocalTree(tmp_path).lines("test.txt", "run_1")
    assert ids(wing(tree, split_files={"test": "test.txt"}, splits=["test"])) == ["run_4"]


@pytest.mark.parametrize(
    "file",
    [
        "none.txt",
        "none/none.txt",
        "/none/none.txt",
        "memory://none/none.txt",
        "lists",
        "a.txt/b",
        "latin.txt",
    ],
    ids=[
        "a name that is not there",
        "a folder that is not there",
        "a path that is not there",
        "a URL that is not there",
        "a folder",
        "below a file",
        "no UTF-8 text",
    ],
)
def test_an_id_list_is_refused_that_is(file: str, local: LocalTree) -> None:
    wings(local)
    local.put("a.txt", b"run_1\n")
    local.put("latin.txt", "rün_1\n".encode("latin-1"))
    with pytest.raises(SettingsError) as caught:
        wing(local, split_files={"train": file}, splits=["train"])
    assert "split_files.train" in str(caught.value)
    assert repr(file) in str(caught.value)


def test_a_split_without_a_file_is_one_that_the_dataset_lacks(tree: Tree) -> None:
    wings(tree)
    listing = wing(tree, split_files={"test": "test.txt"})
    assert ids(listing) == ["run_4"]
    assert listing.warnings == []
    with pytest.raises(SettingsError, match=r"has no split 'vali'\. Take it out of splits"):
        wing(tree, split_files={"test": "test.txt"}, splits=["test", "vali"])


def test_all_of_split_files_is_meant_where_no_splits_are_named(tree: Tree) -> None:
    wings(tree)
    listing = wing(tree, split_files={"more": "test.txt", "train": "lists/train.txt"})
    assert {sample.split for sample in listing.samples} == {"train", "more"}
    assert listing.samples[0].split == "train"


def test_a_split_without_any_sample_is_a_warning(tree: Tree) -> None:
    wings(tree)
    tree.lines("none.txt", "")
    listing = wing(tree, split_files={"test": "test.txt", "val": "none.txt"})
    assert ids(listing) == ["run_4"]
    assert "'val' of emmi_wing lists no sample" in listing.warnings[0]
