"""What a store says of itself at a prompt and in a notebook, from its manifest alone."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import NamedTuple

import numpy as np

from aerozarr.messages import format_bytes, plural, printable
from aerozarr.store.format.manifest import ArrayEntry
from aerozarr.store.read.contents import Contents

# Letters of a name, and samples, that are shown: a store may come from anybody.
_LETTERS = 120
_SAMPLES = 3


class _DomainRow(NamedTuple):
    """A domain: its name, how many points its samples have, and its fields with their types."""

    name: str
    points: str
    fields: list[tuple[str, str]]


def described(store: Contents, name: str) -> str:
    """Return a few lines on a store: samples, domains, fields, points and size."""
    lines = [f"<aerozarr.Store {_short(name)!r}: {_head(store)}"]
    for row in _rows(store):
        fields = ", ".join(f"{field} ({kind})" for field, kind in row.fields)
        lines.append(f"  {row.name}, {row.points}: {fields}")
    return "\n".join(lines) + ">"


def described_in_html(store: Contents, name: str) -> str:
    """Return the same as a table in HTML, with the ids of the first samples."""
    rows = [
        (row.name if not number else "", row.points if not number else "", field, kind)
        for row in _rows(store)
        for number, (field, kind) in enumerate(row.fields)
    ]
    head = _cells("th", ("domain", "points", "field", "stored as"))
    body = "".join(f"<tr>{_cells('td', row)}</tr>" for row in rows)
    ids = [_short(sample) for sample in store.samples[:_SAMPLES]]
    more = len(store.samples) - len(ids)
    samples = ", ".join(f"<code>{escape(id_)}</code>" for id_ in ids)
    return (
        f"<div><p><strong>{escape(_short(store.dataset_name))}</strong>, "
        f"<code>{escape(_short(name))}</code>: {escape(_head(store))}</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"<p>Samples: {samples}{f' and {more:,} more' if more else ''}</p></div>"
    )


def _cells(tag: str, texts: Iterable[str]) -> str:
    return "".join(f'<{tag} style="text-align: left">{escape(text)}</{tag}>' for text in texts)


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= _LETTERS else f"{text[:_LETTERS]}…"


def _head(store: Contents) -> str:
    size = sum(
        entry.domains[name].n_points * _point_bytes(domain.arrays.values())
        for entry in store.manifest.samples.values()
        for name, domain in store.manifest.domains.items()
    )
    return f"{plural(len(store.samples), 'sample')}, {format_bytes(size)} of values"


def _point_bytes(arrays: Iterable[ArrayEntry]) -> int:
    return sum(array.dim * _itemsize(array.dtype) for array in arrays)


def _itemsize(dtype: str) -> int:
    try:
        return np.dtype(dtype).itemsize
    except TypeError:
        return 0  # none that can be read


def _rows(store: Contents) -> list[_DomainRow]:
    rows = []
    for name, domain in store.manifest.domains.items():
        counts = [entry.domains[name].n_points for entry in store.manifest.samples.values()]
        few, many = (min(counts), max(counts)) if counts else (0, 0)
        points = f"{few:,} points" if few == many else f"{few:,} to {many:,} points"
        fields = [
            (
                _short(canonical),
                _short(f"{array.dtype} × {array.dim}" if array.dim > 1 else array.dtype),
            )
            for canonical, array in domain.arrays.items()
        ]
        rows.append(_DomainRow(_short(name), points, fields))
    return rows
