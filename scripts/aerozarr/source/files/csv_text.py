"""The text of a table, as spreadsheets and scripts write it: a header, and rows below it."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import NamedTuple

# What may stand between columns; the first that the header has does.
_DELIMITERS = ",;\t"


class CsvRow(NamedTuple):
    """A row of a table.

    Attributes
    ----------
    line
        The line of the text that it ends on, the first being 1.
    cells
        What it holds, without space around it; not always one for each column.
    """

    line: int
    cells: list[str]


@dataclass(frozen=True)
class CsvTable:
    """A table.

    Attributes
    ----------
    header
        The names of the columns; none in an empty text.
    rows
        What stands below, without rows that are empty.
    """

    header: list[str]
    rows: list[CsvRow]


def parse_csv(text: str) -> CsvTable:
    """Read a table whose columns are parted by `,`, `;` or tabs.

    Raises
    ------
    csv.Error
        When it is none, such as with quotes that do not end.
    """
    header_line = text.lstrip("\r\n").partition("\n")[0]
    delimiter = next((mark for mark in _DELIMITERS if mark in header_line), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = [CsvRow(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    header, *values = [row for row in rows if any(row.cells)] or [CsvRow(1, [])]
    return CsvTable(header.cells, values)
