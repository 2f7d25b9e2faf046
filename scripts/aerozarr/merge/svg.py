"""Drawings of the report, as SVG text: histograms and scattered points.

By hand, and not with a plotting library: a run ends with these, and importing one would take longer
than drawing them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# Of components x, y, z; told apart by people who do not see red or green, too.
COMPONENT_COLOURS = ("#0072b2", "#d55e00", "#009e73")
COMPONENTS = ("x", "y", "z")

# From low to high: dark blue, teal, yellow.
_RAMP = np.array(
    [[48, 18, 97], [50, 83, 143], [31, 146, 140], [106, 203, 96], [250, 230, 45]], dtype=np.float64
)
# Share of the values at each end that is not drawn: one stray value would flatten all others.
_STRAY = 0.005


def histogram(values: Array, label: str, *, bins: int = 48) -> str:
    """Draw the distribution of each component.

    Parameters
    ----------
    values
        Shape (n, components); values that are not finite, and the outermost 0.5 % at each end, are
        not drawn.
    label
        What they are, for people who do not see the picture.
    bins
        Number of bars.
    """
    width, height, floor = 300, 120, 100
    columns = [column[np.isfinite(column)] for column in values.T]
    everything = np.concatenate(columns) if columns else np.empty(0)
    if everything.size == 0:
        return _svg(width, height, label, ['<text x="8" y="60">no finite values</text>'])
    low, high = np.quantile(everything, [_STRAY, 1 - _STRAY])
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts = [np.histogram(column, bins, (low, high))[0] for column in columns]
    top = max(int(count.max()) for count in counts) or 1
    shapes = []
    for number, count in enumerate(counts):
        edges = np.linspace(0, width, bins + 1)
        tops = floor - count / top * (floor - 6)
        steps = " ".join(
            f"L{left:.1f} {y:.1f}L{right:.1f} {y:.1f}"
            for left, right, y in zip(edges[:-1], edges[1:], tops, strict=True)
        )
        colour = COMPONENT_COLOURS[number % 3]
        opacity = 0.5 if len(counts) > 1 else 0.8
        shapes.append(
            f'<path d="M0 {floor}{steps}L{width} {floor}Z" fill="{colour}" '
            f'fill-opacity="{opacity}" stroke="{colour}"/>'
        )
    shapes.append(f'<path d="M0 {floor}H{width}" class="axis"/>')
    shapes.append(f'<text x="0" y="{height - 5}">{low:.4g}</text>')
    shapes.append(f'<text x="{width}" y="{height - 5}" text-anchor="end">{high:.4g}</text>')
    if len(counts) > 1:
        for number in range(len(counts)):
            x, colour = width - 14 * (len(counts) - number), COMPONENT_COLOURS[number % 3]
            text = COMPONENTS[number % 3]
            shapes.append(f'<text x="{x}" y="12" style="fill:{colour}">{text}</text>')
    return _svg(width, height, label, shapes)


def scatter(positions: Array, values: Array | None, label: str) -> str:
    """Draw points, seen along the axis in which they extend least.

    Parameters
    ----------
    positions
        Shape (n, 3).
    values
        Shape (n,): what colours them, from low (dark) to high (bright); None for one colour.
    label
        What they are, for people who do not see the picture.
    """
    width, height, margin = 420, 260, 8
    extents = np.ptp(positions, axis=0) if len(positions) else np.zeros(3)
    across, up = sorted(np.argsort(-extents, kind="stable")[:2])
    x, y = positions[:, across], positions[:, up]
    scale = min(
        (width - 2 * margin) / max(float(extents[across]), 1e-30),
        (height - 2 * margin) / max(float(extents[up]), 1e-30),
    )
    left = (width - float(extents[across]) * scale) / 2
    bottom = (height + float(extents[up]) * scale) / 2
    px, py = left + (x - x.min()) * scale, bottom - (y - y.min()) * scale
    colours = ["#0072b2"] * len(x) if values is None else _colours(values)
    shapes = [
        f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="1.6" fill="{colour}"/>'
        for cx, cy, colour in zip(px, py, colours, strict=True)
    ]
    return _svg(width, height, label, shapes)


def _colours(values: Array) -> list[str]:
    finite = values[np.isfinite(values)]
    low, high = np.quantile(finite, [0.02, 0.98]) if finite.size else (0.0, 1.0)
    share = np.clip((np.nan_to_num(values) - low) / max(high - low, 1e-30), 0, 1)
    place = np.linspace(0, 1, len(_RAMP))
    rgb = np.stack([np.interp(share, place, channel) for channel in _RAMP.T], axis=1)
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in rgb.round().astype(int)]


def _svg(width: int, height: int, label: str, shapes: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        f"{''.join(shapes)}</svg>"
    )
