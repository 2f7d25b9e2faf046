"""A sample's group as it lies in the store, and whether its files are those that were written."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import zarr
from zarr.abc.store import Store as ZarrStore
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import LocalStore as LocalZarr
from zarr.storage import MemoryStore

from aerozarr.config.fields import Field
from aerozarr.store.format.layout import (
    CHECKSUMS,
    Grid,
    group_path,
    is_foreign_in_group,
    is_shard,
    shard_path,
)
from aerozarr.store.write.root import StoreRoot
from aerozarr.verify.expected import (
    ADOPT,
    CONVERT_ANEW,
    MERGE_ANEW,
    MOVE_AWAY,
    Expected,
    Problem,
)

# What is to be known of a shard that is missing.
ZEROS = ", and Zarr would read it as zeros"


class Group:
    """A sample's group as it lies in the store; a remote one is fetched once, whole."""

    def __init__(self, store: StoreRoot, sample_id: str) -> None:
        self.sizes = store.files_of(sample_id)
        self.read_bytes = 0
        self._digests: dict[str, str] = {}
        self._lengths: dict[str, int] = {}
        base = group_path(sample_id)
        self.zarr: ZarrStore
        if store.location.is_local:
            folder = Path(store.location.path) / base
            for path in self.sizes:
                with (folder / path).open("rb") as file:
                    self._digests[path] = hashlib.file_digest(file, "sha256").hexdigest()
                    self._lengths[path] = file.seek(0, io.SEEK_END)
            self.zarr = LocalZarr(folder, read_only=True)
        else:
            contents = {path: store.read(f"{base}/{path}") for path in self.sizes}
            there = {path: content for path, content in contents.items() if content is not None}
            self._digests = {p: hashlib.sha256(c).hexdigest() for p, c in there.items()}
            self._lengths = {path: len(content) for path, content in there.items()}
            from_bytes = default_buffer_prototype().buffer.from_bytes
            buffers = {path: from_bytes(content) for path, content in there.items()}
            self.zarr = MemoryStore(buffers, read_only=True)
        self.read_bytes = sum(self._lengths.values())

    def check_files(self, expected: Expected) -> Iterable[Problem]:
        """Yield what is missing, too much, or other than what was written."""
        if not expected.objects:
            remedy = ADOPT if expected.is_foreign else MERGE_ANEW
            yield Problem(CHECKSUMS, "says nothing of this sample", remedy)
        for path in sorted({*self._digests, *expected.objects}):
            if path not in self._digests:
                what = f"is missing{ZEROS if is_shard(path) else ''}"
                yield Problem(path, what, CONVERT_ANEW)
            elif path not in expected.objects:
                if expected.objects:
                    foreign = is_foreign_in_group(path, expected.arrays)
                    remedy = MOVE_AWAY if foreign else CONVERT_ANEW
                    yield Problem(path, "is not a file that was written", remedy)
            else:
                size, digest = expected.objects[path]
                what = ""
                if self._lengths[path] != size:
                    what = f"has {self._lengths[path]} bytes, {size} were written"
                elif self._digests[path] != digest:
                    what = "its bytes are not those that were written (SHA-256)"
                if what:
                    yield Problem(path, what, CONVERT_ANEW)

    def has(self, path: str) -> bool:
        """Whether a file is there."""
        return path in self._digests

    def missing_shards(self, field: Field, grid: Grid) -> list[str]:
        """Return the paths of a field's shards that are not there."""
        paths = (shard_path(field.array_name, number) for number in range(grid.n_shards))
        return [path for path in paths if not self.has(path)]

    def array(self, name: str) -> zarr.Array[Any]:
        """Open an array by the group's consolidated metadata."""
        node = zarr.open_group(self.zarr, mode="r", use_consolidated=True)[name]
        if not isinstance(node, zarr.Array):
            raise KeyError(name)
        return node
