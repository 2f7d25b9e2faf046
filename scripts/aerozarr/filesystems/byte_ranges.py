"""Reading parts of a store's objects: from a local folder, any fsspec file system, or obstore.

A fetcher says what is there and no more: None for an object that is not, fewer bytes for one that
ends early. What that means is for the caller to say, who knows which sample and array it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from fsspec.asyn import get_loop, sync
from fsspec.spec import AbstractFileSystem

from aerozarr.filesystems.location import Location

if TYPE_CHECKING:
    from obstore.store import ObjectStore


@dataclass(frozen=True)
class ByteRange:
    """A part of an object.

    Attributes
    ----------
    path
        The object's path below the store root.
    start
        Its first byte; negative for so many bytes from the object's end.
    stop
        Before which byte it ends; None for the object's end.
    """

    path: str
    start: int = 0
    stop: int | None = None


class Fetcher(ABC):
    """Reads spans of a store's objects."""

    @abstractmethod
    def fetch(self, spans: Sequence[ByteRange]) -> Iterable[bytes | None]:
        """Read spans, at the same time where the store is remote.

        Returns
        -------
        iterable of bytes or None
            In the order of `spans`: None where there is no such object, fewer bytes than asked
            for where the object ends before them.

        Raises
        ------
        Exception
            Whatever else goes wrong, as it is: no permission, no network.
        """


class LocalFetcher(Fetcher):
    """Reads a local folder, without a layer between, each span when its turn has come."""

    def __init__(self, root: str) -> None:
        self.root = root

    def fetch(self, spans: Sequence[ByteRange]) -> Iterator[bytes | None]:
        for path, group in groupby(spans, key=lambda span: span.path):
            try:
                # Without waiting: opening a pipe would hang until somebody writes to it.
                file = os.open(f"{self.root}/{path}", os.O_RDONLY | os.O_NONBLOCK)
            except (FileNotFoundError, NotADirectoryError):
                yield from (None for _ in group)
                continue
            try:
                is_file = stat.S_ISREG(os.fstat(file).st_mode)
                for span in group:
                    yield _read(file, span) if is_file else None
            finally:
                os.close(file)


def _read(file: int, span: ByteRange) -> bytes:
    start, stop = span.start, span.stop
    if start < 0 or stop is None:
        size = os.fstat(file).st_size
        start = max(0, start + size) if start < 0 else start
        stop = size if stop is None else stop
    content = os.pread(file, stop - start, start)
    while len(content) < stop - start:  # the system may give less at once: 2 GiB, for one
        more = os.pread(file, stop - start - len(content), start + len(content))
        if not more:
            break
        content += more
    return content


# File systems are never let go of. In a forked process nothing may close the connections of its
# parent, as the finalizers of fsspec's file systems do: both processes share what tells the parent
# that something has arrived (an epoll instance), and it would wait in vain. (fsspec, too, keeps its
# file systems, but not over a fork.)
_KEPT: list[AbstractFileSystem] = []


# A lock of the process, since file systems are shared by all that open the same URL.
_ONE_AT_A_TIME = threading.Lock()


class FsspecFetcher(Fetcher):
    """Reads an fsspec file system; an asynchronous one with all requests under way at once.

    Others, such as those of `zip://` and `tar://`, read from one open file, whose place two threads
    would move for each other: of these, one request is under way at a time.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        is_async = bool(getattr(location.fs, "async_impl", False))
        self._turn = contextlib.nullcontext() if is_async else _ONE_AT_A_TIME
        if not any(kept is location.fs for kept in _KEPT):
            _KEPT.append(location.fs)

    def fetch(self, spans: Sequence[ByteRange]) -> list[bytes | None]:
        fs: AbstractFileSystem = self.location.fs
        paths = [self.location.join(span.path) for span in spans]
        # Always with a start: without one, s3fs asks for the object's size first.
        starts, stops = [span.start for span in spans], [span.stop for span in spans]
        with self._turn:
            contents = fs.cat_ranges(paths, starts, stops, on_error="return")
        return [self._content(span, content) for span, content in zip(spans, contents, strict=True)]

    def _content(self, span: ByteRange, content: Any) -> bytes | None:
        if isinstance(content, FileNotFoundError | IsADirectoryError | NotADirectoryError):
            return None
        if not isinstance(content, BaseException):
            return bytes(content)
        # A store may refuse a span past the object's end, each with an error of its own.
        if self._size(span.path) <= max(span.start, 0):
            return b""
        raise content

    def _size(self, path: str) -> int:
        return int(self.location.fs.size(self.location.join(path)))


class ObstoreFetcher(Fetcher):
    """Reads an obstore store, with all requests under way at once."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    def fetch(self, spans: Sequence[ByteRange]) -> list[bytes | None]:
        # On fsspec's loop and not asyncio.run's: a notebook has one running in this thread.
        found: list[bytes | None] = sync(get_loop(), self._fetch_all, spans)
        return found

    async def _fetch_all(self, spans: Sequence[ByteRange]) -> list[bytes | None]:
        return await asyncio.gather(*(self._fetch(span) for span in spans))

    async def _fetch(self, span: ByteRange) -> bytes | None:
        import obstore

        wanted: Any
        if span.start < 0:
            wanted = {"suffix": -span.start}
        else:
            wanted = {"offset": span.start} if span.stop is None else (span.start, span.stop)
        try:
            answer = await obstore.get_async(self.store, span.path, options={"range": wanted})
            return bytes(await answer.bytes_async())
        except FileNotFoundError:
            return None
        except obstore.exceptions.BaseError:
            size = (await obstore.head_async(self.store, span.path))["size"]
            if size > max(span.start, 0):
                raise
            return b""
