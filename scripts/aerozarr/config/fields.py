"""File maps, fields and domains: which file of a sample holds what, and how it is stored."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from aerozarr.config.settings import Dtype, Settings
from aerozarr.errors import SettingsError
from aerozarr.messages import did_you_mean

FileMap = dict[str, str]
"""Attribute (a key of `ATTRIBUTES`, or `design_parameters`) to file name, in `ATTRIBUTES` order.

A file name may say which columns of the file are the field's: `points.pt[:, 0:3]`."""

_COLUMNS = re.compile(r"(?P<file>.+?)\s*\[:,\s*(?P<first>\d{1,6})(?::(?P<stop>\d{1,6}))?\]")
# What an attribute that is meant to be one of a file map begins with.
FIELD_NAMES = ("surface_", "volume_", "design_")


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
    columns
        The first of the file's columns that are the field's, and the one after the last; None for
        the first `width`.
    """

    domain: str
    name: str
    width: int
    file: str
    dtype: Dtype
    columns: tuple[int, int] | None = None

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

    def described(self) -> dict[str, Any]:
        """Return all that it is, as JSON has it: the text that decides what converts again."""
        content = asdict(self)
        for field in content["fields"]:
            # As it was when files had no columns to choose from.
            if field["columns"] is None:
                del field["columns"]
        return content

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
        When a key of a mapping is no attribute of file maps, a value is no plain file name,
        columns do not fit, a file is shared without them, no field is set, or a domain has fields
        but no position.
    """
    known = (*ATTRIBUTES, NOT_A_FIELD)
    if isinstance(source, Mapping):
        for key in source:
            if key not in known:
                raise _unknown(key, known, where)
        values: dict[str, Any] = {name: source.get(name) for name in known}
    else:
        for key in _attributes_of(source):
            if key not in known:
                raise _unknown(key, known, where)
        values = {name: getattr(source, name, None) for name in known}
    filemap = {name: value for name, value in values.items() if value is not None}
    for name, value in filemap.items():
        if not isinstance(value, str) or not value or "/" in value or value in (".", ".."):
            raise SettingsError(
                f"{where}: {name}: {value!r} is no file name. Give the name of a file that lies "
                "directly in a sample's folder."
            )
        _check_columns(name, value, where)
    _check_shared(filemap, where)
    _check_domains(filemap, where)
    return filemap


def _unknown(key: object, known: Iterable[str], where: str) -> SettingsError:
    return SettingsError(
        f"{where}: {key!r} is no attribute of a file map.{did_you_mean(key, known)} "
        f"The attributes are {', '.join(known)}."
    )


def _attributes_of(source: object) -> list[str]:
    """Return the attributes of an object, or of a class, that look like those of a file map."""
    kinds = source.__mro__ if isinstance(source, type) else type(source).__mro__
    names = {name for kind in kinds for name in vars(kind)} | {*getattr(source, "__dict__", {})}
    fields = sorted(name for name in names if name.startswith(FIELD_NAMES))
    return [name for name in fields if isinstance(getattr(source, name, None), str)]


def file_and_columns(text: str) -> tuple[str, tuple[int, int] | None]:
    """Return the file that a value of a file map names, and the columns, if it says which.

    `points.pt[:, 0:3]` names the first three columns, `points.pt[:, 3]` the fourth.
    """
    match = _COLUMNS.fullmatch(text)
    if match is None:
        return text, None
    first = int(match["first"])
    return match["file"], (first, int(match["stop"]) if match["stop"] else first + 1)


def files_in(filemap: FileMap) -> list[str]:
    """Return the names of the files that a file map names, each once."""
    return list(dict.fromkeys(file_and_columns(text)[0] for text in filemap.values()))


def _check_columns(name: str, text: str, where: str) -> None:
    """Refuse columns of another number than the field has."""
    _, columns = file_and_columns(text)
    if columns is None:
        return
    width = ATTRIBUTES[name].width if name in ATTRIBUTES else 0
    if columns[1] - columns[0] != width:
        how = "[:, 0]" if width == 1 else "[:, 0:3]"
        raise SettingsError(
            f"{where}: {name}: {text!r} names {columns[1] - columns[0]} columns, and the field has "
            f"{width}. Write it like {how}."
        )


def _check_shared(filemap: FileMap, where: str) -> None:
    """Refuse one file for several fields, unless each says which columns are its own."""
    sharing: dict[str, list[str]] = {}
    for name, text in filemap.items():
        sharing.setdefault(file_and_columns(text)[0], []).append(name)
    for file, names in sharing.items():
        unsaid = [name for name in names if file_and_columns(filemap[name])[1] is None]
        if len(names) > 1 and unsaid:
            raise SettingsError(
                f"{where}: {file!r} is the file of {' and of '.join(names)}. Say which of its "
                f"columns are whose, e.g. {unsaid[0]}: '{file}[:, 0:3]' or '{file}[:, 3]', or give "
                "each a file of its own."
            )


def attribute_of(field: Field) -> str:
    """Return the attribute of file maps that stands for a field."""
    return next(
        name for name, known in ATTRIBUTES.items() if known[:2] == (field.domain, field.name)
    )


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
        path, columns = file_and_columns(file)
        grouped.setdefault(domain, []).append(Field(domain, name, width, path, dtype, columns))
    domains = tuple(Domain(name, tuple(grouped[name])) for name in sorted(grouped))
    known = [field.canonical for domain in domains for field in domain.fields]
    for canonical in settings.field_dtypes:
        if canonical not in known:
            raise SettingsError(
                f"field_dtypes: {canonical!r} is no field of this dataset."
                f"{did_you_mean(canonical, known)} Its fields are {', '.join(known)}."
            )
    return domains
