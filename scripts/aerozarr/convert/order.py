"""The order in which a domain's rows are stored: the same for all of its fields."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aerozarr.config.fields import Domain
from aerozarr.convert.cast import KeptRows, RoundingSample
from aerozarr.convert.permutation_file import Shuffle, spill_if_long
from aerozarr.store.format.layout import Grid
from aerozarr.store.format.shuffle import permutation, seed_of


class Order(NamedTuple):
    """Which rows of a domain's fields are stored, and in which order.

    Attributes
    ----------
    perm
        Stored row r is row `perm[r]` of those that are stored, in the source's order.
    rounding_sample
        The rows to look at: those of the first chunk.
    kept_rows
        The rows that are stored; None for all.
    """

    perm: Shuffle
    rounding_sample: RoundingSample
    kept_rows: KeptRows | None = None


def order_of(sample_id: str, domain: Domain, n_points: int, grid: Grid, shuffle_seed: int) -> Order:
    """Return the order in which the rows of a domain's fields are stored.

    Parameters
    ----------
    sample_id, domain, shuffle_seed
        What the order depends on.
    n_points
        How many points the domain has in the source.
    grid
        The grid of its arrays; it says how many of them are stored.
    """
    drawn = permutation(n_points, seed_of(shuffle_seed, sample_id, domain.name))
    # In order, so that a mapped file is looked at from front to end.
    places = np.sort(drawn[: grid.chunk_points]).astype(np.int64)
    rounding_sample = RoundingSample(places, n_points)
    if grid.n_points == n_points:
        return Order(spill_if_long(drawn), rounding_sample)
    first = drawn[: grid.n_points].copy()  # lets the rest of them go
    del drawn
    by_row = np.argsort(first)
    perm = np.empty_like(first)
    perm[by_row] = np.arange(len(first), dtype=first.dtype)
    kept_rows = KeptRows(first[by_row].astype(np.int64), n_points)
    return Order(spill_if_long(perm), rounding_sample, kept_rows)
