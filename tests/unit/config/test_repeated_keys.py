"""Tests of keys that a file of settings names twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from aerozarr.config.repeated_keys import check_no_key_twice
from aerozarr.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("store: a\nlimit: 1\nstore: b\n", "store stands there twice, on lines 1 and 3"),
        ("fields:\n  T: {width: 1}\n  S: {}\n  T: {width: 3}\n", "fields.T .* lines 2 and 4"),
        ("fields: {T: {width: 1,\n  width: 3}}\n", "fields.T.width .* lines 1 and 2"),
        ("fields: {T: {}, T: {width: 3}}\n", "fields.T .* lines 1 and 1"),
        ('{"store": "a",\n "store": "b"}', "store .* lines 1 and 2"),
        ("exclude:\n- {a: 1,\n   a: 2}\n", "exclude.a .* lines 2 and 3"),
    ],
)
def test_a_key_that_stands_there_twice_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=told):
        check_no_key_twice([path])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "store: a\nfields: {T: {store: b}, S: {store: b}}\n",
        "1: a\n'1': b\n",
        "a: &x {b: 1}\nc: {<<: *x, b: 2}\n",
        "no: [mapping",
        "a: &x [*x]\n",
        "a: &x {b: *x}\n",
        "- a\n- a\n",
    ],
)
def test_all_else_is_left_to_who_reads_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    check_no_key_twice([path, tmp_path / "not-there.yaml"])
