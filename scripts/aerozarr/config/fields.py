"""File maps, fields and domains: which file of a sample holds what, and how it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from aerozarr.config.settings import Dtype, Settings
from aerozarr.errors import SettingsError
from aerozarr.messages import did_you_mean

FileMap = dict[str, str]
"""Attribute (a key of `ATTRIBUTES`, or `design_parameters`) to file name, in `ATTRIBUTES` order."""


class Attribute(NamedTuple):
    """What an attribute of a file map stands for."""

    domain: str
    name: str
    width: int
    kind: Literal["coord", "value"]


# In this order: it decides the order of arrays in a domain, and so the manifest's bytes.
ATTRIBUTES: dict[str, Attribute] = {
    "surface_position": Attribute("surface", "position", 3, "coord"),
    "surface_pressure": Attribute("surface", "pressure", 1, "value"),
    "surface_friction": Attribute("surface", "friction", 3, "value"),
    "surface_normals": Attribute("surface", "normals", 3, "value"),
    "surface_area": Attribute("surface", "area", 1, "value"),
    "volume_position": Attribute("volume", "position", 3, "coord"),
    "volume_pressure": Attribute("volume", "pressure", 1, "value"),
    "volume_velocity": Attribute("volume", "velocity", 3, "value"),
    "volume_vorticity": Attribute("volume", "vorticity", 3, "value"),
    "volume_normals": Attribute("volume", "normals", 3, "value"),
    "surface_position_stl": Attribute("surface_stl", "position", 3, "coord"),
    "surface_position_stl_resampled": Attribute("surface_stl_resampled", "position", 3, "coord"),
    "volume_friction": Attribute("volume", "friction", 3, "value"),
    "volume_distance_to_surface": Attribute("volume", "sdf", 1, "value"),
}

# A file that belongs to a sample but holds no point field: never stored as an array.
NOT_A_FIELD = "design_parameters"


@dataclass(frozen=True)
class Field:
    """One physical quantity of a sample, and how it is stored.

    Attributes
    ----------
    domain, name
        The array is `<domain>/<name>`.
    width
        Number of components; the array's shape is `(n_points, width)`.
    file
        The `.pt` file of a sample's folder that holds it.
    dtype
        Storage dtype.
    """

    domain: str
    name: str
    width: int
    file: str
    dtype: Dtype

    @property
    def canonical(self) -> str:
        """The canonical name, e.g. `volume_velocity`."""
        return f"{self.domain}_{self.name}"

    @property
    def array_name(self) -> str:
        """Path of the array in a sample's group, e.g. `volume/velocity`."""
        return f"{self.domain}/{self.name}"


@dataclass(frozen=True)
class Domain:
    """A set of points and the fields on it, the position field first."""

    name: str
    fields: tuple[Field, ...]

    @property
    def position(self) -> Field:
        """The coord field, whose number of rows is the domain's number of points."""
        return self.fields[0]


def read_filemap(source: object, *, where: str) -> FileMap:
    """Return the file map that an object stands for.

    Parameters
    ----------
    source
        A mapping, or an object with the attributes of `ATTRIBUTES` (a pydantic model, a
        dataclass …). An attribute that is absent or `None` is a field the dataset does not have.
    where
        What to call the file map in an error message.

    Raises
    ------
    SettingsError
        When a key of a mapping is no attribute of file maps, a value is no plain file name, no
        field is set, or a domain has fields but no position.
    """
    known = (*ATTRIBUTES, NOT_A_FIELD)
    if isinstance(source, Mapping):
        for key in source:
            if key not in known:
                raise SettingsError(
                    f"{where}: {key!r} is no attribute of a file map.{did_you_mean(key, known)} "
                    f"The attributes are {', '.join(known)}."
                )
        values: dict[str, Any] = {name: source.get(name) for name in known}
    else:
        values = {name: getattr(source, name, None) for name in known}
    filemap = {name: value for name, value in values.items() if value is not None}
    for name, value in filemap.items():
        if not isinstance(value, str) or not value or "/" in value or value in (".", ".."):
            raise SettingsError(
                f"{where}: {name}: {value!r} is no file name. Give the name of a file that lies "
                "directly in a sample's folder."
            )
    _check_domains(filemap, where)
    return filemap


def _check_domains(filemap: FileMap, where: str) -> None:
    of_domain: dict[str, list[str]] = {}
    for name in filemap:
        if name != NOT_A_FIELD:
            of_domain.setdefault(ATTRIBUTES[name].domain, []).append(name)
    if not of_domain:
        raise SettingsError(
            f"{where}: the file map holds no field. Set at least one position attribute, "
            "such as surface_position."
        )
    for domain, names in of_domain.items():
        if not any(ATTRIBUTES[name].kind == "coord" for name in names):
            position = next(n for n, a in ATTRIBUTES.items() if a[:2] == (domain, "position"))
            raise SettingsError(
                f"{where}: the domain {domain!r} has {', '.join(names)} but no position. "
                f"Set {position}, or take those out."
            )


def domains_of(filemap: FileMap, settings: Settings) -> tuple[Domain, ...]:
    """Return the domains of a file map, by ascending name, with the settings' storage dtypes.

    Raises
    ------
    SettingsError
        When `field_dtypes` names a field that the file map does not have.
    """
    grouped: dict[str, list[Field]] = {}
    for attribute, file in filemap.items():
        if attribute == NOT_A_FIELD:
            continue
        domain, name, width, kind = ATTRIBUTES[attribute]
        usual = settings.coords_dtype if kind == "coord" else settings.values_dtype
        dtype = settings.field_dtypes.get(f"{domain}_{name}", usual)
        # Each domain's position comes first in ATTRIBUTES, so it does in a file map.
        grouped.setdefault(domain, []).append(Field(domain, name, width, file, dtype))
    domains = tuple(Domain(name, tuple(grouped[name])) for name in sorted(grouped))
    known = [field.canonical for domain in domains for field in domain.fields]
    for canonical in settings.field_dtypes:
        if canonical not in known:
            raise SettingsError(
                f"field_dtypes: {canonical!r} is no field of this dataset."
                f"{did_you_mean(canonical, known)} Its fields are {', '.join(known)}."
            )
    return domains
