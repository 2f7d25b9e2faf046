"""Permutations, in memory or, when they are long, in a temporary file.

Nothing here needs torch: the rules import what imports this, and every start would wait for it.
"""

from __future__ import annotations

import tempfile

import numpy as np

from aerozarr.store.format.shuffle import Permutation

# Points whose permutation is kept in memory; a longer one is more than a tenth of what converting
# their fields takes.
_KEPT_POINTS = 2**21


class PermutationFile:
    """A permutation in a temporary file without a name, which is gone when this is.

    Slices of it can be had, as of an array; each is read when it is asked for.

    Raises
    ------
    OSError
        When there is no room for it.
    """

    def __init__(self, perm: Permutation) -> None:
        self._length, self._dtype = len(perm), perm.dtype
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as this is there
        self._file.write(perm.data)
        self._file.flush()

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, rows: slice) -> Permutation:
        first, stop, _ = rows.indices(self._length)
        part: Permutation = np.empty(stop - first, self._dtype)
        self._file.seek(first * self._dtype.itemsize)
        if self._file.readinto(part.data) != part.nbytes:
            raise OSError("a temporary file is shorter than it was written")
        return part


Shuffle = Permutation | PermutationFile
"""A permutation, wherever it is kept."""


def spill_if_long(perm: Permutation) -> Shuffle:
    """Return a permutation, kept in a file when it is long and there is room for one."""
    if len(perm) <= _KEPT_POINTS:
        return perm
    try:
        return PermutationFile(perm)
    except OSError:
        return perm
