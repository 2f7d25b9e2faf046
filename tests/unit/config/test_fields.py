"""Specification of file maps, fields and domains, after the table of store-format.md."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from aerozarr.config.fields import Domain, domains_of
from aerozarr.config.filemap import files_in, is_optional, read_filemap, with_optional
from aerozarr.config.load_settings import load_settings
from aerozarr.errors import SettingsError

# attribute, domain, name, width, kind: in the order that the store's arrays follow
FORMAT = [
    ("surface_position", "surface", "position", 3, "coord"),
    ("surface_pressure", "surface", "pressure", 1, "value"),
    ("surface_friction", "surface", "friction", 3, "value"),
    ("surface_normals", "surface", "normals", 3, "value"),
    ("surface_area", "surface", "area", 1, "value"),
    ("volume_position", "volume", "position", 3, "coord"),
    ("volume_pressure", "volume", "pressure", 1, "value"),
    ("volume_velocity", "volume", "velocity", 3, "value"),
    ("volume_vorticity", "volume", "vorticity", 3, "value"),
    ("volume_normals", "volume", "normals", 3, "value"),
    ("surface_position_stl", "surface_stl", "position", 3, "coord"),
    ("surface_position_stl_resampled", "surface_stl_resampled", "position", 3, "coord"),
    ("volume_friction", "volume", "friction", 3, "value"),
    ("volume_distance_to_surface", "volume", "sdf", 1, "value"),
]
POSITION = {domain: attribute for attribute, domain, _, _, kind in FORMAT if kind == "coord"}
EVERYTHING = {attribute: f"{attribute}.pt" for attribute, *_ in FORMAT}

SMALL = {"surface_position": "points.pt", "surface_pressure": "p.pt"}


def domains(filemap: Any, **config: Any) -> tuple[Domain, ...]:
    read = read_filemap(filemap, where="filemap")
    return domains_of(read, load_settings({"source_url": "/data", **config}))


def dtypes(filemap: Any, **config: Any) -> dict[str, str]:
    return {
        field.canonical: field.dtype
        for domain in domains(filemap, **config)
        for field in domain.fields
    }


# Attributes, fields, domains


@pytest.mark.parametrize(
    ("attribute", "domain", "name", "width", "kind"), FORMAT, ids=[row[0] for row in FORMAT]
)
def test_an_attribute_is_the_field_of_the_format(
    attribute: str, domain: str, name: str, width: int, kind: str
) -> None:
    filemap = {attribute: "it.pt"} | {POSITION[domain]: "position.pt"}
    filemap[attribute] = "it.pt"
    [found] = domains(filemap, coords_dtype="float64", values_dtype="float32")
    [field] = [field for field in found.fields if field.file == "it.pt"]
    assert (found.name, field.domain, field.name, field.width) == (domain, domain, name, width)
    assert field.canonical == f"{domain}_{name}"
    assert field.array_name == f"{domain}/{name}"
    assert field.dtype == {"coord": "float64", "value": "float32"}[kind]


@pytest.mark.parametrize("turned", [False, True], ids=["in order", "in reverse order"])
def test_arrays_follow_the_format_however_the_file_map_is_written(turned: bool) -> None:
    written = dict(reversed(EVERYTHING.items())) if turned else EVERYTHING
    assert {d.name: [f.canonical for f in d.fields] for d in domains(written)} == {
        wanted: [f"{domain}_{name}" for _, domain, name, _, _ in FORMAT if domain == wanted]
        for wanted in POSITION
    }


def test_domains_come_by_ascending_name() -> None:
    names = [domain.name for domain in domains(EVERYTHING)]
    assert names == ["surface", "surface_stl", "surface_stl_resampled", "volume"]


@pytest.mark.parametrize("domain", POSITION)
def test_a_domain_knows_its_position(domain: str) -> None:
    [found] = [found for found in domains(EVERYTHING) if found.name == domain]
    assert found.position.canonical == f"{domain}_position"
    assert found.position.file == f"{POSITION[domain]}.pt"


def test_design_parameters_are_a_file_of_the_sample_and_no_array() -> None:
    filemap = {**SMALL, "design_parameters": "design.pt"}
    assert read_filemap(filemap, where="x")["design_parameters"] == "design.pt"
    assert [f.file for d in domains(filemap) for f in d.fields] == ["points.pt", "p.pt"]


def test_fields_may_share_a_file_when_each_says_which_columns() -> None:
    shared = {"surface_position": "all.pt[:, 0:3]", "surface_pressure": "all.pt[:,3]"}
    fields = [f for d in domains(shared) for f in d.fields]
    assert [f.file for f in fields] == ["all.pt", "all.pt"]
    assert [f.columns for f in fields] == [(0, 3), (3, 4)]
    assert files_in(read_filemap(shared, where="x").values()) == ["all.pt"]


def test_columns_change_what_decides_reconversion_only_where_there_are_some() -> None:
    (plain,), (columns,) = (
        domains({"surface_position": file}) for file in ("p.pt", "p.pt[:, 3:6]")
    )
    assert "columns" not in plain.described()["fields"][0]
    assert columns.described()["fields"][0]["columns"] == (3, 6)


def test_a_file_may_say_which_of_its_arrays_is_the_field() -> None:
    shared = {
        "surface_position": "all.npz::points[:, 0:3]",
        "surface_pressure": "all.npz::points[:, 3]",
        "volume_position": "all.npz::volume/points",
    }
    fields = [f for d in domains(shared) for f in d.fields]
    assert [f.file for f in fields] == ["all.npz"] * 3
    assert [f.key for f in fields] == ["points", "points", "volume/points"]
    assert [f.columns for f in fields] == [(0, 3), (3, 4), None]
    assert files_in(read_filemap(shared, where="x").values()) == ["all.npz"]


def test_a_key_changes_what_decides_reconversion_only_where_there_is_one() -> None:
    (plain,), (keyed,) = (
        domains({"surface_position": file}) for file in ("p.npz", "p.npz::points")
    )
    assert "key" not in plain.described()["fields"][0]
    assert keyed.described()["fields"][0]["key"] == "points"


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("all.npz::", "names no array"),
        ("all.npz::/", "names no array"),
        ("p.npy::points", "a .npy file holds one array"),
        ("::points", "is no file name"),
        ("a/all.npz::points", "is no file name"),
        ("all.npz::points[:, 0:2]", "names 2 columns, and the field has 3"),
        ("all.npy[:, -3]", "these columns cannot be read"),
        ("all.npy[:, -3:]?", "these columns cannot be read"),
        ("all.npy[0:3]", "these columns cannot be read"),
        ("all.npy[..., 0:3]", "these columns cannot be read"),
        ("all.npy[3]", "these columns cannot be read"),
        ("all.npz::points[:, [0, 1, 2]]", "these columns cannot be read"),
    ],
)
def test_a_key_that_cannot_be_is_refused(file: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_filemap({"surface_position": file}, where="filemap")


def test_fields_do_not_share_an_array_unless_each_says_which_columns() -> None:
    shared = {"surface_position": "all.npz::a", "volume_position": "all.npz::a"}
    with pytest.raises(SettingsError, match=r"'all\.npz::a' is the file of surface_pos"):
        read_filemap(shared, where="filemap")


def test_an_optional_field_stays_where_its_file_is_there() -> None:
    filemap = read_filemap({**SMALL, "surface_area": "all.npz::a[:, 2]?"}, where="x")
    assert with_optional(filemap, ()) == SMALL
    settled = with_optional(filemap, {"all.npz"})
    assert settled == {**SMALL, "surface_area": "all.npz::a[:, 2]"}
    assert not is_optional(settled["surface_area"])
    assert is_optional(filemap["surface_area"])


# Fields of one's own


def described(fields: dict[str, object], filemap: object = SMALL, **config: object) -> list[Domain]:
    settings = load_settings({"source_url": "x", "filemap": filemap, "fields": fields, **config})
    return list(domains_of(read_filemap(filemap, where="x", may_be_empty=True), settings))


def test_a_field_of_ones_own_comes_after_those_of_the_file_map() -> None:
    [surface] = described(
        {"surface_temperature": "T.pt", "surface_flux": {"file": "q.pt[:, 1:3]", "width": 2}}
    )
    names = [field.canonical for field in surface.fields]
    assert names[-2:] == ["surface_temperature", "surface_flux"]
    temperature, flux = surface.fields[-2:]
    assert (temperature.file, temperature.width, temperature.dtype) == ("T.pt", 1, "float16")
    assert (flux.file, flux.width, flux.columns) == ("q.pt", 2, (1, 3))
    assert flux.array_name == "surface/flux"


def test_a_domain_of_ones_own_has_its_positions_first() -> None:
    fields = {
        "wake_speed": {"file": "speed.pt", "dtype": "float32"},
        "wake_position": {"file": "wake.pt", "width": 3, "kind": "coord"},
        "far_field_p": {"file": "p.pt", "domain": "far_field"},
        "far_field_position": {"file": "f.pt", "width": 3, "kind": "coord", "domain": "far_field"},
    }
    far, wake = described(fields, {})
    assert [f.canonical for f in wake.fields] == ["wake_position", "wake_speed"]
    assert (wake.position.dtype, wake.fields[1].dtype) == ("float32", "float32")
    assert (far.name, far.position.width, far.fields[1].name) == ("far_field", 3, "p")


def test_units_are_said_of_known_fields_too() -> None:
    [surface] = described({"surface_pressure": {"unit": "Pa", "long_name": "static pressure"}})
    pressure = next(f for f in surface.fields if f.name == "pressure")
    assert (pressure.unit, pressure.long_name) == ("Pa", "static pressure")
    assert surface.described()["fields"][-1]["unit"] == "Pa"
    assert "unit" not in surface.described()["fields"][0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"surface_temperature": {}}, "surface_temperature has no file"),
        ({"surface_presure": {"unit": "Pa"}}, "Did you mean surface_pressure"),
        ({"surface_pressure": "p2.pt"}, "is a field of file maps, of which only dtype, unit"),
        ({"volume_velocity": {"unit": "m/s"}}, "this dataset's has none"),
        ({"temperature": "T.pt"}, "'temperature' is no name of a field"),
        ({"surface_../x": "T.pt"}, "is no name of a field"),
        ({"surface_a__b": "T.pt"}, "is no name of a field"),
        ({"wake_T": {"file": "T.pt", "domain": "far"}}, "is no name of a field"),
        ({"surface_T": "p.pt"}, "'p.pt' is the file of surface_pressure and of surface_T"),
        ({"surface_T": "a/T.pt"}, "is no file name"),
        ({"surface_T": {"file": "T.pt[:, 0:3]"}}, "names 3 columns, and the field has 1"),
        ({"wake_T": "T.pt"}, "the domain 'wake' has wake_T but no positions"),
        ({"surface_T": {"file": "T.pt", "witdh": 3}}, "witdh"),
        ({"surface_T": {"file": "T.pt", "width": 0}}, "width"),
        (
            {"wake_position": {"file": "T.pt", "kind": "coord", "width": 2}},
            "wake_position has width 2, and positions have three components",
        ),
    ],
)
def test_a_field_that_cannot_be_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        described(fields)
    assert message in str(error.value)


# What a file map may be


class PydanticMap(BaseModel):
    surface_position: str
    surface_pressure: str | None = None
    surface_friction: str | None = None
    comment: str = "an attribute that is no field"


@dataclass
class DataclassMap:
    surface_position: str = "points.pt"
    surface_pressure: str | None = "p.pt"
    volume_position: str | None = None


@pytest.mark.parametrize(
    "source",
    [
        SMALL,
        {**SMALL, "volume_position": None, "volume_velocity": None},
        PydanticMap(surface_position="points.pt", surface_pressure="p.pt"),
        DataclassMap(),
        DataclassMap,
        SimpleNamespace(**SMALL, unrelated=3),
    ],
    ids=["mapping", "mapping with nulls", "pydantic", "dataclass", "class", "any object"],
)
def test_a_file_map_may_be(source: object) -> None:
    assert read_filemap(source, where="x") == SMALL


REFUSED_MAPS: dict[str, tuple[object, list[str]]] = {
    "an unknown attribute": (
        {**SMALL, "surface_presure": "x.pt"},
        ["'surface_presure'", "Did you mean surface_pressure?"],
    ),
    "a canonical name for an attribute": (
        {**SMALL, "volume_sdf": "x.pt"},
        ["'volume_sdf'", "volume_distance_to_surface"],
    ),
    "a key that is no text": (
        {"surface_position": "points.pt", 3: "x.pt"},
        ["3", "surface_position"],
    ),
    "no field at all": ({}, ["no field", "surface_position"]),
    "design parameters alone": ({"design_parameters": "d.pt"}, ["no field"]),
    "an object without attributes of file maps": (SimpleNamespace(points="p.pt"), ["no field"]),
    "surface fields without a position": (
        {"surface_pressure": "p.pt"},
        ["'surface'", "surface_pressure", "Set surface_position"],
    ),
    "volume fields with another domain's position": (
        {**SMALL, "volume_velocity": "u.pt", "volume_distance_to_surface": "d.pt"},
        ["'volume'", "volume_velocity, volume_distance_to_surface", "Set volume_position"],
    ),
    "volume fields with the STL's position": (
        {"surface_position_stl": "s.pt", "volume_friction": "f.pt"},
        ["'volume'", "Set volume_position"],
    ),
    "one file for two fields": (
        {"surface_position": "all.pt", "surface_pressure": "all.pt"},
        ["'all.pt'", "surface_position and of surface_pressure", "[:, 3]"],
    ),
    "one file for two fields, one of which says its columns": (
        {"surface_position": "all.pt", "surface_pressure": "all.pt[:, 3]"},
        ["surface_position: 'all.pt[:, 0:3]'"],
    ),
    "columns of another number than the field has": (
        {"surface_position": "all.pt[:, 0:2]"},
        ["2 columns", "has 3", "[:, 0:3]"],
    ),
    "an object with an attribute that is none": (
        SimpleNamespace(**SMALL, surface_presure="x.pt"),
        ["'surface_presure'", "Did you mean surface_pressure?"],
    ),
    "an empty name": ({"surface_position": ""}, ["surface_position: ''", "name of a file"]),
    "a number": ({"surface_position": 7}, ["surface_position: 7", "name of a file"]),
    "a path": ({"surface_position": "a/p.pt"}, ["'a/p.pt'", "directly in a sample's folder"]),
    "an absolute path": ({"surface_position": "/p.pt"}, ["'/p.pt'", "directly"]),
    "the folder itself": ({"surface_position": "."}, ["'.'", "name of a file"]),
    "the folder above": ({"surface_position": ".."}, ["'..'", "name of a file"]),
}


@pytest.mark.parametrize(("source", "parts"), list(REFUSED_MAPS.values()), ids=list(REFUSED_MAPS))
def test_a_file_map_is_refused_with(source: object, parts: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        read_filemap(source, where="HERE")
    assert str(caught.value).startswith("HERE: ")
    for part in parts:
        assert part in str(caught.value)


# Storage dtypes


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, ("float32", "float16")),
        ({"coords_dtype": "float64"}, ("float64", "float16")),
        ({"values_dtype": "float32"}, ("float32", "float32")),
        ({"field_dtypes": {"surface_pressure": "float64"}}, ("float32", "float64")),
        ({"field_dtypes": {"surface_position": "float16"}}, ("float16", "float16")),
        (
            {"values_dtype": "float64", "field_dtypes": {"surface_pressure": "float16"}},
            ("float32", "float16"),
        ),
    ],
    ids=[
        "by default",
        "coords_dtype is of positions",
        "values_dtype is of the rest",
        "one value field of its own",
        "a position of its own",
        "a field of its own before all others",
    ],
)
def test_dtypes(config: dict[str, Any], expected: tuple[str, str]) -> None:
    position, pressure = expected
    assert dtypes(SMALL, **config) == {
        "surface_position": position,
        "surface_pressure": pressure,
    }


def test_a_field_is_overridden_by_its_canonical_name() -> None:
    filemap = {"volume_position": "p.pt", "volume_distance_to_surface": "d.pt"}
    assert dtypes(filemap, field_dtypes={"volume_sdf": "float32"})["volume_sdf"] == "float32"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("surface_presure", "Did you mean surface_pressure?"),
        ("volume_velocity", ""),
        ("pressure", "surface_pressure"),
        ("design_parameters", ""),
    ],
    ids=["misspelt", "of another dataset", "without its domain", "that is no array"],
)
def test_a_dtype_is_refused_for_a_field(name: str, nearest: str) -> None:
    with pytest.raises(SettingsError) as caught:
        domains(SMALL, field_dtypes={name: "float32"})
    message = str(caught.value)
    assert f"field_dtypes: {name!r}" in message
    assert nearest in message
    assert "surface_position, surface_pressure" in message  # those that there are
