"""Specification of when a stored value is the one expected."""

from __future__ import annotations

import numpy as np
import pytest

from aerozarr.verify.bits import differs


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_bits_are_compared_and_any_nan_is_like_another(dtype: str) -> None:
    expected = np.array([[0.0, 1.0, np.nan, -np.inf, np.nan]], dtype)
    stored = np.array([[-0.0, 1.0, np.nan, -np.inf, 1.0]], dtype)
    stored.view(f"u{stored.itemsize}")[0, 2] ^= 1  # another NaN
    assert differs(expected, stored).tolist() == [[True, False, False, False, True]]
