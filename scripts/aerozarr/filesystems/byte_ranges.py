"""Reading parts of a store's objects: from a local folder, or any fsspec file system.

A fetcher says what is there and no more: None for an object that is not, fewer bytes for one that
ends early. What that means is for the caller to say, who knows which sample and array it was.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from fsspec.spec import AbstractFileSystem

from aerozarr.errors import RemoteError, StoreError
from aerozarr.filesystems.location import Location
from aerozarr.filesystems.retry import retrying
from aerozarr.filesystems.stamps import stamp_of_object, stamp_of_objects
from aerozarr.messages import redacted

Array = npt.NDArray[np.uint8]

Content = bytes | Array
"""What was read: an array is of one axis."""

Read = TypeVar("Read", bytes, Array)


class ByteRange(NamedTuple):
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
    """Reads spans of a store's objects.

    Attributes
    ----------
    by_chunk
        Whether each chunk is to be a span of its own, also one that follows another.
    """

    by_chunk = False

    def stamp_below(self, folder: str) -> str:
        """Return what changes when anything below a folder is written anew, in one request.

        Empty where that is not told, or nothing is there; errors are those of `fetch`.
        """
        return ""

    def stamp(self, path: str) -> str:
        """Return what changes when an object is written anew.

        Empty where that is not told, or it is not there; errors are those of `fetch`.
        """
        return ""

    def forget(self, group: str) -> None:  # noqa: B027 - most have nothing to forget
        """Keep nothing that was read of a group, by its path: it did not fit."""

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
        RemoteError, SettingsError
            When what is behind a URL cannot be reached, or refuses.
        OSError
            Whatever goes wrong with a local file, as it is.
        StoreError
            When a path leads out of the root by a symbolic link that its owner did not make.
        """

    def fetch_in_turn(self, spans: Sequence[ByteRange]) -> Iterable[Content | None]:
        """Read spans as `fetch` does, of which each is used before the next is asked for.

        Its memory may then hold that one.
        """
        return self.fetch(spans)


class LocalFetcher(Fetcher):
    """Reads a local folder, without a layer between, each span when its turn has come.

    Symbolic links that lead out of the folder are followed only where the folder's own owner made
    them: a store that somebody sent cannot have other files of this machine read.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._inside = os.path.join(os.path.realpath(root), "")
        self._checked: set[str] = set()
        self._buffers: list[_Buffer] = []

    def fetch(self, spans: Sequence[ByteRange]) -> Iterator[bytes | None]:
        return self._fetch(spans, _read)

    def fetch_in_turn(self, spans: Sequence[ByteRange]) -> Iterator[Array | None]:
        # Of its own for as long as it reads: another thread may be reading, too.
        buffer = self._buffers.pop() if self._buffers else _Buffer()
        yield from self._fetch(spans, buffer.read)
        self._buffers.append(buffer)

    def _fetch(
        self, spans: Sequence[ByteRange], read: Callable[[int, ByteRange], Read]
    ) -> Iterator[Read | None]:
        path, file = "", -1
        try:
            for span in spans:
                if span.path != path:
                    if file != -1:
                        os.close(file)
                        file = -1
                    path = span.path
                    file = self._open(path)
                yield None if file == -1 else read(file, span)
        finally:
            if file != -1:
                os.close(file)

    def _open(self, path: str) -> int:
        """Open a file; -1 when there is none."""
        try:
            # Without waiting: opening a pipe would hang until somebody writes to it.
            file = os.open(f"{self.root}/{path}", os.O_RDONLY | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return -1
        try:
            is_file = stat.S_ISREG(os.fstat(file).st_mode)
            if path not in self._checked:
                self._check_inside(file, path)
                self._remember(path)
        except BaseException:
            os.close(file)
            raise
        if not is_file:
            os.close(file)
            return -1
        return file

    def _remember(self, path: str) -> None:
        """Note that a path does not lead out: each is asked for again in every epoch."""
        if len(self._checked) >= _MOST_CHECKED:
            self._checked.clear()
        self._checked.add(path)

    def _check_inside(self, file: int, path: str) -> None:
        """Check that an open file lies below the root, or that the root's owner put it there."""
        try:
            # Where the file really is; asked of the system, since that is one call.
            if os.readlink(f"/proc/self/fd/{file}").startswith(self._inside):
                return
        except OSError:
            pass  # not on Linux
        place, owner = self.root, os.stat(self.root).st_uid
        for part in path.split("/"):
            place = f"{place}/{part}"
            found = os.lstat(place)
            if (
                stat.S_ISLNK(found.st_mode)
                and found.st_uid != owner
                and not os.path.realpath(place).startswith(self._inside)
            ):
                raise StoreError(
                    f"{place} is a symbolic link out of the store, and not made by the owner of "
                    f"{self.root}. If it is meant to be there, copy what it leads to in its place."
                )


# Paths that are known to lie inside: some 20 MB of them.
_MOST_CHECKED = 2**17

# More than this is asked of a file only after its size was looked at: a length may be a damaged
# number, and memory for it would be taken before anything is read.
_MUCH = 2**20

# Memory for what is read of a local file that is kept for what is read next.
_MOST_KEPT = 2**24


