"""The tables of the work folder: the samples of a listing, and those left out.

The sample table has one row a sample, in sample order, its key first; lists are JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from aerozarr.errors import StoreError
from aerozarr.source.samples import Sample, Skipped
from aerozarr.store.format.tables import read_table, table_text


def rows_text(rows: Iterable[Any], kind: type) -> str:
    """Return rows as a table.

    Parameters
    ----------
    rows
        What the table holds.
    kind
        `Sample` or `Skipped`: the columns, also of an empty table.
    """
    columns = [column.name for column in fields(kind)]
    return table_text(([getattr(row, name) for name in columns] for row in rows), columns)


def read_samples(path: Path) -> list[Sample]:
    """Read the sample table.

    Raises
    ------
    StoreError
        When it is not there.
    """
    return [_sample(row) for row in _read(path)]


def read_left_out(path: Path) -> list[Skipped]:
    """Read a table of samples left out.

    Raises
    ------
    StoreError
        When it is not there.
    """
    return [Skipped(**row) for row in _read(path)]


def find_sample(path: Path, key: str) -> Sample:
    """Return one sample of the sample table, by its key, without reading it all.

    Raises
    ------
    StoreError
        When the table is not there, or has no such sample.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise _no_table(path) from None
    # A row begins with its key, quoted. No other text of the table can look like that: a quote
    # within a text is written twice.
    start = content.find(f'\n"{key}"\t'.encode())
    if start < 0:
        raise StoreError(f"{path} has no sample {key!r}. Run snakemake again: it lists the source.")
    header = content.partition(b"\n")[0]
    return _sample(read_table(header + content[start:])[0])


def _no_table(path: Path) -> StoreError:
    return StoreError(f"{path} is not there. Run snakemake again: it makes the table first.")


def _read(path: Path) -> list[dict[str, Any]]:
    # Not with pandas: this is read at every start, and importing pandas alone takes a fifth of a
    # run with nothing to do.
    try:
        return [*read_table(path.read_bytes())]
    except FileNotFoundError:
        raise _no_table(path) from None


def _sample(row: dict[str, Any]) -> Sample:
    return Sample(
        id=row["id"],
        key=row["key"],
        split=row["split"],
        position=int(row["position"]),
        files=tuple(json.loads(row["files"])),
        sizes=tuple(json.loads(row["sizes"])),
        fingerprint=row["fingerprint"],
    )
