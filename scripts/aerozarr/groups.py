"""One sample as a Zarr v3 group: its grid, its shards and its metadata, as bytes.

The bytes are made here and not by zarr-python, because of order and cost: the shards have to be
there before the metadata that makes them visible, and zarr-python writes metadata first, with
many more requests. Tests compare both with what zarr-python writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import blosc

from aerozarr.fields import Domain
from aerozarr.gathering import Gatherer, Rows
from aerozarr.permutations import Shuffle
from aerozarr.settings import Compression

# Raise by hand when the same input would give other stored bytes: every sample is then converted
# again. (Snakemake does not see a change in an imported module.)
BYTES_VERSION = 1

ROOT_METADATA = "zarr.json"

# Blosc's own threads would compete with Snakemake's jobs, one of which runs on each core.
blosc.use_threads = False

# What the second dimension is called, by its width.
_COMPONENTS = {1: "scalar", 3: "xyz"}

# Place and length that the shard index gives to a chunk that lies past the array's end.
_NO_CHUNK = 2**64 - 1


@dataclass(frozen=True)
class Grid:
    """How the points of a sample's domain are cut into chunks and shards.

    Attributes
    ----------
    n_points
        Number of points.
    chunk_points, shard_points
        Points in a chunk and in a shard, as used.
    n_chunks
        Number of chunks that hold points.
    """

    n_points: int
    chunk_points: int
    shard_points: int
    n_chunks: int

    @classmethod
    def of(cls, n_points: int, chunk_points: int, shard_points: int | None) -> Grid:
        """Return the grid of `n_points` points for the settings of those names."""
        chunk = min(chunk_points, n_points)
        n_chunks = -(-n_points // chunk)
        in_shard = (
            n_chunks if shard_points is None else max(1, min(n_chunks, shard_points // chunk))
        )
        return cls(n_points, chunk, in_shard * chunk, n_chunks)

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return -(-self.n_points // self.shard_points)


class Shard:
    """One shard on its way to the store: a header, known last, and the chunks.

    The chunks are encoded as they are taken, so that a shard need never be held whole.

    Attributes
    ----------
    number
        Which shard of its array it is.
    header_size
        Bytes that the header takes at the shard's start.
    """

    def __init__(
        self, gatherer: Gatherer, perm: Shuffle, grid: Grid, how: Compression, number: int
    ) -> None:
        self.number = number
        self._gatherer, self._perm, self._grid, self._how = gatherer, perm, grid, how
        in_shard = grid.shard_points // grid.chunk_points
        self._index = np.full((in_shard, 2), _NO_CHUNK, dtype="<u8")
        self.header_size = self._index.nbytes + 4

    def chunks(self) -> Iterator[bytes]:
        """Encode and yield the chunks that hold points, in order."""
        chunk, in_shard = self._grid.chunk_points, len(self._index)
        cname = self._how.cname.encode()
        place = self.header_size
        first = self.number * in_shard
        for slot in range(min(in_shard, self._grid.n_chunks - first)):
            start = (first + slot) * chunk
            # Gathering chunk by chunk stays in the cache and needs no shuffled copy of the field.
            # The last is stored whole, filled up with the fill value.
            points = self._gatherer.chunk(self._perm[start : start + chunk])
            encoded = blosc.compress(points, cname, self._how.clevel, blosc.SHUFFLE)
            self._index[slot] = place, len(encoded)
            place += len(encoded)
            yield encoded

    def header(self) -> bytes:
        """Return the index, once all chunks were taken, and its checksum.

        For each chunk its place and length, as little-endian uint64; then their crc32c.
        """
        content = self._index.tobytes()
        checksum: bytes = google_crc32c.value(content).to_bytes(4, "little")
        return content + checksum


def encode_shards(
    rows: Rows,
    perm: Shuffle,
    grid: Grid,
    compression: Compression,
    *,
    width: int | None = None,
) -> Iterator[Shard]:
    """Yield the shards of one array, in order; the chunks of one have to be taken before the next.

    Parameters
    ----------
    rows
        Shape (n_points, columns), in storage dtype and the source's order, contiguous.
    perm
        Shape (n_points,): stored row r is `rows[perm[r]]`.
    grid, compression
        How to cut and compress.
    width
        How many of the columns to store, when the others are padding (`columns_for`); None: all.
    """
    gatherer = Gatherer(rows, rows.shape[1] if width is None else width, grid.chunk_points)
    for number in range(grid.n_shards):
        yield Shard(gatherer, perm, grid, compression, number)


def shard_path(array_name: str, shard: int) -> str:
    """Return where in the group a shard of an array lies."""
    return f"{array_name}/c/{shard}/0"


def array_metadata(grid: Grid, width: int, dtype: str, compression: Compression) -> dict[str, Any]:
    """Return the Zarr v3 metadata of one array, of shape (n_points, width)."""
    index_codecs = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    codecs = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {
            "name": "blosc",
            "configuration": {
                "typesize": np.dtype(dtype).itemsize,
                "cname": compression.cname,
                "clevel": compression.clevel,
                "shuffle": "shuffle",
                "blocksize": 0,
            },
        },
    ]
    sharding = {
        "chunk_shape": [grid.chunk_points, width],
        "codecs": codecs,
        "index_codecs": index_codecs,
        # At the start: Azure Blob Storage serves no suffix ranges.
        "index_location": "start",
    }
    return {
        "shape": [grid.n_points, width],
        "data_type": dtype,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [grid.shard_points, width]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0.0,
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "attributes": {},
        # Without names xarray does not open a group. All arrays of a domain share their points.
        "dimension_names": ["points", _COMPONENTS[width]],
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }


def _group_metadata(members: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the metadata of a group, with that of its members consolidated if they are given."""
    metadata: dict[str, Any] = {"attributes": {}, "zarr_format": 3}
    if members is not None:
        metadata["consolidated_metadata"] = {
            "kind": "inline",
            "must_understand": False,
            "metadata": members,
        }
    metadata["node_type"] = "group"
    return metadata


def metadata_files(
    domains: tuple[Domain, ...], grids: dict[str, Grid], compression: Compression
) -> dict[str, bytes]:
    """Return the metadata of a sample's group by path, the root's last.

    The root's is consolidated: it repeats all others, so that opening costs one read.
    """
    files: dict[str, bytes] = {}
    members: dict[str, Any] = {}
    for domain in domains:
        members[domain.name] = _group_metadata({})
        files[f"{domain.name}/{ROOT_METADATA}"] = _json(_group_metadata())
        for field in domain.fields:
            metadata = array_metadata(grids[domain.name], field.width, field.dtype, compression)
            members[field.array_name] = metadata
            files[f"{field.array_name}/{ROOT_METADATA}"] = _json(metadata)
    files[ROOT_METADATA] = _json(_group_metadata(members))
    return files


def _json(metadata: dict[str, Any]) -> bytes:
    # Not indented: that takes Python's slow encoder, 4 ms for a sample of seven fields.
    return json.dumps(metadata).encode()
