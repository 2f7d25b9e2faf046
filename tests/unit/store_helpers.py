"""The store format, read anew from `store-format.md`: what unit tests check the library against.

Nothing here calls the library for an expectation: seeds come from hashlib, permutations from torch,
groups from zarr-python, listings of a store from fsspec.
"""

import asyncio
import hashlib
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import numpy as np
import torch
import zarr
from fsspec.core import url_to_fs
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from aerozarr.config.fields import Field
from aerozarr.config.load_settings import load_settings
from aerozarr.convert.accumulate import moments_of
from aerozarr.convert.fragment import FieldRecord
from aerozarr.convert.rounding import Rounding
from aerozarr.run_config import RunConfig
from aerozarr.source.samples import Sample

Files: TypeAlias = dict[str, bytes]
Array: TypeAlias = NDArray[Any]

# The places that the contract of stores is tested on.
PLACES = ("folder", "file-url", "memory-url")

# All four domains, a field of each width, and one attribute that is no field.
FILEMAP = {
    "surface_position": "surface_position.pt",
    "surface_pressure": "surface_pressure.pt",
    "volume_position": "volume_position.pt",
    "volume_velocity": "volume_velocity.pt",
    "surface_position_stl": "stl.pt",
    "surface_position_stl_resampled": "stl_resampled.pt",
    "volume_distance_to_surface": "sdf.pt",
    "design_parameters": "design.pt",
}
WIDTHS = {
    "surface/position": ("surface_position.pt", 3),
    "surface/pressure": ("surface_pressure.pt", 1),
    "surface_stl/position": ("stl.pt", 3),
    "surface_stl_resampled/position": ("stl_resampled.pt", 3),
    "volume/position": ("volume_position.pt", 3),
    "volume/velocity": ("volume_velocity.pt", 3),
    "volume/sdf": ("sdf.pt", 1),
}
ARRAY_NAMES = tuple(WIDTHS)


def url_of(place: str, folder: Path) -> str:
    """A store URL that no other test uses; nothing is there yet."""
    if place == "memory-url":
        return f"memory://stores/{uuid4().hex}"
    root = folder / f"store-{uuid4().hex}"
    return f"file://{root}" if place == "file-url" else str(root)


def files_below(url: str) -> Files:
    """Every file below a store root, by its path from there, without asking the library."""
    fs, root = url_to_fs(url)
    prefix = root.rstrip("/") + "/"
    if url.startswith("oci://"):
        return _oci_files(fs, prefix)
    return {path.removeprefix(prefix): fs.cat_file(path) for path in fs.find(root)}


def _oci_files(fs: Any, prefix: str) -> Files:
    """As `files_below`; ocifs itself would take several requests for each file and folder."""
    # Imported here: most unit tests need not wait for it.
    from oci.pagination import list_call_get_all_results

    bucket, _, key = prefix.partition("/")
    where = tuple(reversed(bucket.split("@")))
    found = list_call_get_all_results(fs.oci_client.list_objects, *where, prefix=key)
    return {
        item.name.removeprefix(key): fs.oci_client.get_object(*where, item.name).data.content
        for item in found.data.objects
    }


def group_files(url: str, sample_id: str) -> Files:
    """The files of one group, by their path from the group's root."""
    prefix = f"{sample_id}.zarr/"
    found = files_below(url).items()
    return {path.removeprefix(prefix): data for path, data in found if path.startswith(prefix)}


def put_file(url: str, relative: str, content: bytes) -> None:
    """Write a file below a store root behind the library's back."""
    fs, root = url_to_fs(url)
    path = f"{root.rstrip('/')}/{relative}"
    fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    fs.pipe_file(path, content)


def memory_store(files: Mapping[str, bytes]) -> MemoryStore:
    """A zarr-python store that holds the given files."""
    from_bytes = default_buffer_prototype().buffer.from_bytes
    return MemoryStore({path: from_bytes(content) for path, content in files.items()})


def read_arrays(files: Mapping[str, bytes]) -> dict[str, Array]:
    """All arrays of a group as zarr-python reads them from its consolidated metadata."""
    group = zarr.open_group(memory_store(files), mode="r", use_consolidated=True)
    members = group.members(max_depth=None)
    return {name: item[:] for name, item in members if isinstance(item, zarr.Array)}


