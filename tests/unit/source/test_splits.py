"""Specification of dataset roots: their layouts, their splits, and parts of splits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from aerozarr.errors import SettingsError
from aerozarr.source.samples import Listing, ids_by_split
from aerozarr.source.splits import category_of, parse_split
from unit.listing_helpers import (
    BACKENDS,
    LocalTree,
    MemoryTree,
    Tree,
    ids,
    listing_of,
    open_tree,
    skipped,
)


@pytest.fixture(params=BACKENDS)
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tree]:
    with open_tree(request.param, tmp_path / "root") as opened:
        yield opened


@pytest.fixture
def local(tmp_path: Path) -> LocalTree:
    return LocalTree(tmp_path / "root")


def by_split(listing: Listing) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for sample in listing.samples:
        found.setdefault(sample.split, []).append(sample.id)
    return found


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


# ShapeNet-Car

HASHES = [hashlib.sha256(str(number).encode()).hexdigest()[:32] for number in range(27)]


def shapenet_car(tree: Tree, below: str) -> dict[str, list[str]]:
    """Write three cars a folder, and return the ids of each split."""
    cars = {k: HASHES[3 * k : 3 * k + 3] for k in range(9)}
    for k, names in cars.items():
        for name in names:
            tree.sample(f"{below}param{k}/{name}")
    return {
        "train": [f"param{k}/{name}" for k in range(1, 9) for name in sorted(cars[k])],
        "test": [f"param0/{name}" for name in sorted(cars[0])],
    }


@pytest.mark.parametrize(
    ("below", "root"),
    [("preprocessed/", ""), ("preprocessed/", "/preprocessed"), ("", "")],
    ids=["root above preprocessed", "root is preprocessed", "no such folder"],
)
def test_shapenet_car_is_split_by_folder(below: str, root: str, tree: Tree) -> None:
    expected = shapenet_car(tree, below)
    listing = listing_of(dataset="shapenet_car", source_root=tree.url + root)
    assert by_split(listing) == expected
    assert ids(listing) == expected["train"] + expected["test"]
    assert listing.skipped == []


def test_shapenet_car_has_no_val(tree: Tree) -> None:
    shapenet_car(tree, "preprocessed/")
    listing = listing_of(dataset="shapenet_car", source_root=tree.url)
    [warning] = listing.warnings
    assert "'val'" in warning
    assert "shapenet_car" in warning


def test_shapenet_car_reports_an_incomplete_car(tree: Tree) -> None:
    expected = shapenet_car(tree, "preprocessed/")["train"]
    tree.remove(f"preprocessed/{expected[4]}/pressure.pt")
    tree.put("preprocessed/param3/0000/readme.txt")
    listing = listing_of(dataset="shapenet_car", source_root=tree.url, splits=["train"])
    assert skipped(listing) == {
        expected[4]: ("incomplete", "pressure.pt"),
        "param3/0000": ("incomplete", "points.pt, pressure.pt"),
    }
    assert ids(listing) == expected[:4] + expected[5:]


def test_shapenet_car_passes_over_files_beside_the_cars(tree: Tree) -> None:
    expected = shapenet_car(tree, "preprocessed/")["test"]
    tree.put("preprocessed/param0/list.txt")
    tree.put("preprocessed/param9/other/points.pt")
    tree.put("train.txt")
    listing = listing_of(dataset="shapenet_car", source_root=tree.url, splits=["test"])
    assert ids(listing) == expected
    assert listing.skipped == []


def test_shapenet_car_whose_test_folder_is_missing_has_no_test_split(tree: Tree) -> None:
    expected = shapenet_car(tree, "preprocessed/")["train"]
    tree.remove("preprocessed/param0")
    listing = listing_of(dataset="shapenet_car", source_root=tree.url, splits=["train", "test"])
    assert ids(listing) == expected
    [warning] = listing.warnings
    assert "'test'" in warning


def test_shapenet_car_may_be_made_of_links(local: LocalTree, tmp_path: Path) -> None:
    elsewhere = LocalTree(tmp_path / "elsewhere")
    elsewhere.samples("param0/a", "b")
    local.link("preprocessed/param0", elsewhere.path / "param0")
    local.link("preprocessed/param1/linked", elsewhere.path / "b")
    local.link("preprocessed/param1/dangling", "nowhere")
    local.link("preprocessed/param1/itself", "itself")
    listing = listing_of(dataset="shapenet_car", source_root=local.url, splits=["train", "test"])
    assert by_split(listing) == {"train": ["param1/linked"], "test": ["param0/a"]}


# DrivAerML and AhmedML

PERMUTATION = [
    int(index) + 1 for index in torch.randperm(500, generator=torch.Generator().manual_seed(42))
]
HELD_BACK = [167, 211, 218, 221, 248, 282, 291, 295, 316, 325, 329, 364, 370, 376, 403, 473]
THERE = [number for number in PERMUTATION if number not in HELD_BACK]


def runs(numbers: list[int]) -> list[str]:
    return [f"run_{number}" for number in sorted(numbers)]


SPLITS = {
    "drivaerml": {
        "train": runs(THERE[:400]),
        "test": runs(THERE[400:450]),
        "val": runs(THERE[450:]),
    },
    "ahmedml": {
        "train": runs(PERMUTATION[:400]),
        "val": runs(PERMUTATION[400:450]),
        "test": runs(PERMUTATION[450:]),
    },
}
SIZES = {
    "drivaerml": {"train": 400, "test": 50, "val": 34},
    "ahmedml": {"train": 400, "val": 50, "test": 50},
}
ONE_FILE = {"surface_position": "p.pt"}

each_permuted = pytest.mark.parametrize("dataset", SPLITS)


@pytest.fixture(scope="module")
def all_runs(tmp_path_factory: pytest.TempPathFactory) -> LocalTree:
    """Runs 1 to 500 of one file each, the held-back ones too."""
    tree = LocalTree(tmp_path_factory.mktemp("runs"))
    for number in range(1, 501):
        tree.put(f"run_{number}/p.pt", b"")
    for stranger in ("run_0", "run_501", "run_1a", "walk_1"):
        tree.put(f"{stranger}/p.pt", b"")
    return tree


def permuted(tree: Tree, dataset: str, **config: Any) -> Listing:
    return listing_of(dataset=dataset, filemap=ONE_FILE, source_root=tree.url, **config)


@each_permuted
@pytest.mark.parametrize("split", ["train", "test", "val"])
def test_a_permuted_split_is_the_one_of_the_format(
    dataset: str, split: str, all_runs: LocalTree
) -> None:
    listing = permuted(all_runs, dataset, splits=[split])
    assert by_split(listing) == {split: SPLITS[dataset][split]}
    assert len(listing.samples) == SIZES[dataset][split]
    assert listing.warnings == []
    assert listing.skipped == []


@each_permuted
def test_the_splits_come_in_the_order_asked_for(dataset: str, all_runs: LocalTree) -> None:
    expected = SPLITS[dataset]
    listing = permuted(all_runs, dataset, splits=["val", "test", "train"])
    assert ids(listing) == expected["val"] + expected["test"] + expected["train"]


@each_permuted
def test_the_splits_have_no_run_in_common(dataset: str, all_runs: LocalTree) -> None:
    listing = permuted(all_runs, dataset)
    assert len(set(ids(listing))) == len(listing.samples) == sum(SIZES[dataset].values())


def test_runs_that_drivaerml_holds_back_are_never_listed(all_runs: LocalTree) -> None:
    assert set(ids(permuted(all_runs, "drivaerml"))).isdisjoint(runs(HELD_BACK))


def test_ahmedml_holds_nothing_back(all_runs: LocalTree) -> None:
    assert set(ids(permuted(all_runs, "ahmedml"))) == set(runs(list(range(1, 501))))


@each_permuted
@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("train[:50]", slice(50)),
        ("train[3]", slice(3, 4)),
        ("train[10:90:2]", slice(10, 90, 2)),
        ("train[-5:]", slice(-5, None)),
    ],
)
def test_a_part_is_taken_of_the_split_in_its_own_order(
    dataset: str, text: str, part: slice, all_runs: LocalTree
) -> None:
    listing = permuted(all_runs, dataset, splits=[text])
    assert by_split(listing) == {"train": SPLITS[dataset]["train"][part]}


@each_permuted
def test_a_run_that_is_missing_is_reported_as_incomplete(dataset: str, tree: Tree) -> None:
    first, second, third = SPLITS[dataset]["train"][:3]
    tree.put(f"{first}/p.pt")
    tree.put(f"{third}/p.pt")
    listing = permuted(tree, dataset, splits=["train[:3]"])
    assert ids(listing) == [first, third]
    assert skipped(listing) == {second: ("incomplete", "p.pt")}


# DrivAerNet

DESIGNS = [
    "E_S_WWC_WM_005",
    "F_D_WM_WW_0001",
    "N_S_WWS_WM_077",
    "E_S_WWC_WM_004",
    "F_D_WM_WW_0002",
    "E_S_WWC_WM_001",
]


def drivaernet(tree: Tree) -> None:
    tree.samples(*DESIGNS)
    tree.lines("train_design_ids.txt", *DESIGNS[:4])
    tree.lines("val_design_ids.txt", DESIGNS[4])
    tree.lines("test_design_ids.txt", DESIGNS[5])


def net(tree: Tree, **config: Any) -> Listing:
    return listing_of(dataset="drivaernet", source_root=tree.url, **config)


def test_drivaernet_is_split_by_its_id_lists_in_their_order(tree: Tree) -> None:
    drivaernet(tree)
    listing = net(tree)
    assert by_split(listing) == {
        "train": DESIGNS[:4],
        "test": [DESIGNS[5]],
        "val": [DESIGNS[4]],
    }
    assert ids(listing) == [*DESIGNS[:4], DESIGNS[5], DESIGNS[4]]
    assert listing.warnings == []


@pytest.mark.parametrize(
    "content",
    [
        "A_1\r\nA_2\r\n",
        "A_1\n\n  \nA_2\n\n",
        "  A_1 \n\tA_2",
        "\ufeffA_1\nA_2\n",
    ],
    ids=["of Windows", "with empty lines", "with spaces around the ids", "with a byte order mark"],
)
def test_an_id_list_may_be_one(content: str, tree: Tree) -> None:
    tree.samples("A_1", "A_2")
    tree.put("train_design_ids.txt", content.encode())
    listing = net(tree, splits=["train"])
    assert ids(listing) == ["A_1", "A_2"]
    assert listing.skipped == []


@pytest.mark.parametrize(
    "blacklists",
    [
        {"blacklist.txt": [DESIGNS[1]]},
        {"blacklist2.txt": [DESIGNS[1]]},
        {"blacklist.txt": [f"{DESIGNS[1]}.vtk"]},
        {"blacklist.txt": [f"/data/PressureVTK/F_D_WM_WW/{DESIGNS[1]}.vtk"]},
        {"blacklist2.txt": [f"path/to/{DESIGNS[1]}.vtk"]},
        {"blacklist.txt": ["", f"  {DESIGNS[1]}  ", "never_there"]},
    ],
    ids=[
        "an id",
        "an id in the second list",
        "a file",
        "an absolute path",
        "a relative path in the second list",
        "an id among empty lines and unknown ids",
    ],
)
def test_a_blacklist_takes_designs_away(blacklists: dict[str, list[str]], tree: Tree) -> None:
    drivaernet(tree)
    for file, lines in blacklists.items():
        tree.lines(file, *lines)
    listing = net(tree, splits=["train"])
    assert ids(listing) == [DESIGNS[0], *DESIGNS[2:4]]
    assert listing.skipped == []


def test_both_blacklists_take_designs_away_from_every_split(tree: Tree) -> None:
    drivaernet(tree)
    tree.lines("blacklist.txt", DESIGNS[0], DESIGNS[5])
    tree.lines("blacklist2.txt", f"a/b/{DESIGNS[2]}.vtk", DESIGNS[0])
    assert ids(net(tree)) == [DESIGNS[1], DESIGNS[3], DESIGNS[4]]


def test_a_blacklisted_design_is_not_one_that_only_begins_like_it(tree: Tree) -> None:
    tree.samples("A_1", "A_10")
    tree.lines("train_design_ids.txt", "A_1", "A_10")
    tree.lines("blacklist.txt", "A_1")
    assert ids(net(tree, splits=["train"])) == ["A_10"]


def test_a_part_of_a_split_is_taken_after_the_blacklist(tree: Tree) -> None:
    drivaernet(tree)
    tree.lines("blacklist.txt", DESIGNS[0])
    assert ids(net(tree, splits=["train[:2]"])) == DESIGNS[1:3]


@pytest.mark.parametrize(
    ("design", "category"),
    [
        ("E_S_WWC_WM_005", "E_S_WWC_WM"),
        ("F_D_WM_WW_0001", "F_D_WM_WW"),
        ("N_S_WWS_WM_077", "N_S_WWS_WM"),
        ("A_1", "A"),
    ],
)
def test_the_category_of_a_design_is_its_id_without_the_last_part(
    design: str, category: str
) -> None:
    assert category_of(design) == category


@pytest.mark.parametrize(
    ("categories", "expected"),
    [
        (["E_S_WWC_WM"], [DESIGNS[0], DESIGNS[3], DESIGNS[5]]),
        (["F_D_WM_WW", "N_S_WWS_WM"], [DESIGNS[1], DESIGNS[2], DESIGNS[4]]),
        ("N_S_WWS_WM", [DESIGNS[2]]),
        (None, [*DESIGNS[:4], DESIGNS[5], DESIGNS[4]]),
    ],
    ids=["one", "two", "one from the command line", "all by default"],
)
def test_categories_are_kept(categories: object, expected: list[str], tree: Tree) -> None:
    drivaernet(tree)
    assert ids(net(tree, categories=categories)) == expected


@pytest.mark.parametrize("category", ["E_S_WWC", "E_S_WWC_WM_005", "E_S_WWC_W", "zzz"])
def test_a_category_that_no_design_has_is_refused_by_name(category: str, tree: Tree) -> None:
    drivaernet(tree)
    with pytest.raises(SettingsError, match=rf"categories.*{category}"):
        net(tree, categories=[category])


@pytest.mark.parametrize("dataset", ["shapenet_car", "drivaerml", "ahmedml"])
def test_categories_are_refused_for_a_dataset_without(dataset: str, tree: Tree) -> None:
    tree.samples("run_1", "preprocessed/param0/a")
    with pytest.raises(SettingsError, match=rf"^categories: .*{dataset}"):
        listing_of(dataset=dataset, source_root=tree.url, categories=["E_S_WWC_WM"])


def test_a_design_that_is_missing_is_reported_as_incomplete(tree: Tree) -> None:
    drivaernet(tree)
    tree.remove(DESIGNS[0])
    tree.remove(f"{DESIGNS[1]}/points.pt")
    listing = net(tree, splits=["train"])
    assert ids(listing) == DESIGNS[2:4]
    assert skipped(listing) == {
        DESIGNS[0]: ("incomplete", "points.pt, pressure.pt"),
        DESIGNS[1]: ("incomplete", "points.pt"),
    }


def test_a_list_that_is_not_there_is_a_split_that_the_dataset_lacks(tree: Tree) -> None:
    drivaernet(tree)
    tree.remove("val_design_ids.txt")
    listing = net(tree)
    assert set(by_split(listing)) == {"train", "test"}
    [warning] = listing.warnings
    assert "'val'" in warning


@pytest.mark.parametrize("hostile", ["../outside", "/outside", "a/../../outside", "a\\b", ".."])
def test_an_id_list_cannot_lead_out_of_the_root(hostile: str, tree: Tree, tmp_path: Path) -> None:
    LocalTree(tmp_path).samples("outside", "root/a/b")
    tree.samples("good")
    tree.lines("train_design_ids.txt", hostile, "good")
    listing = net(tree, splits=["train"])
    assert ids(listing) == ["good"]
    assert skipped(listing) == {hostile: ("invalid_id", "")}


# Emmi-Wing, and id lists of one's own


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
    assert len(listing.warnings) == 2
    for split, warning in zip(["train", "val"], listing.warnings, strict=True):
        assert repr(split) in warning


# All dataset roots


def root_of_lists(tree: Tree, **config: Any) -> Listing:
    split_files = {"train": "train.txt", "test": "test.txt"}
    return wing(tree, split_files=split_files, **{"splits": ["train", "test"], **config})


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


def test_a_root_none_of_whose_samples_is_complete_is_refused(tree: Tree) -> None:
    first = SPLITS["drivaerml"]["train"][0]
    tree.put(f"{first}/unrelated.txt")
    with pytest.raises(SettingsError, match="no complete sample") as caught:
        permuted(tree, "drivaerml", splits=["train[:3]"])
    assert "3 were skipped" in str(caught.value)
    assert first in str(caught.value)
