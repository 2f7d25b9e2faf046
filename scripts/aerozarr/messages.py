"""Words for people: counts, sizes, durations, near misses, and text that is safe to show."""

from __future__ import annotations

import difflib
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

SHOWN = 10
"""How many skipped samples or orphans the summary names; the table has them all."""


_CREDENTIALS = re.compile(r"(?<=://)[^/]*@")


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return ` Did you mean X?` for the known name nearest to `name`, else an empty text."""
    names = list(known)
    # Cd before Cl for CD: another case is a slip, another letter may be another quantity.
    same = [one for one in names if one.casefold() == str(name).casefold()]
    near = same or difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    return f" Did you mean {near[0]}?" if near else ""


def how_to_install(requirements: str, extra: str) -> str:
    """Return the commands that install what is missing: for the workflow, and for the reader."""
    return f"pip install -r {requirements}, or pip install '.[{extra}]', in the clone of aerozarr"


def printable(text: str) -> str:
    """Return text from a source with control characters escaped, so that a terminal is safe."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def first_lines(items: Iterable[str], most: int = SHOWN) -> list[str]:
    """Return the first few of some lines, indented, and how many more there are."""
    shown = [f"  {item}" for item in items]
    more = len(shown) - most
    return shown if more <= 0 else [*shown[:most], f"  … and {more} more"]


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
    """Say something to the person at the terminal; on a terminal, in lines as wide as that."""
    width = columns_of(sys.stderr) if sys.stderr.isatty() else 0
    for message in messages:
        for line in wrapped(f"aerozarr: {message}", width) if width else [f"aerozarr: {message}"]:
            print(line, file=sys.stderr, flush=True)


def wrapped(line: str, width: int) -> list[str]:
    """Return a line as lines of a width, cut between words.

    What follows the first begins where the message does. Paths stay whole, and so do rows of
    tables, which are columns and no words.
    """
    head, text = line.partition(": ")[0] + ": ", line.partition(": ")[2]
    if len(line) <= width or "   " in text.strip():
        return [line]
    indent = " " * (len(head) + len(text) - len(text.lstrip()))
    return textwrap.wrap(
        text.lstrip(),
        width,
        initial_indent=head + indent[len(head) :],
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def columns_of(stream: TextIO) -> int:
    """Return the width of the terminal that a stream writes to; 80 where it is not known."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
