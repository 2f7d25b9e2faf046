"""Statistics of a store, merged from those of its samples: what training normalises with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from aerozarr.config.fields import Domain
from aerozarr.convert.fragment import Fragment
from aerozarr.convert.statistics import Moments, known


def statistics(domains: tuple[Domain, ...], fragments: Sequence[Fragment]) -> dict[str, Any]:
    """Return the statistics of some samples, under the names that training recipes expect.

    Parameters
    ----------
    domains
        The dataset's domains.
    fragments
        Those of converted samples.

    Returns
    -------
    dict
        For each field `<canonical>_mean`, `_std` (with n−1), `_min`, `_max`, `_logscale_mean` and
        `_logscale_std` (of sign(x)·log1p(|x|)): a list with a number for each component, over the
        finite values as stored; and `_count`, the number of rows. None stands for what cannot be
        told: the component has no finite value, or float64 cannot hold the number. `_nans` and
        `_infinities` are there for fields that hold some. `raw_pos_min` and `raw_pos_max` are lists
        of one number, over all position fields and components.
    """
    result: dict[str, Any] = {}
    positions: list[Moments] = []
    for domain in domains:
        for field in domain.fields:
            name = field.canonical
            parts = [fragment.fields[name].moments for fragment in fragments]
            if not parts:
                continue
            moments = Moments.merged(parts)
            if field is domain.position:
                positions.append(moments)
            result |= {f"{name}_{key}": value for key, value in _entries(moments).items()}
    if positions:
        lows = [low for moments in positions for low in known(moments.low)]
        highs = [high for moments in positions for high in known(moments.high)]
        result["raw_pos_min"] = [min(lows, default=None)]
        result["raw_pos_max"] = [max(highs, default=None)]
    return result


def _entries(moments: Moments) -> dict[str, Any]:
    counts = moments.finite
    entries: dict[str, Any] = {
        "mean": _told(moments.mean, counts),
        "std": _told(_deviations(moments.m2, counts), counts),
        "min": moments.low,
        "max": moments.high,
        "count": moments.rows,
        "logscale_mean": _told(moments.log_mean, counts),
        "logscale_std": _told(_deviations(moments.log_m2, counts), counts),
    }
    if any(moments.nans):
        entries["nans"] = moments.nans
    if any(moments.infinities):
        entries["infinities"] = moments.infinities
    return entries


def _told(values: list[float], counts: list[int]) -> list[float | None]:
    """Return the values that say something, None for the others; JSON has no NaN or infinity."""
    pairs = zip(values, counts, strict=True)
    return [value if n and math.isfinite(value) else None for value, n in pairs]


def _deviations(m2: list[float], counts: list[int]) -> list[float]:
    """Return standard deviations: the square root of m2 / (n − 1), 0 for a single value."""
    return [math.sqrt(s / max(n - 1, 1)) for s, n in zip(m2, counts, strict=True)]
