"""What reading took, as Markdown tables; the README beside this file says what columns mean."""

from __future__ import annotations

from dataclasses import dataclass

from ways_to_read import LOAD, MAP


@dataclass(frozen=True)
class Result:
    """What one way of reading took.

    Attributes
    ----------
    place, batch, method, points
        Where, in batches of how many (0: one by one), how, and points drawn of each domain.
    first, later
        Samples a second: when a worker sees them for the first time, and after that.
    first_bytes, later_bytes
        Bytes a draw, likewise; None where they cannot be counted.
    useful_bytes
        Bytes that as many points take in the store, compressed.
    """

    place: str
    batch: int
    method: str
    points: int
    first: float
    later: float
    first_bytes: float | None
    later_bytes: float | None
    useful_bytes: float


@dataclass(frozen=True)
class CoreTime:
    """What a draw takes of a core, read in one process.

    Attributes
    ----------
    method, points
        How, and points drawn of each domain.
    median_ms, low_ms
        User and system time of a draw: the median of the series, and what a tenth of them are
        below.
    """

    method: str
    points: int
    median_ms: float
    low_ms: float


def table(results: list[Result]) -> str:
    """Return the results as a Markdown table."""
    columns = (
        *("where", "batch", "points", "read by", "samples/s", "first time", "over torch.load"),
        *("MB a draw", "first time", "over useful"),
    )
    lines = [f"| {' | '.join(columns)} |", "|---|---:|---:|---|---:|---:|---:|---:|---:|---:|"]
    for result in results:
        (base,) = (
            other.later
            for other in results
            if other.method == LOAD
            and (other.place, other.batch, other.points)
            == (result.place, result.batch, result.points)
        )
        ratio = (
            "–" if result.later_bytes is None else f"{result.later_bytes / result.useful_bytes:.2f}"
        )
        cells = (
            result.place,
            str(result.batch or "–"),
            f"{result.points:,}",
            result.method,
            f"{result.later:.3g}",
            f"{result.first:.3g}",
            f"{result.later / base:.1f}",
            megabytes(result.later_bytes),
            megabytes(result.first_bytes),
            ratio,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def core_table(results: list[CoreTime]) -> str:
    """Return core times as a Markdown table."""
    lines = [
        "| points | read by | ms a draw | over the map | lowest tenth, ms | over the map |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    maps = {result.points: result for result in results if result.method == MAP}
    for result in results:
        base = maps[result.points]
        cells = (
            f"{result.points:,}",
            result.method,
            f"{result.median_ms:.3g}",
            f"{result.median_ms / base.median_ms:.1f}",
            f"{result.low_ms:.3g}",
            f"{result.low_ms / base.low_ms:.1f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def megabytes(count: float | None) -> str:
    """Return bytes in MB, for a table."""
    return "–" if count is None else f"{count / 1e6:.3g}"
