"""A piece's points, of which cells ask for any in any order."""

from __future__ import annotations

import mmap
import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt

from aerozarr.source.files.vtk.appended import Payload
from aerozarr.source.files.vtk.parts import Parts

# Points that are held in memory; more are mapped, from the file or from a temporary one.
_HELD_BYTES = 16 * 2**20
_SPILLED_TOGETHER = 2**20
# Points that may be asked for before the pages of what is mapped are given back.
_ASKED = 2**20


class PointAccess:
    """The points of a piece, in their own type, wherever they are kept.

    Up to 16 MiB are read into memory. More are mapped: from the file when they are there as they
    are, else from a temporary file without a name, which takes as much room as they do. The pages
    that were touched are given back after every million points that were asked for, so what counts
    as this process's memory is what so many neighbouring cells touch, and at worst all points.
    Whoever truncates a file that is mapped ends the process (SIGBUS), as for `.pt` files.

    Parameters
    ----------
    parts, payload
        The file, and the data of the points: n times three values.
    dtype
        Their type, in the file's byte order.

    Raises
    ------
    DamagedVtk
        When the data cannot be read.
    OSError
        When there is no room for the temporary file.
    """

    def __init__(self, parts: Parts, payload: Payload, dtype: np.dtype[Any]) -> None:
        self._dtype, self._asked = dtype, 0
        self._map: mmap.mmap | None = None
        first = payload.plain()
        place = None if first is None else parts.place(first, payload.nbytes)
        skipped, buffer = 0, None
        if payload.nbytes <= _HELD_BYTES:
            buffer = memoryview(bytearray(payload.nbytes))
            payload.open()(buffer)
        elif place is not None:
            skipped = place.offset % mmap.ALLOCATIONGRANULARITY
            self._map = mmap.mmap(
                place.descriptor,
                payload.nbytes + skipped,
                access=mmap.ACCESS_READ,
                offset=place.offset - skipped,
            )
        else:
            self._map = _spill(payload)
        # Rows of raw bytes: numpy takes them from wherever they lie, aligned or not, without a
        # copy of all.
        self._rows = np.ndarray(
            payload.nbytes // (3 * dtype.itemsize),
            np.dtype((np.void, 3 * dtype.itemsize)),
            self._map if buffer is None else buffer,
            skipped,
        )

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return points by their numbers, which were checked: shape (3, k), point by point."""
        points = self._rows.take(ids).view(self._dtype).reshape(-1, 3).astype(np.float64)
        self._asked += len(ids)
        if self._map is not None and self._asked >= _ASKED:
            if hasattr(mmap, "MADV_DONTNEED"):
                self._map.madvise(mmap.MADV_DONTNEED)
            self._asked = 0
        return points.T


def _spill(payload: Payload) -> mmap.mmap:
    """Return a mapped temporary file with the data."""
    readinto, left = payload.open(), payload.nbytes
    buffer = memoryview(bytearray(min(left, _SPILLED_TOGETHER)))
    with tempfile.TemporaryFile() as file:
        while left:
            part = buffer[:left]
            readinto(part)
            file.write(part)
            left -= len(part)
        file.flush()
        return mmap.mmap(file.fileno(), payload.nbytes, access=mmap.ACCESS_READ)
