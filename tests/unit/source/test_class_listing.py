"""Specification of listing the samples that a class brings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aerozarr.config.load_settings import load_settings
from aerozarr.errors import SettingsError, SourceChangedError
from aerozarr.source.datasets import resolve_dataset
from aerozarr.source.open_source import open_source
from aerozarr.source.source import Source
from unit.class_helpers import SAMPLES, Module
from unit.listing_helpers import FILEMAP, LocalTree, ids, listing_of, skipped
from unit.store_helpers import field_of

Config = dict[str, Any]


def class_listing(name: str, root: Path, **config: Any) -> Any:
    return listing_of(dataset=f"{name}.Cars", filemap=None, source_root=str(root), **config)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"splits": ["train", "test"]},
            [
                ("t0", "train", 0),
                ("t1", "train", 1),
                ("t2", "train", 2),
                ("e0", "test", 0),
                ("e1", "test", 1),
            ],
        ),
        (
            {"splits": ["test", "train[1:]"]},
            [("e0", "test", 0), ("e1", "test", 1), ("t1", "train", 1), ("t2", "train", 2)],
        ),
        ({"splits": ["train[-1]"]}, [("t2", "train", 2)]),
        ({"splits": ["train[::-2]"]}, [("t2", "train", 2), ("t0", "train", 0)]),
        (
            {"splits": ["train", "test"], "limit": 1},
            [("t0", "train", 0), ("e0", "test", 0)],
        ),
    ],
    ids=["in order", "in the order asked for", "one from the end", "backwards", "limit a split"],
)
def test_samples_of_a_class_are_listed(
    config: Config, expected: list[tuple[str, str, int]], module: Module, tmp_path: Path
) -> None:
    listing = class_listing(module(SAMPLES), tmp_path, **config)
    assert [(s.id, s.split, s.position) for s in listing.samples] == expected
    assert listing.warnings == []
    assert listing.skipped == []


@pytest.mark.parametrize("error", ["KeyError", "ValueError"])
def test_a_split_that_a_class_does_not_know_is_a_warning(
    error: str, module: Module, tmp_path: Path
) -> None:
    text = SAMPLES.replace(
        "self.root,", f"if split == 'val': raise {error}('unknown split')\n        self.root,", 1
    )
    listing = class_listing(module(text), tmp_path)
    assert ids(listing) == ["t0", "t1", "t2", "e0", "e1"]
    [warning] = listing.warnings
    assert "'val'; it is skipped" in warning and f"{error}: " in warning


def test_an_empty_split_of_a_class_is_a_warning(module: Module, tmp_path: Path) -> None:
    text = SAMPLES.replace('"test": ["e0", "e1"]', '"test": []')
    listing = class_listing(module(text), tmp_path, splits=["train", "test"])
    assert ids(listing) == ["t0", "t1", "t2"]
    [warning] = listing.warnings
    assert "'test'" in warning


def test_a_class_that_knows_none_of_the_splits_is_refused(module: Module, tmp_path: Path) -> None:
    text = SAMPLES.replace("train", "learn").replace("test", "check")
    with pytest.raises(SettingsError, match=r"none of the splits.*train: KeyError.*Set splits"):
        class_listing(module(text), tmp_path)


def test_a_split_that_was_asked_for_by_name_has_to_be_there(module: Module, tmp_path: Path) -> None:
    told = r"for the split 'validation': KeyError: 'validation'.*set splits to those that it has"
    with pytest.raises(SettingsError, match=told):
        class_listing(module(SAMPLES), tmp_path, splits=["train", "validation"])


def test_a_fault_of_a_class_is_not_taken_for_an_unknown_split(
    module: Module, tmp_path: Path
) -> None:
    text = SAMPLES.replace(
        "self.root,", "if split == 'test': import json; json.loads('')\n        self.root,", 1
    )
    told = r"cannot be built for the split 'test': JSONDecodeError: Expecting value"
    with pytest.raises(SettingsError, match=told):
        class_listing(module(text), tmp_path)


def test_another_error_of_a_class_is_not_taken_for_an_unknown_split(
    module: Module, tmp_path: Path
) -> None:
    text = SAMPLES.replace("self.root,", "raise OSError('disk is gone')\n        self.root,", 1)
    with pytest.raises(SettingsError, match=r"^dataset: .*Cars.*OSError: disk is gone"):
        class_listing(module(text), tmp_path)


def test_a_root_that_is_not_there_is_refused_before_a_class_is_built(
    module: Module, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=r"source_root: .*not there"):
        class_listing(module(SAMPLES), tmp_path / "nowhere")


def test_hostile_ids_of_a_class_are_refused(module: Module, tmp_path: Path) -> None:
    name = module(SAMPLES.replace("t1", "../t1"))
    listing = class_listing(name, tmp_path, splits=["train"])
    assert ids(listing) == ["t0", "t2"]
    assert [s.position for s in listing.samples] == [0, 2]
    assert skipped(listing) == {"../t1": ("invalid_id", "")}


def test_samples_known_by_their_index_are_all_listed_over_several_splits(
    module: Module, tmp_path: Path
) -> None:
    name = module(SAMPLES.replace("sample_info", "no_info"))
    listing = class_listing(name, tmp_path, splits=["train", "test"])
    assert [(s.split, s.position) for s in listing.samples] == [
        ("train", 0),
        ("train", 1),
        ("train", 2),
        ("test", 0),
        ("test", 1),
    ]
    assert len(set(ids(listing))) == 5
    assert len({sample.key for sample in listing.samples}) == 5


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (["train[:2]", "train[1:]"], [("train", 0), ("train", 1), ("train", 2)]),
        (["test", "train[0]", "train[0]"], [("test", 0), ("test", 1), ("train", 0)]),
    ],
    ids=["in parts that overlap", "twice, after another split"],
)
def test_a_sample_known_by_its_index_is_converted_once_when_it_is_asked_for(
    splits: list[str], expected: list[tuple[str, int]], module: Module, tmp_path: Path
) -> None:
    name = module(SAMPLES.replace("sample_info", "no_info"))
    listing = class_listing(name, tmp_path, splits=splits)
    assert [(s.split, s.position) for s in listing.samples] == expected
    assert len(listing.warnings) == 1


SHARED = SAMPLES.replace('["e0", "e1"]', '["e0", "t2", "t0"]')


@pytest.mark.parametrize(
    ("splits", "limit"),
    [
        (["train[1:]", "test", "train[:1]"], None),
        (["train", "test"], 2),  # t2 is the third of train, and the second of test
    ],
    ids=["parts around another split", "left out of the first split by limit"],
)
def test_a_sample_of_two_splits_of_a_class_is_loaded_where_it_has_its_place(
    splits: list[str], limit: int | None, module: Module, tmp_path: Path
) -> None:
    settings = {"dataset": f"{module(SHARED)}.Cars", "source_root": str(tmp_path), "splits": splits}
    source = source_of(settings | {"limit": limit})
    names = {"train": ["t0", "t1", "t2"], "test": ["e0", "t2", "t0"]}
    for sample in source.list().samples:
        _, split, place, _ = source.loader(sample)(field_of("surface_pressure"))  # type: ignore[misc] # what the class here gives
        assert names[split][place] == sample.id


def test_a_class_that_has_another_sample_at_the_listed_place_is_an_error(
    module: Module, tmp_path: Path
) -> None:
    order = tmp_path / "order.txt"
    order.write_text("t0 t1 t2")
    text = SAMPLES.replace('["t0", "t1", "t2"]', f"open({str(order)!r}).read().split()")
    settings = {
        "dataset": f"{module(text)}.Cars",
        "source_root": str(tmp_path),
        "splits": ["train"],
    }
    source = source_of(settings)
    samples = source.list().samples
    order.write_text("a_new_one t0 t1 t2")
    with pytest.raises(SourceChangedError, match="has 'a_new_one' at place 0 of the split 'train'"):
        source.loader(samples[0])
    order.write_text("t0 t1")
    source.loader(samples[0])
    with pytest.raises(SourceChangedError, match="has 'nothing' at place 2"):
        source.loader(samples[2])


def source_of(settings: dict[str, Any]) -> Source:
    checked = load_settings(settings)
    return open_source(checked, resolve_dataset(checked), str(settings["source_root"]))


def test_of_two_samples_of_a_class_with_one_id_the_first_is_converted(
    module: Module, tmp_path: Path
) -> None:
    name = module(SAMPLES.replace('"t2"', '"t0"'))
    listing = class_listing(name, tmp_path, splits=["train"])
    assert [(s.id, s.position) for s in listing.samples] == [("t0", 0), ("t1", 1)]
    [warning] = listing.warnings
    assert "t0" in warning


def test_the_fingerprint_of_a_sample_of_a_class_changes_with_the_root(
    module: Module, tmp_path: Path
) -> None:
    name = module(SAMPLES)
    roots = [tmp_path / "a", tmp_path / "b"]
    for root in roots:
        root.mkdir()
    first, again, other = (
        class_listing(name, root, splits=["train"]) for root in (roots[0], roots[0], roots[1])
    )
    assert first.digest() == again.digest()
    assert first.samples[0].fingerprint != other.samples[0].fingerprint


def test_categories_are_refused_for_a_class_that_has_none(module: Module, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^categories: "):
        class_listing(module(SAMPLES), tmp_path, categories=["E_S_WWC_WM"])


def test_split_files_are_not_ignored_for_a_class(module: Module, tmp_path: Path) -> None:
    tree = LocalTree(tmp_path)
    tree.samples("run_1", "run_2")
    tree.lines("train.txt", "run_2")
    try:
        listing = class_listing(module(SAMPLES), tmp_path, split_files={"train": "train.txt"})
    except SettingsError as error:
        assert str(error).startswith("split_files")
    else:
        assert ids(listing) == ["run_2"]


def test_a_split_manifest_is_not_ignored_for_a_class(module: Module, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^split_manifest: .*Leave split_manifest out"):
        class_listing(module(SAMPLES), tmp_path, split_manifest="splits.json")


def test_a_class_that_brings_no_samples_is_listed_by_split_files(
    module: Module, tmp_path: Path
) -> None:
    tree = LocalTree(tmp_path / "data")
    tree.samples("run_1", "run_2", "run_3")
    tree.lines("train.txt", "run_3", "run_1")
    name = module(f"class Cars: FILEMAP = {FILEMAP}")
    config: Config = {"split_files": {"train": "train.txt"}, "splits": ["train"]}
    assert ids(class_listing(name, tree.path, **config)) == ["run_3", "run_1"]
