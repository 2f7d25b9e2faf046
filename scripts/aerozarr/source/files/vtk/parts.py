"""One file, or the numbered parts of one, read as if they were one file."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from aerozarr.source.files.vtk.errors import DamagedVtk

# The last number in a name: volume_1.vtu.00.part.
_PART_NUMBER = re.compile(r"\d{1,9}(?=\D*$)")
_SHRUNK = "it became shorter while it was read", "run again when the file is complete"
CUT_SHORT = "it ends too early: it was cut short, or a part of it is missing"
"""What is wrong with a file that has less in it than it says."""


class Place(NamedTuple):
    """Where some bytes lie in one file."""

    descriptor: int
    offset: int


class Parts:
    """Files in their order, as one run of bytes. They are open until `close`.

    Parameters
    ----------
    paths
        The file, or its parts in order.

    Raises
    ------
    DamagedVtk
        When the parts are numbered, and one is missing.
    OSError
        When a file cannot be opened.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        _check_numbers(paths)
        self._descriptors: list[int] = []
        sizes = []
        try:
            for path in paths:
                self._descriptors.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
                sizes.append(os.fstat(self._descriptors[-1]).st_size)
        except OSError:
            self.close()
            raise
        self._starts = [0, *accumulate(sizes)]
        self.size = self._starts.pop()

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; nothing can be read any more."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def read(self, position: int, size: int) -> bytes:
        """Return bytes from a position; fewer at the end of the last file."""
        size = max(0, min(size, self.size - position))
        pieces = []
        while size:
            descriptor, offset, there = self._locate(position)
            piece = os.pread(descriptor, min(size, there), offset)
            if not piece:
                raise DamagedVtk(*_SHRUNK)
            pieces.append(piece)
            position, size = position + len(piece), size - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readinto(self, position: int, view: memoryview) -> None:
        """Fill a buffer with the bytes from a position.

        Raises
        ------
        DamagedVtk
            When there are not as many.
        """
        if position + len(view) > self.size:
            raise DamagedVtk(CUT_SHORT)
        done = 0
        while done < len(view):
            descriptor, offset, there = self._locate(position + done)
            got = os.preadv(descriptor, [view[done : done + there]], offset)
            if not got:
                raise DamagedVtk(*_SHRUNK)
            done += got

    def place(self, position: int, size: int) -> Place | None:
        """Return where bytes lie, if they are all in one file."""
        if position + size > self.size or not size:
            return None
        descriptor, offset, there = self._locate(position)
        return Place(descriptor, offset) if size <= there else None

    def _locate(self, position: int) -> tuple[int, int, int]:
        """Return the file of a position, the position in it, and how many bytes follow there."""
        number = bisect_right(self._starts, position) - 1
        end = self._starts[number + 1] if number + 1 < len(self._starts) else self.size
        return self._descriptors[number], position - self._starts[number], end - position


def _check_numbers(paths: Sequence[Path]) -> None:
    """Refuse numbered parts among which one is missing, as far as their names tell."""
    if len(paths) < 2:
        return
    found = [_PART_NUMBER.search(path.name) for path in paths]
    numbers = [int(match[0]) for match in found if match]
    if len(numbers) < len(paths):
        return
    first = min(numbers[0], 1)
    missing = sorted(set(range(first, max(numbers))) - set(numbers)) if max(numbers) < 10**4 else []
    if missing:
        cause = f"part {missing[0]} of it is missing, and part {max(numbers)} is there"
        raise DamagedVtk(cause, "get all of its parts")
    if numbers != sorted(set(numbers)):
        raise DamagedVtk("its parts are not in their order", "name them in their order")
