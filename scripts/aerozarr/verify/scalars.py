"""Whether a group's scalars are the source's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import zarr

from aerozarr.config.scalars import Scalar
from aerozarr.errors import BrokenSample
from aerozarr.messages import printable, redacted
from aerozarr.source.files.scalars import as_scalar
from aerozarr.source.source import Loader
from aerozarr.store.format.scalars import DESCRIPTIONS, VALUES, scalar_attributes
from aerozarr.verify.expected import CONVERT_ANEW, MEND_SOURCE, Problem
from aerozarr.verify.group import Group

# The attributes of a group that hold scalars, and what is in each.
_SCALARS = {VALUES: "the scalar", DESCRIPTIONS: "what is said of the scalar"}


def check_scalars(group: Group, load: Loader, scalars: tuple[Scalar, ...]) -> Iterable[Problem]:
    """Yield the scalars that are not the source's, or are not said of as the settings do."""
    try:
        found = zarr.open_group(group.zarr, mode="r").attrs.asdict()
    except (ValueError, KeyError, TypeError, RecursionError):
        return  # which is said of the metadata itself
    expected: dict[str, Any] = {}
    for scalar in scalars:
        try:
            values = scalar_attributes({scalar: as_scalar(load(scalar), scalar)})
        except BrokenSample as error:
            what = "the source's file cannot be read"
            if scalar.is_of_table:
                what = f"{redacted(scalar.file)} gives no value"
            what = f"{what}: {error.cause}"
            yield Problem(scalar.name, what, MEND_SOURCE)
            # Of this one nothing is known.
            values = {key: {scalar.name: _entry(found, key, scalar.name)} for key in _SCALARS}
        for key, entries in values.items():
            expected.setdefault(key, {}).update(entries)
    names = dict.fromkeys(
        name
        for attributes in (expected, found)
        for key in _SCALARS
        for name in _entries(attributes, key)
    )
    for name in names:
        for key, called in _SCALARS.items():
            stored, source = _entry(found, key, name), _entry(expected, key, name)
            # As JSON has them: numbers are written with all their digits.
            if json.dumps(stored) != json.dumps(source):
                what = f"{called} stored is {_shown(stored)}, the source's is {_shown(source)}"
                yield Problem(printable(name), what, CONVERT_ANEW)


def _entries(attributes: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = attributes.get(key)
    return found if isinstance(found, dict) else {}


def _entry(attributes: Mapping[str, Any], key: str, name: str) -> Any:
    return _entries(attributes, key).get(name)


def _shown(value: Any) -> str:
    text = "missing" if value is None else printable(json.dumps(value))
    return text if len(text) <= 80 else f"{text[:80]} …"
