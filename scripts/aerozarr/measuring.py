"""Measuring the moments of stored values, in the pass that converts them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from aerozarr.moments import Moments

Values = npt.NDArray[np.floating]
Table = npt.NDArray[np.float64]
Column = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

# Rows that are looked at together: they stay in the cache.
_BLOCK = 2**15
# From so many rows on, counting how often each of the 65,536 float16 values occurs is cheaper than
# computing with every row.
_COUNTED = 2**16
# Of float16: the bits of infinity.
_INFINITY = 0x7C00
# With AVX-512, numpy's log1p takes half the time of torch's, and without it several times as much.
_NUMPY_IS_FAST = sys.platform == "linux" and torch.backends.cpu.get_cpu_capability() == "AVX512"


class Measuring:
    """Measures one field's values, which come in any number of blocks.

    Parameters
    ----------
    n_rows
        Number of rows that will come.
    width, dtype
        The field's number of components, and its storage dtype.
    """

    def __init__(self, n_rows: int, width: int, dtype: np.dtype[np.floating]) -> None:
        self._rows = n_rows
        self._counts: Counts | None = None
        if dtype == np.float16 and n_rows >= _COUNTED:
            self._counts = np.zeros((width, 2**16), np.int64)
            self._places = np.empty(_BLOCK, np.intp)
        else:
            # Used again for each block: touching new memory costs more than computing with it.
            self._room = np.empty((2, width, min(n_rows, _BLOCK)))
        self._parts: list[Moments] = []

    def add(self, values: Values) -> None:
        """Take the next values, shape (m, width)."""
        for first in range(0, len(values), _BLOCK):
            block = values[first : first + _BLOCK]
            if self._counts is None:
                self._parts.append(_direct(block, *self._room[:, :, : len(block)]))
            else:
                self._count(block.view(np.uint16), self._counts)

    def _count(self, bits: npt.NDArray[np.uint16], counts: Counts) -> None:
        # Not with bincount, which makes new arrays each time: touching new memory costs more.
        places = self._places[: len(bits)]
        for count, column in zip(counts, bits.T, strict=True):
            np.copyto(places, column)
            np.add.at(count, places, 1)

    def moments(self) -> Moments:
        """Return the moments of all values, once they have come."""
        if self._counts is None:
            return Moments.merged(self._parts)
        return _joined(self._rows, [_of_counts(count) for count in self._counts])


def moments_of(values: Values) -> Moments:
    """Return the moments of values of shape (n, width) and any float dtype; n is not 0."""
    n_rows, width = values.shape
    measuring = Measuring(n_rows, width, values.dtype)
    measuring.add(values)
    return measuring.moments()


def _direct(values: Values, wide: Table, scratch: Table) -> Moments:
    """Return the moments of a block; `wide` and `scratch` are room for its values in float64."""
    with np.errstate(invalid="ignore"):  # of a signalling NaN, numpy warns
        np.copyto(wide, values.T)  # by component, so that sums run over contiguous values
    low, high = wide.min(axis=1), wide.max(axis=1)  # a NaN makes both NaN
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        return _joined(len(values), [_of_column(torch.from_numpy(column)) for column in wide])
    mean, m2 = _deviate(wide, scratch)
    np.abs(wide, out=scratch)
    _log1p(scratch)
    np.copysign(scratch, wide, out=scratch)
    log_mean, log_m2 = _deviate(scratch, scratch)
    none = [0] * len(wide)
    return Moments.model_construct(
        rows=len(values),
        finite=[len(values)] * len(wide),
        nans=none,
        infinities=none,
        mean=mean,
        m2=m2,
        low=low.tolist(),
        high=high.tolist(),
        log_mean=log_mean,
        log_m2=log_m2,
    )


def _deviate(columns: Table, room: Table) -> tuple[list[float], list[float]]:
    """Return mean and sum of squared deviations by component; `room` is overwritten."""
    with np.errstate(over="ignore"):  # of float64 storage; what cannot be told becomes null
        mean = np.add.reduce(columns, axis=1) / columns.shape[1]
        np.subtract(columns, mean[:, None], out=room)
        # Not by a BLAS library, whose threads would cost more than they give.
        np.multiply(room, room, out=room)
        return mean.tolist(), np.add.reduce(room, axis=1).tolist()


def _log1p(values: Table) -> None:
    """Replace values by log(1 + value)."""
    if _NUMPY_IS_FAST:
        np.log1p(values, out=values)
    else:
        torch.from_numpy(values).log1p_()


def _joined(rows: int, components: Sequence[dict[str, Any]]) -> Moments:
    names = Moments.model_fields.keys() - {"rows"}
    columns: dict[str, Any] = {name: [part[name] for part in components] for name in names}
    return Moments.model_construct(rows=rows, **columns)


def _of_column(column: torch.Tensor) -> dict[str, Any]:
    """Return the moments of one component with values that are not finite, shape (n,), float64."""
    nans, infinities = int(column.isnan().sum()), int(column.isinf().sum())
    column = column[column.isfinite()]
    low, high = _extremes(column) if len(column) else (None, None)
    mean, m2 = _mean_and_m2(column)
    log_mean, log_m2 = _mean_and_m2(torch.copysign(column.abs().log1p_(), column))
    return {
        "finite": len(column),
        "nans": nans,
        "infinities": infinities,
        "mean": mean,
        "m2": m2,
        "low": low,
        "high": high,
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


def _of_counts(counts: Counts) -> dict[str, Any]:
    """Return the moments of one component from how often each float16 bit pattern occurs."""
    # By sign and magnitude: first come the finite values, then infinity, then every NaN.
    by_sign = counts.reshape(2, -1)
    usual = by_sign[:, :_INFINITY].ravel()
    there = np.flatnonzero(usual != 0)  # of booleans, numpy finds them three times faster
    every_value, every_log = _finite_float16()
    times, values, logs = usual[there].astype(np.float64), every_value[there], every_log[there]
    mean, m2 = _weighed(times, values)
    log_mean, log_m2 = _weighed(times, logs)
    return {
        "finite": int(usual.sum()),
        "nans": int(by_sign[:, _INFINITY + 1 :].sum()),
        "infinities": int(by_sign[:, _INFINITY].sum()),
        "mean": mean,
        "m2": m2,
        "low": float(values.min()) if len(there) else None,
        "high": float(values.max()) if len(there) else None,
        "log_mean": log_mean,
        "log_m2": log_m2,
    }


def _weighed(times: Column, values: Column) -> tuple[float, float]:
    """Return mean and sum of squared deviations of values that occur so many times."""
    # Not with `@`: for so few numbers, threads of a BLAS library cost a hundred times the work.
    mean = float(np.einsum("i,i->", times, values)) / max(float(times.sum()), 1.0)
    deviations = values - mean
    return mean, float(np.einsum("i,i,i->", times, deviations, deviations))


@functools.cache
def _finite_float16() -> tuple[Column, Column]:
    """Return every finite float16 in the order of its bits, and sign(x)·log1p(|x|) of each."""
    bits = np.arange(2**16, dtype=np.uint16).reshape(2, -1)[:, :_INFINITY].ravel()
    values = bits.view(np.float16).astype(np.float64)
    return values, np.copysign(np.log1p(np.abs(values)), values)
