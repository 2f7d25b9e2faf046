"""The points' shuffle: one permutation for each sample and domain, from the seed alone."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

Permutation = npt.NDArray[np.signedinteger[Any]]


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
    # Imported here: the rules import this module, and every start would wait for torch.
    import torch

    generator = torch.Generator(device="cpu").manual_seed(seed)
    dtype = torch.int32 if n_points < 2**31 else torch.int64
    drawn = torch.randperm(n_points, generator=generator, dtype=dtype)
    perm: Permutation = drawn.numpy()
    return perm


def count_kept(n_points: int, keep_points: float | None) -> int:
    """Return how many of a domain's points are stored: the first so many of its shuffle.

    Parameters
    ----------
    n_points
        Number of points of the domain in the source.
    keep_points
        A whole number of points, or as a float a share, above 0 and at most 1; None for all.

    Returns
    -------
    int
        The share rounded to the nearest number of points, at least 1; never more than there are.
    """
    if keep_points is None:
        return n_points
    if isinstance(keep_points, int):
        return min(keep_points, n_points)
    # A product of two doubles: the same on every machine.
    return min(max(1, round(keep_points * n_points)), n_points)
