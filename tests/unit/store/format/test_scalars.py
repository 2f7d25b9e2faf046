"""Specification of scalars in the attributes of a group: how they are written, and read again."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from aerozarr.config.scalars import Scalar
from aerozarr.store.format.scalars import (
    MalformedScalarsError,
    ScalarValue,
    parse_scalars,
    scalar_attributes,
)


def test_values_and_what_is_said_of_them_are_two_attributes() -> None:
    values: dict[Scalar, ScalarValue] = {
        Scalar("inflow", "c.json", "U", "m/s", "inflow velocity"): 38.9,
        Scalar("case", "c.json", "name"): "belt",
        Scalar("moves", "c.json", "moves"): True,
        Scalar("params", "d.pt", unit="m"): [0.1, math.nan],
        Scalar("drag", "f.csv", "Cd"): math.inf,
        Scalar("lift", "f.csv", "Cl"): -math.inf,
    }
    attributes = scalar_attributes(values)
    assert attributes == {
        "scalars": {
            "inflow": 38.9,
            "case": "belt",
            "moves": True,
            "params": [0.1, "NaN"],
            "drag": "Infinity",
            "lift": "-Infinity",
        },
        "scalar_attributes": {
            "inflow": {"units": "m/s", "long_name": "inflow velocity"},
            "params": {"units": "m"},
        },
    }
    found = parse_scalars(json.loads(json.dumps(attributes, allow_nan=False)))
    expected = {scalar.name: value for scalar, value in values.items()}
    assert list(found) == list(expected)
    assert repr(found) == repr(expected)  # nan is not nan


def test_without_scalars_there_are_no_attributes() -> None:
    assert scalar_attributes({}) == {}
    assert "scalar_attributes" not in scalar_attributes({Scalar("drag", "f.csv", "Cd"): 0.3})


@pytest.mark.parametrize("attributes", [None, 3, [], {}, {"units": "K"}, {"scalars": {}}])
def test_a_group_without_scalars_has_none(attributes: Any) -> None:
    assert parse_scalars(attributes) == {}


@pytest.mark.parametrize(
    "value", [None, {}, {"a": 1}, [[1]], [None], ["x"], [True], 10**400, [10**400]]
)
def test_what_is_no_scalar_is_malformed(value: Any) -> None:
    with pytest.raises(MalformedScalarsError, match="its scalar 'x' is no number, text or list"):
        parse_scalars({"scalars": {"x": value}})


@pytest.mark.parametrize("value", [None, 3, [1.0], "x"])
def test_scalars_that_are_no_object_are_malformed(value: Any) -> None:
    with pytest.raises(MalformedScalarsError, match="its attribute 'scalars' is no object"):
        parse_scalars({"scalars": value})
