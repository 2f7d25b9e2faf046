"""Moments of stored values, mergeable over samples, in float64.

Pairs of (count, mean, sum of squared deviations) are merged as in Chan, Golub & LeVeque, "Updating
formulae and a pairwise algorithm for computing sample variances" (1979).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict

Values = npt.NDArray[np.floating]
Table = npt.NDArray[np.float64]

# Rows that are looked at together: they stay in the cache.
_BLOCK = 2**15
# From so many rows on, counting how often each of the 65,536 float16 values occurs is cheaper than
# computing with every row.
_COUNTED = 2**17


class Moments(BaseModel):
    """Moments of one field's stored values, by component.

    Only finite values count, but for `rows`, `nans` and `infinities`.

    Attributes
    ----------
    rows
        Number of rows.
    finite, nans, infinities
        Numbers of values, one a component.
    mean, m2
        Mean, and sum of squared deviations from it.
    low, high
        Least and greatest value; None where there is none.
    log_mean, log_m2
        As `mean` and `m2`, of sign(x)·log1p(|x|).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

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
    def of(cls, values: Values) -> Self:
        """Return the moments of values of shape (n, width) and any float dtype."""
        if values.dtype == np.float16 and len(values) >= _COUNTED:
            return cls._counted(values)
        return cls.merged(
            [cls._direct(values[first : first + _BLOCK]) for first in range(0, len(values), _BLOCK)]
        )

    @classmethod
    def _counted(cls, values: Values) -> Self:
        return cls._joined(
            len(values), [_of_counts(_count(column)) for column in values.view(np.uint16).T]
        )

    @classmethod
    def _direct(cls, values: Values) -> Self:
        # By component, so that sums run over contiguous values (and are pairwise).
        columns = torch.from_numpy(np.ascontiguousarray(values.T, dtype=np.float64))
        return cls._joined(len(values), [_of_column(column) for column in columns])

    @classmethod
    def _joined(cls, rows: int, components: Sequence[dict[str, Any]]) -> Self:
        names = cls.model_fields.keys() - {"rows"}
        columns: dict[str, Any] = {name: [part[name] for part in components] for name in names}
        return cls.model_construct(rows=rows, **columns)

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
    mean = (counts * mean_of).sum(axis=0) / total
    m2 = np.array(m2s).sum(axis=0) + (counts * (mean_of - mean) ** 2).sum(axis=0)
    return mean.tolist(), m2.tolist()


def _of_column(column: torch.Tensor) -> dict[str, Any]:
    """Return the moments of one component, shape (n,), float64."""
    rows = len(column)
    low, high = _extremes(column)
    nans = infinities = 0
    if not (np.isfinite(low) and np.isfinite(high)):  # a NaN makes both NaN
        nans = int(column.isnan().sum())
        infinities = int(column.isinf().sum())
        column = column[column.isfinite()]
        there = _extremes(column) if len(column) else (None, None)
    else:
        there = low, high
    logs = torch.copysign(column.abs().log1p_(), column)
    mean, m2 = _mean_and_m2(column)
    log_mean, log_m2 = _mean_and_m2(logs)
    return {
        "finite": rows - nans - infinities,
        "nans": nans,
        "infinities": infinities,
        "mean": mean,
        "m2": m2,
        "low": there[0],
        "high": there[1],
        "log_mean": log_mean,
        "log_m2": log_m2,
    }


def _extremes(column: torch.Tensor) -> tuple[float, float]:
    low, high = torch.aminmax(column)
    return low.item(), high.item()


def _mean_and_m2(column: torch.Tensor) -> tuple[float, float]:
    if len(column) == 0:
        return 0.0, 0.0
    mean = column.mean()
    deviations = column - mean
    return mean.item(), torch.dot(deviations, deviations).item()


def _count(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.int64]:
    """Return how often each of 65,536 bit patterns occurs."""
    counts = np.zeros(2**16, np.int64)
    for first in range(0, len(bits), _COUNTED):  # bincount needs eight bytes a value
        counts += np.bincount(bits[first : first + _COUNTED], minlength=2**16)
    return counts


def _of_counts(counts: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Return the moments of one component from how often each float16 bit pattern occurs."""
    values, logs, is_finite = _float16_values()
    infinities = int(counts[0x7C00] + counts[0xFC00])
    there = np.flatnonzero(counts)
    there = there[is_finite[there]]
    times, values, logs = counts[there], values[there], logs[there]
    finite = int(times.sum())
    mean = float(times @ values / max(finite, 1))
    log_mean = float(times @ logs / max(finite, 1))
    return {
        "finite": finite,
        "nans": int(counts.sum()) - finite - infinities,
        "infinities": infinities,
        "mean": mean,
        "m2": float(times @ (values - mean) ** 2),
        "low": float(values.min()) if finite else None,
        "high": float(values.max()) if finite else None,
        "log_mean": log_mean,
        "log_m2": float(times @ (logs - log_mean) ** 2),
    }


@functools.cache
def _float16_values() -> tuple[Table, Table, npt.NDArray[np.bool_]]:
    """Return every float16 by its bits, the same as sign(x)·log1p(|x|), and which are finite."""
    values = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float64)
    is_finite = np.isfinite(values)
    magnitudes = np.where(is_finite, np.abs(values), 0.0)
    return values, np.copysign(np.log1p(magnitudes), values), is_finite
