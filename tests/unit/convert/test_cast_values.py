"""Specification of the cast: every value is the nearest one, or too large."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unit.pt_helpers import broken, column, each_dtype, stored

INF, NAN = math.inf, math.nan
many_examples = settings(max_examples=150, deadline=None, database=None, derandomize=True)


# Rounding --------------------------------------------------------------------------------------

PRECISION = {"float16": (11, -24, 65504), "float32": (24, -149, (2**24 - 1) * 2**104)}
"""Significant bits, exponent of the smallest step, and the largest number of an IEEE format."""


def nearest(value: Fraction, dtype: str) -> Fraction | None:
    """Round once, to nearest even, by exact arithmetic; None when that is past the largest."""
    digits, lowest, largest = PRECISION[dtype]
    if value == 0:
        return value
    size = abs(value)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent -= Fraction(2) ** exponent > size
    step = Fraction(2) ** max(exponent - digits + 1, lowest)
    rounded = round(value / step) * step  # Python rounds halves to even
    return rounded if abs(rounded) <= largest else None


def check_rounding(values: list[Any], source: torch.dtype, dtype: str) -> None:
    """Compare with exact arithmetic, value by value; one too large to store is refused."""
    tensor = torch.tensor(values, dtype=source).unsqueeze(1)
    exact = [Fraction(number) for number in tensor.double().flatten().tolist()]
    if source == torch.int64:  # float64 does not hold them all
        exact = [Fraction(number) for number in values]
    expected = [nearest(number, dtype) for number in exact]
    if None in expected:
        broken(lambda: stored(tensor, dtype=dtype, width=1))
        return
    rows = stored(tensor, dtype=dtype, width=1)
    assert rows.dtype == dtype
    assert [Fraction(float(row)) for row in rows[:, 0]] == expected


TIES = (2**-11, 2**-11 + 2**-40, 3 * 2**-11, 3 * 2**-11 - 2**-40, 2**-24, 2**-24 + 2**-40)


@pytest.mark.parametrize("source", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("scale", [1.0, 2.0**-14, 2.0**-20, 2.0**14])
def test_ties_to_even_by_hand(source, scale):
    values = [sign * scale * (1 + tie) for tie in TIES for sign in (1, -1)]
    check_rounding(values, source, "float16")


def test_float64_to_float16_rounds_once():
    # By way of float32 the first would become 1 + 2^-11, a tie, and then 1.
    rows = stored(column([1 + 2**-11 + 2**-40, 1 + 2**-11, 1 + 2**-11 - 2**-40]), width=1)
    assert rows[:, 0].tolist() == [1 + 2**-10, 1, 1]


@many_examples
@given(st.lists(st.floats(-65519, 65519, width=64), min_size=1, max_size=20))
def test_float64_to_float16_is_nearest_even(values):
    check_rounding(values, torch.float64, "float16")


@many_examples
@given(
    st.integers(0, 0x7BFE),
    st.sampled_from([-1, 1]),
    st.integers(-60, -1),
    st.sampled_from([-1, 0, 1]),
)
def test_float64_near_the_middle_of_two_halves_goes_to_the_right_one(index, sign, power, side):
    low, high = np.array([index, index + 1], np.uint16).view(np.float16).astype(np.float64)
    value = sign * float(low + (high - low) * (0.5 + side * 2.0**power / 2))
    check_rounding([value], torch.float64, "float16")


@many_examples
@given(st.lists(st.floats(-65519, 65519, width=32), min_size=1, max_size=20))
def test_float32_to_float16_is_nearest_even(values):
    check_rounding(values, torch.float32, "float16")


@many_examples
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=4))
def test_float64_to_float32_is_nearest_even_or_refused(values):
    check_rounding(values, torch.float64, "float32")


@many_examples
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20))
def test_int64_to_float32_is_nearest_even(values):
    check_rounding(values, torch.int64, "float32")


@many_examples
@given(st.lists(st.integers(-(2**17), 2**17), min_size=1, max_size=4))
def test_int64_to_float16_is_nearest_even_or_refused(values):
    check_rounding(values, torch.int64, "float16")


@pytest.mark.parametrize("source", [torch.float32, torch.float64], ids=str)
def test_every_pair_of_neighbouring_halves_is_told_apart(source):
    """All 31,743 gaps: their middle goes to the even side, the next float beside it does not."""
    index = np.arange(0x7BFF, dtype=np.uint16)
    low, high = index.view(np.float16), (index + 1).astype(np.uint16).view(np.float16)
    width = np.float32 if source == torch.float32 else np.float64
    middle = (low.astype(np.float64) + high.astype(np.float64)) / 2  # exact in both
    middle = middle.astype(width)
    even = np.where(index % 2 == 0, index, index + 1).astype(np.uint16).view(np.float16)
    for sign in (1, -1):
        for values, expected in (
            (low.astype(width), low),
            (np.nextafter(middle, width(0)), low),
            (middle, even),
            (np.nextafter(middle, width(INF)), high),
        ):
            rows = stored(torch.from_numpy(sign * values)[:, None], width=1)[:, 0]
            np.testing.assert_array_equal(rows, sign * expected)


def test_every_bfloat16_is_widened_exactly_and_then_rounded():
    patterns = np.arange(2**16, dtype=np.uint32)
    exact = (patterns << 16).view(np.float32)  # bfloat16 is the upper half of a float32
    source = torch.from_numpy(patterns.astype(np.uint16).view(np.int16)).view(torch.bfloat16)
    np.testing.assert_array_equal(stored(source, dtype="float32", width=1)[:, 0], exact)
    np.testing.assert_array_equal(stored(source, dtype="float64", width=1)[:, 0], exact)
    fits = ~(np.isfinite(exact) & (np.abs(exact) >= 65520))
    rows = stored(source[torch.from_numpy(fits)], dtype="float16", width=1)[:, 0]
    np.testing.assert_array_equal(rows, exact[fits].astype(np.float16))


@each_dtype
@pytest.mark.parametrize(
    ("source", "exponent_bits", "bias"),
    [(torch.float8_e4m3fn, 4, 7), (torch.float8_e5m2, 5, 15)],
    ids=["e4m3fn", "e5m2"],
)
def test_every_eight_bit_float_is_exact(source, exponent_bits, bias, dtype):
    def value(pattern: int) -> float:
        digits = 7 - exponent_bits
        fraction, exponent = pattern % 2**digits, pattern % 128 >> digits
        sign = -1 if pattern & 128 else 1
        if exponent_bits == 5 and exponent == 31:  # as in IEEE
            return sign * INF if fraction == 0 else NAN
        if exponent_bits == 4 and pattern % 128 == 127:  # the only NaN, and there is no infinity
            return NAN
        if exponent == 0:
            return sign * math.ldexp(fraction, 1 - bias - digits)
        return sign * math.ldexp(fraction + 2**digits, exponent - bias - digits)

    tensor = torch.arange(256).to(torch.uint8).view(source)
    expected = np.array([value(pattern) for pattern in range(256)], dtype)
    np.testing.assert_array_equal(stored(tensor, dtype=dtype, width=1)[:, 0], expected)


@pytest.mark.parametrize(
    ("source", "values"),
    [
        (torch.uint16, [0, 2**16 - 1]),
        (torch.uint32, [0, 2**24 + 1, 2**24 + 3, 2**32 - 1]),
        (torch.uint64, [0, 2**24 + 1, 2**63 + 2**39, 2**64 - 1]),
    ],
    ids=str,
)
def test_unsigned_integers_round_once(source, values):
    tensor = torch.tensor(values, dtype=source)[:, None]
    rows = stored(tensor, dtype="float32", width=1)[:, 0]
    assert [Fraction(float(row)) for row in rows] == [
        nearest(Fraction(number), "float32") for number in values
    ]


@each_dtype
def test_signed_zeros_and_the_smallest_numbers_are_kept(dtype):
    smallest = float(np.finfo(dtype).smallest_subnormal)
    rows = stored(column([0.0, -0.0, smallest, -smallest]), dtype=dtype, width=1)[:, 0]
    assert np.signbit(rows).tolist() == [False, True, False, True]
    assert rows.astype(np.float64).tolist() == [0, 0, smallest, -smallest]


# Overflow --------------------------------------------------------------------------------------

f16, f32, f64, bf16 = torch.float16, torch.float32, torch.float64, torch.bfloat16

TOO_LARGE = [
    pytest.param(f32, 65520.0, "float16", id="float32-first-that-rounds-up"),
    pytest.param(f64, 65520.0, "float16", id="float64-first-that-rounds-up"),
    pytest.param(f32, 1e30, "float16", id="float32-far"),
    pytest.param(f64, 1e300, "float16", id="float64-far-to-float16"),
    pytest.param(f64, 1e39, "float32", id="float64-1e39-to-float32"),
    pytest.param(f64, 2.0**128 - 2.0**103, "float32", id="float64-first-that-rounds-up-to-float32"),
    pytest.param(bf16, 1e38, "float16", id="bfloat16"),
    pytest.param(torch.int32, 70000, "float16", id="int32"),
    pytest.param(torch.int64, 70000, "float16", id="int64"),
    pytest.param(torch.int64, 2**62, "float16", id="int64-far"),
    pytest.param(torch.uint16, 65535, "float16", id="uint16"),
    pytest.param(torch.uint32, 70000, "float16", id="uint32"),
]
FITS = [
    pytest.param(f32, 65519.99609375, "float16", 65504.0, id="float32-last-that-rounds-down"),
    pytest.param(f64, 65519.99999999999, "float16", 65504.0, id="float64-last-that-rounds-down"),
    pytest.param(torch.int32, 65519, "float16", 65504.0, id="int32-last-that-rounds-down"),
    pytest.param(
        f64,
        2.0**128 - 2.0**103 - 2.0**75,
        "float32",
        2.0**128 - 2.0**104,
        id="float64-last-that-rounds-down-to-float32",
    ),
    pytest.param(f32, 1e30, "float32", float(np.float32(1e30)), id="float32-in-float32"),
    pytest.param(f64, 1e300, "float64", 1e300, id="float64-in-float64"),
]
NEIGHBOURS = {
    "alone": [],
    "beside-nan": [NAN, NAN, NAN],
    "beside-infinities": [INF, -INF],
    "beside-nan-and-infinities": [NAN, INF, -INF, 1.0],
    "beside-numbers": [1.0, -1.0, 0.0],
}


@pytest.mark.parametrize("neighbours", NEIGHBOURS.values(), ids=NEIGHBOURS)
@pytest.mark.parametrize("sign", [1, -1], ids=["positive", "negative"])
@pytest.mark.parametrize(("source", "value", "dtype"), TOO_LARGE)
def test_a_finite_value_too_large_is_broken(source, value, dtype, sign, neighbours):
    numbers = [number for number in neighbours if source.is_floating_point or math.isfinite(number)]
    if not source.is_signed and sign < 0:
        sign, numbers = 1, [abs(number) for number in numbers]
    if not source.is_signed:
        numbers = [abs(number) for number in numbers]
    values = column([*numbers, sign * value, *numbers], source)
    error = broken(lambda: stored(values, dtype=dtype, width=1))
    assert f"{float(column([value], source)):.6g}" in error.cause
    assert dtype in error.cause
    assert "field_dtypes" in error.remedy
    assert "volume_velocity" in error.remedy


@pytest.mark.parametrize("neighbours", NEIGHBOURS.values(), ids=NEIGHBOURS)
@pytest.mark.parametrize(("source", "value", "dtype", "expected"), FITS)
def test_a_value_that_rounds_to_the_largest_is_kept(source, value, dtype, expected, neighbours):
    numbers = [number for number in neighbours if source.is_floating_point or math.isfinite(number)]
    rows = stored(column([*numbers, value, -value], source), dtype=dtype, width=1)[-2:, 0]
    assert rows.tolist() == [expected, -expected]


@pytest.mark.parametrize(
    ("source", "value", "dtype", "wider"),
    [
        (f32, 1e5, "float16", "float32"),
        (bf16, 1e38, "float16", "float32"),
        (torch.int64, 70000, "float16", "float32"),
        (f64, 1e39, "float32", "float64"),
        (f64, 1e39, "float16", "float64"),
    ],
    ids=str,
)
def test_the_remedy_for_overflow_names_a_dtype_that_holds_the_value(source, value, dtype, wider):
    tensor = column([value], source)
    error = broken(lambda: stored(tensor, dtype=dtype, width=1))
    assert f"field_dtypes: {{volume_velocity: {wider}}}" in error.remedy
    assert np.isfinite(stored(tensor, dtype=wider, width=1)).all()


@each_dtype
@pytest.mark.parametrize(
    "source", [f16, f32, f64, bf16, torch.float8_e5m2], ids=lambda kind: str(kind)
)
@pytest.mark.parametrize(
    "values",
    [[INF], [-INF], [NAN], [INF, -INF, NAN, 1.0], [NAN, 1.0], [INF, 1.0, -INF]],
    ids=str,
)
def test_nan_and_infinity_of_the_source_are_kept(source, values, dtype):
    rows = stored(column(values, source), dtype=dtype, width=1)
    np.testing.assert_array_equal(rows[:, 0], np.array(values, dtype))


def test_an_overflow_in_the_last_of_many_values_is_seen():
    tensor = torch.zeros(100_000, 3)
    tensor[-1, -1] = -70000.0
    broken(lambda: stored(tensor))
