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
    lines = ["\t".join(map(_cell, row)) for row in (columns, *rows)]
    # A name that is refused for being no UTF-8 still has to be shown.
    return (
        "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace").decode("utf-8")
    )


def _cell(value: object) -> str:
    """Return a value as csv.writer does, which takes three times as long with what feeds it."""
    if isinstance(value, tuple):
        value = _list(value)
    return _quoted(value) if isinstance(value, str) else str(value)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _list(values: tuple[object, ...]) -> str:
    """Return a list as `json.dumps` does, whose start takes longer than a short list."""
    kinds = {*map(type, values)}
    if kinds == {str}:
        return f"[{', '.join(map(json.encoder.encode_basestring_ascii, values))}]"  # type: ignore[arg-type] # all are texts
    return f"[{', '.join(map(str, values))}]" if kinds == {int} else json.dumps(values)


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
    # As `table_text` would, whose questions take most of its time: stores have 200,000 files.
    lines = [
        f'"{path}"\t{size}\t"{digest}"\n'
        if '"' not in path and '"' not in digest
        else f"{_quoted(path)}\t{size}\t{_quoted(digest)}\n"
        for path, size, digest in rows
    ]
    return (table_text([], _CHECKSUMS) + "".join(lines)).encode("utf-8")


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
