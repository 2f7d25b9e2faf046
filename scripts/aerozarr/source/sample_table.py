"""The tables of the work folder: the samples of a listing, and those skipped.

The sample table has one row a sample, in sample order, its key first; lists are JSON.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec

from aerozarr.errors import StoreError
from aerozarr.source.samples import Cell, Sample, Skipped, skipped_of
from aerozarr.store.format.tables import read_table, table_text


def table_of(samples: Iterable[Sample]) -> bytes:
    """Return the sample table."""
    return rows_text(samples, Sample).encode("utf-8")


def skipped_table(skipped: Iterable[Skipped]) -> bytes:
    """Return the table of skipped samples."""
    return rows_text(skipped, Skipped).encode("utf-8")


def rows_text(rows: Iterable[Any], kind: type) -> str:
    """Return rows as a table.

    Parameters
    ----------
    rows
        What the table holds.
    kind
        `Sample` or `Skipped`: the columns, also of an empty table.
    """
    rows = list(rows)
    columns = [
        name
        for name in _columns(kind)
        if name not in _WHERE_THERE_ARE_SOME or any(getattr(row, name) for row in rows)
    ]
    return table_text(([getattr(row, name) for name in columns] for row in rows), columns)


def read_samples(path: Path) -> list[Sample]:
    """Read the sample table.

    Raises
    ------
    StoreError
        When it is not there, or damaged.
    """
    rows = read_table(_content(path), str(path), _REQUIRED)
    return [_sample(row, path) for row in rows]


def read_skipped(path: Path) -> list[Skipped]:
    """Read the table of samples skipped when the source was listed.

    Raises
    ------
    StoreError
        When it is not there, or damaged.
    """
    return [skipped_of(row) for row in read_table(_content(path), str(path), _columns(Skipped))]


def find_sample(path: Path, key: str) -> Sample:
    """Return one sample of the sample table, by its key, without parsing the rest.

    Raises
    ------
    StoreError
        When the table is not there, is damaged, or has no such sample.
    """
    content = _content(path)
    start = _places(content).get(key.encode())
    if start is None:
        raise StoreError(f"{path} has no sample {key!r}. Run snakemake again: it lists the source.")
    end = _ROW.search(content, start + 1)
    row = content[start : end.start() if end else len(content) - 1]
    header = content[: content.find(b"\n")]
    (found,) = read_table(header + row + b"\n", str(path), _REQUIRED)
    return _sample(found, path)


# A row begins with its key, quoted. Nothing within a row looks like that, because a quote within a
# text is written twice.
_ROW = re.compile(rb'\n"([\w.~%-]+)"\t')


@functools.lru_cache(maxsize=1)
def _places(content: bytes) -> dict[bytes, int]:
    """Return where the row of each key begins in a table.

    Found once in a process that does many jobs: of 10,000 samples, to look through the table for
    one of them takes twenty times as long as to parse its row.
    """
    return {row[1]: row.start() for row in _ROW.finditer(content)}


def _content(path: Path) -> bytes:
    try:
        status = path.stat()
        return _read_once(path, status.st_mtime_ns, status.st_size, status.st_ino)
    except FileNotFoundError:
        raise StoreError(
            f"{path} is not there. Run snakemake again: it makes the table first."
        ) from None


@functools.lru_cache(maxsize=1)
def _read_once(path: Path, *_: int) -> bytes:
    """Return a file's content; read once in a process that does many jobs."""
    return path.read_bytes()


# Without any, a table is what it was before there could be some.
_WHERE_THERE_ARE_SOME = ("cells",)
# The columns that every table has, those of earlier versions too.
_LATER = ("splits", "prints", *_WHERE_THERE_ARE_SOME)
_REQUIRED = [name for name in (c.name for c in fields(Sample)) if name not in _LATER]


_DECODER = msgspec.json.Decoder(list[Any])


def _read_list(text: str) -> list[Any]:
    """Return a list that is JSON; by msgspec in half the time that json takes."""
    try:
        return _DECODER.decode(text)
    except msgspec.DecodeError:
        found: list[Any] = json.loads(text)  # of a file name that is no UTF-8, say
        return found


def _columns(kind: type) -> list[str]:
    return [column.name for column in fields(kind)]


def _sample(row: dict[str, str], path: Path) -> Sample:
    try:
        return Sample(
            id=row["id"],
            key=row["key"],
            split=row["split"],
            position=int(row["position"]),
            files=tuple(_read_list(row["files"])),
            sizes=tuple(_read_list(row["sizes"])),
            fingerprint=row["fingerprint"],
            splits=tuple((name, place) for name, place in _read_list(row.get("splits", "[]"))),
            prints=tuple(map(str, _read_list(row.get("prints", "[]")))),
            cells=tuple(Cell(*cell) for cell in _read_list(row.get("cells", "[]"))),
        )
    except (ValueError, TypeError):
        raise StoreError(
            f"{path} is damaged: its row of {row['key']!r} cannot be read. Run snakemake again, "
            "which writes it again."
        ) from None
