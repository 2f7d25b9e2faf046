"""Specification of the setting `keep_points`: what it may be, and which domains it is of."""

from __future__ import annotations

from typing import Any

import pytest

from aerozarr.config.fields import domains_of
from aerozarr.config.load_settings import load_settings
from aerozarr.config.settings import settings_from_json, settings_to_json
from aerozarr.errors import SettingsError

FILEMAP = {"surface_position": "x.pt", "volume_position": "v.pt", "volume_pressure": "p.pt"}


def kept(keep_points: Any) -> dict[str, int | float | None]:
    settings = load_settings(
        {"filemap": FILEMAP, "source_url": "source", "keep_points": keep_points}
    )
    # As every job gets them: a share of 1.0 must not become one point.
    settings = settings_from_json(settings_to_json(settings))
    return {domain.name: domain.keep_points for domain in domains_of(FILEMAP, settings)}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, (None, None)),
        ({}, (None, None)),
        (0.1, (0.1, 0.1)),
        (5000, (5000, 5000)),
        ({"volume": 0.1}, (None, 0.1)),
        ({"volume": 1.0, "surface": 1}, (1, 1.0)),
        ({"volume": "0.25", "surface": "300"}, (300, 0.25)),  # as the command line has them
        ("1e-3", (0.001, 0.001)),  # as YAML has it
    ],
)
def test_a_share_or_a_number_of_one_or_all_domains(given: Any, expected: tuple[Any, Any]) -> None:
    found = kept(given)
    assert (found["surface"], found["volume"]) == expected
    assert [type(one) for one in found.values()] == [type(one) for one in expected]


@pytest.mark.parametrize(
    "wrong",
    [0, 0.0, -1, -0.1, 1.5, True, "half", "nan", [0.1], {"volume": 0}, {"volume": None}, {1: 2}],
    ids=repr,
)
def test_what_is_neither_is_refused_in_one_line(wrong: Any) -> None:
    with pytest.raises(SettingsError) as refused:
        kept(wrong)
    _, line = str(refused.value).splitlines()
    assert line.strip().startswith("keep_points: ")
    assert "Give a share above 0 and up to 1.0, or a whole number of points" in line


def test_a_domain_that_there_is_not_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"'volum' is no domain.* Did you mean volume"):
        kept({"volum": 0.1})
