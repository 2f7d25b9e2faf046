"""Encoding a field: its rows, gathered in the order of the shuffle, as compressed shards."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from numcodecs import blosc

from aerozarr.config.setting_types import Compression
from aerozarr.convert.gather import Gatherer, Rows
from aerozarr.convert.permutation_file import Shuffle
from aerozarr.store.format.layout import Grid
from aerozarr.store.format.shard_index import encode_index, index_size, new_index, with_checksum


def use_one_thread() -> None:
    """Compress and compute in the calling thread alone, in all of this process.

    For a process that is one of many: a job runs on each core, and more threads would only get in
    each other's way.
    """
    blosc.use_threads = False
    torch.set_num_threads(1)


class Shard:
    """One shard on its way to the store: a header, known last, and the chunks.

    The chunks are encoded as they are taken, so that a shard need never be held whole.

    Attributes
    ----------
    number, grid
        Which shard of its array it is, and the array's grid.
    header_size
        Bytes that the header takes at the shard's start.
    """

    def __init__(
        self,
        gatherer: Gatherer,
        perm: Shuffle,
        grid: Grid,
        how: Compression,
        number: int,
        *,
        chunk_checksums: bool,
    ) -> None:
        self.number, self.grid = number, grid
        self._gatherer, self._perm, self._how = gatherer, perm, how
        self._chunk_checksums = chunk_checksums
        in_shard = grid.shard_points // grid.chunk_points
        self._index = new_index(in_shard)
        self.header_size = index_size(in_shard)

    def rows(self) -> Iterator[Rows]:
        """Gather and yield the rows of each chunk that holds points; good until the next one.

        Each has the shape (chunk_points, width): the last is filled up with the fill value.
        """
        chunk, in_shard = self.grid.chunk_points, len(self._index)
        first = self.number * in_shard
        for slot in range(min(in_shard, self.grid.n_chunks - first)):
            start = (first + slot) * chunk
            # Gathering chunk by chunk stays in the cache and needs no shuffled copy of the field.
            yield self._gatherer.chunk(self._perm[start : start + chunk])

    def chunks(self) -> Iterator[bytes]:
        """Encode and yield the chunks that hold points, in order."""
        cname = self._how.cname.encode()
        place = self.header_size
        for slot, points in enumerate(self.rows()):
            encoded = blosc.compress(points, cname, self._how.clevel, blosc.SHUFFLE)
            if self._chunk_checksums:
                encoded = with_checksum(encoded)
            self._index[slot] = place, len(encoded)
            place += len(encoded)
            yield encoded

    def header(self) -> bytes:
        """Return the index, once all chunks were taken."""
        return encode_index(self._index)


def encode_shards(
    rows: Rows,
    perm: Shuffle,
    grid: Grid,
    compression: Compression,
    *,
    chunk_checksums: bool,
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
    chunk_checksums
        Whether each chunk ends in its checksum.
    width
        How many of the columns to store, when the others are padding (`columns_for`); None: all.
    """
    gatherer = Gatherer(rows, rows.shape[1] if width is None else width, grid.chunk_points)
    for number in range(grid.n_shards):
        yield Shard(gatherer, perm, grid, compression, number, chunk_checksums=chunk_checksums)
