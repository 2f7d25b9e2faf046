"""File maps: which file of a sample holds which field."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, NamedTuple

from aerozarr.config.file_patterns import RAW_FILES, is_raw
from aerozarr.config.raw_keys import parse_raw_key, surfaces_in
from aerozarr.errors import SettingsError
from aerozarr.messages import did_you_mean

FileMap = dict[str, str]
"""Attribute (a key of `ATTRIBUTES`, or `design_parameters`) to file name, in `ATTRIBUTES` order.

It may go on with the key of an array in the file, and with the columns that are the field's:
`points.npz::surface[:, 0:3]`; and with a `?` for a field that a dataset may lack.
See `FilePart`. Several patches of a surface are joined with ` + `: see `join_patches`."""


_COLUMNS = re.compile(r"(?P<file>.+?)\s*\[:,\s*(?P<first>\d{1,6})(?::(?P<stop>\d{1,6}))?\]")
# What is meant for columns, and is none of the two forms above: `[:, -1]`, `[0:3]`, `[..., 0]`.
_NO_COLUMNS = re.compile(r"\[[^\]]*[:,].*\]$")
KEY = "::"
_OPTIONAL = "?"
_AND = " + "
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


class FilePart(NamedTuple):
    """Where a field's values are: what a value of a file map says.

    Attributes
    ----------
    file
        The file's name.
    key
        The key of the array in it, for a file that holds several; or None.
    columns
        The first of the array's columns that are the field's, and the one after the last; None for
        the first ones.
    is_optional
        Whether a dataset may lack the field, in all of its samples.
    """

    file: str
    key: str | None
    columns: tuple[int, int] | None
    is_optional: bool = False

    @property
    def files(self) -> list[str]:
        """All the files that the values are made of."""
        return [self.file, *(surfaces_in(self.key) if is_raw(self.file) else ())]


def read_filemap(
    source: object, *, where: str, is_of_class: bool = False, may_be_empty: bool = False
) -> FileMap:
    """Return the file map that an object stands for.

    Parameters
    ----------
    source
        A mapping, or an object with the attributes of `ATTRIBUTES` (a pydantic model, a
        dataclass …). An attribute that is absent or `None` is a field the dataset does not have.
    where
        What to call the file map in an error message.
    is_of_class
        Whether a class loads what it names, which then need not be the name of a file.
    may_be_empty
        Whether there are other fields, so that it need not have any.

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
    filemap = {name: join_patches(value) for name, value in values.items() if value is not None}
    for name, value in filemap.items():
        check_file(name, value, where, is_of_class=is_of_class)
        check_columns(name, value, where, ATTRIBUTES[name].width if name in ATTRIBUTES else 0)
    check_shared(filemap, where)
    _check_domains(filemap, where, may_be_empty=may_be_empty)
    return filemap


def _unknown(key: object, known: Iterable[str], where: str) -> SettingsError:
    return SettingsError(
        f"{where}: {key!r} is no attribute of a file map.{did_you_mean(key, known)} "
        f"The attributes are {', '.join(known)}. A field of your own goes into the setting fields: "
        f"{{{key}: {{file: …}}}}."
    )


def _attributes_of(source: object) -> list[str]:
    """Return the attributes of an object, or of a class, that look like those of a file map."""
    kinds = source.__mro__ if isinstance(source, type) else type(source).__mro__
    names = {name for kind in kinds for name in vars(kind)} | {*getattr(source, "__dict__", {})}
    fields = sorted(name for name in names if name.startswith(FIELD_NAMES))
    return [name for name in fields if isinstance(getattr(source, name, None), str)]


def join_patches(value: Any) -> Any:
    """Return a list of values of a file map as one, whose rows are those of each in order.

    Anything else as it is.
    """
    is_list = isinstance(value, list | tuple) and value
    return _AND.join(value) if is_list and all(isinstance(one, str) for one in value) else value


def parse_files(text: str) -> list[FilePart]:
    """Return what a value of a file map says of each of the files whose rows are the field's.

    Of one, but for the patches of a surface in raw files (`hull.vtp::p + keel.vtp::p`).
    """
    parts = [parse_file(piece) for piece in text.removesuffix(_OPTIONAL).split(_AND)]
    if len(parts) == 1 or not all(is_raw(part.file) for part in parts):
        return [parse_file(text)]
    return [part._replace(is_optional=text.endswith(_OPTIONAL)) for part in parts]


def parse_file(text: str) -> FilePart:
    """Return what a value of a file map says of one file.

    `points.pt[:, 0:3]` names the first three columns, `points.pt[:, 3]` the fourth;
    `sample.npz::points` the array of that key.
    """
    is_optional = text.endswith(_OPTIONAL)
    text = text.removesuffix(_OPTIONAL)
    match = _COLUMNS.fullmatch(text)
    columns = None
    if match is not None:
        text, first = match["file"], int(match["first"])
        columns = (first, int(match["stop"]) if match["stop"] else first + 1)
    file, found, key = text.partition(KEY)
    return FilePart(file, key if found else None, columns, is_optional)


def is_optional(text: str) -> bool:
    """Whether a value of a file map is of a field that a dataset may lack."""
    return text.endswith(_OPTIONAL)


def with_optional(filemap: FileMap, files: Collection[str]) -> FileMap:
    """Return a file map without optional fields: those whose file is there have to be, others go.

    Parameters
    ----------
    filemap
        The file map.
    files
        Names of the files of optional fields that some sample has.
    """
    return {
        name: text.removesuffix(_OPTIONAL)
        for name, text in filemap.items()
        if not is_optional(text) or any(part.file in files for part in parse_files(text))
    }


