"""Specification of moments: exact in float64, however the values are cut, counted and merged."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerozarr.convert.accumulate import moments_of
from aerozarr.convert.fragment import FieldRecord, Fragment, read_fragment
from aerozarr.convert.rounding import Rounding
from aerozarr.store.format.moments import Moments
from unit.store_helpers import Array

pytestmark = pytest.mark.filterwarnings("error")

INF, NAN = math.inf, math.nan
EXACT = ("rows", "finite", "nans", "infinities", "low", "high")
ROUNDED = ("mean", "m2", "log_mean", "log_m2")
# From where on rows are looked at in blocks, and float16 values are counted.
BLOCK, COUNTED = 2**15, 2**16

each_dtype = pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
many_examples = settings(max_examples=100, deadline=None, database=None, derandomize=True)


def two_passes(values: Array) -> tuple[float, float]:
    """Mean and sum of squared deviations, the mean put right by what its deviations sum to."""
    if not len(values):
        return 0.0, 0.0
    mean = values.mean()
    mean += (values - mean).mean()
    return float(mean), float(np.square(values - mean).sum())


def expected(values: Array) -> dict[str, Any]:
    """The moments by their definition, over all values at once."""
    found: dict[str, Any] = {"rows": len(values)}
    for column in values.astype(np.float64).T:
        finite = column[np.isfinite(column)]
        mean, m2 = two_passes(finite)
        log_mean, log_m2 = two_passes(np.sign(finite) * np.log1p(np.abs(finite)))
        of_column = {
            "finite": len(finite),
            "nans": int(np.isnan(column).sum()),
            "infinities": int(np.isinf(column).sum()),
            "low": float(finite.min()) if len(finite) else None,
            "high": float(finite.max()) if len(finite) else None,
            "mean": mean,
            "m2": m2,
            "log_mean": log_mean,
            "log_m2": log_m2,
        }
        for name, value in of_column.items():
            found.setdefault(name, []).append(value)
    return found


def agree(found: Moments, wanted: dict[str, Any], *, tiny: float = 0.0) -> bool:
    """Counts and extremes are the same; the rest to 1e-9, or to `tiny` where that is more."""
    content = asdict(found)
    assert content.keys() == wanted.keys()
    assert {name: content[name] for name in EXACT} == {name: wanted[name] for name in EXACT}
    for name in ROUNDED:
        assert content[name] == pytest.approx(wanted[name], rel=1e-9, abs=tiny), name
    return True


def random_rows(
    rows: int, width: int = 3, *, dtype: str = "float32", offset: float = 0.3, seed: int = 0
) -> Array:
    """Rows whose components differ in scale, and whose means are not near zero."""
    generator = np.random.default_rng(seed)
    scales = np.array([1.0, 100.0, 1e-3])[:width]
    return ((generator.standard_normal((rows, width)) + offset) * scales).astype(dtype)


# Exact -----------------------------------------------------------------------------------------


@each_dtype
@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("rows", [1, 2, 3, 1000, BLOCK + 7])
def test_moments_are_those_of_float64_over_all_values(dtype, width, rows):
    values = random_rows(rows, width, dtype=dtype)
    assert agree(moments_of(values), expected(values))


@each_dtype
@pytest.mark.parametrize(
    "rows",
    [size + more for size in (BLOCK, 2 * BLOCK, COUNTED, 3 * COUNTED) for more in (-1, 0, 1)],
)
def test_moments_do_not_depend_on_where_blocks_end_and_counting_begins(dtype, rows):
    values = random_rows(rows, 2, dtype=dtype)
    assert agree(moments_of(values), expected(values))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("offset", [1e6, -1e6, 1e4])
@pytest.mark.parametrize("rows", [2, 1000, 3 * BLOCK + 11, COUNTED + 1])
def test_a_large_offset_costs_no_digits(dtype, offset, rows):
    # The sum of squares less the squared sum would keep three or four digits of these.
    values = (offset + np.random.default_rng(1).uniform(-1, 1, (rows, 2))).astype(dtype)
    found = moments_of(values)
    assert agree(found, expected(values))
    assert math.sqrt(found.m2[0] / (rows - 1)) < 2


@pytest.mark.parametrize("offset", [1000.0, -1000.0, 8.0])
@pytest.mark.parametrize("rows", [2, 1000, COUNTED + 1])
def test_a_large_offset_of_float16_costs_no_digits(offset, rows):
    values = (offset + np.random.default_rng(1).uniform(-1, 1, (rows, 2))).astype("float16")
    assert agree(moments_of(values), expected(values))


@pytest.mark.parametrize("offset", [1e6, -1e6, 1e3])
def test_merging_parts_with_a_large_offset_costs_no_digits(offset):
    generator = np.random.default_rng(2)
    parts = [offset + generator.uniform(-1, 1, (rows, 1)) for rows in (1, 5, 40_000, 3, 700)]
    merged = Moments.merged([moments_of(part) for part in parts])
    assert agree(merged, expected(np.concatenate(parts)))


def test_values_that_are_not_contiguous_have_the_same_moments():
    values = random_rows(1000, 3, dtype="float16")
    wide = np.concatenate([values, values], axis=1)
    for same in (np.asfortranarray(values), wide[:, 3:], values[::-1]):
        assert agree(moments_of(same), expected(values))


def test_the_values_are_left_as_they_are():
    values = random_rows(1000, 1, dtype="float64")
    before = values.copy()
    moments_of(values)
    assert np.array_equal(values, before)


# What is not usual -----------------------------------------------------------------------------


@each_dtype
def test_one_row_is_its_own_mean_with_no_spread(dtype):
    found = moments_of(np.array([[1.5, -2.0, 0.0]], dtype=dtype))
    assert (found.rows, found.finite) == (1, [1, 1, 1])
    assert found.mean == found.low == found.high == [1.5, -2.0, 0.0]
    assert found.m2 == found.log_m2 == [0.0, 0.0, 0.0]
    assert found.log_mean == pytest.approx([math.log(2.5), -math.log(3), 0.0], rel=1e-15)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("rows", [2, 1000, BLOCK + 1, COUNTED + 1])
@pytest.mark.parametrize("value", [0.1, -1000.3, 0.0, 6e-8])
def test_a_constant_has_no_spread_at_all(dtype, rows, value):
    # Not even one of rounding: who divides by the standard deviation would blow that up.
    values = np.full((rows, 1), value, dtype=dtype)
    found = Moments.merged([moments_of(values), moments_of(values[:7])])
    assert found.m2 == [0.0]
    assert found.mean == found.low == found.high == [float(values[0, 0])]


HOLES = {
    "nan": [NAN],
    "infinity": [INF],
    "minus-infinity": [-INF],
    "all-of-them": [NAN, INF, -INF, NAN],
}


@each_dtype
@pytest.mark.parametrize("rows", [10, COUNTED + 3])
@pytest.mark.parametrize("holes", HOLES.values(), ids=HOLES)
def test_what_is_not_finite_is_counted_by_component_and_nothing_more(dtype, rows, holes):
    values = random_rows(rows, 3, dtype=dtype)
    values[2 : 2 + len(holes), 1] = holes
    found = moments_of(values)
    assert agree(found, expected(values))
    assert found.finite == [rows, rows - len(holes), rows]
    assert found.nans == [0, sum(map(math.isnan, holes)), 0]
    assert found.infinities == [0, sum(map(math.isinf, holes)), 0]


@each_dtype
@pytest.mark.parametrize("rows", [1, 10, BLOCK + 1, COUNTED + 1])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_component_without_a_finite_value_has_no_extremes(dtype, rows, value):
    found = moments_of(np.full((rows, 2), value, dtype=dtype))
    assert (found.rows, found.finite) == (rows, [0, 0])
    assert found.low == found.high == [None, None]
    assert found.mean == found.m2 == found.log_mean == found.log_m2 == [0.0, 0.0]


@pytest.mark.parametrize("times", [1, 4])
def test_every_float16_there_is(times):
    # All bit patterns, with subnormals, both zeros and every NaN; four times that is counted.
    values = np.tile(np.arange(2**16, dtype=np.uint16), times).view(np.float16)[:, None]
    found = moments_of(values)
    assert agree(found, expected(values), tiny=1e-6)  # the means are zero
    assert (found.nans, found.infinities) == ([2046 * times], [2 * times])
    assert (found.low, found.high) == ([-65504.0], [65504.0])


@pytest.mark.parametrize("seed", range(3))
def test_counted_values_have_the_moments_of_the_same_values_one_by_one(seed):
    generator = np.random.default_rng(seed)
    bits = generator.integers(0, 2**16, (COUNTED + 5, 3), dtype=np.uint16)
    counted = bits.view(np.float16)
    one_by_one = moments_of(counted.astype(np.float32))
    assert agree(moments_of(counted), asdict(one_by_one), tiny=1e-6)


def test_values_whose_squares_overflow_keep_their_extremes_and_counts():
    values = np.array([[1e200], [-1e300], [NAN]])
    found = Moments.merged([moments_of(values), moments_of(values)])
    assert (found.low, found.high) == ([-1e300], [1e200])
    assert (found.finite, found.nans) == ([4], [2])
    assert found.mean == pytest.approx([-5e299])
    assert not math.isfinite(found.m2[0])


# Merging ---------------------------------------------------------------------------------------

numbers = st.one_of(
    st.floats(-1e6, 1e6, width=32),
    st.floats(1e6 - 1, 1e6 + 1),
    st.sampled_from([0.0, -0.0, NAN, INF, -INF]),
)
columns = st.lists(st.tuples(numbers, numbers), min_size=3, max_size=40)


def cut(values: Array, places: Sequence[int]) -> list[Array]:
    bounds = sorted({0, len(values), *(place % len(values) for place in places)})
    return [values[first:last] for first, last in pairwise(bounds)]


def tiny_of(values: Array) -> float:
    """Of the order of the rounding of one float64 operation on such values, or its square."""
    magnitude = float(np.abs(values, where=np.isfinite(values), out=np.zeros_like(values)).max())
    return 1e-13 * (1 + magnitude) * len(values)


@given(columns, st.lists(st.integers(0, 100), max_size=6))
@many_examples
def test_however_values_are_cut_their_parts_merge_to_the_same(rows, places):
    values = np.array(rows)
    parts = [moments_of(part) for part in cut(values, places)]
    assert agree(Moments.merged(parts), expected(values), tiny=tiny_of(values))


@given(columns, st.lists(st.integers(0, 100), min_size=2, max_size=6))
@many_examples
def test_merging_is_associative_and_its_order_does_not_matter(rows, places):
    values = np.array(rows)
    parts = [moments_of(part) for part in cut(values, places)]
    left = right = at_once = Moments.merged(parts)
    if len(parts) > 1:
        left = Moments.merged([Moments.merged(parts[:-1]), parts[-1]])
        right = Moments.merged([parts[0], Moments.merged(parts[1:])])
    tiny = tiny_of(values)
    for other in (left, right, Moments.merged(parts[::-1])):
        assert agree(other, asdict(at_once), tiny=tiny)


@pytest.mark.parametrize("sizes", [[1], [1, 1], [1, 50_000, 2], [BLOCK, 3, COUNTED, 1, 999]])
@each_dtype
def test_samples_of_different_sizes_count_by_their_rows(dtype, sizes):
    parts = [random_rows(n, dtype=dtype, offset=k + 0.5, seed=k) for k, n in enumerate(sizes)]
    merged = Moments.merged([moments_of(part) for part in parts])
    assert agree(merged, expected(np.concatenate(parts)))


def test_a_part_without_finite_values_adds_its_rows_alone():
    values, holes = random_rows(10), np.full((4, 3), NAN, dtype="float32")
    for order in ([values, holes], [holes, values], [holes, values, holes]):
        merged = Moments.merged([moments_of(part) for part in order])
        assert agree(merged, expected(np.concatenate(order)))


def test_thousands_of_parts_merge_without_loss():
    parts = [1e6 + random_rows(5, 2, seed=seed, dtype="float64") for seed in range(3000)]
    merged = Moments.merged([moments_of(part) for part in parts])
    assert agree(merged, expected(np.concatenate(parts)))


# As text ---------------------------------------------------------------------------------------


@given(st.lists(st.floats(allow_subnormal=True), min_size=1, max_size=20))
@many_examples
def test_moments_are_read_from_a_fragment_as_they_were_written(tmp_path_factory, column):
    written = moments_of(np.array(column)[:, None])
    fields = {"f": FieldRecord(written, Rounding())}
    path = tmp_path_factory.mktemp("fragments") / "key.json"
    path.write_bytes(Fragment(sample_id="s", status="converted", fields=fields).to_json())
    # As text, because a NaN is not equal to itself.
    assert repr(read_fragment(path).fields["f"].moments) == repr(written)
