"""Specification of adopting: what may differ from what aerozarr writes, and what may not."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from fsspec.core import url_to_fs
from msgspec.structs import replace
from zarr.codecs import BloscCodec, BytesCodec, GzipCodec, ShardingCodec, ZstdCodec

from aerozarr.adopt.expected import AdoptionFindings, Listed
from aerozarr.adopt.sample import compare_sample
from aerozarr.convert.fragment import Fragment
from aerozarr.convert.sample import convert_from_source
from aerozarr.run_config import RunConfig
from aerozarr.source.samples import Sample
from aerozarr.store.format.layout import Grid
from unit.store_helpers import (
    Files,
    _files_of,
    expected_order,
    group_files,
    memory_store,
    project_of,
    put_file,
    sample_of,
    save_sample,
    source_tensors,
    url_of,
    write_with_zarr,
)

FILEMAP = {
    "surface_position": "surface_position.pt",
    "surface_pressure": "surface_pressure.pt",
    "volume_position": "volume_position.pt",
    "volume_velocity": "volume_velocity.pt",
}
# With chunk_points 4 and shard_points 8.
GRIDS = {"surface": Grid(10, 4, 8, 3), "volume": Grid(23, 4, 8, 6)}
ARRAYS = {
    "surface/position": ("surface_position.pt", "float32"),
    "surface/pressure": ("surface_pressure.pt", "float16"),
    "volume/position": ("volume_position.pt", "float32"),
    "volume/velocity": ("volume_velocity.pt", "float16"),
}
VELOCITY = "volume/velocity"


def stored_rows(*, seed: int = 0) -> dict[str, np.ndarray]:
    """The rows of sample `a` as the format has them, without asking the library."""
    tensors = source_tensors()
    rows = {}
    for name, (file, dtype) in ARRAYS.items():
        values = tensors[file].numpy()
        order = expected_order(len(values), seed, "a", name.partition("/")[0])
        rows[name] = values[order].astype(dtype)
    return rows


def another_writers(
    rows: Mapping[str, np.ndarray], chunk: int = 4, shard: int = 8, **options: Any
) -> Files:
    """The files of a group of those rows as zarr-python writes them."""
    arrays = {name: (values, chunk, shard) for name, values in rows.items()}
    return write_with_zarr(arrays, **{"clevel": 1, "chunk_checksums": False, **options})


class Adopted:
    """A store of one sample, and its source."""

    def __init__(self, tmp_path: Path, place: str) -> None:
        self.url = url_of(place, tmp_path)
        self.config = project_of(self.url, tmp_path / "work", filemap=FILEMAP)
        sizes = save_sample(tmp_path / "source" / "a", source_tensors())
        names = {name: size for name, size in sizes.items() if name in FILEMAP.values()}
        self.sample: Sample = sample_of("a", sizes=names)
        self.tmp_path = tmp_path

    def put(self, files: Mapping[str, bytes]) -> None:
        for path, content in files.items():
            put_file(self.url, f"a.zarr/{path}", content)

    def compare(self, config: RunConfig | None = None) -> tuple[AdoptionFindings, Fragment | None]:
        listed = Listed(
            sample=self.sample, relpath="a.zarr", domains=GRIDS, compressor="blosc-zstd-5"
        )
        before = group_files(self.url, "a")
        found = compare_sample(config or self.config, listed)
        assert group_files(self.url, "a") == before, "nothing is written into a group"
        return found

    def why_not(self, config: RunConfig | None = None) -> list[tuple[str, str]]:
        found, fragment = self.compare(config)
        assert fragment is None
        assert found.values == 0
        return [(problem.place, problem.what) for problem in found.problems]


@pytest.fixture(params=["folder"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Adopted:
    return Adopted(tmp_path, request.param)


@pytest.mark.parametrize("store", ["folder", "memory-url"], indirect=True)
def test_what_is_adopted_is_recorded_as_if_it_had_been_converted(store: Adopted) -> None:
    files = another_writers(stored_rows())
    store.put(files)
    found, fragment = store.compare()
    assert found.problems == []
    assert fragment is not None
    own = project_of(url_of("folder", store.tmp_path), store.tmp_path / "own", filemap=FILEMAP)
    converted = convert_from_source(own, store.sample, own.store)
    assert fragment.domains == converted.domains == GRIDS
    # Moments and rounding; what they are made of names the store, too.
    learnt = [
        {n: replace(record, made_of="") for n, record in of.fields.items()}
        for of in (fragment, converted)
    ]
    assert learnt[0] == learnt[1]
    assert fragment.fingerprint == converted.fingerprint
    assert fragment.stored_as == store.config.stored_as_digest
    assert fragment.adopted
    assert not converted.adopted
    # Its files are recorded as they are.
    assert fragment.objects.keys() == files.keys() == converted.objects.keys()
    assert fragment.objects != converted.objects
    for path, (size, _) in fragment.objects.items():
        assert size == len(files[path])
    assert found.values == 10 * (3 + 1) + 23 * (3 + 3)
    assert found.stored_bytes == sum(map(len, files.values()))
    assert any("without checksums of chunks" in note for note in fragment.notes)


def with_zarr(rows: Mapping[str, np.ndarray], options: Callable[[int], dict[str, Any]]) -> Files:
    """A group that zarr-python writes with options of its own, by an array's width."""
    target = memory_store({})
    group = zarr.create_group(target, zarr_format=3)
    for name, values in rows.items():
        width = values.shape[1]
        made = group.create_array(
            name, shape=values.shape, dtype=values.dtype, **options(width), config=WRITE_ALL
        )
        made[:] = values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(target)
    return asyncio.run(_files_of(target))


