"""Drawings of the report, as SVG text: histograms, and bodies with axes and a colour bar.

By hand, and not with a plotting library: docs/dependencies.md says what one takes. Text has the
page's colour and fonts, and values have classes (`k0` …) that the page gives colours by
`colour_rules`, so that the same drawing reads on a light and on a dark page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

COMPONENTS = ("x", "y", "z")
# Of components x, y, z; told apart by people who do not see red or green, too.
_COMPONENT_COLOURS = {
    "light": ("#0072b2", "#c75000", "#008060"),
    "dark": ("#56b4e9", "#ff9f5c", "#3ddbaa"),
}
# More components than these are drawn as one.
DRAWN_COMPONENTS = 3

# From low to high: dark violet, teal, yellow; without the end that the page's colour hides.
_RAMP = {
    "light": [[60, 20, 115], [52, 82, 146], [28, 140, 140], [86, 176, 84], [226, 190, 20]],
    "dark": [[122, 92, 214], [72, 128, 205], [32, 168, 160], [116, 208, 98], [252, 232, 60]],
}
COLOURS = 20
# Share of the values at each end that is not drawn: one stray value would flatten all others.
_STRAY = 0.005
# Nearer points cover those behind them: so many layers.
_LAYERS = 6
# Nothing is computed with values beyond these, whose differences would not be finite.
_LARGEST = 1e300


def colour_rules(scheme: str) -> str:
    """Return CSS that gives the drawings' classes their colours, for a `light` or `dark` page."""
    places = np.linspace(0, 1, COLOURS)
    stops = np.array(_RAMP[scheme], dtype=np.float64)
    channels = [np.interp(places, np.linspace(0, 1, len(stops)), channel) for channel in stops.T]
    ramp = np.stack(channels, axis=1).round().astype(int)
    rules = [f".k{n}{{--c:#{r:02x}{g:02x}{b:02x}}}" for n, (r, g, b) in enumerate(ramp.tolist())]
    rules += [f".c{n}{{--c:{colour}}}" for n, colour in enumerate(_COMPONENT_COLOURS[scheme])]
    return "".join(rules)


def histogram(values: Array, label: str, *, unit: str = "", bins: int = 40) -> str:
    """Draw the distribution of each component; of more than three, that of all values together.

    Parameters
    ----------
    values
        Shape (n, components); values that are not finite, and the outermost 0.5 % at each end, are
        not drawn.
    label
        What they are, for people who do not see the picture.
    unit
        Of the values; empty for none.
    bins
        Number of bars.
    """
    width, height, margin, top, floor = 250, 92, 6, 12, 64
    columns = [_finite(column) for column in values.T]
    if len(columns) > DRAWN_COMPONENTS:
        columns = [np.concatenate(columns)]
    everything = np.concatenate(columns) if columns else np.empty(0)
    if everything.size == 0:
        return _svg(width, height, label, ['<text x="8" y="46">no finite values</text>'])
    low, high = _apart(*np.quantile(everything, [_STRAY, 1 - _STRAY]))
    counts = [np.histogram(column, bins, (low, high))[0] for column in columns]
    most = max(int(count.max()) for count in counts) or 1
    shapes = []
    edges = np.linspace(margin, width - margin, bins + 1)
    for number, count in enumerate(counts):
        tops = floor - count / most * (floor - top)
        # A staircase: to the right of each bar, then up or down to the next.
        steps = "".join(f"V{y:.1f}H{x:.1f}" for x, y in zip(edges[1:], tops, strict=True))
        shapes.append(f'<path class="c{number} bars" d="M{margin} {floor}{steps}V{floor}Z"/>')
    scale = (width - 2 * margin) / (high - low)
    shapes.append(f'<path d="M{margin} {floor}H{width - margin}" class="axis"/>')
    marks = ticks(low, high, 4)
    for value, text in zip(marks, tick_texts(marks), strict=True):
        x = margin + (value - low) * scale
        half = 3.2 * len(text)
        inside = min(max(x, margin + half), width - margin - half)
        shapes.append(f'<path d="M{x:.1f} {floor}v4" class="axis"/>')
        shapes.append(f'<text x="{inside:.1f}" y="{floor + 15}" class="mid">{text}</text>')
    if unit:
        name = escape(_short(unit, 30))
        shapes.append(f'<text x="{width / 2}" y="{height - 2}" class="mid">{name}</text>')
    if len(counts) > 1:
        for number in range(len(counts)):
            x = width - margin - 12 * (len(counts) - number)
            text = COMPONENTS[number]
            shapes.append(f'<text x="{x}" y="10" class="c{number} key">{text}</text>')
    return _svg(width, height if unit else height - 10, label, shapes)