def _read(file: int, span: ByteRange) -> bytes:
    start, length = _clipped(file, span)
    content = os.pread(file, length, start) if length else b""
    while len(content) < length:  # the system may give less at once: 2 GiB, for one
        more = os.pread(file, length - len(content), start + len(content))
        if not more:
            break
        content += more
    return content


def _clipped(file: int, span: ByteRange) -> tuple[int, int]:
    """Return where to read, and how many bytes: of many no more than the file has."""
    start, stop = span.start, span.stop
    if start < 0 or stop is None or stop - start > _MUCH:
        size = os.fstat(file).st_size
        start = max(0, start + size) if start < 0 else start
        stop = size if stop is None else min(stop, size)
    return start, max(0, stop - start)


class _Buffer:
    """Memory that is read into again and again: new memory costs as much as reading does."""

    def __init__(self) -> None:
        self._kept = np.empty(_MUCH, np.uint8)

    def read(self, file: int, span: ByteRange) -> Array:
        """Read a span; what it returns holds until the next call."""
        start, length = _clipped(file, span)
        memory = self._kept if length <= len(self._kept) else np.empty(length, np.uint8)
        if length <= _MOST_KEPT:
            self._kept = memory
        done = 0
        while done < length:  # the system may give less at once: 2 GiB, for one
            more = os.preadv(file, [memory.data[done:length]], start + done)
            if not more:
                break
            done += more
        return memory[:done]


# File systems are never let go of. In a forked process nothing may close the connections of its
# parent, as the finalizers of fsspec's file systems do: both processes share what tells the parent
# that something has arrived (an epoll instance), and it would wait in vain. (fsspec, too, keeps its
# file systems, but not over a fork.)
_KEPT: list[AbstractFileSystem] = []


# A lock of the process, since file systems are shared by all that open the same URL.
_ONE_AT_A_TIME = threading.Lock()


def _forget_the_parents_turn() -> None:
    """Begin with a lock that nobody holds: the thread that held it was not forked, too."""
    global _ONE_AT_A_TIME
    _ONE_AT_A_TIME = threading.Lock()


os.register_at_fork(after_in_child=_forget_the_parents_turn)


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
        with self._turn:
            contents = retrying(repr(redacted(self.location.url)), lambda: self._ask(spans))
            return [
                self._content(span, content) for span, content in zip(spans, contents, strict=True)
            ]

    def stamp_below(self, folder: str) -> str:
        if self.location.traits.has_quoted_paths:
            return ""  # of a web server, which has pages for people instead of listings
        with self._turn:
            self.location.fs.invalidate_cache(self.location.join(folder))
            return self._with_archive(stamp_of_objects(self.location.files(folder)))

    def stamp(self, path: str) -> str:
        place = self.location.join(path)
        where = repr(redacted(f"{self.location.url}/{path}"))
        with self._turn:
            self.location.fs.invalidate_cache(place)
            try:
                entry = retrying(where, lambda: self.location.fs.info(place))
            except FileNotFoundError:
                return ""
        return self._with_archive(stamp_of_object(entry))

    def _with_archive(self, stamp: str) -> str:
        return f"{stamp} {self.location.archive_stamp}" if stamp else ""

    def _ask(self, spans: Sequence[ByteRange]) -> Sequence[Any]:
        """Return for each span its bytes, or what went wrong."""
        fs: AbstractFileSystem = self.location.fs
        paths = [self.location.join(span.path) for span in spans]
        # Always with a start: without one, s3fs asks for the object's size first.
        starts, stops = [span.start for span in spans], [span.stop for span in spans]
        found: Sequence[Any] = fs.cat_ranges(paths, starts, stops, on_error="return")
        return found

    def _content(self, span: ByteRange, content: Any) -> bytes | None:
        if isinstance(content, Exception):
            content = self._ask_again(span, content)
        if content is None or isinstance(content, FileNotFoundError | NotADirectoryError):
            return None
        return _no_more_than(span, bytes(content), redacted(self.location.url))

    def _ask_again(self, span: ByteRange, error: Exception) -> bytes | None:
        """Return what a span holds that could not be read at once; None for an object not there.

        Raises
        ------
        RemoteError, SettingsError
            When it cannot be read at all.
        """
        if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
            return None
        fs, path = self.location.fs, self.location.join(span.path)
        where = repr(redacted(f"{self.location.url}/{span.path}"))
        try:
            # A store may refuse a span past the object's end, each with an error of its own.
            if int(retrying(where, lambda: fs.size(path))) <= max(span.start, 0):
                return b""
            (content,) = retrying(where, lambda: _or_error(self._ask([span])))
        except FileNotFoundError:
            return None
        return bytes(content)


def _or_error(contents: Sequence[Any]) -> Sequence[Any]:
    for content in contents:
        if isinstance(content, Exception):
            raise content
    return contents


def _no_more_than(span: ByteRange, content: bytes, where: str) -> bytes:
    """Return the content of a span, once it is clear that the server serves spans.

    Raises
    ------
    RemoteError
        When it sent more than was asked for.
    """
    wanted = -span.start if span.start < 0 else None
    wanted = span.stop - span.start if span.stop is not None else wanted
    if wanted is not None and len(content) > wanted:
        raise RemoteError(
            f"{where}: the server does not serve byte ranges: asked for {wanted} bytes of "
            f"{span.path}, it sent {len(content)}. Copy the store to a disk or a bucket, or use a "
            "server that does (most web servers, but not Python's http.server)."
        )
    return content
