"""What a cast to the storage dtype changed: the rounding error, in float64."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Rounding:
    """The rounding error of some values, mergeable.

    Attributes
    ----------
    values
        Number of values compared, those that are finite in the source.
    max_absolute
        Greatest |stored − source|, in the field's own unit.
    max_relative
        Greatest |stored − source| / |source| where the source is not zero.
    flushed
        Number of values that are not zero in the source, and zero as stored.
    low, high
        The least and the greatest of the values in the source; None where they were not looked at:
        nothing was rounded, or an earlier version recorded it.
    """

    values: int = 0
    max_absolute: float = 0.0
    max_relative: float = 0.0
    flushed: int = 0
    low: float | None = None
    high: float | None = None

    @property
    def of_range(self) -> float:
        """The greatest absolute error as a share of the values' range; 0 where that is unknown."""
        if self.low is None or self.high is None or self.high <= self.low:
            return 0.0
        return self.max_absolute / (self.high - self.low)

    @classmethod
    def of(cls, source: Values, stored: Values) -> Self:
        """Compare values with what they were stored as; same shape, any real dtypes."""
        if source.dtype == stored.dtype:
            return cls(values=int(np.count_nonzero(np.isfinite(source))))
        if source.size == 0:
            return cls()
        before, after = source.astype(np.float64), stored.astype(np.float64)
        with np.errstate(invalid="ignore"):
            error = np.abs(after - before)
        largest = error.max().item()
        if not math.isfinite(largest):  # rarely, and to pick values takes as long as all the rest
            is_finite = np.isfinite(source)
            return cls.of(source[is_finite], stored[is_finite])
        low, high = before.min().item(), before.max().item()
        magnitude, is_zero = np.abs(before, out=before), before == 0
        zeros = int(np.count_nonzero(is_zero))
        if zeros:
            magnitude[is_zero] = 1.0  # what has no error is divided by it
        return cls(
            values=source.size,
            max_absolute=largest,
            max_relative=(error / magnitude).max().item(),
            flushed=int(np.count_nonzero(after == 0)) - zeros,  # a zero stays one
            low=low,
            high=high,
        )

    @classmethod
    def merged(cls, parts: Iterable[Self]) -> Self:
        """Return the rounding error of all values that any of `parts` are of."""
        # In one pass: a store has as many as it has fields of samples.
        values, flushed, max_absolute, max_relative = 0, 0, 0.0, 0.0
        lows: list[float] = []
        highs: list[float] = []
        for part in parts:
            values += part.values
            flushed += part.flushed
            if part.max_absolute > max_absolute:
                max_absolute = part.max_absolute
            if part.max_relative > max_relative:
                max_relative = part.max_relative
            if part.low is not None:
                lows.append(part.low)
            if part.high is not None:
                highs.append(part.high)
        return cls(
            values=values,
            max_absolute=max_absolute,
            max_relative=max_relative,
            flushed=flushed,
            low=min(lows, default=None),
            high=max(highs, default=None),
        )


# From so large a share of its values on, a field is told of: those that become zero; and the error
# against the range, at which fewer than some fifty different values are left.
_TOLD_FLUSHED = 0.01
_TOLD_ERROR = 0.01
_WIDER = {"float16": "float32", "float32": "float64"}


def rounding_warnings(
    roundings: Mapping[str, Sequence[Rounding]], dtypes: Mapping[str, str]
) -> list[str]:
    """Return a line for each field that loses much of what its values say.

    Parameters
    ----------
    roundings
        By canonical field name: the rounding error of each sample. By sample, because what is small
        against the range of all samples may be all that there is in one.
    dtypes
        By canonical field name: its storage dtype.
    """
    lines = []
    for name, parts in roundings.items():
        together = Rounding.merged(parts)
        flushed = together.flushed / max(together.values, 1)
        coarse = [part for part in parts if part.of_range > _TOLD_ERROR]
        if flushed < _TOLD_FLUSHED and not coarse:
            continue
        what = []
        if flushed >= _TOLD_FLUSHED:
            what.append(f"{flushed:.0%} of the values become zero")
        worst = max(parts, key=lambda part: part.of_range)
        if worst.of_range:
            what.append(
                f"errors reach {worst.max_absolute:.3g}, {worst.of_range:.2g} of the range of the "
                f"values ({len(coarse)} of {len(parts)} samples)"
            )
        dtype = dtypes[name]
        line = f"{name}: as {dtype}, {', and '.join(what)}"
        if dtype in _WIDER:
            line += f"; to keep them: field_dtypes: {{{name}: {_WIDER[dtype]}}}"
        lines.append(line)
    return lines
