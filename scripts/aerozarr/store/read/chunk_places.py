"""Which chunks hold the rows of a draw, where their bytes are, and where the rows go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from aerozarr.store.format.shard_index import NO_CHUNK, Index
from aerozarr.store.read.subsample import Rows

# No place in a file is beyond this one.
_LAST_BYTE = 2**62

Place = tuple[int, int, int]
"""Where rows of a chunk go: the first row there, the first of them in the chunk, and how many."""


class UnlikelyChunkError(Exception):
    """What is wrong with a shard's index; the caller says where."""


class Span(NamedTuple):
    """Rows that go to one place: of one chunk, or all rows of chunks that follow each other.

    Attributes
    ----------
    place
        The first row there.
    chunk, n_chunks
        The first chunk, by where it is among some; and how many they are.
    first, n_rows
        The first row in each chunk, and how many of it.
    """

    place: int
    chunk: int
    n_chunks: int
    first: int
    n_rows: int


class Run(NamedTuple):
    """Chunks whose bytes follow each other without a gap.

    Attributes
    ----------
    numbers
        Of the chunks.
    bounds
        The first byte of each, and before which byte the last one ends.
    """

    numbers: Sequence[int]
    bounds: Sequence[int]

    def apart(self) -> list[Run]:
        """Return its chunks, each as a run of its own."""
        return [Run([number], self.bounds[at : at + 2]) for at, number in enumerate(self.numbers)]


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
        self._chunk_rows = chunk_rows
        self._spans: dict[tuple[int, int], list[Span]] = {}
        self.places = places_of(rows, chunk_rows)
        self.shards: dict[int, list[int]] = {}
        for number in sorted(self.places):
            self.shards.setdefault(number // chunks_in_object, []).append(number)

    def spans_of(self, numbers: Sequence[int]) -> list[Span]:
        """Return where the rows of some of the chunks go; see `spans_of`."""
        key = numbers[0], len(numbers)
        if numbers[-1] - numbers[0] != len(numbers) - 1:
            return spans_of(numbers, self.places, self._chunk_rows)
        if key not in self._spans:  # fields of a domain have them in common
            self._spans[key] = spans_of(numbers, self.places, self._chunk_rows)
        return self._spans[key]


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


def spans_of(
    numbers: Iterable[int], places: Mapping[int, Sequence[Place]], chunk_rows: int
) -> list[Span]:
    """Return where the rows of some chunks go; those of whole chunks together where they can be.

    Parameters
    ----------
    numbers
        Of the chunks.
    places
        Where the rows of each go, by its number.
    chunk_rows
        Rows in a chunk.
    """
    spans: list[Span] = []
    whole = 0  # chunks that the last span holds, where it holds all their rows
    chunk = end = -1  # the first of them, and where their rows end
    for at, number in enumerate(numbers):
        for place, first, n_rows in places[number]:
            if n_rows < chunk_rows:
                spans.append(Span(place, at, 1, first, n_rows))
                whole = 0
            elif whole and place == end and at == chunk + whole:
                whole += 1
                end += n_rows
                spans[-1] = Span(spans[-1].place, chunk, whole, 0, n_rows)
            else:
                spans.append(Span(place, at, 1, 0, n_rows))
                whole, chunk, end = 1, at, place + n_rows
    return spans


class ShardChunks:
    """Where the chunks of a shard are, by its index.

    Parameters
    ----------
    index
        Of shape (chunks in the shard, 2): place and length of each.
    most
        Bytes that a chunk may have.
    """

    def __init__(self, index: Index, most: int) -> None:
        self._index = index
        self._most = most = min(most, _LAST_BYTE)
        starts, lengths = index[:, 0], index[:, 1]
        # Looked at once, and not in each reading: as aerozarr writes a shard, its chunks follow
        # each other from the first to the last that is stored.
        is_sound = (lengths <= most) & (starts <= _LAST_BYTE - most)
        is_sound[1:] &= starts[1:] == starts[:-1] + lengths[:-1]
        self._n_in_a_row = len(index) if is_sound.all() else int(is_sound.argmin())

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in memory, about."""
        return int(self._index.nbytes)

    def runs_of(self, slots: Sequence[int]) -> tuple[list[Run], list[int]]:
        """Find chunks.

        Parameters
        ----------
        slots
            Their numbers within the shard, ascending: at least one.

        Returns
        -------
        runs
            Those whose bytes follow each other, by their numbers within the shard.
        skipped
            The slots of chunks that are not stored.

        Raises
        ------
        UnlikelyChunkError
            When the index says of a chunk that it is longer, or farther on, than can be.
        """
        first, last = slots[0], slots[-1]
        if last < self._n_in_a_row and last - first == len(slots) - 1:
            bounds = self._index[first : last + 1, 0].tolist()
            bounds.append(int(self._index[last].sum()))
            return [Run(slots, bounds)], []
        runs: list[Run] = []
        skipped: list[int] = []
        numbers: list[int] = []
        bounds = [-1]
        for slot, (start, length) in zip(slots, self._index[slots].tolist(), strict=True):
            if start == NO_CHUNK:
                skipped.append(slot)
                continue
            if length > self._most or start + length > _LAST_BYTE:
                raise UnlikelyChunkError(
                    f"its index says that chunk {slot} has {length} bytes from byte {start} on, "
                    "more than can be"
                )
            if start != bounds[-1]:
                numbers, bounds = [], [start]
                runs.append(Run(numbers, bounds))
            numbers.append(slot)
            bounds.append(start + length)
        return runs, skipped