def files_in(texts: Iterable[str]) -> list[str]:
    """Return the names of the files that values of a file map name, each once.

    Without those of optional fields, which `source.optional` makes fields of all samples first.
    """
    required = [text for text in texts if not is_optional(text)]
    parts = [part for text in required for part in parse_files(text)]
    return list(dict.fromkeys(file for part in parts for file in part.files))


def check_file(name: str, text: object, where: str, *, is_of_class: bool) -> None:
    """Refuse what names no file of a sample's folder.

    Parameters
    ----------
    name, text
        A field or a scalar, and what is said to be its file, as a value of a file map.
    where
        What to call the setting in an error message.
    is_of_class
        Whether a class loads what it names, which then need not be the name of a file.

    Raises
    ------
    SettingsError
        When it is none, or has a key that the file cannot have.
    """
    parts = parse_files(text) if isinstance(text, str) else [FilePart("", None, None)]
    for part in parts:
        _check_part(part, name, text, where, is_of_class=is_of_class)
    if len({part.columns for part in parts}) > 1:
        raise SettingsError(
            f"{where}: {name}: {text!r}: the patches of one field have the same columns. Name "
            "these of each, or of none."
        )


def _check_part(part: FilePart, name: str, text: object, where: str, *, is_of_class: bool) -> None:
    is_a_path = "/" in part.file or part.file in (".", "..")
    if not part.file or (is_a_path and not is_of_class):
        raise SettingsError(
            f"{where}: {name}: {text!r} is no file name. Give the name of a file that lies "
            "directly in a sample's folder."
        )
    if not is_of_class and (part.file.endswith("]") or _NO_COLUMNS.search(part.key or "")):
        # Else it would be the name of a file, or of an array, that no sample has.
        raise SettingsError(
            f"{where}: {name}: {text!r}: these columns cannot be read. Name one as in "
            "points.npy[:, 3], or some that follow each other as in points.npy[:, 0:3], counted "
            "from 0."
        )
    if part.key is not None and (not part.key.strip("/") or part.file.lower().endswith(".npy")):
        is_nothing = not part.key.strip("/")
        why = "names no array" if is_nothing else "a .npy file holds one array, without a key"
        raise SettingsError(
            f"{where}: {name}: {text!r}: {why}. Write it like sample.npz::points, or "
            "points.npy[:, 0:3]."
        )
    if is_raw(part.file) and not is_of_class:
        _check_raw(part, name, text, where)


def _is_surface(file: str) -> bool:
    return is_raw(file) and "/" not in file


def _check_raw(part: FilePart, name: str, text: object, where: str) -> None:
    """Refuse a raw file of which nothing is named."""
    if part.key is None:
        raise SettingsError(
            f"{where}: {name}: {text!r}: a {'/'.join(RAW_FILES)} file holds a mesh and arrays on "
            f"it. Say which: {part.file}::points, {part.file}::cell_centers, or the name of an "
            f"array, {part.file}::p."
        )
    key = parse_raw_key(part.key)
    if key.surface is not None and (key.association is None or not _is_surface(key.surface)):
        raise SettingsError(
            f"{where}: {name}: {text!r}: say of what the distance is, and to the surface of which "
            f"file: {part.file}::cell:signed_distance(body.stl), or point:signed_distance(…)."
        )
    if part.columns is not None and key.derived is not None:
        raise SettingsError(
            f"{where}: {name}: {text!r}: {part.key} has no columns to choose from. Leave them out."
        )


def check_columns(name: str, text: str, where: str, width: int) -> None:
    """Refuse columns of another number than the field has."""
    columns = parse_files(text)[0].columns
    if columns is None:
        return
    if columns[1] - columns[0] != width:
        how = "[:, 0]" if width == 1 else "[:, 0:3]"
        raise SettingsError(
            f"{where}: {name}: {text!r} names {columns[1] - columns[0]} columns, and the field has "
            f"{width}. Write it like {how}."
        )


def check_shared(filemap: FileMap, where: str) -> None:
    """Refuse one array for several fields, unless each says which columns are its own."""
    sharing: dict[str, list[str]] = {}
    for name, text in filemap.items():
        places = [p.file + KEY + p.key if p.key else p.file for p in parse_files(text)]
        sharing.setdefault(_AND.join(places), []).append(name)
    for file, names in sharing.items():
        unsaid = [name for name in names if parse_files(filemap[name])[0].columns is None]
        if len(names) > 1 and unsaid:
            raise SettingsError(
                f"{where}: {file!r} is the file of {' and of '.join(names)}. Say which of its "
                f"columns are whose, e.g. {unsaid[0]}: '{file}[:, 0:3]' or '{file}[:, 3]', or give "
                "each a file of its own."
            )


# By canonical name, the attributes of file maps.
KNOWN = {f"{known.domain}_{known.name}": name for name, known in ATTRIBUTES.items()}


def attribute_named(name: str) -> str | None:
    """Return the attribute of file maps that a name stands for: its own, or its canonical one."""
    return name if name in ATTRIBUTES else KNOWN.get(name)


def _check_domains(filemap: FileMap, where: str, *, may_be_empty: bool) -> None:
    of_domain: dict[str, list[str]] = {}
    for name in filemap:
        if name != NOT_A_FIELD:
            of_domain.setdefault(ATTRIBUTES[name].domain, []).append(name)
    if not of_domain and not may_be_empty:
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
