"""Which rows a subsample takes, so that every point of a domain is as likely as any other.

A run of rows that reaches the last one wraps around to the first. A run whose start is uniform over
all rows then holds each row with probability count / n_points, exactly. (Chunks drawn
at random and cut to the count do not: the tail of a chunk comes more rarely, or never.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch

Rows = tuple[tuple[int, int], ...]
"""Runs of rows, each from its first row to before its last, in the order they are returned in."""


class ArrayRows(NamedTuple):
    """Rows wanted of an array.

    Attributes
    ----------
    name
        The array's name in its group: `volume/velocity`.
    shape
        Its rows and components, as the manifest has them.
    dtype
        Of its values, as the manifest has it.
    rows
        The rows wanted.
    chunk_rows, object_rows
        Rows in a chunk and in a shard, as the manifest has them. Only to guess by: what counts is
        the array's own metadata.
    """

    name: str
    shape: tuple[int, int]
    dtype: str
    rows: Rows
    chunk_rows: int
    object_rows: int


@dataclass(frozen=True)
class Subsample:
    """Chosen points of a sample, yet to be read.

    Attributes
    ----------
    sample, group
        The sample's id, and the path of its group below the store root.
    wanted
        Rows of arrays by the canonical name of their field.
    """

    sample: str
    group: str
    wanted: Mapping[str, ArrayRows]

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Points and components by the canonical name of the field."""
        return {name: (count_of(array.rows), array.shape[1]) for name, array in self.wanted.items()}


def count_of(rows: Rows) -> int:
    """Return how many rows there are in all runs."""
    return sum(stop - first for first, stop in rows)


def choose_rows(
    n_points: int, count: int, generator: torch.Generator | None, whole_chunks: int | None = None
) -> Rows:
    """Subsample `count` rows of `n_points`.

    Parameters
    ----------
    n_points, count
        Points of the domain, and points wanted: at most as many.
    generator
        Where chance comes from; None for torch's own.
    whole_chunks
        Points in a chunk, to draw as `merge_ends` does; None for one run from any row.
    """
    if count == n_points:
        return ((0, n_points),)
    if whole_chunks is None:
        return run(random_below(n_points, generator), count, n_points)
    start, pick, offset = (random_number(generator) for _ in range(3))
    return merge_ends(start % n_points, count, n_points, whole_chunks, pick=pick, offset=offset)


def random_number(generator: torch.Generator | None) -> int:
    """Return a uniform random number below 2^62."""
    return int(torch.randint(2**62, (1,), generator=generator))


def random_below(limit: int, generator: torch.Generator | None) -> int:
    """Return a uniform random number below `limit`.

    Not `torch.randint(limit)`, which takes the remainder of 32 bits: for large samples some rows
    would then come a few percent more often than others.
    """
    return random_number(generator) % limit


def run(start: int, count: int, n_points: int) -> Rows:
    """Return `count` rows from `start` on, going on at row 0 after the last."""
    beyond = start + count - n_points
    if beyond <= 0:
        return ((start, start + count),) if count else ()
    return ((start, n_points), (0, beyond))


def merge_ends(
    start: int, count: int, n_points: int, chunk: int, *, pick: int, offset: int
) -> Rows:
    """Return `count` rows that touch as few chunks as can be, each row still as likely.

    A run of rows begins and ends within a chunk. Where one of these two chunks can give the rows of
    both ends, one of them does: the first with a probability of its share of those rows, so that a
    chunk gives as many rows on average as before. The rows that a chunk gives in part are a run on
    wrapped around within the chunk, from a uniform start, so that they are equally likely in it.

    Parameters
    ----------
    start
        The run's start: uniform over all rows.
    count, n_points, chunk
        Rows wanted, rows there are, and rows in a chunk (the last may hold fewer).
    pick, offset
        Random numbers, uniform over many times the rows of a chunk.
    """
    if count >= n_points:
        return ((0, n_points),)
    first, last = start // chunk, (start + count - 1) % n_points // chunk
    head_size, tail_size = (min(chunk, n_points - number * chunk) for number in (first, last))
    head = min((first + 1) * chunk, n_points) - start
    if head >= count:  # one chunk holds them all
        return _part(first, count, head_size, chunk, offset)
    tail = (start + count - 1) % n_points - last * chunk + 1
    between = run((start + head) % n_points, count - head - tail, n_points)
    if first == last:  # wrapped around, into the chunk that it began in
        return (*_part(first, head + tail, head_size, chunk, offset), *between)
    ends = head + tail
    if ends <= min(head_size, tail_size):
        chosen = (first, head_size) if pick % ends < head else (last, tail_size)
        return (*_part(chosen[0], ends, chosen[1], chunk, offset), *between)
    return (
        *_part(first, head, head_size, chunk, offset),
        *between,
        *_part(last, tail, tail_size, chunk, offset),
    )


def _part(number: int, count: int, size: int, chunk: int, offset: int) -> Rows:
    """Return `count` of the `size` rows of chunk `number`, wrapped around from a start."""
    base = number * chunk
    return tuple((base + low, base + high) for low, high in run(offset % size, count, size))
