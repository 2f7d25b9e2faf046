"""What a cast to the storage dtype changed: the rounding error, in float64."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Values = npt.NDArray[np.generic]


class Rounding(BaseModel):
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
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    values: int = 0
    max_absolute: float = 0.0
    max_relative: float = 0.0
    flushed: int = 0

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
        magnitude, is_zero = np.abs(before, out=before), before == 0
        zeros = int(np.count_nonzero(is_zero))
        if zeros:
            magnitude[is_zero] = 1.0  # what has no error is divided by it
        return cls(
            values=source.size,
            max_absolute=largest,
            max_relative=(error / magnitude).max().item(),
            flushed=int(np.count_nonzero(after == 0)) - zeros,  # a zero stays one
        )

    @classmethod
    def merged(cls, parts: Iterable[Self]) -> Self:
        """Return the rounding error of all values that any of `parts` are of."""
        every = [*parts]
        return cls(
            values=sum(part.values for part in every),
            max_absolute=max((part.max_absolute for part in every), default=0.0),
            max_relative=max((part.max_relative for part in every), default=0.0),
            flushed=sum(part.flushed for part in every),
        )
