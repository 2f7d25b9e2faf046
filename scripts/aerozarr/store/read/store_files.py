"""Opening a store, wherever it is, and reading files of it."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aerozarr.errors import StoreError
from aerozarr.filesystems.byte_ranges import (
    ByteRange,
    Fetcher,
    FsspecFetcher,
    LocalFetcher,
)
from aerozarr.filesystems.location import open_location, options_by_protocol
from aerozarr.filesystems.obstore_fetcher import ObstoreFetcher
from aerozarr.messages import redacted
from aerozarr.store.format.layout import CHECKSUMS, MANIFEST, PROVENANCE
from aerozarr.store.format.tables import read_checksums
from aerozarr.store.read.cache_size import bytes_of
from aerozarr.store.read.caching_fetcher import CachingFetcher, versions_of
from aerozarr.store.read.chunk_reader import ChunkReader
from aerozarr.store.read.disk_cache import DiskCache

if TYPE_CHECKING:
    from obstore.store import ObjectStore


class StoreFiles:
    """The files of a store, in each process with connections of its own.

    Parameters, errors and notes are those of `Store`.
    """

    def __init__(
        self,
        place: str | os.PathLike[str] | ObjectStore,
        storage_options: Mapping[str, Any] | None,
        *,
        fill_missing: bool,
        cache_bytes: int,
        cache: str | os.PathLike[str] | None,
        cache_size: int | str,
    ) -> None:
        self._place = _checked_place(place)
        self._options = options_by_protocol(self._place, storage_options or {})
        self._fill_missing = fill_missing
        self._cache_bytes = cache_bytes
        self._disk_cache: DiskCache | None = None
        self._versions: dict[str, str] = {}
        self._open()
        if cache is not None:
            self._open_cache(os.fspath(cache), bytes_of(cache_size))

    def __getstate__(self) -> dict[str, Any]:
        # Connections and what they brought stay behind.
        return {key: value for key, value in self.__dict__.items() if key not in _OF_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def _open(self) -> None:
        """Open connections, and forget what was cached: for a new process."""
        fetcher: Fetcher
        if not isinstance(self._place, str):
            fetcher = ObstoreFetcher(self._place)
            self._name = repr(self._place)
        else:
            try:
                location = open_location(self._place, self._options, key="place")
            except FileNotFoundError as error:  # an archive that is to be read in
                raise StoreError(f"{error}. Check the path.") from None
            fetcher = LocalFetcher(location.path) if location.is_local else FsspecFetcher(location)
            self._name = location.url
        fetcher = self._with_cache(fetcher)
        self._reader = ChunkReader(
            fetcher, fill_missing=self._fill_missing, cache_bytes=self._cache_bytes
        )
        # Last, for other threads: until then they see that they have to open it themselves.
        self._pid = os.getpid()

    def refresh(self) -> None:
        """See that connections belong to this process: open new ones after a fork."""
        if self._pid == os.getpid():
            return
        # After a fork the thread that serves connections is the parent's.
        if not isinstance(self._place, str):
            raise StoreError(
                "A store of obstore cannot be used in a forked process. Give the DataLoader "
                'multiprocessing_context="spawn".'
            )
        self._open()

    def _open_cache(self, folder: str, limit: int) -> None:
        """Keep what is read in a folder of this machine."""
        if self.is_local:
            warnings.warn(
                f"cache: {redacted(self._name)} is on this machine already, so nothing is cached.",
                stacklevel=4,
            )
            return
        # Before the manifest is read: while a store is written, it has none.
        self._marks = self._read_marks()
        content = self._read_file(CHECKSUMS)
        if content is None:
            if self._read_file(MANIFEST) is None:
                return  # no store at all, which is told as without a cache
            raise StoreError(
                f"{self._name} holds no {CHECKSUMS}, without which a cache cannot tell groups that "
                "were written anew. Open it without cache, or run snakemake (adopt, if another "
                f"program wrote the store), which writes {CHECKSUMS}."
            )
        checksums = read_checksums(content, f"{CHECKSUMS} of {self._name}")
        self._versions = versions_of(self._name, checksums)
        self._disk_cache = DiskCache(folder, limit)
        self._reader.fetcher = self._with_cache(self._reader.fetcher)

    def _with_cache(self, fetcher: Fetcher) -> Fetcher:
        if self._disk_cache is None:
            return fetcher
        return CachingFetcher(fetcher, self._disk_cache, self._versions, self._is_as_opened)

    def _is_as_opened(self) -> bool:
        """Whether no run has written to the store since it was opened."""
        return self._read_marks() == self._marks

    def _read_marks(self) -> bytes:
        """Return what changes with each run: it tells the time, and that there is a manifest."""
        self.refresh()
        spans = [ByteRange(PROVENANCE), ByteRange(MANIFEST, 0, 1)]
        return hashlib.sha256(repr([*self._reader.fetcher.fetch(spans)]).encode()).digest()

    def _read_file(self, name: str) -> bytes | None:
        self.refresh()
        (content,) = self._reader.fetcher.fetch([ByteRange(name)])
        return content

    def _read_json(self, name: str) -> dict[str, Any] | None:
        content = self._read_file(name)
        if content is None:
            return None
        try:
            parsed = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self._damaged(name, str(error)) from None
        if not isinstance(parsed, dict):
            raise self._damaged(name, "it is no object")
        return parsed

    def _damaged(self, name: str, why: str) -> StoreError:
        return StoreError(
            f"{name} of {self._name} is damaged: {why}. If the store is a copy, copy the file "
            "again. If you converted it, run snakemake with its settings, which writes it again."
        )

    @property
    def is_local(self) -> bool:
        """Whether it is read as a folder of this machine, where reading ahead gains nothing."""
        return isinstance(self._reader.fetcher, LocalFetcher)


def _checked_place(place: Any) -> Any:
    """Return a path that holds in any working directory; a URL or a store of obstore as it is."""
    path = os.fspath(place) if isinstance(place, os.PathLike) else place
    if isinstance(path, str):
        if "\0" in path:
            raise StoreError(f"{path!r} is no path of a store: it holds a NUL character.")
        return path if "://" in path else os.path.abspath(os.path.expanduser(path))
    if not any(base.__module__.partition(".")[0] == "obstore" for base in type(place).__mro__):
        raise TypeError(
            f"place is {place!r}; give the path or URL of a store, or a store of the package "
            "obstore."
        )
    return place


# What is left behind when a store is pickled.
_OF_PROCESS = frozenset({"_pid", "_reader"})
