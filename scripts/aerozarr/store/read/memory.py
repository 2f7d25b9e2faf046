"""Whether what is to be read fits into memory: the numbers of a manifest may be damaged."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from aerozarr.errors import StoreError
from aerozarr.messages import format_bytes
from aerozarr.store.read.subsample import Subsample, count_of

# What Python's objects for a chunk that is to be read take, about.
_CHUNK_BYTES = 300
# Bytes that are read without a look at how much memory there is.
_MUCH = 2**30


def check_memory(subsamples: Sequence[Subsample], *, is_new: bool) -> None:
    """Check that what is to be read takes less than all the memory of this machine.

    Parameters
    ----------
    subsamples
        What is to be read.
    is_new
        Whether memory is taken for the values; otherwise it is there.

    Raises
    ------
    StoreError
        When it takes more. Linux grants memory that is not there, and ends the process later.
    """
    needed = 0
    for subsample in subsamples:
        for array in subsample.wanted.values():
            rows = count_of(array.rows)
            needed += _CHUNK_BYTES * (rows // array.chunk_rows)
            if is_new:
                needed += rows * array.shape[1] * np.dtype(array.dtype).itemsize
    if needed <= _MUCH or needed <= (there := _memory()):
        return
    counts = {
        (count_of(array.rows), subsample.sample, array.name)
        for subsample in subsamples
        for array in subsample.wanted.values()
    }
    rows, sample, name = max(counts)
    raise StoreError(
        f"{sample}, {name}: {rows} points are to be read, which with the other arrays takes "
        f"{format_bytes(needed)} of memory; this machine has {format_bytes(there)}. Ask for fewer "
        "points; if the sample does not have as many, the store's manifest is damaged."
    )


def _memory() -> int:
    """Return the bytes of memory that this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
