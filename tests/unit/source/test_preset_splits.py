"""Specification of the splits that a dataset's authors made, each by a rule of its preset."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from aerozarr.errors import SettingsError
from aerozarr.source.samples import Listing
from aerozarr.source.splits import category_of
from unit.listing_helpers import LocalTree, Tree, by_split, ids, listing_of, skipped

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
    listing = listing_of(dataset="shapenet_car", source_root=tree.url)
    assert ids(listing) == expected
    assert ["'test'" in warning for warning in listing.warnings] == [True, False]  # and 'val'
    with pytest.raises(SettingsError, match=r"shapenet_car has no split 'test'\. Take it out"):
        listing_of(dataset="shapenet_car", source_root=tree.url, splits=["train", "test"])


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


def test_a_root_none_of_whose_samples_is_complete_is_refused(tree: Tree) -> None:
    first = SPLITS["drivaerml"]["train"][0]
    tree.put(f"{first}/unrelated.txt")
    with pytest.raises(SettingsError, match="no complete sample") as caught:
        permuted(tree, "drivaerml", splits=["train[:3]"])
    assert "3 were skipped" in str(caught.value)
    assert first in str(caught.value)


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
    LocalTree(tmp_path).samples("outside", "source/a/b")
    tree.samples("good")
    tree.lines("train_design_ids.txt", hostile, "good")
    listing = net(tree, splits=["train"])
    assert ids(listing) == ["good"]
    assert skipped(listing) == {hostile: ("invalid_id", "")}
