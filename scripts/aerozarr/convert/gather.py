"""Gathering a field's rows in the order of the shuffle, a chunk at a time.

numpy gathers items of 2, 4, 8 and 16 bytes with one move each, and calls memmove for a row of 6 or
12. So rows of three components are held with a fourth that means nothing, gathered as one item, and
lose the fourth while they are in the cache: half the time, for a third more memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from aerozarr.store.format.shuffle import Permutation

Rows = npt.NDArray[np.floating]
Order = npt.NDArray[np.int64]

# Rows that are gathered together: they stay in the cache, however large a chunk is.
_BLOCK = 2**13
# One item of a padded row's size. Nothing is computed with it.
_ITEMS = {8: np.dtype(np.uint64), 16: np.dtype(np.complex128)}
# Rows of float32 that are worth padding: with more, they are what decides the memory needed.
# (float16 always is: padded, it takes less than the float32 positions of the same points.)
_PADDED_FLOAT32 = 2**21


def columns_for(n_rows: int, width: int, dtype: np.dtype[np.floating]) -> int:
    """Return in how many columns rows of `width` components are held: as many, or one more."""
    pays = dtype == np.float16 or (dtype == np.float32 and n_rows <= _PADDED_FLOAT32)
    return 4 if width == 3 and pays else width


class PackedRows:
    """Memory for a block of rows, without padding, that also takes and gives padded ones.

    Attributes
    ----------
    rows
        Shape (n_rows, width).
    """

    def __init__(self, n_rows: int, width: int, columns: int, dtype: np.dtype[np.floating]) -> None:
        size, item = width * dtype.itemsize, columns * dtype.itemsize
        # With room for the padding of the last row.
        memory = np.zeros(n_rows * size + item, np.uint8)
        self.rows: Rows = memory[: n_rows * size].view(dtype).reshape(n_rows, width)
        # The rows, each with what follows it, as items that overlap. Written in ascending order,
        # each item's padding is overwritten by the next one.
        self._items = np.ndarray((n_rows,), _ITEMS.get(item, np.uint8), memory, strides=(size,))

    def pack(self, padded: npt.NDArray[Any], first: int) -> None:
        """Put padded rows, one item each, from the row `first` on."""
        np.copyto(self._items[first : first + len(padded)], padded)

    def unpack(self, padded: Rows) -> None:
        """Put the first rows into padded ones, shape (at most n_rows, columns)."""
        np.copyto(as_items(padded), self._items[: len(padded)])


def as_items(padded: Rows) -> npt.NDArray[Any]:
    """Return padded rows, shape (n, columns) and contiguous, as one item each."""
    return padded.view(_ITEMS[padded.shape[1] * padded.itemsize])[:, 0]


def rows_at(rows: Rows, width: int, places: Order) -> Rows:
    """Return the rows at some places, without their padding: shape (len(places), width)."""
    columns = rows.shape[1]
    if columns == width:
        return np.take(rows, places, axis=0)
    packed = PackedRows(len(places), width, columns, rows.dtype)
    packed.pack(as_items(rows)[places], 0)
    return packed.rows


class Gatherer:
    """Gathers rows of one array, always into the same memory.

    Parameters
    ----------
    rows
        Shape (n, columns), contiguous.
    width
        How many of the columns are wanted; the others are padding, as `columns_for` says.
    chunk_points
        Number of rows in a chunk.
    """

    def __init__(self, rows: Rows, width: int, chunk_points: int) -> None:
        columns = rows.shape[1]
        self._source = as_items(rows) if columns > width else rows
        self._is_padded = columns > width
        self._packed = PackedRows(chunk_points, width, columns, rows.dtype)
        block = min(_BLOCK, chunk_points)
        self._places = np.empty(block, np.intp)
        self._found = np.empty(block if self._is_padded else 0, self._source.dtype)

    def chunk(self, perm: Permutation) -> Rows:
        """Return the rows at some places, filled up with zeros to a whole chunk.

        Parameters
        ----------
        perm
            The places, each below n; at most `chunk_points`.

        Returns
        -------
        array, shape (chunk_points, width)
            Good until the next call.
        """
        rows = self._packed.rows
        for first in range(0, len(perm), _BLOCK):
            part = perm[first : first + _BLOCK]
            places = self._places[: len(part)]
            np.copyto(places, part)
            # Places of a permutation need no check, and with one ("raise") numpy would buffer.
            if self._is_padded:
                found = self._found[: len(part)]
                np.take(self._source, places, out=found, mode="clip")
                self._packed.pack(found, first)
            else:
                into = rows[first : first + len(part)]
                np.take(self._source, places, axis=0, out=into, mode="clip")
        rows[len(perm) :] = 0
        return rows