WRITE_ALL: Any = {"write_empty_chunks": True}


def shards(**options: Any) -> Callable[[int], dict[str, Any]]:
    return lambda width: {"chunks": (4, width), "shards": (8, width), **options}


def index_at_the_end(width: int) -> dict[str, Any]:
    sharding = ShardingCodec(
        chunk_shape=(4, width), codecs=[BytesCodec(), ZstdCodec()], index_location="end"
    )
    return {"chunks": (8, width), "serializer": sharding, "compressors": None}


@pytest.mark.parametrize(
    ("options", "note"),
    [
        (shards(compressors=GzipCodec()), "compressed by gzip, where manifest.json says blosc"),
        (shards(compressors=None), "compressed by nothing"),
        (shards(compressors=BloscCodec(cname="lz4", shuffle="bitshuffle")), "without checksums"),
        (index_at_the_end, "compressed by zstd"),
    ],
    ids=["gzip", "uncompressed", "lz4", "index at the end"],
)
def test_other_bytes_of_the_same_values_are_adopted_and_told(store: Adopted, options, note) -> None:
    store.put(with_zarr(stored_rows(), options))
    found, fragment = store.compare()
    assert found.problems == []
    assert fragment is not None
    assert any(note in each for each in fragment.notes)


def test_a_store_without_checksums_is_nothing_to_tell_where_none_are_wanted(store: Adopted) -> None:
    store.put(another_writers(stored_rows()))
    config = project_of(store.url, store.tmp_path / "work", filemap=FILEMAP, chunk_checksums=False)
    _, fragment = store.compare(config)
    assert fragment is not None
    assert fragment.notes == []


def test_the_first_of_the_values_that_differ_is_named(store: Adopted) -> None:
    rows = stored_rows()
    rows[VELOCITY][17, 1] = 0.25
    rows[VELOCITY][22, 0] = 0.25
    rows["surface/pressure"][9, 0] = 7
    store.put(another_writers(rows))
    right = stored_rows()
    what = "of {} values are not the source's, shuffled and cast: the first, {}, is {} and "
    what += "should be {}"
    pressure = what.format(10, "row 9, component 0", 7.0, right["surface/pressure"][9, 0])
    velocity = what.format(69, "row 17, component 1", 0.25, right[VELOCITY][17, 1])
    assert store.why_not() == [
        ("surface_pressure", f"1 {pressure}"),
        ("volume_velocity", f"2 {velocity}"),
    ]


def test_another_shuffle_is_other_values(store: Adopted) -> None:
    store.put(another_writers(stored_rows(seed=1)))
    assert {place for place, _ in store.why_not()} == {
        "surface_position",
        "surface_pressure",
        "volume_position",
        "volume_velocity",
    }


@pytest.mark.parametrize(
    ("made", "what"),
    [
        (lambda: another_writers(stored_rows(), 2, 8), "number of points in a chunk is 2"),
        (lambda: another_writers(stored_rows(), 4, 4), "number of points in a shard is 4"),
        (
            lambda: another_writers({k: v.astype("float32") for k, v in stored_rows().items()}),
            "its dtype is float32, and should be float16",
        ),
        (
            lambda: another_writers({k: v[:-1] for k, v in stored_rows().items()}),
            "its shape is (22, 3), and should be (23, 3)",
        ),
        (
            lambda: with_zarr(stored_rows(), lambda width: {"chunks": (4, width)}),
            "is not stored in shards",
        ),
    ],
    ids=["chunks", "shards", "dtype", "points", "no shards"],
)
def test_what_is_stored_otherwise_is_not_adopted(store: Adopted, made, what: str) -> None:
    store.put(made())
    found = dict(store.why_not())
    assert what in found["volume_velocity"]


def test_a_source_of_other_points_is_told(store: Adopted) -> None:
    store.put(another_writers(stored_rows()))
    save_sample(store.tmp_path / "source" / "a", source_tensors(volume=24))
    assert ("volume_velocity", "has 23 points, and the source 24") in store.why_not()