@dataclass(frozen=True)
class View:
    """From where bodies are seen: along one axis, the other two across and up.

    Attributes
    ----------
    across, up, away
        Numbers of the axes; what is nearer has greater coordinates along the last, but where that
        is y (x across, z up), smaller ones.
    """

    across: int
    up: int
    away: int

    @classmethod
    def of(cls, bodies: Sequence[Array]) -> Self:
        """Return the view along the axis in which bodies, each of shape (n, 3), extend least."""
        finite = [points[_are_drawn(points)] for points in bodies]
        extents = sum((np.ptp(points, axis=0) for points in finite if len(points)), np.zeros(3))
        away = int(np.argsort(-extents, kind="stable")[-1])
        across, up = (axis for axis in range(3) if axis != away)
        return cls(across, up, away)

    def depths(self, positions: Array) -> Array:
        """Return how near points of shape (n, 3) are: the greater the nearer."""
        depths: Array = positions[:, self.away]
        return -depths if self.away == 1 else depths


@dataclass(frozen=True)
class Colouring:
    """What the colours of a body mean.

    Attributes
    ----------
    low, high
        The values at the two ends of the colour bar; what is beyond has the ends' colours.
    title
        What is written above the bar.
    """

    low: float
    high: float
    title: str

    def classes(self, values: Array) -> npt.NDArray[np.int64]:
        """Return the number of each value's colour; -1 where it is not finite."""
        share = (np.clip(values, -_LARGEST, _LARGEST) - self.low) / (self.high - self.low)
        with np.errstate(invalid="ignore"):  # NaN
            number = np.clip(share * COLOURS, 0, COLOURS - 1)
        return np.where(np.isfinite(values), number, -1).astype(np.int64)


def colouring(values: Array, title: str) -> Colouring:
    """Return colours for some values of any shape, with 2 % at each end beyond the bar."""
    finite = _finite(values.ravel())
    low, high = np.quantile(finite, [0.02, 0.98]) if finite.size else (0.0, 1.0)
    return Colouring(*_apart(float(low), float(high)), title)


def body(
    positions: Array,
    values: Array | None,
    label: str,
    *,
    view: View,
    colours: Colouring | None,
    unit: str = "",
) -> str:
    """Draw points with axes, as long across as up, and a colour bar.

    Parameters
    ----------
    positions
        Shape (n, 3); rows that are not finite are not drawn.
    values, colours
        Shape (n,): what colours the points, and how; None for one colour.
    label
        What they are, for people who do not see the picture.
    view
        From where they are seen.
    unit
        Of the positions; empty for none.
    """
    width, left, top, below = 460, 54, 22, 40
    right = 16 if colours is None else 84
    are_drawn = _are_drawn(positions)
    points = positions[are_drawn]
    if len(points) == 0:
        return _svg(width, 92, label, ['<text x="8" y="46">no finite positions</text>'])
    x, y = points[:, view.across], points[:, view.up]
    (x_low, x_high), (y_low, y_high) = (_apart(c.min().item(), c.max().item()) for c in (x, y))
    inner, margin = width - left - right, 10
    across, up = x_high - x_low, y_high - y_low
    # As wide as there is room for, but no higher than three quarters of that.
    scale = min((inner - 2 * margin) / across, (0.75 * inner - 2 * margin) / up)
    high = max(up * scale + 2 * margin, 90.0)
    x_from, y_from = left + (inner - across * scale) / 2, top + (high + up * scale) / 2
    px, py = x_from + (x - x_low) * scale, y_from - (y - y_low) * scale

    shapes = [f'<rect x="{left}" y="{top}" width="{inner}" height="{high:.1f}" class="frame"/>']
    number = np.full(len(points), -1)
    if colours is not None and values is not None:
        number = colours.classes(values[are_drawn])
    # As large as leaves few gaps on the side that is seen, and not so large that edges blur.
    size = np.clip(1.5 * math.sqrt(2 * across * up * scale**2 / len(points)), 2, 7)
    shapes.append(f'<g class="dots" stroke-width="{size:.1f}">')
    for rows in np.array_split(np.argsort(view.depths(points), kind="stable"), _LAYERS):
        for colour in np.unique(number[rows]).tolist():
            of = rows[number[rows] == colour]
            dots = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(px[of], py[of], strict=True))
            name = f"k{colour}" if colour >= 0 else "c0" if colours is None else "gap"
            shapes.append(f'<path class="{name}" d="{dots}"/>')
    shapes.append("</g>")

    floor = top + high
    unit = f" ({_short(unit, 12)})" if unit else ""
    names = [f"{COMPONENTS[axis]}{unit}" for axis in (view.across, view.up)]
    # The frame's own ends, which are beyond the body's.
    ends = (x_low - (x_from - left) / scale, x_high + (x_from - left) / scale)
    marks = ticks(*ends, 6)
    for value, text in zip(marks, tick_texts(marks), strict=True):
        at = x_from + (value - x_low) * scale
        shapes.append(f'<path d="M{at:.1f} {floor:.1f}v4" class="axis"/>')
        shapes.append(f'<text x="{at:.1f}" y="{floor + 15:.1f}" class="mid">{text}</text>')
    shapes.append(
        f'<text x="{left + inner / 2}" y="{floor + 31:.1f}" class="mid">{escape(names[0])}</text>'
    )
    slack = (high - up * scale) / 2 / scale
    marks = ticks(y_low - slack, y_high + slack, max(3, round(high / 32)))
    for value, text in zip(marks, tick_texts(marks), strict=True):
        at = y_from - (value - y_low) * scale
        shapes.append(f'<path d="M{left} {at:.1f}h-4" class="axis"/>')
        shapes.append(f'<text x="{left - 7}" y="{at + 4:.1f}" class="end">{text}</text>')
    shapes.append(f'<text x="4" y="{top - 8}">{escape(names[1])}</text>')
    if colours is not None:
        shapes += _colour_bar(colours, left + inner + 12, top, high, width)
    return _svg(width, round(floor + below), label, shapes)


