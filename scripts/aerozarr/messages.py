"""Words for people: counts, sizes, durations, near misses, and text that is safe to show."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

SHOWN = 10
"""How many skipped samples or orphans the summary names; the table has them all."""


_CREDENTIALS = re.compile(r"(?<=://)[^/]*@")


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return ` Did you mean X?` for the known name nearest to `name`, else an empty text."""
    near = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f" Did you mean {near[0]}?" if near else ""


def how_to_install(requirements: str, extra: str) -> str:
    """Return the commands that install what is missing: for the workflow, and for the reader."""
    return f"pip install -r {requirements}, or pip install '.[{extra}]', in the clone of aerozarr"


def printable(text: str) -> str:
    """Return text from a source with control characters escaped, so that a terminal is safe."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def first_lines(items: Iterable[str]) -> list[str]:
    """Return the first few of some lines, indented, and how many more there are."""
    shown = [f"  {item}" for item in items]
    more = len(shown) - SHOWN
    return shown if more <= 0 else [*shown[:SHOWN], f"  … and {more} more"]


def plural(number: int, noun: str) -> str:
    """Return a number with its noun, e.g. `1 sample`, `2 samples`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def format_bytes(size: float) -> str:
    """Return a number of bytes as a person says it, e.g. `2.28 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def format_duration(seconds: float) -> str:
    """Return a time as a person says it: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def redacted(value: Any) -> Any:
    """Return a value with user names, passwords and queries taken out of every URL in it."""
    if isinstance(value, str):
        return _url_without_credentials(value) if "://" in value else value
    if isinstance(value, Mapping):
        return {key: redacted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [redacted(item) for item in value]
    return value


def _url_without_credentials(url: str) -> str:
    # By link of a chain such as simplecache::https://…, as fsspec cuts it.
    links = [_CREDENTIALS.sub("", link.partition("?")[0]) for link in url.split("::")]
    return "::".join(links)


def tell(*messages: str) -> None:
    """Say something to the person at the terminal."""
    for message in messages:
        print(f"aerozarr: {message}", file=sys.stderr, flush=True)
