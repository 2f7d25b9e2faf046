"""Measuring the moments of stored values, in the pass that converts them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from aerozarr.moments import Moments

Values = npt.NDArray[np.floating]
Table = npt.NDArray[np.float64]

# Rows that are looked at together: they stay in the cache.
_BLOCK = 2**15
# From so many rows on, counting how often each of the 65,536 float16 values occurs is cheaper than
# computing with every row.
_COUNTED = 2**17


def moments_of(values: Values) -> Moments:
    """Return the moments of values of shape (n, width) and any float dtype; n is not 0."""
    if values.dtype == np.float16 and len(values) >= _COUNTED:
        return _counted(values)
    blocks = (values[first : first + _BLOCK] for first in range(0, len(values), _BLOCK))
    return Moments.merged([_direct(block) for block in blocks])


def _counted(values: Values) -> Moments:
    bits = values.view(np.uint16)
    return _joined(len(values), [_of_counts(_count(column)) for column in bits.T])


def _direct(values: Values) -> Moments:
    # By component, so that sums run over contiguous values (and are pairwise).
    with np.errstate(invalid="ignore"):  # of a signalling NaN, numpy warns
        columns = torch.from_numpy(np.ascontiguousarray(values.T, dtype=np.float64))
    return _joined(len(values), [_of_column(column) for column in columns])


def _joined(rows: int, components: Sequence[dict[str, Any]]) -> Moments:
    names = Moments.model_fields.keys() - {"rows"}
    columns: dict[str, Any] = {name: [part[name] for part in components] for name in names}
    return Moments.model_construct(rows=rows, **columns)


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