def ticks(low: float, high: float, about: int) -> list[float]:
    """Return round numbers between two numbers, about so many: steps of 1, 2 or 5."""
    raw = (high - low) / about
    if not raw > 0 or not math.isfinite(raw):
        return [low]
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(
        (power * digit for digit in (1, 2, 5, 10) if power * digit >= raw * (1 - 1e-9)), power * 10
    )
    if not step > 0 or not math.isfinite(low / step):
        return [low]
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, min(last, first + 20) + 1)]


def tick_texts(values: Sequence[float]) -> list[str]:
    """Return what is written at ticks: no more digits than tell them apart, a proper minus."""
    digits = 3
    while digits < 12 and len({f"{value:.{digits}g}" for value in values}) < len(values):
        digits += 1
    largest = max((abs(value) for value in values), default=0.0)
    texts = []
    for value in values:
        # In full where that is short, and nothing is left of zero but zero.
        value = 0.0 if abs(value) < 1e-9 * largest else value
        plain = 1e4 <= largest < 1e6 and value == round(value)
        texts.append((f"{value:.0f}" if plain else f"{value:.{digits}g}").replace("-", "−"))
    return texts


def _colour_bar(colours: Colouring, x: float, top: float, high: float, width: int) -> list[str]:
    each = high / COLOURS
    shapes = [
        # A little higher than apart, so that no gap shows between them.
        f'<rect x="{x}" y="{top + high - (n + 1) * each:.2f}" width="10" '
        f'height="{each + (0.4 if n else 0):.2f}" class="k{n} step"/>'
        for n in range(COLOURS)
    ]
    scale = high / (colours.high - colours.low)
    marks = ticks(colours.low, colours.high, max(2, round(high / 40)))
    for value, text in zip(marks, tick_texts(marks), strict=True):
        at = top + high - (value - colours.low) * scale
        shapes.append(f'<path d="M{x + 10} {at:.1f}h4" class="axis"/>')
        shapes.append(f'<text x="{x + 17}" y="{at + 4:.1f}">{text}</text>')
    title = escape(_short(colours.title, 40))
    shapes.append(f'<text x="{width - 4}" y="{top - 8}" class="end">{title}</text>')
    return shapes


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _finite(values: Array) -> Array:
    return np.clip(values[np.isfinite(values)], -_LARGEST, _LARGEST)


def _are_drawn(positions: Array) -> npt.NDArray[np.bool_]:
    """Return which rows of shape (n, 3) are finite, and so are differences between them."""
    are_drawn: npt.NDArray[np.bool_] = np.asarray((np.abs(positions) < _LARGEST).all(axis=1))
    return are_drawn


def _apart(low: float, high: float) -> tuple[float, float]:
    """Return two ends of an axis as they are, or moved apart where they are the same number."""
    low, high = float(low), float(high)
    magnitude = max(abs(low), abs(high))
    if high - low > max(1e-9 * magnitude, 1 / _LARGEST):
        return low, high
    half = 0.05 * magnitude if magnitude > 1e-290 else 0.5
    return low - half, high + half


def _svg(width: int, height: int, label: str, shapes: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        f"{''.join(shapes)}</svg>"
    )