def write_with_zarr(
    arrays: Mapping[str, tuple[Array, int, int]],
    *,
    cname: str = "zstd",
    clevel: int = 5,
    chunk_checksums: bool = True,
) -> Files:
    """The files that zarr-python itself writes for `{name: (rows, chunk_points, shard_points)}`."""
    store = MemoryStore()
    group = zarr.create_group(store, zarr_format=3)
    for name, (rows, chunk, shard) in arrays.items():
        width = rows.shape[1]
        array = group.create_array(
            name,
            shape=rows.shape,
            dtype=rows.dtype,
            chunks=(chunk, width),
            shards={"shape": (shard, width), "index_location": "start"},  # type: ignore[arg-type]
            compressors=[
                BloscCodec(cname=cname, clevel=clevel),  # type: ignore[arg-type] # text is taken
                *([Crc32cCodec()] if chunk_checksums else []),
            ],
            dimension_names=("points", {1: "scalar", 3: "xyz"}[width]),
        )
        array[:] = rows
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that consolidated metadata is no part of Zarr v3 yet
        zarr.consolidate_metadata(store)
    return asyncio.run(_files_of(store))


async def _files_of(store: MemoryStore) -> Files:
    prototype = default_buffer_prototype()
    files = {}
    async for path in store.list():
        content = await store.get(path, prototype)
        assert content is not None
        files[path] = content.to_bytes()
    return files


def bits(array: Array) -> tuple[tuple[int, ...], str, bytes]:
    """Shape, dtype and bytes of an array: NaNs and signed zeros are compared too."""
    return array.shape, array.dtype.str, np.ascontiguousarray(array).tobytes()


def expected_seed(shuffle_seed: int, sample_id: str, domain: str) -> int:
    text = b":".join(part.encode("utf-8") for part in (str(shuffle_seed), sample_id, domain))
    (number,) = struct.unpack("<Q", hashlib.sha256(text).digest()[:8])
    return int(number) % (2**63 - 1)


def expected_order(n_points: int, shuffle_seed: int, sample_id: str, domain: str) -> Array:
    """The rows of the source in stored order."""
    generator = torch.Generator("cpu")
    generator.manual_seed(expected_seed(shuffle_seed, sample_id, domain))
    return torch.randperm(n_points, generator=generator).numpy()


def field_of(
    canonical: str = "volume_velocity",
    dtype: str = "float16",
    width: int = 3,
    columns: tuple[int, int] | None = None,
) -> Field:
    domain, _, name = canonical.rpartition("_")
    return Field(domain, name, width, f"{name}.pt", dtype, columns)  # type: ignore[arg-type]


def project_of(store: str | Path, workdir: Path, **settings: Any) -> RunConfig:
    """A run_config over `FILEMAP` whose chunks are small; `settings` override."""
    config = {
        "source_url": str(workdir.parent / "source"),
        "dataset": "drivaerml",
        "filemap": FILEMAP,
        "store": str(store),
        "workdir": str(workdir),
        "chunk_points": 4,
        "shard_points": 8,
        **settings,
    }
    return RunConfig.of(load_settings(config))


def sample_of(sample_id: str, *, split: str = "", sizes: Mapping[str, int] | None = None) -> Sample:
    """A row of the sample table; its files are those of `sizes`."""
    names = tuple(sorted(sizes or {}))
    return Sample(
        id=sample_id,
        key=hashlib.sha256(sample_id.encode()).hexdigest()[:16],
        split=split,
        position=-1,
        files=names,
        sizes=tuple((sizes or {})[name] for name in names),
        fingerprint="",
    )


def records_of(run_config: RunConfig, seed: int = 0) -> dict[str, FieldRecord]:
    """What a conversion would have learnt of each field, from five rows of random values."""
    generator = np.random.default_rng(seed)
    fields = [field for domain in run_config.domains for field in domain.fields]
    return {
        field.canonical: FieldRecord(
            moments=moments_of(generator.random((5, field.width))), rounding=Rounding()
        )
        for field in fields
    }


def source_tensors(
    *, surface: int = 10, volume: int = 23, stl: int = 7, resampled: int = 5, seed: int = 0
) -> dict[str, torch.Tensor]:
    """What the files of one sample hold, by file name."""
    counts = {"surface": surface, "volume": volume}
    counts |= {"surface_stl": stl, "surface_stl_resampled": resampled}
    generator = torch.Generator().manual_seed(seed)
    return {
        file: torch.randn(counts[name.partition("/")[0]], width, generator=generator)
        for name, (file, width) in WIDTHS.items()
    }


def save_sample(folder: Path, tensors: Mapping[str, object]) -> dict[str, int]:
    """Write `.pt` files; return their sizes in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, value in tensors.items():
        torch.save(value, folder / file)
    return {file: (folder / file).stat().st_size for file in tensors}
