"""Numbers and texts as the report has them."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from aerozarr.messages import format_duration, printable

# Characters of a text of the source or the settings.
LONGEST = 600

# After these a line may break: between the words of a path, a name or a list.
_BREAKS = re.compile(r"([/_:;,=&@?|+]+|[.\-](?=[^\W\d]))")


def breakable(text: str) -> Markup:
    """Return text from a source as HTML: escaped, and with places where its lines may break.

    Control characters are shown as what they are, and a text that is much too long is shortened.
    """
    text = printable(str(text))
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}…"
    parts = _BREAKS.split(text)
    return Markup("").join(
        part + Markup("<wbr>") if number % 2 else escape(part) for number, part in enumerate(parts)
    )


def format_number(value: float | None) -> str:
    """Return a number in four digits, with a proper minus; a dash for None."""
    if value is None:
        return "–"
    text = f"{value:,.0f}" if 1e4 <= abs(value) < 1e7 else f"{value:.4g}"
    return text.replace("-", "−")


def format_share(value: float) -> str:
    """Return a share as a percentage, in two digits where it is small."""
    if 0 < value < 5e-5:
        return "< 0.01 %"
    return f"{100 * value:.2g} %" if value < 0.01 else f"{100 * value:.0f} %"


def format_seconds(seconds: float) -> str:
    """Return a time as `format_duration` does, but of few seconds also the parts."""
    return f"{seconds:.2f} s" if seconds < 10 else format_duration(seconds)
