"""Tables, as tab-separated text with a header.

All text is quoted, because an id may hold a tab, a line feed or a carriage return.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

from aerozarr.errors import StoreError


def table_text(rows: Iterable[Iterable[Any]], columns: Iterable[str]) -> str:
    """Return rows of values as a table, with a header; tuples become JSON."""
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    table.writerow(columns)
    for row in rows:
        table.writerow(json.dumps(v) if isinstance(v, tuple) else v for v in row)
    # A name that is refused for being no UTF-8 still has to be shown.
    return text.getvalue().encode("utf-8", "backslashreplace").decode("utf-8")


def read_table(content: bytes, where: str, columns: Iterable[str]) -> list[dict[str, str]]:
    """Return the rows of a table, each by the names of its columns.

    Parameters
    ----------
    content
        The table's bytes.
    where
        Its place, for error messages.
    columns
        The columns that it must have; it may have others.

    Raises
    ------
    StoreError
        When it is not such a table, or is cut short.
    """
    try:
        # Not with pandas: tables are read at every start, and importing pandas alone takes a fifth
        # of a run with nothing to do.
        table = csv.DictReader(
            io.StringIO(content.decode("utf-8"), newline=""), delimiter="\t", strict=True
        )
        rows = list(table)
    except (ValueError, csv.Error) as error:
        raise _damaged(where, str(error)) from None
    missing = [column for column in columns if column not in (table.fieldnames or ())]
    if missing:
        raise _damaged(where, f"it has no column {missing[0]!r}")
    for number, row in enumerate(rows, start=2):
        # DictReader puts what is too much under None, and None for what is too little.
        if None in row or None in row.values():
            raise _damaged(where, f"line {number} has not as many values as there are columns")
    if not content.endswith(b"\n"):
        raise _damaged(where, "its last line is cut short")
    return rows


def _damaged(where: str, why: str) -> StoreError:
    return StoreError(f"{where} is damaged: {why}. Run snakemake again, which writes it again.")


_CHECKSUMS = ("path", "size", "sha256")

Checksums = dict[str, tuple[int, str]]
"""Size in bytes and SHA-256 in hexadecimal of files, by path."""


def checksums_table(rows: Iterable[tuple[str, int, str]]) -> bytes:
    """Return the table of checksums: path, size in bytes and SHA-256 of each file."""
    return table_text(rows, _CHECKSUMS).encode("utf-8")


def read_checksums(content: bytes, where: str) -> Checksums:
    """Return what a table of checksums holds.

    Raises
    ------
    StoreError
        When it is damaged.
    """
    rows = read_table(content, where, _CHECKSUMS)
    try:
        return {row["path"]: (int(row["size"]), row["sha256"]) for row in rows}
    except ValueError:
        raise _damaged(where, "a size is not a number") from None
