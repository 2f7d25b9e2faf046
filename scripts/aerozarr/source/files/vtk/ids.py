"""Arrays of integers by which cells refer to points and faces, a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from aerozarr.source.files.vtk.appended import Payload
from aerozarr.source.files.vtk.errors import DamagedVtk, NotInBlocks
from aerozarr.source.files.vtk.header import DataArray

Ids = npt.NDArray[np.int64]
OpenPayload = Callable[[DataArray], Payload]

# Of several cells together, and of one.
_TOGETHER = 2**15
_MOST = 2**20


class IdStream:
    """The integers of an array in their order.

    Raises
    ------
    DamagedVtk
        When the array is missing, has no integers, or another number of them than `count`.
    """

    def __init__(
        self, arrays: Mapping[str, DataArray], name: str, open_payload: OpenPayload, count: int = -1
    ) -> None:
        if name not in arrays:
            raise DamagedVtk(f"it has no {name} of its cells")
        self._name, self._dtype = name, arrays[name].dtype
        payload = open_payload(arrays[name])
        if self._dtype is None or self._dtype.kind not in "iu":
            raise DamagedVtk(f"the {name} of its cells are no integers")
        self._left, rest = divmod(payload.nbytes, self._dtype.itemsize)
        if rest or count not in (-1, self._left):
            raise DamagedVtk(f"its cells' {name} are {payload.nbytes} bytes, not those of {count}")
        self._readinto = payload.open()

    def read(self, count: int) -> Ids:
        """Return the next integers."""
        if count > self._left:
            raise DamagedVtk(f"its cells refer to more {self._name} than there are")
        assert self._dtype is not None  # checked
        values = np.empty(count, self._dtype)
        self._readinto(values.view(np.uint8).data)
        self._left -= count
        return values.astype(np.int64, copy=False)

    def read_slices(self, last: int, ends: Ids) -> Iterator[tuple[slice, Ids, Ids]]:
        """Yield what cells have of this array, a few cells at a time.

        Parameters
        ----------
        last
            Where the cells before these end.
        ends
            Where each of these ends.

        Yields
        ------
        cells, sizes, values
            Which of the cells, how many values each has, and the values.

        Raises
        ------
        DamagedVtk
            When the ends descend, or are too many.
        NotInBlocks
            When a cell has millions of values.
        """
        sizes = np.diff(ends, prepend=last)
        if sizes.min(initial=0) < 0 or ends[-1] - last > self._left:
            raise DamagedVtk(f"its cells' offsets descend, or lie outside of their {self._name}")
        if sizes.max(initial=0) > _MOST:
            raise NotInBlocks(f"a cell of it has {sizes.max()} {self._name}")
        first = 0
        while first < len(ends):
            start = int(ends[first - 1]) if first else last
            stop = int(np.searchsorted(ends, start + _TOGETHER, side="right"))
            stop = max(stop, first + 1)
            yield slice(first, stop), sizes[first:stop], self.read(int(ends[stop - 1]) - start)
            first = stop
