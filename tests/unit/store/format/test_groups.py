"""Specification of a sample's group: its grid, its shards byte by byte, and its metadata.

What the library writes is compared with what zarr-python writes for the same arrays, and read back
by zarr-python and xarray.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import blosc
from zarr.storage import MemoryStore

from aerozarr.config.fields import Domain
from aerozarr.config.setting_types import Compression
from aerozarr.convert.encode import encode_shards
from aerozarr.store.format.layout import Grid, shard_path
from aerozarr.store.format.metadata import array_metadata, metadata_files
from unit.store_helpers import (
    Array,
    Files,
    bits,
    field_of,
    memory_store,
    read_arrays,
    write_with_zarr,
)

DTYPES = ("float16", "float32", "float64")
CNAMES = ("blosclz", "lz4", "lz4hc", "zlib", "zstd")
ZSTD = Compression()
NO_CHUNK = 2**64 - 1

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_cname = pytest.mark.parametrize("cname", CNAMES)
each_checksums = pytest.mark.parametrize(
    "chunk_checksums", [True, False], ids=["checksums", "none"]
)
each_width = pytest.mark.parametrize("width", [1, 3])

# (n_points, chunk_points, shard_points) -> (chunk, shard, number of chunks, number of shards)
GRIDS = [
    pytest.param((10, 4, None), (4, 12, 3, 1), id="one-shard-for-all"),
    pytest.param((12, 4, None), (4, 12, 3, 1), id="chunks-that-fit-exactly"),
    pytest.param((3, 4, None), (3, 3, 1, 1), id="fewer-points-than-a-chunk"),
    pytest.param((4, 4, None), (4, 4, 1, 1), id="as-many-points-as-a-chunk"),
    pytest.param((5, 4, None), (4, 8, 2, 1), id="one-point-more-than-a-chunk"),
    pytest.param((1, 4, None), (1, 1, 1, 1), id="one-point"),
    pytest.param((1, 1, None), (1, 1, 1, 1), id="one-point-in-a-chunk-of-one"),
    pytest.param((3, 1, None), (1, 3, 3, 1), id="chunks-of-one"),
    pytest.param((1, 4, 1), (1, 1, 1, 1), id="one-point-and-a-shard-of-one"),
    pytest.param((1, 4, 100), (1, 1, 1, 1), id="one-point-and-a-large-shard"),
    pytest.param((10, 4, 8), (4, 8, 3, 2), id="shards-of-whole-chunks"),
    pytest.param((10, 4, 4), (4, 4, 3, 3), id="a-chunk-a-shard"),
    pytest.param((10, 4, 3), (4, 4, 3, 3), id="shard-smaller-than-a-chunk"),
    pytest.param((10, 4, 1), (4, 4, 3, 3), id="shard-of-one-point"),
    pytest.param((10, 4, 11), (4, 8, 3, 2), id="shard-rounded-down-to-chunks"),
    pytest.param((10, 4, 12), (4, 12, 3, 1), id="shard-that-just-holds-all"),
    pytest.param((10, 4, 10), (4, 8, 3, 2), id="shard-of-as-many-points"),
    pytest.param((10, 4, 13), (4, 12, 3, 1), id="shard-larger-than-all"),
    pytest.param((10, 4, 10**9), (4, 12, 3, 1), id="shard-much-larger-than-all"),
    pytest.param((3, 4, 4), (3, 3, 1, 1), id="fewer-points-than-a-chunk-and-a-shard"),
    pytest.param((3, 4, 6), (3, 3, 1, 1), id="shard-of-two-shortened-chunks"),
    pytest.param((3, 4, 2), (3, 3, 1, 1), id="shard-smaller-than-a-shortened-chunk"),
    pytest.param((23, 4, 8), (4, 8, 6, 3), id="last-shard-full-last-chunk-short"),
    pytest.param((17, 4, 8), (4, 8, 5, 3), id="last-shard-half-empty"),
    pytest.param((17, 4, 12), (4, 12, 5, 2), id="last-shard-with-one-place-left"),
    pytest.param((13, 4, 16), (4, 16, 4, 1), id="all-places-taken-last-chunk-short"),
    pytest.param((100_000, 4096, 65_536), (4096, 65_536, 25, 2), id="usual-numbers"),
]


# Grid ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wanted", "used"), GRIDS)
def test_grid(wanted, used):
    grid = Grid.of(*wanted)
    assert (grid.n_points, grid.chunk_points) == (wanted[0], used[0])
    assert (grid.shard_points, grid.n_chunks, grid.n_shards) == used[1:]


@settings(max_examples=500, deadline=None, database=None, derandomize=True)
@given(st.integers(1, 300), st.integers(1, 80), st.none() | st.integers(1, 400))
def test_grid_is_the_largest_that_the_format_allows(n_points, chunk_points, shard_points):
    grid = Grid.of(n_points, chunk_points, shard_points)
    chunk = chunk_points if chunk_points < n_points else n_points
    starts = range(0, n_points, chunk)
    whole = [chunk * chunks for chunks in range(1, len(starts) + 1)]
    allowed = [size for size in whole if shard_points is None or size <= shard_points]
    assert grid.chunk_points == chunk
    assert grid.n_chunks == len(starts)
    assert grid.shard_points == (allowed or whole[:1])[-1]
    assert grid.n_shards == len(range(0, n_points, grid.shard_points))


# Shards ----------------------------------------------------------------------------------------


def crc32c(content: bytes) -> int:
    """Castagnoli's checksum by its definition, bit by bit."""
    register = 0xFFFFFFFF
    for byte in content:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def numbers(n_points: int, width: int, dtype: str, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((n_points, width)).astype(dtype)


def shuffled(n_points: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).permutation(n_points)


def shards_of(
    rows: Array,
    perm: Array,
    grid: Grid,
    compression: Compression = ZSTD,
    *,
    chunk_checksums: bool = True,
) -> list[bytes]:
    shards = encode_shards(rows, perm, grid, compression, chunk_checksums=chunk_checksums)
    # The chunks first: the header is known after them.
    return [chunks_then_header(shard) for shard in shards]


def chunks_then_header(shard):
    chunks = b"".join(shard.chunks())
    header = shard.header()
    assert len(header) == shard.header_size
    return header + chunks


def test_crc32c_of_this_test_is_the_published_one():
    assert crc32c(b"123456789") == 0xE3069283


@each_width
@each_dtype
@pytest.mark.parametrize(("wanted", "used"), GRIDS[:-1])
def test_shard_is_an_index_and_then_its_chunks(wanted, used, dtype, width):
    chunk, shard, n_chunks, n_shards = used
    n_points, places = wanted[0], shard // chunk
    rows, perm = numbers(n_points, width, dtype), shuffled(n_points)
    shards = shards_of(rows, perm, Grid.of(*wanted))
    assert len(shards) == n_shards
    padded = np.zeros((n_shards * shard, width), dtype)  # the fill value past the end
    padded[:n_points] = rows[perm]
    for number, content in enumerate(shards):
        index, end = content[: 16 * places], 16 * places + 4
        assert int.from_bytes(content[16 * places : end], "little") == crc32c(index)
        for slot, (place, length) in enumerate(np.frombuffer(index, "<u8").reshape(-1, 2).tolist()):
            chunk_number = number * places + slot
            if chunk_number >= n_chunks:
                assert (place, length) == (NO_CHUNK, NO_CHUNK)
                continue
            assert place == end  # one after the other, without gaps
            end = place + length
            body, checksum = content[place : end - 4], content[end - 4 : end]
            assert int.from_bytes(checksum, "little") == crc32c(body)
            decoded = blosc.decompress(body)
            expected = padded[chunk_number * chunk : (chunk_number + 1) * chunk]
            assert decoded == expected.tobytes()
        assert end == len(content)


def test_each_shard_has_at_least_one_chunk():
    for wanted, *_ in (param.values for param in GRIDS[:-1]):
        grid = Grid.of(*wanted)
        for content in shards_of(numbers(wanted[0], 1, "float32"), shuffled(wanted[0]), grid):
            place, _ = np.frombuffer(content[:16], "<u8").tolist()
            assert place != NO_CHUNK


@pytest.mark.parametrize("clevel", range(10))
@each_cname
def test_chunks_are_compressed_as_the_settings_say(cname, clevel):
    rows = np.repeat(np.arange(250, dtype="float32"), 4)[:, None]
    (content,) = shards_of(
        rows,
        np.arange(1000),
        Grid.of(1000, 1000, None),
        Compression(cname=cname, clevel=clevel),
        chunk_checksums=False,
    )
    name, shuffle, size, uncompressed, _ = _header(content[20:])
    assert uncompressed == 4000
    assert size == len(content) - 20
    if clevel > 0:
        assert size < 4000
        assert name == {"lz4hc": "lz4"}.get(cname, cname)  # one decoder for both
        assert shuffle  # by bytes, what zarr-python picks for items of 2, 4 and 8 bytes


def _header(encoded: bytes) -> tuple[str, bool, int, int, int]:
    """Blosc 1's header: compressor, byte shuffle, compressed and full size, size of an item."""
    flags, itemsize = encoded[2], encoded[3]
    full, _, compressed = np.frombuffer(encoded[4:16], "<u4").tolist()
    name = ("blosclz", "lz4", "snappy", "zlib", "zstd")[flags >> 5]
    return name, bool(flags & 1), compressed, full, itemsize


@each_dtype
def test_blosc_knows_the_size_of_an_item(dtype):
    (content,) = shards_of(numbers(100, 3, dtype), np.arange(100), Grid.of(100, 100, None))
    assert _header(content[20:])[4] == np.dtype(dtype).itemsize


@pytest.mark.parametrize(
    ("array", "shard", "path"),
    [
        ("volume/velocity", 0, "volume/velocity/c/0/0"),
        ("surface_stl_resampled/position", 12, "surface_stl_resampled/position/c/12/0"),
    ],
)
def test_shard_path_is_zarrs_default_chunk_key(array, shard, path):
    assert shard_path(array, shard) == path


# Metadata --------------------------------------------------------------------------------------


@each_checksums
@each_cname
@each_dtype
def test_array_metadata_is_what_zarr_python_writes_at_every_level(dtype, cname, chunk_checksums):
    rows = np.zeros((10, 3), dtype)
    for clevel in range(10):
        theirs = write_with_zarr(
            {"velocity": (rows, 4, 8)},
            cname=cname,
            clevel=clevel,
            chunk_checksums=chunk_checksums,
        )
        ours = array_metadata(
            Grid.of(10, 4, 8),
            3,
            dtype,
            Compression(cname=cname, clevel=clevel),
            chunk_checksums=chunk_checksums,
        )
        assert json.loads(json.dumps(ours)) == json.loads(theirs["velocity/zarr.json"])


@each_width
@pytest.mark.parametrize(("wanted", "used"), GRIDS)
def test_array_metadata_is_what_zarr_python_writes_for_every_grid(wanted, used, width):
    array = np.zeros((wanted[0], width), "float16")
    theirs = write_with_zarr({"velocity": (array, used[0], used[1])})
    ours = array_metadata(Grid.of(*wanted), width, "float16", ZSTD, chunk_checksums=True)
    assert json.loads(json.dumps(ours)) == json.loads(theirs["velocity/zarr.json"])


def test_the_index_is_at_the_start_and_checked():
    metadata = array_metadata(Grid.of(10, 4, 8), 3, "float16", ZSTD, chunk_checksums=True)
    (sharding,) = metadata["codecs"]
    assert sharding["name"] == "sharding_indexed"
    assert sharding["configuration"]["index_location"] == "start"
    assert [codec["name"] for codec in sharding["configuration"]["index_codecs"]] == [
        "bytes",
        "crc32c",
    ]


# A whole group ---------------------------------------------------------------------------------

DOMAINS = (
    Domain(
        "surface",
        (field_of("surface_position", "float32"), field_of("surface_pressure", "float16", 1)),
    ),
    Domain("surface_stl", (field_of("surface_stl_position", "float64"),)),
    Domain(
        "volume",
        (
            field_of("volume_position", "float32"),
            field_of("volume_velocity", "float16"),
            field_of("volume_vorticity", "float32"),
            field_of("volume_sdf", "float64", 1),
        ),
    ),
)
COUNTS = {"surface": 10, "surface_stl": 3, "volume": 23}


def make_group(
    *,
    chunk: int = 4,
    shard: int | None = 8,
    compression: Compression = ZSTD,
    chunk_checksums: bool = True,
) -> tuple[Files, Files, dict[str, Array]]:
    """A group's files as the library and as zarr-python write them, and its arrays as stored."""
    grids = {name: Grid.of(count, chunk, shard) for name, count in COUNTS.items()}
    ours: Files = {}
    arrays = {}
    for domain in DOMAINS:
        perm = shuffled(COUNTS[domain.name], seed=len(domain.name))
        for number, field in enumerate(domain.fields):
            rows = numbers(COUNTS[domain.name], field.width, field.dtype, seed=number)
            rows[1] = [np.nan, -0.0, np.inf][: field.width]
            arrays[field.array_name] = rows[perm]
            shards = shards_of(
                rows, perm, grids[domain.name], compression, chunk_checksums=chunk_checksums
            )
            ours |= {shard_path(field.array_name, i): data for i, data in enumerate(shards)}
    ours |= metadata_files(DOMAINS, grids, compression, chunk_checksums=chunk_checksums)
    theirs = write_with_zarr(
        {name: (rows, *_chunk_and_shard(len(rows), chunk, shard)) for name, rows in arrays.items()},
        cname=compression.cname,
        clevel=compression.clevel,
        chunk_checksums=chunk_checksums,
    )
    return ours, theirs, arrays


def _chunk_and_shard(n_points: int, chunk_points: int, shard_points: int | None) -> tuple[int, int]:
    chunk = min(chunk_points, n_points)
    whole = -(-n_points // chunk) * chunk
    if shard_points is not None:
        whole = min(whole, max(chunk, shard_points - shard_points % chunk))
    return chunk, whole


GROUPS = {
    "one-shard": {"chunk": 4, "shard": None},
    "several-shards": {"chunk": 4, "shard": 8},
    "a-chunk-a-shard": {"chunk": 4, "shard": 1},
    "one-chunk": {"chunk": 4096, "shard": None},
    "chunks-of-one": {"chunk": 1, "shard": 5},
    "no-checksums": {"chunk_checksums": False},
    "uncompressed": {"compression": Compression(clevel=0)},
    "lz4": {"compression": Compression(cname="lz4", clevel=1)},
    "zlib": {"compression": Compression(cname="zlib", clevel=9)},
}
each_group = pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)


@each_group
def test_group_has_the_files_that_zarr_python_writes(group):
    ours, theirs, _ = make_group(**group)
    assert set(ours) == set(theirs)


@each_group
def test_metadata_and_its_consolidated_copy_are_what_zarr_python_writes(group):
    ours, theirs, _ = make_group(**group)
    metadata = {path for path in theirs if path.endswith("zarr.json")}
    assert len(metadata) == 1 + 3 + 7
    for path in metadata:
        assert json.loads(ours[path]) == json.loads(theirs[path])


def test_consolidated_copy_repeats_every_array_of_its_own_file():
    ours, *_ = make_group()
    members = json.loads(ours["zarr.json"])["consolidated_metadata"]["metadata"]
    for path, content in ours.items():
        name = path.removesuffix("/zarr.json")
        if path.endswith("/zarr.json") and name.count("/") == 1:
            assert members[name] == json.loads(content)


def test_arrays_are_listed_in_the_order_of_the_file_map():
    ours, *_ = make_group()
    names = json.loads(ours["zarr.json"])["consolidated_metadata"]["metadata"]
    expected = []
    for domain in DOMAINS:
        expected += [domain.name, *(field.array_name for field in domain.fields)]
    assert list(names) == expected


def test_the_root_comes_last():
    grids = {name: Grid.of(count, 4, 8) for name, count in COUNTS.items()}
    assert list(metadata_files(DOMAINS, grids, ZSTD, chunk_checksums=True))[-1] == "zarr.json"


@each_group
def test_zarr_python_reads_the_same_bits(group):
    ours, theirs, arrays = make_group(**group)
    read = read_arrays(ours)
    assert {name: bits(array) for name, array in read.items()} == {
        name: bits(array) for name, array in arrays.items()
    }
    assert {name: bits(array) for name, array in read_arrays(theirs).items()} == {
        name: bits(array) for name, array in arrays.items()
    }


@pytest.mark.parametrize("name", ["several-shards", "a-chunk-a-shard", "chunks-of-one"])
def test_zarr_python_reads_runs_of_rows_across_chunks_and_shards(name):
    ours, _, arrays = make_group(**GROUPS[name])
    root = zarr.open_group(memory_store(ours), mode="r", use_consolidated=True)
    expected = arrays["volume/velocity"]
    for start in range(0, 23, 3):
        for stop in range(start + 1, 24, 2):
            assert bits(root["volume/velocity"][start:stop]) == bits(expected[start:stop])


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is read from zarr-python's memory stores: key, and kind of range."""
    made: list[tuple[str, str]] = []
    usual = MemoryStore.get

    async def get(self: MemoryStore, key: str, prototype: Any, byte_range: Any = None) -> Any:
        made.append((key, type(byte_range).__name__))
        return await usual(self, key, prototype, byte_range)

    monkeypatch.setattr(MemoryStore, "get", get)
    return made


def test_opening_every_array_of_a_sample_reads_one_file(requests):
    ours, _, arrays = make_group()
    store = memory_store(ours)
    requests.clear()
    root = zarr.open_group(store, mode="r", zarr_format=3, use_consolidated=True)
    for name, expected in arrays.items():
        assert root[name].shape == expected.shape
    assert requests == [("zarr.json", "NoneType")]


def test_one_chunk_is_read_by_two_ranges_from_the_start(requests):
    # Azure Blob Storage serves no ranges counted from the end.
    ours, _, arrays = make_group()
    array = zarr.open_group(memory_store(ours), mode="r", zarr_format=3)["volume/velocity"]
    requests.clear()
    assert bits(array[8:12]) == bits(arrays["volume/velocity"][8:12])
    assert requests == [("volume/velocity/c/1/0", "RangeByteRequest")] * 2


def test_a_damaged_index_is_noticed():
    ours, *_ = make_group()
    path = "volume/velocity/c/0/0"
    ours[path] = bytes([ours[path][0] ^ 1]) + ours[path][1:]
    with pytest.raises(ValueError, match=r"(?i)crc32c|checksum"):
        read_arrays(ours)


def test_no_bit_of_a_chunk_can_flip_unnoticed_by_zarr_python():
    ours, _, arrays = make_group(chunk=23)
    path = "volume/velocity/c/0/0"
    whole, first = ours[path], 16 + 4
    for place in range(first, len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            group = zarr.open_group(memory_store(ours | {path: bytes(damaged)}), mode="r")
            with pytest.raises(ValueError, match=r"(?i)checksum"):
                group["volume/velocity"][:]
    assert bits(read_arrays(ours)["volume/velocity"]) == bits(arrays["volume/velocity"])


def write(files: Files, folder: Path) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


@pytest.mark.parametrize("domain", COUNTS)
def test_zarr_python_opens_one_domain_of_a_folder(tmp_path, domain):
    ours, _, arrays = make_group()
    folder = write(ours, tmp_path / "run_1.zarr")
    group = zarr.open_group(folder / domain, mode="r", use_consolidated=False)
    read = {f"{domain}/{name}": bits(array[:]) for name, array in group.arrays()}
    assert read == {
        name: bits(rows) for name, rows in arrays.items() if name.startswith(f"{domain}/")
    }


@pytest.mark.parametrize("domain", COUNTS)
@pytest.mark.parametrize("where", ["group-argument", "its-own-path"])
def test_xarray_opens_one_domain(tmp_path, domain, where):
    ours, _, arrays = make_group()
    folder = write(ours, tmp_path / "run_1.zarr")
    if where == "its-own-path":
        dataset = xr.open_zarr(folder / domain, consolidated=False, chunks=None)
    else:
        dataset = xr.open_zarr(folder, group=domain, consolidated=False, chunks=None)
    read = {f"{domain}/{name}": bits(array.to_numpy()) for name, array in dataset.items()}
    assert read == {
        name: bits(rows) for name, rows in arrays.items() if name.startswith(f"{domain}/")
    }
    assert dataset.sizes["points"] == COUNTS[domain]


def test_xarray_opens_the_whole_sample_as_a_tree(tmp_path):
    ours, _, arrays = make_group()
    tree = xr.open_datatree(
        write(ours, tmp_path / "run_1.zarr"), engine="zarr", consolidated=True, chunks=None
    )
    for name, rows in arrays.items():
        assert bits(tree[name].to_numpy()) == bits(rows)


def test_a_group_without_its_root_does_not_open():
    ours, *_ = make_group()
    del ours["zarr.json"]
    with pytest.raises(FileNotFoundError):
        zarr.open_group(memory_store(ours), mode="r", zarr_format=3)
