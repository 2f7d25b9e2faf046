"""Statistics of some samples, merged from their moments: what training normalises with."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from aerozarr.store.format.moments import Moments, known


def merged_statistics(
    fields: Iterable[str], positions: Collection[str], samples: Sequence[Mapping[str, Moments]]
) -> dict[str, Any]:
    """Return the statistics of some samples, under the names that training recipes expect.

    Parameters
    ----------
    fields
        Canonical names of the fields, in the order in which they are told of.
    positions
        Which of them are position fields.
    samples
        The moments of each sample, by canonical name. Their order decides the last digits.

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
    coordinates: list[Moments] = []
    for name in fields if samples else ():
        moments = Moments.merged([sample[name] for sample in samples])
        if name in positions:
            coordinates.append(moments)
        result |= {f"{name}_{key}": value for key, value in _entries(moments).items()}
    if coordinates:
        lows = [low for moments in coordinates for low in known(moments.low)]
        highs = [high for moments in coordinates for high in known(moments.high)]
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
