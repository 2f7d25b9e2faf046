"""Moments of float16 values, from how often each of the 65,536 there are occurs."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from aerozarr.store.format.moments import Moments

Halves = npt.NDArray[np.float16]
Counts = npt.NDArray[np.signedinteger[Any]]
Table = npt.NDArray[np.float64]

# The sum of squared deviations is the sum of squares less the mean's share where at least this much
# of it is left: then at most three of sixteen digits are lost. Else it is summed anew.
LEFT = 1e-3

# Rows that are counted together: they stay in the cache.
_BLOCK = 2**16
# The bits of infinity.
_INFINITY = 0x7C00


class Float16Counter:
    """Measures one field's float16 values, which come in any number of blocks.

    Parameters
    ----------
    n_rows
        Number of rows that will come.
    width
        The field's number of components.
    """

    def __init__(self, n_rows: int, width: int) -> None:
        self._rows = n_rows
        # In counts of 4 bytes, torch adds in two thirds of the time.
        dtype = torch.int32 if n_rows < 2**31 else torch.int64
        self._counts = torch.zeros((width, 2**16), dtype=dtype)
        # Used again for each block, as bincount's arrays are not: touching new memory costs more.
        length = min(n_rows, _BLOCK)
        self._ones = torch.ones(length, dtype=dtype)
        self._places = torch.empty(length, dtype=torch.int64)

    def add(self, values: Halves) -> None:
        """Take the next values, shape (m, width)."""
        # All of a component, so that its counts stay in the cache.
        for count, column in zip(self._counts, values.view(np.uint16).T, strict=True):
            for first in range(0, len(column), _BLOCK):
                bits = column[first : first + _BLOCK]
                places, ones = self._places[: len(bits)], self._ones[: len(bits)]
                np.copyto(places.numpy(), bits)
                count.scatter_add_(0, places, ones)

    def moments(self) -> Moments:
        """Return the moments of all values, once they have come."""
        # By sign and magnitude: first come the finite values, then infinity, then every NaN.
        counts = self._counts.numpy().reshape(-1, 2, 2**15)
        infinities = counts[:, :, _INFINITY].sum(axis=1)
        nans = counts[:, :, _INFINITY + 1 :].sum(axis=(1, 2))
        finite = self._rows - nans - infinities
        times = counts[:, :, :_INFINITY]
        spread: dict[str, Any] = _spread(times, finite)
        ends = [_ends(signs) for signs in times != 0]
        return Moments(
            rows=self._rows,
            finite=finite.tolist(),
            nans=nans.tolist(),
            infinities=infinities.tolist(),
            low=[low for low, _ in ends],
            high=[high for _, high in ends],
            **spread,
        )


class _Magnitudes(NamedTuple):
    """The finite float16 values that are not negative, in the order of their bits, in float64.

    Attributes
    ----------
    odd
        Shape (2, 31744): the values, and log1p of each, whose sign is that of a value.
    even
        Of the same shape, their squares, which have none.
    """

    odd: Table
    even: Table


@functools.cache
def _magnitudes() -> _Magnitudes:
    values = np.arange(_INFINITY, dtype=np.uint16).view(np.float16).astype(np.float64)
    odd = np.stack([values, np.log1p(values)])
    return _Magnitudes(odd, odd**2)


def _spread(times: Counts, finite: Counts) -> dict[str, list[float]]:
    """Return means and sums of squared deviations, of values and of logs.

    `times` says how often each magnitude occurs with each sign, shape (width, 2, 31744).
    """
    magnitudes = _magnitudes()
    positive, negative = times[:, 0], times[:, 1]
    total = _weighed(positive - negative, magnitudes.odd)
    squares = _weighed(positive + negative, magnitudes.even)
    mean = total / np.maximum(finite, 1)
    m2 = squares - total * mean
    for kind, component in np.argwhere(m2 < LEFT * squares):
        deviations = np.stack([magnitudes.odd[kind], -magnitudes.odd[kind]]) - mean[kind, component]
        m2[kind, component] = (deviations**2 * times[component]).sum()
    (means, log_means), (m2s, log_m2s) = mean.tolist(), m2.tolist()
    return {"mean": means, "m2": m2s, "log_mean": log_means, "log_m2": log_m2s}


def _weighed(times: Counts, values: Table) -> Table:
    """Return sums of two kinds of values that occur so many times, shape (2, width)."""
    # By torch, of which one thread works: those of numpy's BLAS cost more than they give.
    product: Table = (
        torch.from_numpy(values) @ torch.from_numpy(times.astype(np.float64)).T
    ).numpy()
    return product


def _ends(is_there: npt.NDArray[np.bool_]) -> tuple[float | None, float | None]:
    """Return the least and the greatest value that is there, of shape (2, 31744); None of none."""
    values, ends = _magnitudes().odd[0], list[float]()
    for sign, half in zip((1.0, -1.0), is_there, strict=True):
        flags = half.tobytes()
        if 1 in flags:
            ends += [sign * values[place].item() for place in (flags.find(1), flags.rfind(1))]
    return min(ends, default=None), max(ends, default=None)
