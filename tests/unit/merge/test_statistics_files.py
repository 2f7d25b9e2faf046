"""Specification of the statistics beside the groups: of all samples, and of each split."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from aerozarr import Store
from aerozarr.merge.merge_manifest import merge_fragments
from aerozarr.merge.report import report_of
from aerozarr.store.format.layout import statistics_name
from unit.merge_helpers import (
    ALWAYS,
    MANIFEST,
    MOMENTS,
    SPLITS,
    STATISTICS,
    beside,
    each_place,
    here,
    left_out_row,
    merged,
    put_converted,
    split_samples,
    tensors_of,
)
from unit.store_helpers import Array, group_files, read_arrays

NAN = math.nan


def concatenated(url: str, ids: Iterable[str], array: str) -> Array:
    """An array's rows in all of some samples, as zarr-python reads them from the store."""
    parts = [read_arrays(group_files(url, sample_id))[array] for sample_id in ids]
    return np.concatenate(parts).astype(np.float64)


# Statistics ------------------------------------------------------------------------------------


def agrees_with_store(found: Mapping[str, Any], url: str, ids: Iterable[str]) -> bool:
    ids = [*ids]
    for array in ("volume/velocity", "surface/pressure", "volume/position"):
        values = concatenated(url, ids, array)
        name = array.replace("/", "_")
        logs = np.sign(values) * np.log1p(np.abs(values))
        for key, wanted in {
            "mean": values.mean(axis=0),
            "std": values.std(axis=0, ddof=1),
            "min": values.min(axis=0),
            "max": values.max(axis=0),
            "logscale_mean": logs.mean(axis=0),
            "logscale_std": logs.std(axis=0, ddof=1),
        }.items():
            assert found[f"{name}_{key}"] == pytest.approx(wanted.tolist(), rel=1e-9), key
        assert found[f"{name}_count"] == len(values)
    return True


@each_place
def test_statistics_are_of_the_values_that_the_store_holds(make, url):
    run_config = make()
    ids = ["b", "a/1", "c"]
    files = merged(run_config, [put_converted(run_config, name) for name in ids])
    assert agrees_with_store(json.loads(files[STATISTICS]), url, ids)


@here
def test_each_split_has_statistics_of_its_own(make, url):
    run_config = make()
    files = merged(run_config, split_samples(run_config, train="b a", test="c", val="e d"))
    for split, ids in {"train": "ba", "test": "c", "val": "ed"}.items():
        assert agrees_with_store(json.loads(files[f"statistics.{split}.json"]), url, ids)
    assert agrees_with_store(json.loads(files[STATISTICS]), url, "bacde")


@here
def test_a_sample_of_several_splits_is_in_all_that_is_said_of_each(make, url):
    run_config = make()
    a, b, c = split_samples(run_config, train="a b", fold="c")
    samples = [
        replace(a, splits=(("train", 0), ("fold", 2), ("again", 0))),
        replace(b, splits=(("train", 1), ("fold", 0))),
        replace(c, splits=(("fold", 1),)),
    ]
    files = merged(run_config, samples)
    splits = {"train": ["a", "b"], "fold": ["b", "c", "a"], "again": ["a"]}
    assert json.loads(files[SPLITS]) == splits
    assert [*json.loads(files[MANIFEST])["samples"]] == ["a", "b", "c"]
    for split, ids in splits.items():
        assert agrees_with_store(json.loads(files[f"statistics.{split}.json"]), url, ids)
        assert files[f"{split}_design_ids.txt"].decode().split() == ids
    summary, outcome = merge_fragments(run_config, samples, [])
    page = re.sub("<[^>]*>", "", report_of(run_config, summary, outcome))
    assert "train, fold, again" in page
    assert "Splits: train 2, fold 3, again 1" in page


