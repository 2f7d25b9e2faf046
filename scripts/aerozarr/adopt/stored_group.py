"""Reading a group that another program may have written: its metadata, rows, and files.

By the reader for training, which trusts no size that a file claims. An object of a remote store is
fetched with one request and kept, since its rows are read first and its digest is taken after.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy.typing as npt
import torch

from aerozarr.config.fields import Field
from aerozarr.errors import StoreError
from aerozarr.filesystems.byte_ranges import ByteRange, Fetcher, LocalFetcher
from aerozarr.messages import printable
from aerozarr.store.format.layout import Grid, group_path
from aerozarr.store.read.array_decoder import Unreadable
from aerozarr.store.read.chunk_reader import ChunkReader
from aerozarr.store.read.subsample import ArrayRows, Subsample
from aerozarr.store.write.root import StoredFile, StoreRoot

# Rows that are read together, and bytes of a file that are.
_BLOCK = 2**18
_FILE_BLOCK = 2**24
# For the indexes and metadata of one sample.
_CACHE_BYTES = 2**26

Array = npt.NDArray[Any]


class StoredGroup:
    """A sample's group as it lies in a store.

    Attributes
    ----------
    files
        Sizes of its files by path below the group, None where the store does not tell.
    """

    def __init__(self, store: StoreRoot, sample_id: str) -> None:
        self.files = store.files_of(sample_id)
        self._sample_id, self._path = sample_id, group_path(sample_id)
        self._fetcher = _fetcher_of(store)
        self._reader = ChunkReader(self._fetcher, fill_missing=False, cache_bytes=_CACHE_BYTES)

    def metadata(self, path: str) -> dict[str, Any]:
        """Return the content of a file of metadata; `Unreadable` says what is wrong with it."""
        (content,) = self._fetcher.fetch([ByteRange(f"{self._path}/{path}")])
        if content is None:
            raise Unreadable("is missing")
        try:
            parsed = json.loads(content)
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            raise Unreadable("is no JSON object")
        return parsed

    def chunks(self, field: Field, grid: Grid, first: int, stop: int) -> Iterator[Array]:
        """Yield the rows from `first` to before `stop`, chunk by chunk, as they are stored."""
        chunk = grid.chunk_points
        block = max(1, _BLOCK // chunk) * chunk
        for start in range(first, stop, block):
            end = min(start + block, stop)
            rows = ArrayRows(
                field.array_name,
                (grid.n_points, field.width),
                field.dtype,
                ((start, end),),
                chunk_rows=chunk,
                object_rows=grid.shard_points,
            )
            wanted = Subsample(self._sample_id, self._path, {field.canonical: rows})
            values: torch.Tensor = self._reader.read([wanted])[0][field.canonical]
            for low in range(0, end - start, chunk):
                yield values[low : low + chunk].numpy()

    def stored_file(self, path: str) -> StoredFile:
        """Return size and digest of a file, which is read piece by piece."""
        size, digest = 0, hashlib.sha256()
        while True:
            span = ByteRange(f"{self._path}/{path}", size, size + _FILE_BLOCK)
            (content,) = self._fetcher.fetch([span])
            if content is None:
                raise StoreError(
                    f"{printable(self._path)}/{path} is gone while it was read. Run snakemake "
                    "adopt again, and let nothing else write to the store."
                )
            digest.update(content)
            size += len(content)
            if len(content) < _FILE_BLOCK:
                return StoredFile(size, digest.hexdigest())


class _HeldFetcher(Fetcher):
    """Reads objects of a remote store, each with one request, and keeps them for its lifetime."""

    def __init__(self, store: StoreRoot) -> None:
        self._store = store
        self._held: dict[str, bytes | None] = {}

    def fetch(self, spans: Sequence[ByteRange]) -> Iterator[bytes | None]:
        """Yield spans of what is held, and fetch what is not."""
        for span in spans:
            if span.path not in self._held:
                self._held[span.path] = self._store.read(span.path)
            content = self._held[span.path]
            yield None if content is None else content[span.start : span.stop]


def _fetcher_of(store: StoreRoot) -> Fetcher:
    if store.location.is_local:
        return LocalFetcher(store.location.path)
    return _HeldFetcher(store)
