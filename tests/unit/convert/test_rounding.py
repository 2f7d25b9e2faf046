"""Specification of the rounding error: what a cast to the storage dtype changed."""

import json
import math
from dataclasses import asdict, replace
from fractions import Fraction

import numpy as np
import pytest

from aerozarr.convert.rounding import Rounding, rounding_warnings
from unit.store_helpers import Array

pytestmark = pytest.mark.filterwarnings("error")

INF, NAN = math.inf, math.nan
NOTHING = Rounding(values=0, max_absolute=0.0, max_relative=0.0, flushed=0)


def of(source: Array, dtype: str = "float16") -> Rounding:
    return Rounding.of(source, source.astype(dtype))


def errors_of(found: Rounding) -> Rounding:
    """Without the range of the source's values."""
    return replace(found, low=None, high=None)


def by_hand(source: Array, stored: Array) -> tuple[int, float, float, int]:
    """Value for value, in whole fractions."""
    pairs = [
        (Fraction(before), Fraction(after))
        for before, after in zip(source.ravel().tolist(), stored.ravel().tolist(), strict=True)
        if math.isfinite(before)
    ]
    absolute = [abs(after - before) for before, after in pairs]
    relative = [abs((after - before) / before) for before, after in pairs if before]
    flushed = sum(1 for before, after in pairs if before and not after)
    return len(pairs), float(max(absolute)), float(max(relative, default=0)), flushed


@pytest.mark.parametrize(
    ("source", "stored"),
    [("float32", "float16"), ("float64", "float16"), ("float64", "float32"), ("int32", "float16")],
)
@pytest.mark.parametrize("scale", [1.0, 1e-7, 1000.0])
def test_the_error_is_the_greatest_of_any_value(source, stored, scale):
    values = (np.random.default_rng(0).standard_normal((200, 3)) * scale).astype(source)
    kept = values.astype(stored)
    found = Rounding.of(values, kept)
    count, absolute, relative, flushed = by_hand(values, kept)
    assert (found.values, found.flushed) == (count, flushed)
    assert found.max_absolute == pytest.approx(absolute, rel=1e-12)
    assert found.max_relative == pytest.approx(relative, rel=1e-12)


def test_a_known_error():
    # Half a unit in the last place of 2049 in float16 is 1.
    found = of(np.array([[2049.0], [1.0]], dtype="float32"))
    assert (found.low, found.high) == (1.0, 2049.0)
    assert errors_of(found) == Rounding(
        values=2, max_absolute=1.0, max_relative=1 / 2049, flushed=0
    )


def test_values_flushed_to_zero_are_counted_and_zeros_are_not():
    found = of(np.array([[1e-9, -1e-9, 0.0, -0.0, 1.0]]))
    assert (found.values, found.flushed) == (5, 2)
    assert (found.max_absolute, found.max_relative) == (1e-9, 1.0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("kept", ["float16", "float32", "float64"])
def test_what_is_not_finite_in_the_source_is_not_compared(dtype, kept):
    source = np.array([[NAN, INF, -INF, 1.0]], dtype=dtype)
    assert errors_of(of(source, kept)) == Rounding(
        values=1, max_absolute=0.0, max_relative=0.0, flushed=0
    )
    assert of(source[:, :3], kept) == NOTHING


@pytest.mark.parametrize("wider", [("float16", "float32"), ("float32", "float64")])
def test_a_wider_storage_dtype_changes_nothing(wider):
    source = np.random.default_rng(0).standard_normal((50, 2)).astype(wider[0])
    assert errors_of(of(source, wider[1])) == Rounding(values=100)


def test_the_least_float64_of_all_is_flushed_and_not_divided_by_zero():
    found = of(np.array([[5e-324]]), "float32")
    assert (found.max_absolute, found.max_relative, found.flushed) == (5e-324, 1.0, 1)


def test_parts_merge_to_what_the_whole_has():
    source = np.random.default_rng(0).standard_normal((90, 3)) * 1e-6
    stored = source.astype("float16")
    cuts = [slice(0, 1), slice(1, 40), slice(40, 90)]
    parts = [Rounding.of(source[part], stored[part]) for part in cuts]
    whole = Rounding.of(source, stored)
    assert Rounding.merged(parts) == Rounding.merged(parts[::-1]) == whole
    assert Rounding.merged([Rounding.merged(parts[:2]), parts[2]]) == whole
    assert Rounding.merged([*parts, NOTHING]) == whole
    assert Rounding.merged([]) == NOTHING
    assert whole.flushed > 0


def test_it_is_read_from_json_as_it_was_written():
    written = of(np.random.default_rng(0).standard_normal((90, 3)))
    assert Rounding(**json.loads(json.dumps(asdict(written)))) == written


def test_a_record_of_an_earlier_version_is_read():
    earlier = Rounding(values=5, max_absolute=1.0, max_relative=0.5, flushed=2)
    assert earlier.of_range == 0
    assert Rounding.merged([earlier, Rounding(low=1.0, high=3.0)]).high == 3.0


DICE = np.random.default_rng(0)
LOSSES = {
    "flushed": (DICE.uniform(1e-8, 2.5e-8, (400, 1)), "100% of the values become zero"),
    "merged": (50_000 + DICE.uniform(-10, 10, (400, 1)), "of the range of the values"),
}


@pytest.mark.parametrize(("source", "told"), list(LOSSES.values()), ids=list(LOSSES))
def test_a_field_that_loses_much_is_told_with_a_remedy_that_keeps_it(source, told):
    lost = of(source)
    assert len(np.unique(source.astype("float16"))) <= 2
    fine = of(np.linspace(-30, 30, 400)[:, None])
    dtypes = dict.fromkeys(("surface_area", "volume_velocity"), "float16")
    parts = {"surface_area": [fine, lost, lost], "volume_velocity": [fine] * 3}
    [line] = rounding_warnings(parts, dtypes)
    assert line.startswith("surface_area: as float16, ")
    assert told.replace("100%", "67%") in line
    assert "field_dtypes: {surface_area: float32}" in line
    kept = {"surface_area": [of(source, "float32")] * 3}
    assert rounding_warnings(kept, {"surface_area": "float32"}) == []


def test_one_sample_is_judged_by_its_own_range():
    parts = {"p": [of(level + DICE.uniform(-10, 10, (400, 1))) for level in (2e4, 5e4)]}
    [line] = rounding_warnings(parts, {"p": "float16"})
    assert "(2 of 2 samples)" in line


def test_what_rounding_leaves_as_it_is_is_not_told():
    quiet = {
        "noise": [of(DICE.standard_normal((400, 3)))],
        "offset": [of(5 + DICE.standard_normal((400, 1)))],
        "constant": [of(np.full((400, 1), 1 / 3))],
        "zero": [of(np.zeros((400, 1)))],
        "not finite": [of(np.full((4, 1), NAN))],
    }
    assert rounding_warnings(quiet, dict.fromkeys(quiet, "float16")) == []