def test_a_part_of_the_points_is_adopted_where_the_settings_say_so(store: Adopted) -> None:
    tensors = source_tensors(volume=30)
    sizes = save_sample(store.tmp_path / "source" / "a", tensors)
    names = {name: size for name, size in sizes.items() if name in FILEMAP.values()}
    store.sample = sample_of("a", sizes=names)
    order = expected_order(30, 0, "a", "volume")[:23]
    rows = stored_rows()
    for name, (file, dtype) in list(ARRAYS.items())[2:]:
        rows[name] = tensors[file].numpy()[order].astype(dtype)
    store.put(another_writers(rows))
    told = store.why_not(project_of(store.url, store.tmp_path / "work", filemap=FILEMAP))
    assert ("volume_velocity", "has 23 points, and the source 30") in told
    settings = {"filemap": FILEMAP, "keep_points": {"volume": 22}}
    told = store.why_not(project_of(store.url, store.tmp_path / "work", **settings))
    assert ("volume_velocity", "has 23 points, and the source 22 with keep_points 22") in told
    settings["keep_points"] = {"volume": 23}
    config = project_of(store.url, store.tmp_path / "work", **settings)
    found, fragment = store.compare(config)
    assert found.problems == []
    assert fragment is not None and fragment.source_points == {"volume": 30}


def remove(path: str) -> Callable[[Adopted], None]:
    def do(store: Adopted) -> None:
        fs, root = url_to_fs(store.url)
        fs.rm(f"{root}/a.zarr/{path}")

    return do


def put(path: str, content: bytes) -> Callable[[Adopted], None]:
    return lambda store: put_file(store.url, f"a.zarr/{path}", content)


def flip_the_index(store: Adopted) -> None:
    path = f"{VELOCITY}/c/1/0"
    content = bytearray(group_files(store.url, "a")[path])
    content[0] ^= 255
    put_file(store.url, f"a.zarr/{path}", bytes(content))


def change_the_arrays_own_metadata(store: Adopted) -> None:
    path = f"{VELOCITY}/zarr.json"
    metadata = json.loads(group_files(store.url, "a")[path])
    metadata["shape"] = [22, 3]
    put_file(store.url, f"a.zarr/{path}", json.dumps(metadata).encode())


def forget_what_is_consolidated(store: Adopted) -> None:
    metadata = json.loads(group_files(store.url, "a")["zarr.json"])
    del metadata["consolidated_metadata"]
    put_file(store.url, "a.zarr/zarr.json", json.dumps(metadata).encode())


DAMAGE: dict[str, tuple[Callable[[Adopted], None], str, str]] = {
    "shard": (remove(f"{VELOCITY}/c/1/0"), "volume_velocity", "shard 1: it is not there"),
    "index": (flip_the_index, "volume_velocity", "shard 1: "),
    "cut": (put(f"{VELOCITY}/c/1/0", b"short"), "volume_velocity", "shard 1: "),
    "root": (remove("zarr.json"), "zarr.json", "is missing"),
    "no JSON": (put("zarr.json", b"[1"), "zarr.json", "is no JSON object"),
    "not consolidated": (forget_what_is_consolidated, "zarr.json", "consolidated"),
    "domain": (remove("volume/zarr.json"), "volume/zarr.json", "is missing"),
    "array": (remove(f"{VELOCITY}/zarr.json"), "volume_velocity", "zarr.json: is missing"),
    "two metadata": (change_the_arrays_own_metadata, "volume_velocity", "says otherwise"),
    "notes": (put("volume/notes.txt", b"mine"), "volume/notes.txt", "is no file of such a group"),
    "too many": (put(f"{VELOCITY}/c/3/0", b"x"), f"{VELOCITY}/c/3/0", "is no file of such a"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_group_is_not_adopted(store: Adopted, damage: str) -> None:
    store.put(another_writers(stored_rows()))
    do, place, what = DAMAGE[damage]
    do(store)
    found = store.why_not()
    assert any(place == where and what in why for where, why in found), found
    assert len(found) == 1, "one thing is wrong, and told once"


def test_an_array_that_the_dataset_does_not_have_is_not_adopted(store: Adopted) -> None:
    rows = stored_rows()
    store.put(another_writers({**rows, "volume/more": rows[VELOCITY]}))
    assert ("volume/more", "is no array of the dataset") in store.why_not()


def test_a_source_that_cannot_be_converted_leaves_the_group(store: Adopted) -> None:
    store.put(another_writers(stored_rows()))
    tensors = {**source_tensors(), "volume_velocity.pt": torch.full((23, 3), 1e9)}
    save_sample(store.tmp_path / "source" / "a", tensors)
    found, fragment = store.compare()
    assert fragment is None
    (problem,) = found.problems
    assert problem.place == "volume_velocity"
    assert "too large for float16" in problem.what
    assert problem.remedy.startswith("mend the source")


def test_a_group_at_another_place_is_not_adopted(store: Adopted) -> None:
    listed = Listed(sample=store.sample, relpath="b.zarr", domains=GRIDS, compressor="")
    found, fragment = compare_sample(store.config, listed)
    assert fragment is None
    assert found.problems[0].place == "manifest.json"
