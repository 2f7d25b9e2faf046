"""When a value that is stored is the one expected: bit by bit, and any NaN is like another."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def differs(expected: Array, stored: Array) -> npt.NDArray[np.bool_]:
    """Return where values of one float dtype and shape differ in their bits; no NaN from another.

    So a zero differs from one of another sign, as the format has it.
    """
    kind = f"u{stored.dtype.itemsize}"
    bits = (np.ascontiguousarray(each).view(kind) for each in (expected, stored))
    is_other: npt.NDArray[np.bool_] = np.not_equal(*bits)
    if is_other.any():
        is_other &= ~(np.isnan(expected) & np.isnan(stored))
    return is_other