@here
@pytest.mark.parametrize("value", [NAN, math.inf, -math.inf])
def test_statistics_hold_no_number_that_json_does_not_have(make, value):
    def refuse(token: str) -> None:
        raise AssertionError(token)

    run_config = make(values_dtype="float64")
    tensors = tensors_of("a")
    tensors["sdf.pt"] = torch.full_like(tensors["sdf.pt"], value)
    tensors["surface_pressure.pt"][0] = value
    tensors["volume_velocity.pt"] = tensors["volume_velocity.pt"].double() * 1e300
    files = merged(run_config, [put_converted(run_config, "a", split="train", tensors=tensors)])
    for name in (STATISTICS, "statistics.train.json"):
        json.loads(files[name], parse_constant=refuse)


@here
def test_samples_that_are_broken_are_in_no_statistics(make, url):
    run_config = make()
    samples = split_samples(run_config, train="a b")
    broken = tensors_of("c") | {"sdf.pt": torch.zeros(1)}
    files = merged(
        run_config, [*samples, put_converted(run_config, "c", split="train", tensors=broken)]
    )
    for name in (STATISTICS, "statistics.train.json"):
        assert agrees_with_store(json.loads(files[name]), url, "ab")


@here
def test_a_field_without_a_finite_value_has_its_place_in_the_report(make):
    run_config = make()
    tensors = tensors_of("a")
    tensors["sdf.pt"] = torch.full_like(tensors["sdf.pt"], NAN)
    sample = put_converted(run_config, "a", split="train", tensors=tensors)
    summary, outcome = merge_fragments(run_config, [sample], [])
    page = report_of(run_config, summary, outcome)
    assert 'id="field-volume_sdf"' in page
    assert "no finite values" in page


@each_place
def test_the_moments_of_any_samples_give_the_statistics_that_the_merge_wrote(make, url):
    run_config = make()
    a, b, c, d = split_samples(run_config, train="z param1/b", test="ü/1 k")
    splits = (("drag/test", 1), ("drag/train", 0))
    samples = [replace(a, splits=(("train", 0), *splits)), b, replace(c, splits=splits[:1]), d]
    samples[1] = replace(b, splits=(("train", 1), ("drag/test", 0)))
    samples[2] = replace(c, splits=(("test", 0), ("drag/test", 2)))
    samples[3] = replace(d, splits=(("test", 1),))
    files = merged(run_config, samples)
    store = Store(url)
    wanted = {None: store.samples, **store.splits}
    assert wanted.keys() == {None, "train", "test", "drag/train", "drag/test"}
    for split, ids in wanted.items():
        assert store.statistics(iter(ids)) == store.statistics(split)
        assert store.statistics(ids) == json.loads(files[statistics_name(split)])
    assert statistics_name("drag/test") == "statistics.drag%2Ftest.json"
    assert agrees_with_store(store.statistics(["k", "z"]), url, ["k", "z"])


@here
@pytest.mark.parametrize("scale", [1.0, 1e200, NAN, math.inf])
def test_moments_that_json_has_no_number_for_give_the_same_statistics(make, url, scale):
    def refuse(token: str) -> None:
        raise AssertionError(token)

    run_config = make(values_dtype="float64")
    samples = []
    for sample_id in "ab":
        tensors = tensors_of(sample_id)
        tensors["volume_velocity.pt"] = tensors["volume_velocity.pt"].double()
        tensors["volume_velocity.pt"][1:, 0] *= scale
        tensors["sdf.pt"] = torch.full_like(tensors["sdf.pt"], NAN)
        samples.append(put_converted(run_config, sample_id, tensors=tensors))
    files = merged(run_config, samples)
    lines = [
        json.loads(line, parse_constant=refuse) for line in files[MOMENTS].decode().splitlines()
    ]
    assert [line["id"] for line in lines] == ["a", "b"]
    store = Store(url)
    assert store.statistics(["a", "b"]) == json.loads(files[STATISTICS])
    assert store.statistics(["a", "b"])["volume_sdf_mean"] == [None]


# Splits ----------------------------------------------------------------------------------------


