"""A manifest that is damaged, incomplete or hostile is a StoreError that names file and place."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerozarr.errors import StoreError
from aerozarr.store.format.manifest import Manifest

GOOD: dict[str, Any] = {
    "dataset_name": "cars",
    "format_version": 1,
    "shuffle_seed": -3,
    "coords_dtype": "float32",
    "values_dtype": "float16",
    "compressor": "blosc-zstd-5",
    "domains": {
        "surface": {
            "position": "surface_position",
            "arrays": {
                "surface_position": {
                    "array_name": "surface/position",
                    "field": "surface_position",
                    "dtype": "float32",
                    "dim": 3,
                }
            },
        }
    },
    "samples": {
        "deep/a": {
            "relpath": "deep/a.zarr",
            "domains": {
                "surface": {"n_points": 10, "chunk_points": 4, "shard_points": 8, "n_chunks": 3}
            },
        }
    },
}
GRID = ("samples", "deep/a", "domains", "surface")
ARRAY = ("domains", "surface", "arrays", "surface_position")


def parse(manifest: object) -> Manifest:
    return Manifest.parse(json.dumps(manifest).encode(), "/data/store/manifest.json")


def with_value(place: tuple[str, ...], value: object) -> dict[str, Any]:
    changed: Any = copy.deepcopy(GOOD)
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return changed


def without(place: tuple[str, ...]) -> dict[str, Any]:
    changed: Any = copy.deepcopy(GOOD)
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    del inner[place[-1]]
    return changed


def test_a_good_one_is_read_and_written_as_it_was() -> None:
    assert parse(GOOD).to_bytes() == json.dumps(GOOD, indent=2).encode()


def test_keys_that_are_not_known_are_ignored() -> None:
    assert parse({**GOOD, "later": 1}).samples.keys() == {"deep/a"}


@pytest.mark.parametrize(
    "place",
    [(key,) for key in GOOD]
    + [(*GRID, k) for k in GOOD["samples"]["deep/a"]["domains"]["surface"]]
    + [(*ARRAY, k) for k in ("array_name", "field", "dtype", "dim")]
    + [("samples", "deep/a", "relpath"), ("samples", "deep/a", "domains"), GRID],
)
def test_a_missing_key_is_named(place: tuple[str, ...]) -> None:
    with pytest.raises(StoreError, match=r"^/data/store/manifest\.json is damaged: ") as caught:
        parse(without(place))
    assert place[-1] in str(caught.value)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ((*GRID, "n_points"), 0),
        ((*GRID, "n_points"), -1),
        ((*GRID, "n_points"), 10**15),
        ((*GRID, "n_points"), float("nan")),
        ((*GRID, "n_points"), "10"),
        ((*GRID, "n_points"), 10.0),
        ((*GRID, "n_points"), True),
        ((*GRID, "chunk_points"), 0),
        ((*GRID, "shard_points"), None),
        ((*GRID, "n_chunks"), [3]),
        ((*ARRAY, "dim"), 0),
        ((*ARRAY, "dim"), 2**40),
        ((*ARRAY, "dtype"), "object; rm"),
        ((*ARRAY, "array_name"), "../other.zarr/surface/position"),
        ((*ARRAY, "array_name"), "/etc/passwd"),
        ((*ARRAY, "array_name"), "surface//position"),
        (("samples", "deep/a", "relpath"), "../../secret.zarr"),
        (("samples", "deep/a", "relpath"), "/secret.zarr"),
        (("samples", "deep/a", "relpath"), "a\\..\\b.zarr"),
        (("samples", "deep/a", "relpath"), "a\0b.zarr"),
        (("samples", "deep/a", "relpath"), ""),
        (("samples",), []),
        (("domains",), "surface"),
        (("samples", "deep/a"), None),
        (("dataset_name",), 7),
        (("shuffle_seed",), "0"),
    ],
)
def test_a_value_that_cannot_be_is_named(place: tuple[str, ...], value: object) -> None:
    with pytest.raises(StoreError, match=r"^/data/store/manifest\.json is damaged: ") as caught:
        parse(with_value(place, value))
    assert ".".join(place[:2]) in str(caught.value)


def test_a_sample_without_a_domain_of_the_store_is_named() -> None:
    with pytest.raises(StoreError, match="the sample 'deep/a' has the domains of none"):
        parse(with_value(("samples", "deep/a", "domains"), {}))


def test_a_domain_without_its_position_is_named() -> None:
    with pytest.raises(StoreError, match="has no array 'surface_points'"):
        parse(with_value(("domains", "surface", "position"), "surface_points"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"7",
        b'{"format_version": 1',
        b"\xff\xfe",
        json.dumps(GOOD).encode()[:-40],
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_is_no_manifest_is_damaged(content: bytes) -> None:
    with pytest.raises(StoreError, match=r"manifest\.json is damaged"):
        Manifest.parse(content, "/data/store/manifest.json")


@pytest.mark.parametrize("rest", [{}, {"samples": [1]}])
def test_another_version_is_told_by_both_numbers(rest: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match="is of format version 7, this aerozarr reads version 1"):
        parse({**GOOD, **rest, "format_version": 7})


def test_control_characters_never_reach_the_terminal() -> None:
    bad = with_value(("samples", "\x1b[2J"), {"relpath": "a.zarr", "domains": {}})
    with pytest.raises(StoreError) as caught:
        parse(bad)
    assert "\x1b" not in str(caught.value)


VALUES: Callable[..., Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
PLACES = [(key,) for key in GOOD] + [
    GRID,
    ARRAY,
    *((*GRID, key) for key in GOOD["samples"]["deep/a"]["domains"]["surface"]),
    *((*ARRAY, key) for key in ("array_name", "field", "dtype", "dim")),
]


@settings(max_examples=300, deadline=None)
@given(place=st.sampled_from(PLACES), value=VALUES)
def test_whatever_stands_anywhere_is_read_or_refused(place: tuple[str, ...], value: Any) -> None:
    with contextlib.suppress(StoreError):
        parse(with_value(place, value))
