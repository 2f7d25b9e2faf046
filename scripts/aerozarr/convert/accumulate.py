"""MomentsAccumulator the moments of stored values, in the pass that converts them."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from aerozarr.convert.count_float16 import LEFT, Float16Counter
from aerozarr.store.format.moments import Moments

Values = npt.NDArray[np.floating]
Column = npt.NDArray[np.float64]

# Rows that are looked at together: a component of them stays in the cache.
_BLOCK = 2**15
# From so many rows on, counting how often each of the 65,536 float16 values occurs is cheaper than
# computing with every row.
_COUNTED = 2**16
# From so many values on, torch is the faster way to widen float16, by ten times. Fewer are not
# worth calling it.
_WIDENED = 2**14
# Of float64: the bit of the sign.
_SIGN = np.uint64(1 << 63)
# With AVX-512, numpy's log1p takes half the time of torch's, and without it several times as much.
_NUMPY_IS_FAST = sys.platform == "linux" and torch.backends.cpu.get_cpu_capability() == "AVX512"


class MomentsAccumulator:
    """Measures one field's values, which come in any number of blocks.

    Parameters
    ----------
    n_rows
        Number of rows that will come.
    """

    def __init__(self, n_rows: int) -> None:
        # Used again for each component: touching new memory costs more than computing with it.
        self._room = np.empty((2, min(n_rows, _BLOCK)))
        self._parts: list[Moments] = []

    def add(self, values: Values) -> None:
        """Take the next values, shape (m, width) and any float dtype."""
        for first in range(0, len(values), _BLOCK):
            block = values[first : first + _BLOCK]
            if block.dtype == np.float16 and block.size >= _WIDENED:
                block = torch.from_numpy(np.ascontiguousarray(block)).float().numpy()
            room = self._room[:, : len(block)]
            # Signalling NaNs, and squares of float64 storage that cannot be told.
            with np.errstate(invalid="ignore", over="ignore"):
                components = [_of_component(component, room) for component in block.T]
            self._parts.append(_joined(len(block), components))

    def moments(self) -> Moments:
        """Return the moments of all values, once they have come."""
        return Moments.merged(self._parts)


def accumulator_for(
    n_rows: int, width: int, dtype: np.dtype[np.floating]
) -> MomentsAccumulator | Float16Counter:
    """Return what measures so many rows of a storage dtype at the least cost."""
    if dtype == np.float16 and n_rows >= _COUNTED:
        return Float16Counter(n_rows, width)
    return MomentsAccumulator(n_rows)


def moments_of(values: Values) -> Moments:
    """Return the moments of values of shape (n, width) and any float dtype; n is not 0."""
    n_rows, width = values.shape
    measuring = accumulator_for(n_rows, width, values.dtype)
    measuring.add(values)
    return measuring.moments()


class _Component(NamedTuple):
    """The moments of one component: an element of each of those of `Moments`."""

    finite: int
    nans: int
    infinities: int
    low: float | None
    high: float | None
    mean: float
    m2: float
    log_mean: float
    log_m2: float


def _joined(rows: int, components: Iterable[_Component]) -> Moments:
    columns = map(list, zip(*components, strict=True))
    content: dict[str, Any] = dict(zip(_Component._fields, columns, strict=True))
    return Moments(rows=rows, **content)


def _of_component(component: Values, room: Column) -> _Component:
    """Return the moments of values of shape (n,); `room` is for twice as many, in float64."""
    values, other = room
    np.copyto(values, component)
    # numpy takes less time to find where they are than to find them. A NaN is where both are.
    low, high = values.min().item(), values.max().item()
    if not (math.isfinite(low) and math.isfinite(high)):
        return _of_finite(values, room)
    mean, m2 = _spread(room)
    np.abs(values, out=other)
    _log1p(other)
    _take_signs(other, values)
    return _Component(len(values), 0, 0, low, high, mean, m2, *_spread(room[::-1]))


def _of_finite(values: Column, room: Column) -> _Component:
    """Return the moments of values of which some are not finite."""
    nans, infinities = (int(np.count_nonzero(of(values))) for of in (np.isnan, np.isinf))
    finite = values[np.isfinite(values)]
    if not len(finite):
        return _Component(0, nans, infinities, None, None, 0.0, 0.0, 0.0, 0.0)
    found = _of_component(finite, room[:, : len(finite)])
    return found._replace(nans=nans, infinities=infinities)


def _spread(room: Column) -> tuple[float, float]:
    """Return mean and sum of squared deviations of the values in `room[0]`.

    `room`, of shape (2, n), is overwritten but for them.
    """
    values, squares = room
    # Not by a BLAS library: its threads, and its code where it was not used just before, cost more
    # than it gives.
    np.multiply(values, values, out=squares)
    total, square = np.add.reduce(room, axis=1).tolist()
    mean = total / len(values)
    m2 = square - total * mean
    if not m2 >= LEFT * square:  # or when a square is infinite
        np.subtract(values, mean, out=squares)
        np.multiply(squares, squares, out=squares)
        m2 = squares.sum().item()
    return mean, m2


def _take_signs(values: Column, signed: Column) -> None:
    """Give values that are not negative the signs of others, which are lost.

    As `np.copysign` does, in two thirds of its time.
    """
    bits, signs = values.view(np.uint64), signed.view(np.uint64)
    np.bitwise_and(signs, _SIGN, out=signs)
    np.bitwise_or(bits, signs, out=bits)


def _log1p(values: Column) -> None:
    """Replace values by log(1 + value)."""
    if _NUMPY_IS_FAST:
        np.log1p(values, out=values)
    else:
        torch.from_numpy(values).log1p_()
