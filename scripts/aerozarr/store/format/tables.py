"""Tables, as tab-separated text with a header.

All text is quoted, because an id may hold a tab, a line feed or a carriage return.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any


def table_text(rows: Iterable[Iterable[Any]], columns: Iterable[str]) -> str:
    """Return rows of values as a table, with a header; tuples become JSON."""
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    table.writerow(columns)
    for row in rows:
        table.writerow(json.dumps(v) if isinstance(v, tuple) else v for v in row)
    # A name that is refused for being no UTF-8 still has to be shown.
    return text.getvalue().encode("utf-8", "backslashreplace").decode("utf-8")


def read_table(content: bytes) -> list[dict[str, str]]:
    """Return the rows of a table, each by the names of its columns.

    Raises
    ------
    ValueError
        When it is no UTF-8 text.
    """
    text = io.StringIO(content.decode("utf-8"), newline="")
    return list(csv.DictReader(text, delimiter="\t"))
