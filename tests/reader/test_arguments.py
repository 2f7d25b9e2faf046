"""Questions that make no sense, and what is damaged beside the groups: an error that says what."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import obstore.store
import pytest
import torch

from aerozarr import ChunkDataset, Normalizer, Store
from aerozarr.errors import SettingsError, StoreError
from reader.harness import put_json

# Places and options


@pytest.mark.parametrize("place", [None, 5, b"store", ["store"], object()])
def test_what_is_no_place_is_a_type_error(place: Any) -> None:
    with pytest.raises(TypeError, match="give the path or URL of a store"):
        Store(place)


def test_a_place_with_a_nul_is_no_path() -> None:
    with pytest.raises(StoreError, match="holds a NUL character"):
        Store("store\0")


def test_an_archive_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"it is not there\. Check the path"):
        Store(f"zip://::file://{tmp_path}/no.zip")


def test_a_store_of_obstore_may_be_of_a_class_of_ones_own(original: Path) -> None:
    class Mine(obstore.store.LocalStore):
        pass

    assert Store(Mine(original)).samples == Store(original).samples


@pytest.mark.parametrize("options", ["anon", 5, ["s3"]])
def test_options_that_are_no_mapping(original: Path, options: Any) -> None:
    with pytest.raises(TypeError, match="storage_options takes options by protocol"):
        Store(original, options)


def test_options_of_a_protocol_that_are_no_mapping() -> None:
    with pytest.raises(SettingsError, match="the options of 's3' are no mapping"):
        Store("s3://bucket/store", {"s3": 5})


# Fields, points, ranges


@pytest.mark.parametrize("fields", ["surface_pressure", 5])
@pytest.mark.parametrize(
    ("ask", "argument"),
    [
        (lambda store, names: store.read("a", fields=names), "fields"),
        (lambda store, names: ChunkDataset(store, fields=names), "fields"),
        (lambda store, names: Normalizer.of(store, logscale=names), "logscale"),
        (lambda store, names: Normalizer({}, [], logscale=names), "logscale"),
    ],
)
def test_a_single_name_is_not_taken_by_its_letters(
    original: Path, ask: Callable[[Store, Any], Any], argument: str, fields: Any
) -> None:
    with pytest.raises(TypeError, match=rf"{argument} is .*; it takes several names"):
        ask(Store(original), fields)


@pytest.mark.parametrize("count", [0, -1, 10**9])
def test_the_advice_for_points_is_a_number_that_can_be_asked_for(
    original: Path, count: int
) -> None:
    store = Store(original)
    n_points = store.n_points("a", "surface")
    with pytest.raises(StoreError, match=f"Ask for 1 to {n_points}, or for all"):
        store.read("a", {"surface": count})
    assert len(store.read("a", {"surface": n_points})["surface_pressure"]) == n_points


@pytest.mark.parametrize(
    "position_range",
    [(0, 0), (1, 0), (math.nan, 1), (0, math.inf), 5, ("a", "b"), (1, 2, 3), "01x", ()],
)
def test_a_range_is_two_numbers_the_smaller_one_first(original: Path, position_range: Any) -> None:
    with pytest.raises(ValueError, match="give two finite numbers, the smaller one first"):
        Normalizer.of(Store(original), position_range=position_range)


@pytest.mark.parametrize("epoch", [-1, 2**63, 2**70])
def test_an_epoch_that_is_none(original: Path, epoch: int) -> None:
    with pytest.raises(ValueError, match="give a number from 0 on"):
        ChunkDataset(Store(original)).set_epoch(epoch)


def test_an_empty_batch_is_an_error_that_says_so(original: Path) -> None:
    dataset = ChunkDataset(Store(original), points={"surface": 5})
    with pytest.raises(ValueError, match="A batch has no items"):
        list(dataset.loader(batch_sampler=[[0, 1], []]))


# Statistics


def statistics_with(store: Store, **changes: Any) -> dict[str, Any]:
    return {**store.statistics(), **changes}


@pytest.mark.parametrize(
    "damage",
    [
        {"surface_pressure_std": [-1.0]},
        {"surface_pressure_std": [math.nan]},
        {"surface_pressure_std": [math.inf]},
        {"surface_pressure_std": [True]},
        {"surface_pressure_mean": ["0"]},
        {"surface_pressure_mean": 0.0},
        {"surface_pressure_mean": [[0.0]]},
    ],
)
def test_statistics_that_are_damaged(original: Path, damage: Mapping[str, Any]) -> None:
    normalizer = Normalizer(statistics_with(Store(original), **damage), [])
    with pytest.raises(StoreError, match="The statistics are damaged: 'surface_pressure_"):
        normalizer.normalize("surface_pressure", torch.ones(3, 1))


@pytest.mark.parametrize("values", [torch.ones(4, 2), torch.tensor(1.0), torch.ones(4, 1)])
def test_statistics_of_another_width(original: Path, values: torch.Tensor) -> None:
    normalizer = Normalizer(statistics_with(Store(original)), [])
    for ask in (normalizer.normalize, normalizer.denormalize):
        with pytest.raises(StoreError, match="are of 3 components, and the values have the shape"):
            ask("volume_velocity", values)


@pytest.mark.parametrize(
    ("field", "changes", "message"),
    [
        (
            "surface_pressure",
            {"surface_pressure_mean": [None], "surface_pressure_std": [None]},
            r"'surface_pressure' cannot be normalized: .* no 'surface_pressure_mean'\. No value",
        ),
        (
            "volume_velocity",
            {"volume_velocity_mean": [0.0, None, None]},
            "no 'volume_velocity_mean' of component 1, 2",
        ),
        ("surface_position", {"raw_pos_max": [None]}, "'surface_position' cannot be normalized"),
    ],
)
def test_a_field_without_finite_values_is_an_error_and_others_are_none(
    original: Path, field: str, changes: Mapping[str, Any], message: str
) -> None:
    statistics = statistics_with(Store(original), **changes)
    normalizer = Normalizer(statistics, ["surface_position"], position_range=(0.0, 1.0))
    values = torch.ones(3, 1 if field == "surface_pressure" else 3)
    for ask in (normalizer.normalize, normalizer.denormalize):
        with pytest.raises(StoreError, match=message):
            ask(field, values)
    other = "surface_pressure" if field == "volume_velocity" else "volume_velocity"
    width = 1 if other == "surface_pressure" else 3
    assert normalizer.normalize(other, torch.ones(3, width)).isfinite().all()


# What a loader goes on from


def state_of(original: Path) -> tuple[Any, dict[str, Any]]:
    dataset = ChunkDataset(Store(original), points={"surface": 5})
    loader = dataset.loader(1, shuffle=True)
    next(iter(loader))
    return loader, loader.state_dict()


@pytest.mark.parametrize("state", [None, 5, "state", [("version", 1)]])
def test_a_state_that_is_no_mapping(original: Path, state: Any) -> None:
    with pytest.raises(TypeError, match="Give what state_dict"):
        state_of(original)[0].load_state_dict(state)


@pytest.mark.parametrize("name", ["epoch", "batches", "mid_epoch", "order", "loader"])
@pytest.mark.parametrize("value", [None, -5, "x", 2**70, [], 0.5])
def test_a_state_that_is_damaged(original: Path, name: str, value: Any) -> None:
    loader, state = state_of(original)
    with pytest.raises(ValueError, match="The state is damaged"):
        loader.load_state_dict({**state, name: value})
    assert len(list(loader)) == 3, "the loader goes on as if nothing had been loaded"


@pytest.mark.parametrize("name", ["epochs", "generators", "global_generator", "samplers"])
@pytest.mark.parametrize("value", [None, 5, [5, 5], "x"])
def test_an_order_that_is_damaged(original: Path, name: str, value: Any) -> None:
    loader, state = state_of(original)
    with pytest.raises(ValueError, match=f"The state is damaged: 'order: {name}'"):
        loader.load_state_dict({**state, "order": {**state["order"], name: value}})


def test_more_batches_than_there_are(original: Path) -> None:
    loader, state = state_of(original)
    with pytest.raises(ValueError, match="The state is damaged: 'batches'"):
        loader.load_state_dict({**state, "batches": 10**9})


# Manifest, splits, metadata


def test_two_samples_with_one_group(folder: Path) -> None:
    content = json.loads((folder / "manifest.json").read_bytes())
    content["samples"]["b"]["relpath"] = content["samples"]["a"]["relpath"]
    put_json(folder / "manifest.json", content)
    with pytest.raises(StoreError, match=r"'a\.zarr' is the place of more than one sample"):
        Store(folder)


def test_two_fields_with_one_array(folder: Path) -> None:
    content = json.loads((folder / "manifest.json").read_bytes())
    arrays = content["domains"]["volume"]["arrays"]
    arrays["volume_velocity"]["array_name"] = arrays["volume_position"]["array_name"]
    put_json(folder / "manifest.json", content)
    with pytest.raises(StoreError, match="is the place of more than one field"):
        Store(folder)


def test_a_split_that_names_a_sample_twice(folder: Path) -> None:
    put_json(folder / "splits.json", {"train": ["a", "b", "a"]})
    with pytest.raises(StoreError, match="'train' names a sample twice"):
        ChunkDataset(Store(folder), "train")


def test_a_split_with_a_sample_that_the_manifest_lacks(folder: Path) -> None:
    put_json(folder / "splits.json", {"train": ["a", "z"]})
    with pytest.raises(StoreError, match="has the sample 'z', which is not in the store's mani"):
        ChunkDataset(Store(folder), "train")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"twisted": {"must_understand": True}}, "it uses 'twisted'"),
        ({"twisted": {"name": "x"}}, "it uses 'twisted'"),
        ({"twisted": 1}, "it uses 'twisted'"),
        ({"storage_transformers": [{"name": "encrypted"}]}, "it has storage transformers"),
        ({"storage_transformers": []}, None),
        ({"note": {"must_understand": False}}, None),
    ],
)
def test_what_zarr_says_must_be_understood(
    folder: Path, change: Mapping[str, Any], message: str | None
) -> None:
    path = folder / "a.zarr/zarr.json"
    content = json.loads(path.read_bytes())
    content["consolidated_metadata"]["metadata"]["surface/pressure"].update(change)
    put_json(path, content)
    if message is None:
        Store(folder).read("a")
    else:
        with pytest.raises(StoreError, match=message):
            Store(folder).read("a")


@pytest.mark.parametrize("place", ["middle", None, 3])
def test_an_index_that_is_at_neither_end(folder: Path, place: Any) -> None:
    path = folder / "a.zarr/zarr.json"
    content = json.loads(path.read_bytes())
    array = content["consolidated_metadata"]["metadata"]["surface/pressure"]
    array["codecs"][0]["configuration"]["index_location"] = place
    put_json(path, content)
    with pytest.raises(StoreError, match="its metadata cannot be read"):
        Store(folder).read("a")
