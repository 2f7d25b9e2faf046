"""The points' shuffle: one permutation for each sample and domain, from the seed alone."""

from __future__ import annotations

import hashlib
import tempfile

import numpy as np
import torch

from aerozarr.gathering import Permutation

# Points whose permutation is kept in memory; a longer one is more than a tenth of what converting
# their fields takes.
_KEPT_POINTS = 2**21


def seed_of(shuffle_seed: int, sample_id: str, domain: str) -> int:
    """Return the seed of a sample's domain.

    The first 8 bytes, as a little-endian unsigned number, of the SHA-256 of
    `<shuffle_seed>:<sample id>:<domain>`, modulo 2^63 - 1 (store format, version 1).
    """
    text = f"{shuffle_seed}:{sample_id}:{domain}"
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "little") % (2**63 - 1)


def permutation(n_points: int, seed: int) -> Permutation:
    """Return the shuffle of `n_points` points: stored row r is the source's row `perm[r]`.

    Parameters
    ----------
    n_points
        Number of points of the domain.
    seed
        As `seed_of` returns it.

    Returns
    -------
    array of int32, or of int64 where that is too small, shape (n_points,)
        `torch.randperm` of a CPU generator with that seed. Which dtype it is asked for makes no
        difference to what it draws, but half as much to the memory it takes.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    dtype = torch.int32 if n_points < 2**31 else torch.int64
    drawn = torch.randperm(n_points, generator=generator, dtype=dtype)
    perm: Permutation = drawn.numpy()
    return perm


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


def set_aside(perm: Permutation) -> Shuffle:
    """Return a permutation, kept in a file when it is long and there is room for one."""
    if len(perm) <= _KEPT_POINTS:
        return perm
    try:
        return PermutationFile(perm)
    except OSError:
        return perm
