"""Stores of this format that others wrote: plain zarr-python, with choices of its own."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    ShardingCodec,
    TransposeCodec,
    ZstdCodec,
)

from aerozarr import Store
from aerozarr.errors import StoreError
from aerozarr.store.read.cache import Cache
from reader.harness import put_json, recorded

N, CHUNK, SHARD = 1000, 128, 512


def rows(width: int, dtype: str = "float16") -> np.ndarray:
    """Values that tell their row, and are never zero."""
    return (np.arange(N)[:, None] % 997 + np.arange(width) + 1).astype(dtype)


def write(
    folder: Path, *, consolidated: bool = False, pressure: Any = None, **options: Any
) -> Path:
    """Write a store of one sample with zarr-python; `options` are those of `create_array`."""
    values = {
        "position": rows(3, "float32"),
        "pressure": rows(1) if pressure is None else pressure,
    }
    group = zarr.create_group(folder / "run_1.zarr", zarr_format=3)
    for name, array in values.items():
        width = array.shape[1]
        chosen = {"chunks": (CHUNK, width), "shards": (SHARD, width), **options}
        if callable(chosen.get("serializer")):
            chosen["serializer"] = chosen["serializer"](width)
            chosen |= {"chunks": (SHARD, width), "shards": None, "compressors": None}
        made = group.create_array(f"surface/{name}", shape=array.shape, dtype=array.dtype, **chosen)
        made[:] = array
    if consolidated:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that consolidated metadata is no part of Zarr v3 yet
            zarr.consolidate_metadata(folder / "run_1.zarr")
    arrays = {
        f"surface_{name}": {
            "array_name": f"surface/{name}",
            "field": f"surface_{name}",
            "dtype": str(array.dtype),
            "dim": array.shape[1],
        }
        for name, array in values.items()
    }
    grid = {"n_points": N, "chunk_points": CHUNK, "shard_points": SHARD, "n_chunks": 8}
    manifest = {
        "dataset_name": "foreign",
        "format_version": 1,
        "shuffle_seed": 0,
        "coords_dtype": "float32",
        "values_dtype": "float16",
        "compressor": "blosc-zstd-5",
        "domains": {"surface": {"position": "surface_position", "arrays": arrays}},
        "samples": {"run_1": {"relpath": "run_1.zarr", "domains": {"surface": grid}}},
    }
    put_json(folder / "manifest.json", manifest)
    return folder


def sharding(**options: Any) -> Any:
    """The sharding codec for an array of a width, with options of its own."""
    return lambda width: ShardingCodec(chunk_shape=(CHUNK, width), **options)


WRITERS: dict[str, dict[str, Any]] = {
    "zarr's defaults": {},
    "consolidated": {"consolidated": True},
    "blosc lz4 without shuffle": {"compressors": BloscCodec(cname="lz4", shuffle="noshuffle")},
    "blosc with bitshuffle": {"compressors": BloscCodec(cname="zstd", shuffle="bitshuffle")},
    "zstd": {"compressors": ZstdCodec(level=3, checksum=True)},
    "gzip": {"compressors": GzipCodec()},
    "two codecs": {"compressors": [GzipCodec(), Crc32cCodec()]},
    "uncompressed": {"compressors": None},
    "big endian": {"serializer": BytesCodec(endian="big")},
    "transposed": {"filters": TransposeCodec(order=(1, 0))},
    "no shards": {"shards": None},
    "no shards, other keys": {
        "shards": None,
        "chunk_key_encoding": {"name": "default", "separator": "."},
    },
    "index at the end": {"serializer": sharding(index_location="end")},
    "index at the start": {
        "serializer": sharding(
            codecs=[BytesCodec(), BloscCodec(cname="zstd")], index_location="start"
        )
    },
}


@pytest.mark.parametrize("writer", WRITERS)
def test_it_opens_and_reads(tmp_path: Path, writer: str) -> None:
    store = Store(write(tmp_path, **WRITERS[writer]))
    everything = store.read("run_1")
    np.testing.assert_array_equal(everything["surface_position"].numpy(), rows(3, "float32"))
    np.testing.assert_array_equal(everything["surface_pressure"].numpy(), rows(1))
    for seed in range(10):
        draw = store.read("run_1", {"surface": 300}, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(draw["surface_position"][:, :1], draw["surface_pressure"].float())


@pytest.mark.parametrize("sharded", [True, False], ids=["sharded", "not sharded"])
@pytest.mark.parametrize("compressors", [BloscCodec(), GzipCodec()], ids=["blosc", "gzip"])
def test_chunks_that_zarr_left_out_are_errors_unless_filling_is_asked_for(
    tmp_path: Path, sharded: bool, compressors: Any
) -> None:
    pressure = rows(1)
    pressure[CHUNK : 3 * CHUNK] = 0
    pressure[4 * CHUNK :] = 0  # the whole second shard
    shards = {} if sharded else {"shards": None}
    write(tmp_path, pressure=pressure, compressors=compressors, **shards)
    with pytest.raises(StoreError, match="run_1, surface/pressure, shard"):
        Store(tmp_path).read("run_1")
    read = Store(tmp_path, fill_missing=True).read("run_1")
    np.testing.assert_array_equal(read["surface_pressure"].numpy(), pressure)
    np.testing.assert_array_equal(read["surface_position"].numpy(), rows(3, "float32"))


@pytest.mark.parametrize("writer", ["zarr's defaults", "gzip", "zstd", "no shards", "two codecs"])
def test_a_shard_cut_short_is_an_error(tmp_path: Path, writer: str) -> None:
    write(tmp_path, **WRITERS[writer])
    path = tmp_path / "run_1.zarr/surface/pressure/c/1/0"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(StoreError, match="run_1, surface/pressure, shard 1"):
        Store(tmp_path).read("run_1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"node_type": "group"}, "it is no Zarr v3 array"),
        ({"data_type": "nonsense"}, "its metadata cannot be read"),
        (
            {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [SHARD, 2]}}},
            "its chunks split the components",
        ),
        (
            {"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "."}}},
            "its chunk grid or its keys are not the regular ones",
        ),
    ],
)
def test_metadata_that_it_cannot_read_is_an_error(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    write(tmp_path)
    path = tmp_path / "run_1.zarr/surface/position/zarr.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(StoreError, match=f"run_1, surface/position: {message}"):
        Store(tmp_path).read("run_1")


def test_where_indexes_are_is_guessed_wrongly_once(tmp_path: Path) -> None:
    store = Store(write(tmp_path, **WRITERS["index at the end"]))
    recorder = recorded(store)
    for _ in range(2):
        store.read("run_1", {"surface": 10}, generator=torch.Generator().manual_seed(0))
        store._reader.layouts = Cache(0)
        store._reader.indexes = Cache(0)
    rounds = [[span.start for span in spans] for spans in recorder.rounds]
    assert rounds[0][1:] == [0, 0], "metadata, and where aerozarr has its indexes"
    assert [0] in rounds[1:], "no guess any more"
