"""Moments of stored values, mergeable over samples, in float64.

Pairs of (count, mean, sum of squared deviations) are merged as in Chan, Golub & LeVeque, "Updating
formulae and a pairwise algorithm for computing sample variances" (1979).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments of one field's stored values, by component.

    Only finite values count, but for `rows`, `nans` and `infinities`.

    Attributes
    ----------
    rows
        Number of rows.
    finite, nans, infinities
        Numbers of values, one a component.
    mean, m2
        Mean, and sum of squared deviations from it. Of float64 values beyond 1e150 or so, squares
        overflow: m2 is then infinite or NaN.
    low, high
        Least and greatest value; None where there is none.
    log_mean, log_m2
        As `mean` and `m2`, of sign(x)·log1p(|x|).
    """

    rows: int
    finite: list[int]
    nans: list[int]
    infinities: list[int]
    mean: list[float]
    m2: list[float]
    low: list[float | None]
    high: list[float | None]
    log_mean: list[float]
    log_m2: list[float]

    @classmethod
    def merged(cls, parts: Sequence[Self]) -> Self:
        """Return the moments of all values that any of `parts` are of; there must be one."""
        if len(parts) == 1:
            return parts[0]
        finite = np.array([part.finite for part in parts], dtype=np.int64)
        total = finite.sum(axis=0)
        lows, highs = ([getattr(part, name) for part in parts] for name in ("low", "high"))
        mean, m2 = _merge(finite, [part.mean for part in parts], [part.m2 for part in parts])
        logs = [part.log_mean for part in parts], [part.log_m2 for part in parts]
        log_mean, log_m2 = _merge(finite, *logs)
        return cls(
            rows=sum(part.rows for part in parts),
            finite=total.tolist(),
            nans=np.sum([part.nans for part in parts], axis=0).tolist(),
            infinities=np.sum([part.infinities for part in parts], axis=0).tolist(),
            mean=mean,
            m2=m2,
            low=[min(known(column), default=None) for column in zip(*lows, strict=True)],
            high=[max(known(column), default=None) for column in zip(*highs, strict=True)],
            log_mean=log_mean,
            log_m2=log_m2,
        )


def known(values: Sequence[float | None]) -> list[float]:
    """Return the values that are there."""
    return [value for value in values if value is not None]


def _merge(
    counts: npt.NDArray[np.int64], means: list[list[float]], m2s: list[list[float]]
) -> tuple[list[float], list[float]]:
    """Merge means and sums of squared deviations, of shape (parts, width) each."""
    mean_of, total = np.array(means), np.maximum(counts.sum(axis=0), 1)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = (counts * mean_of).sum(axis=0) / total
        m2 = np.array(m2s).sum(axis=0) + (counts * (mean_of - mean) ** 2).sum(axis=0)
    return mean.tolist(), m2.tolist()
