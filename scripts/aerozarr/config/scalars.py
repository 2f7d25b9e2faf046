"""Scalars: numbers, short vectors and texts that a sample has once, not at each of its points."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from aerozarr.config.file_patterns import RAW_FILES
from aerozarr.config.filemap import KEY, check_file, parse_file
from aerozarr.config.setting_types import ScalarSetting
from aerozarr.errors import SettingsError

# They are names in a batch, beside those of fields.
_NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)
# Files of arrays, whose readers give points.
_ARRAY_FILES = (".npy", ".npz", ".h5", ".hdf5", *RAW_FILES)
_TABLES = (".csv", ".tsv", ".txt")


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
        What the file calls it: a key of a dict, or a column of a table; None for a file that holds
        nothing else.
    unit, long_name
        What the store says of it, as `units` and `long_name`; None for nothing.
    is_optional
        Whether a sample may lack the file, or a row of the table.
    kind
        `number` or `text` where it has to be one; else None.
    id_column
        Where the file is one table of all samples: the column that says which sample a row is of.
    id_format
        The id of a sample whose cell there is a whole number; None where numbers are ids.
    """

    name: str
    file: str
    key: str | None = None
    unit: str | None = None
    long_name: str | None = None
    is_optional: bool = False
    kind: Literal["number", "text"] | None = None
    id_column: str | None = None
    id_format: str | None = None

    @property
    def is_of_table(self) -> bool:
        """Whether it is in one table of all samples, and not in a file of each."""
        return self.id_column is not None

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
    for name in said:
        _check_name(name, where, fields)
    return tuple(_scalar(name, one, where) for name, one in said.items())


def _check_name(name: str, where: str, fields: Collection[str]) -> None:
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"{where}: {name!r} is no name of a scalar. It has to begin with a letter, and to be "
            "of letters, digits and _, like inflow_velocity."
        )
    if name in fields:
        raise SettingsError(
            f"{where}: {name} is the name of a field. Give the scalar another name."
        )


def _scalar(name: str, said: ScalarSetting, where: str) -> Scalar:
    if (said.file is None) is (said.table is None):
        what = "both a file and a table" if said.file else "neither a file nor a table"
        raise SettingsError(
            f"{where}: {name} names {what}. Give one: file, as forces.csv{KEY}Cd, where each "
            f"sample has its own; table, as forces_all.csv{KEY}Cd, with id_column, where one has a "
            "row for each sample."
        )
    if said.table is not None:
        return _scalar_of_table(name, said, said.table, where)
    if said.id_column or said.id_format:
        key = "id_column" if said.id_column else "id_format"
        raise SettingsError(
            f"{where}: {name}: {key} is of a table with a row for each sample, and {said.file!r} "
            "is a file of each. Name it as table, or leave these out."
        )
    assert said.file is not None
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
    return Scalar(name, part.file, part.key, said.unit, said.long_name, part.is_optional, said.kind)


def _scalar_of_table(name: str, said: ScalarSetting, table: str, where: str) -> Scalar:
    is_optional = table.endswith("?")
    # The last one: a URL may be a chain, zip://a.csv::s3://bucket/a.zip, and the file is its first.
    file, _, column = table.removesuffix("?").rpartition(KEY)
    if not file.partition(KEY)[0].lower().endswith(_TABLES) or not column.strip():
        raise SettingsError(
            f"{where}: {name}: {table!r} is no column of a table. Write it like "
            f"forces_all.csv{KEY}Cd; a table ends in {', '.join(_TABLES)}."
        )
    if said.id_column is None:
        raise SettingsError(
            f"{where}: {name}: {table!r}: which sample is a row of? Set id_column to the column "
            "that says so; where it holds numbers, id_format to the id that one stands for, e.g. "
            "run_{}."
        )
    return Scalar(
        name,
        file,
        column.strip(),
        said.unit,
        said.long_name,
        is_optional,
        said.kind,
        said.id_column.strip(),
        said.id_format,
    )
