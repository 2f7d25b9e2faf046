"""Which chunks hold the rows of a draw, where their bytes are, and where the rows go."""

from __future__ import annotations

from collections.abc import Sequence

from aerozarr.store.format.shard_index import NO_CHUNK, Index
from aerozarr.store.read.subsample import Rows

Place = tuple[int, int, int]
"""Where rows of a chunk go: the first row there, the first of them in the chunk, and how many."""


Stored = tuple[int, int, int]
"""A chunk in a shard: its number there, its first byte, and before which byte it ends."""


class TouchedChunks:
    """The chunks that hold rows of an array.

    Attributes
    ----------
    places
        Where the rows of each go, by the chunk's number within the array.
    shards
        Their numbers by that of their object.
    """

    def __init__(self, rows: Rows, chunk_rows: int, chunks_in_object: int) -> None:
        self.places = places_of(rows, chunk_rows)
        self.shards: dict[int, list[int]] = {}
        for number in sorted(self.places):
            self.shards.setdefault(number // chunks_in_object, []).append(number)


def places_of(rows: Rows, chunk_rows: int) -> dict[int, list[Place]]:
    """Return the chunks that hold the rows, and where the rows of each go."""
    places: dict[int, list[Place]] = {}
    done = 0
    for first, stop in rows:
        while first < stop:
            number, offset = divmod(first, chunk_rows)
            taken = min(stop - first, chunk_rows - offset)
            places.setdefault(number, []).append((done, offset, taken))
            first, done = first + taken, done + taken
    return places


def runs_of(index: Index, slots: Sequence[int]) -> tuple[list[list[Stored]], list[int]]:
    """Find chunks in a shard by its index.

    Parameters
    ----------
    index
        Of shape (chunks in the shard, 2).
    slots
        Numbers of chunks within the shard, ascending: at least one.

    Returns
    -------
    runs
        Chunks whose bytes follow each other without a gap.
    skipped
        The slots of chunks that are not stored.
    """
    runs: list[list[Stored]] = []
    skipped: list[int] = []
    end = -1
    # A slice where it can be, which takes a fifth of the time.
    is_run = slots[-1] - slots[0] == len(slots) - 1
    stored = index[slots[0] : slots[-1] + 1] if is_run else index[slots]
    for slot, (start, length) in zip(slots, stored.tolist(), strict=True):
        if start == NO_CHUNK:
            skipped.append(slot)
            continue
        if start != end:
            runs.append([])
        runs[-1].append((slot, start, start + length))
        end = start + length
    return runs, skipped
