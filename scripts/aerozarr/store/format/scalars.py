"""The scalars of a sample, as they are in the attributes of its group."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from aerozarr.config.scalars import Scalar

ScalarValue = float | bool | str | list[float]
"""A scalar: a number, a text, true or false, or a short vector."""

# The attributes of a group: values by name, and of each what is known of it.
VALUES, DESCRIPTIONS = "scalars", "scalar_attributes"

# JSON has no such numbers; Zarr writes them so, as fill values.
NUMBERS_AS_TEXT = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class MalformedScalarsError(Exception):
    """Attributes that hold no scalars of this format; the text says why."""


def scalar_attributes(values: Mapping[Scalar, ScalarValue]) -> dict[str, Any]:
    """Return the attributes of a group for a sample's scalars; none without any.

    Parameters
    ----------
    values
        In the order in which they are written.

    Returns
    -------
    dict
        Plain JSON: numbers that are not finite are texts.
    """
    if not values:
        return {}
    attributes: dict[str, Any] = {
        VALUES: {scalar.name: _encoded(value) for scalar, value in values.items()}
    }
    said = {scalar.name: _description(scalar) for scalar in values}
    described = {name: description for name, description in said.items() if description}
    if described:
        attributes[DESCRIPTIONS] = described
    return attributes


def _description(scalar: Scalar) -> dict[str, str]:
    said = {"units": scalar.unit, "long_name": scalar.long_name}
    return {name: text for name, text in said.items() if text is not None}


def _encoded(value: ScalarValue) -> Any:
    if isinstance(value, list):
        return [_encoded(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def parse_scalars(attributes: object) -> dict[str, ScalarValue]:
    """Return the scalars in a group's attributes; none where it has none.

    Raises
    ------
    MalformedScalarsError
        When something is there that is no scalar.
    """
    found = attributes.get(VALUES, {}) if isinstance(attributes, dict) else {}
    if not isinstance(found, dict):
        raise MalformedScalarsError(f"its attribute {VALUES!r} is no object")
    return {name: _parsed(name, value) for name, value in found.items()}


def _parsed(name: str, value: object) -> ScalarValue:
    if isinstance(value, bool):
        return value
    if isinstance(value, list):
        return [_parsed_number(name, item) for item in value]
    if isinstance(value, str) and value not in NUMBERS_AS_TEXT:
        return value
    return _parsed_number(name, value)


def _parsed_number(name: str, value: object) -> float:
    if isinstance(value, str) and value in NUMBERS_AS_TEXT:
        return NUMBERS_AS_TEXT[value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise MalformedScalarsError(
        f"its scalar {ascii(name)[:100]} is no number, text or list of numbers"
    )
