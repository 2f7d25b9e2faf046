"""Scalars: numbers, short vectors and texts that a sample has once, not at each of its points."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from aerozarr.config.file_patterns import RAW_FILES
from aerozarr.config.filemap import check_file, parse_file
from aerozarr.config.setting_types import ScalarSetting
from aerozarr.errors import SettingsError

# They are names in a batch, beside those of fields.
_NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)
# Files of arrays, whose readers give points.
_ARRAY_FILES = (".npy", ".npz", ".h5", ".hdf5", *RAW_FILES)


@dataclass(frozen=True)
class Scalar:
    """A scalar of each sample, and where it is.

    Attributes
    ----------
    name
        Its name in the store.
    file
        The file of a sample's folder that holds it.
    key
        What the file calls it: a key of a dict, or a column of a `.csv` file; None for a file that
        holds nothing else.
    unit, long_name
        What the store says of it, as `units` and `long_name`; None for nothing.
    is_optional
        Whether a sample may lack the file.
    """

    name: str
    file: str
    key: str | None = None
    unit: str | None = None
    long_name: str | None = None
    is_optional: bool = False

    @property
    def canonical(self) -> str:
        """Its name: what errors call it, as they call a field by its canonical name."""
        return self.name

    def described(self) -> dict[str, Any]:
        """Return all that it is, as JSON has it: part of the text that decides what converts."""
        return {name: value for name, value in asdict(self).items() if value not in (None, False)}


def scalars_of(
    said: Mapping[str, ScalarSetting], *, where: str, fields: Collection[str] = ()
) -> tuple[Scalar, ...]:
    """Return the scalars that a preset or the setting `scalars` names, in its order.

    Parameters
    ----------
    said
        By name, where each is.
    where
        What to call it in an error message.
    fields
        Names of fields, which no scalar may have.

    Raises
    ------
    SettingsError
        When a name cannot be one, or a file is none that holds scalars.
    """
    return tuple(_scalar(name, one, where, fields) for name, one in said.items())


def _scalar(name: str, said: ScalarSetting, where: str, fields: Collection[str]) -> Scalar:
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"{where}: {name!r} is no name of a scalar. It has to begin with a letter, and to be "
            "of letters, digits and _, like inflow_velocity."
        )
    if name in fields:
        raise SettingsError(
            f"{where}: {name} is the name of a field. Give the scalar another name."
        )
    check_file(name, said.file, where, is_of_class=False)
    part = parse_file(said.file)
    kind = next((end for end in (*_ARRAY_FILES, ".csv") if part.file.lower().endswith(end)), "")
    if kind in _ARRAY_FILES:
        raise SettingsError(
            f"{where}: {name}: {said.file!r}: a {kind} file is read for fields alone. Scalars are "
            "read from .pt, .json and .csv files."
        )
    if part.columns is not None:
        raise SettingsError(
            f"{where}: {name}: {said.file!r} names columns of points, and a scalar has none. Name "
            "the key that holds it, like design.pt::params."
        )
    if kind == ".csv" and part.key is None:
        raise SettingsError(
            f"{where}: {name}: {said.file!r} names no column. Write it like {part.file}::Cd."
        )
    return Scalar(name, part.file, part.key, said.unit, said.long_name, part.is_optional)
