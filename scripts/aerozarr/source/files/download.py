"""Reading the files of a sample behind a URL ahead of their use, at the same time.

One after the other, the time that each request takes to be answered would add up.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path

from aerozarr.errors import SourceChangedError
from aerozarr.filesystems.location import Location

# Bytes that are read, or being read, before they are wanted.
AHEAD_BYTES = 256 * 2**20


def read_file(base: Location, file: str, size: int | None) -> bytes:
    """Return the content of a file behind a URL, with one request and never cut short.

    Parameters
    ----------
    base
        The sample's folder.
    file, size
        Its name, and its size in bytes as listed; None when that is not known.

    Raises
    ------
    SourceChangedError
        When it is gone, or its size is not the listed one.
    RemoteError
        When it cannot be reached.
    """
    try:
        content = base.read(file)
    except FileNotFoundError:
        raise _gone(base, file) from None
    check_size(base, file, len(content), size)
    return content


def _gone(base: Location, file: str) -> SourceChangedError:
    return SourceChangedError(
        f"{base.url}/{file} is gone; it was there when the source was listed. Run snakemake "
        "again: it lists the source anew."
    )


def check_size(base: Location, file: str, found: int, listed: int | None) -> None:
    """Refuse a file whose size is not the listed one.

    Raises
    ------
    SourceChangedError
        When it is not.
    """
    if listed is not None and found != listed:
        raise SourceChangedError(
            f"{base.url}/{file} has {found} bytes, {listed} were listed: it changed while the run "
            "was under way. Run snakemake again when the source is complete."
        )


class Fetched:
    """The files of a sample as local ones; those behind a URL are fetched when they are wanted.

    They lie in a temporary folder, which goes when this does.

    Parameters
    ----------
    base
        The sample's folder.
    size_of
        Returns a file's size in bytes as listed; None when that is not known.
    read_sizes
        Where the bytes of each file that was fetched are noted, by its name.
    """

    def __init__(
        self,
        base: Location,
        size_of: Callable[[str], int | None],
        read_sizes: dict[str, int] | None = None,
    ) -> None:
        self._base, self._size_of, self._read_sizes = base, size_of, read_sizes
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def path(self, file: str) -> Path:
        """Return the path of a file.

        Raises
        ------
        SourceChangedError
            When it is gone, or its size is not the listed one.
        RemoteError
            When it cannot be reached.
        OSError
            When there is no room for it.
        """
        if self._base.is_local:
            path = Path(self._base.join(file))
        else:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="aerozarr-")
            path = Path(self._folder.name, file)
            try:
                self._base.fetch(file, path)
            except FileNotFoundError:
                raise _gone(self._base, file) from None
        size = path.stat().st_size
        check_size(self._base, file, size, self._size_of(file))
        if self._read_sizes is not None and not self._base.is_local:
            self._read_sizes[file] = size
        return path


class ReadAhead:
    """Reads files in the order in which they will be wanted.

    Parameters
    ----------
    base
        The sample's folder.
    sizes
        Size in bytes of each file, as listed, in that order; None when it is not known.
    """

    def __init__(self, base: Location, sizes: Mapping[str, int | None]) -> None:
        self._base = base
        self._sizes = sizes
        self._waiting = list(sizes) if base.traits.max_requests > 1 else []
        self._begun: dict[str, Future[bytes]] = {}
        self._ahead = 0

    def read(self, file: str) -> bytes:
        """Return the content of a file.

        Raises
        ------
        SourceChangedError
            When it is gone, or its size is not the listed one.
        RemoteError
            When it cannot be reached.
        """
        self._begin()
        if file not in self._begun:
            if file in self._waiting:
                self._waiting.remove(file)
            return read_file(self._base, file, self._sizes.get(file))
        try:
            return self._begun.pop(file).result()
        finally:
            self._ahead -= self._weight(file)
            self._begin()

    def _begin(self) -> None:
        """Begin as many of the files that wait as may be under way."""
        while self._waiting and len(self._begun) < self._base.traits.max_requests:
            weight = self._weight(self._waiting[0])
            if self._begun and self._ahead + weight > AHEAD_BYTES:
                return
            self._ahead += weight
            file = self._waiting.pop(0)
            self._begun[file] = Future()
            # A daemon, so that a job that fails need not wait for what it no longer wants.
            threading.Thread(
                target=self._fetch, args=(file, self._begun[file]), daemon=True
            ).start()

    def _fetch(self, file: str, result: Future[bytes]) -> None:
        try:
            result.set_result(read_file(self._base, file, self._sizes[file]))
        except BaseException as error:  # noqa: BLE001 - raised where the file is wanted
            result.set_exception(error)

    def _weight(self, file: str) -> int:
        size = self._sizes[file]
        return AHEAD_BYTES if size is None else size