@each_place
def test_splits_hold_the_converted_samples_in_order(make):
    run_config = make()
    samples = split_samples(run_config, train="z param1/b a", test="ü/1 k")
    broken = tensors_of("x") | {"sdf.pt": torch.zeros(1)}
    samples.insert(1, put_converted(run_config, "x", split="train", tensors=broken))
    files = merged(run_config, samples, [left_out_row("y", "test")])
    splits = json.loads(files[SPLITS])
    assert splits == {"train": ["z", "param1/b", "a"], "test": ["ü/1", "k"]}
    assert list(splits) == ["train", "test"]
    assert [name for ids in splits.values() for name in ids] == [
        *json.loads(files[MANIFEST])["samples"]
    ]
    assert files["train_design_ids.txt"] == b"z\nparam1/b\na\n"
    assert files["test_design_ids.txt"] == "ü/1\nk\n".encode()


@here
def test_a_split_of_which_nothing_was_converted_has_no_files(make):
    run_config = make()
    samples = split_samples(run_config, train="a")
    broken = tensors_of("x") | {"sdf.pt": torch.zeros(1)}
    samples.append(put_converted(run_config, "x", split="val", tensors=broken))
    files = merged(run_config, samples, [left_out_row("y", "test")])
    assert list(json.loads(files[SPLITS])) == ["train"]
    assert set(files) == {*ALWAYS, SPLITS, "train_design_ids.txt", "statistics.train.json"}


@here
def test_a_listed_prefix_has_no_splits(make):
    run_config = make()
    assert set(merged(run_config, [put_converted(run_config, "a")])) == ALWAYS


@here
@pytest.mark.parametrize("kept", ["train", "test", ""])
def test_a_split_that_goes_away_takes_its_files_with_it(make, kept):
    run_config = make()
    samples = split_samples(run_config, train="a b", test="c", val="d")
    merged(run_config, samples)
    if kept:
        files = merged(run_config, [sample for sample in samples if sample.split == kept])
        own = {SPLITS, f"{kept}_design_ids.txt", f"statistics.{kept}.json"}
        assert set(files) == ALWAYS | own
    else:
        assert set(merged(run_config, [put_converted(run_config, "a")])) == ALWAYS


HOSTILE_SPLITS = ["../x", "a/b", "/etc/x", "..", ".", "a\nb", "ü 数", "%2e", "x" * 300, "数" * 90]


@pytest.mark.parametrize("place", ["folder", "memory-url"])
@pytest.mark.parametrize("split", HOSTILE_SPLITS, ids=lambda split: repr(split[:8]))
def test_no_split_name_leaves_the_store(make, tmp_path, url, split):
    run_config = make()
    samples = [
        put_converted(run_config, "a", split=split),
        put_converted(run_config, "b", split="train"),
    ]
    outside = set(map(str, tmp_path.rglob("*")))
    files = merged(run_config, samples)
    inside = {path for path in outside if path.startswith(url)}
    assert {p for p in map(str, tmp_path.rglob("*")) if not p.startswith(url)} == outside - inside
    assert json.loads(files[SPLITS]) == {split: ["a"], "train": ["b"]}
    assert not [name for name in files if "/" in name or not name.isprintable()]
    lists = {name: data for name, data in files.items() if name.endswith("_design_ids.txt")}
    assert sorted(lists.values()) == [b"a\n", b"b\n"]
    # And what such a split brought goes away with it.
    assert not [name for name in merged(run_config, samples[1:]) if lists.get(name) == b"a\n"]
    own = {SPLITS, "train_design_ids.txt", "statistics.train.json"}
    assert set(beside(url)) == ALWAYS | own


@here
def test_splits_with_names_alike_have_files_of_their_own(make):
    run_config = make()
    samples = [
        put_converted(run_config, n, split=s) for n, s in (("a", "x/y"), ("b", "x%2Fy"), ("c", "x"))
    ]
    files = merged(run_config, samples)
    lists = [data for name, data in files.items() if name.endswith("_design_ids.txt")]
    assert sorted(lists) == [b"a\n", b"b\n", b"c\n"]
