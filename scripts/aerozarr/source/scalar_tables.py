"""Scalars from a table with a row for each sample, such as a dataset's authors publish at its root.

A table is read when the source is listed, once, and each sample is given its own cells: these, and
not the table, are part of its fingerprint. So a row that is added or changed concerns its sample
alone. Which row is a sample's, the settings say; nothing is guessed.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from aerozarr.config.scalars import Scalar
from aerozarr.errors import RemoteError, SettingsError
from aerozarr.filesystems.location import Location, StorageOptions
from aerozarr.messages import did_you_mean, plural, printable, redacted
from aerozarr.source.files.csv_text import CsvRow, CsvTable, parse_csv
from aerozarr.source.named_files import read_named
from aerozarr.source.samples import Cell, Sample, salted

Rows = dict[str, list[CsvRow]]
"""Rows of a table by the id of the sample that they are of."""

_HOLDS = "a header and a row for each sample"
# Of what is longer, no number is made; nobody has as many samples.
_NUMBER = re.compile(r"[0-9]{1,15}")
# How many names an error shows.
_SHOWN = 20


def with_cells(
    samples: Sequence[Sample],
    scalars: Iterable[Scalar],
    root: Location,
    options: StorageOptions,
) -> tuple[list[Sample], list[str]]:
    """Give samples their cells of the tables that scalars are in.

    Parameters
    ----------
    samples
        The samples of a listing; at least one.
    scalars
        The dataset's scalars; those that are in files of the samples are left alone.
    root
        The source, below which tables are looked for first.
    options
        The setting `storage_options`.

    Returns
    -------
    samples, warnings
        The samples with their cells; and what the person should know.

        What is wrong with one row is in the cell, and breaks that sample when it is converted.

    Raises
    ------
    SettingsError
        When a table or column is not there, or cannot be read, or no row is of any sample.
    """
    tables: dict[str, CsvTable] = {}
    rows: dict[tuple[str, str, str], Rows] = {}
    cells: dict[str, list[Cell]] = {}
    warnings: dict[str, None] = {}
    for scalar in scalars:
        if not scalar.is_of_table:
            continue
        if scalar.file not in tables:
            tables[scalar.file] = _read(scalar, root, options)
        column = _Column(scalar, tables[scalar.file])
        key = scalar.file, str(scalar.id_column), str(scalar.id_format)
        if key not in rows:
            rows[key] = column.rows_by_id()
        if rows[key].keys().isdisjoint(sample.id for sample in samples):
            warnings[column.why_none(rows[key], samples)] = None
        for sample_id, cell in column.cells(samples, rows[key]):
            cells.setdefault(sample_id, []).append(cell)
    return [_with(sample, cells.get(sample.id, [])) for sample in samples], [*warnings]


def _with(sample: Sample, cells: list[Cell]) -> Sample:
    if not cells:
        return sample
    # Not the line: rows above it may come and go.
    said = [part for cell in cells for part in (cell.scalar, cell.text, cell.problem)]
    return replace(sample, cells=tuple(cells), fingerprint=salted(sample.fingerprint, said))


def _read(scalar: Scalar, root: Location, options: StorageOptions) -> CsvTable:
    key = f"scalars.{scalar.name}.table"
    try:
        text = read_named(key, scalar.file, root, options, _HOLDS)
    except SettingsError as error:
        raise SettingsError(f"{error}{_tables_below(root)}") from None
    try:
        table = parse_csv(text)
    except csv.Error as error:
        raise SettingsError(
            f"{key}: {redacted(scalar.file)!r} is damaged, or no table: "
            f"{printable(str(error))[:100]}. Write the file again, with {_HOLDS}."
        ) from None
    if not table.rows:
        raise SettingsError(
            f"{key}: {redacted(scalar.file)!r} has no row of values. Give a file with {_HOLDS}."
        )
    return table


def _tables_below(root: Location) -> str:
    """Return a sentence on the tables directly below the source; empty where that is not known."""
    try:
        names = sorted(name for name in root.entries() if name.lower().endswith(".csv"))
    except (OSError, RemoteError):
        return ""
    return f" Below the source there is {_listed(names)}." if names else ""


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(printable(name)[:80] for name in names[:_SHOWN]) or "nothing"
    return f"{shown}{' …' if len(names) > _SHOWN else ''}"


@dataclass(frozen=True)
class _Column:
    """The column of a scalar in a table."""

    scalar: Scalar
    table: CsvTable

    @property
    def _place(self) -> str:
        return f"scalars.{self.scalar.name}: {redacted(self.scalar.file)!r}"

    def _index_of(self, column: str | None) -> int:
        header = self.table.header
        count = header.count(column or "")
        if count != 1:
            what = f"{plural(count, 'column')} {column!r}" if count else f"no column {column!r}"
            raise SettingsError(
                f"{self._place} has {what}; its header has {_listed(header)}."
                f"{did_you_mean(column, header)} Name one that it has once."
            )
        return header.index(column or "")

    def rows_by_id(self) -> Rows:
        """Return the rows of each sample by its id; it should have one.

        Raises
        ------
        SettingsError
            When the table has no such column, or several.
        """
        place = self._index_of(self.scalar.id_column)
        found: Rows = {}
        for row in self.table.rows:
            if place < len(row.cells):
                found.setdefault(self._id(row.cells[place]), []).append(row)
        return found

    def _id(self, text: str) -> str:
        """Return the id of the sample that a cell is of: a number's by `id_format`, else itself."""
        id_format = self.scalar.id_format
        is_number = id_format is not None and _NUMBER.fullmatch(text)
        return id_format.format(int(text)) if is_number and id_format is not None else text

    def cells(self, samples: Iterable[Sample], rows: Rows) -> Iterator[tuple[str, Cell]]:
        """Yield what there is for samples, or what is wrong with it, each with the sample's id.

        Nothing for a sample without a row that need not have one.

        Raises
        ------
        SettingsError
            When the table has no such column, or several.
        """
        place = self._index_of(self.scalar.key)
        for sample in samples:
            found = rows.get(sample.id, [])
            if len(found) == 1:
                yield sample.id, self._cell(found[0], place)
            elif found:
                yield sample.id, self._of_several(found)
            elif not self.scalar.is_optional:
                yield sample.id, self._of_none(rows)

    def _cell(self, row: CsvRow, place: int) -> Cell:
        header = self.table.header
        if len(row.cells) > len(header):
            return _broken(
                self.scalar,
                f"its line {row.line} has {plural(len(row.cells), 'value')}, and its header "
                f"{plural(len(header), 'column')}",
                "write numbers with a point (1.5), and a value for each column",
            )
        text = row.cells[place] if place < len(row.cells) else ""
        if not text:
            return _broken(
                self.scalar,
                f"its column {self.scalar.key!r} is empty in line {row.line}",
                "write a value; nan for none",
            )
        return Cell(self.scalar.name, text, row.line)

    def _of_several(self, found: Sequence[CsvRow]) -> Cell:
        lines = ", ".join(str(row.line) for row in found[:_SHOWN])
        return _broken(
            self.scalar,
            f"it has {len(found)} rows of this sample by its column {self.scalar.id_column!r}, in "
            f"lines {lines}",
            "leave one of them",
        )

    def _of_none(self, rows: Rows) -> Cell:
        return _broken(
            self.scalar,
            f"it has no row of this sample by its column {self.scalar.id_column!r}",
            f"add one, or exclude the sample; the first rows are of {_listed([*rows][:3])}",
        )

    def why_none(self, rows: Rows, samples: Sequence[Sample]) -> str:
        """Return the warning of a table without a row of any sample; an error if it has to have.

        Raises
        ------
        SettingsError
            When samples may not lack a row.
        """
        said = self.scalar.id_format
        why = (
            f"scalars: {redacted(self.scalar.file)!r} has a row of no sample: its column "
            f"{self.scalar.id_column!r}"
            f"{f', by id_format {said!r},' if said else ''} gives {_listed([*rows][:3])}, and "
            f"samples are {_listed([sample.id for sample in samples[:3]])}"
        )
        if self.scalar.is_optional:
            return printable(why)
        raise SettingsError(
            f"{why}. Set id_column to the column that names them, and id_format to the id that a "
            "number there stands for, e.g. run_{} or run_{:04}."
        )


def _broken(scalar: Scalar, cause: str, remedy: str) -> Cell:
    """Return the cell that breaks its sample."""
    return Cell(scalar.name, "", 0, cause, remedy)
