from __future__ import annotations

import numpy as np
import pytest

from aerozarr.store.format.shard_index import NO_CHUNK, Index
from aerozarr.store.read.chunk_places import (
    Run,
    ShardChunks,
    Span,
    TouchedChunks,
    UnlikelyChunkError,
)


@pytest.mark.parametrize(
    ("rows", "numbers", "spans"),
    [
        pytest.param(((0, 30),), [0, 1, 2], [Span(0, 0, 3, 0, 10)], id="whole chunks"),
        pytest.param(
            ((7, 34),),
            [0, 1, 2, 3],
            [Span(0, 0, 1, 7, 3), Span(3, 1, 2, 0, 10), Span(23, 3, 1, 0, 4)],
            id="a part at both ends",
        ),
        pytest.param(
            ((28, 40), (0, 5)),
            [0, 2, 3],
            [Span(12, 0, 1, 0, 5), Span(0, 1, 1, 8, 2), Span(2, 2, 1, 0, 10)],
            id="wrapped around",
        ),
        pytest.param(
            ((25, 40), (0, 22)),
            [0, 1, 2, 3],
            [
                Span(15, 0, 2, 0, 10),
                Span(0, 2, 1, 5, 5),
                Span(35, 2, 1, 0, 2),
                Span(5, 3, 1, 0, 10),
            ],
            id="wrapped around into the chunk that it began in",
        ),
        pytest.param(
            ((0, 10), (20, 30), (10, 15)),
            [0, 1, 2],
            [Span(0, 0, 1, 0, 10), Span(20, 1, 1, 0, 5), Span(10, 2, 1, 0, 10)],
            id="places that follow each other, of chunks that do not",
        ),
        pytest.param(
            ((0, 10), (0, 20)),
            [0, 1],
            [Span(0, 0, 1, 0, 10), Span(10, 0, 2, 0, 10)],
            id="a chunk that is wanted twice",
        ),
    ],
)
def test_whole_chunks_that_go_to_one_place_are_joined(
    rows: tuple[tuple[int, int], ...], numbers: list[int], spans: list[Span]
) -> None:
    touched = TouchedChunks(rows, 10, 100)
    assert touched.shards == {0: numbers}
    assert touched.spans_of(numbers) == spans
    assert touched.spans_of(numbers) == spans  # what is kept of it is the same


def test_spans_of_chunks_with_a_gap_are_not_taken_for_those_of_others() -> None:
    touched = TouchedChunks(((0, 60),), 10, 100)
    assert touched.spans_of([0, 2, 3]) == [Span(0, 0, 1, 0, 10), Span(20, 1, 2, 0, 10)]
    assert touched.spans_of([0, 1, 3]) == [Span(0, 0, 2, 0, 10), Span(30, 2, 1, 0, 10)]


def index_of(*chunks: tuple[int, int]) -> Index:
    return np.array(chunks, "<u8")


NONE = (NO_CHUNK, NO_CHUNK)
IN_A_ROW = index_of((100, 5), (105, 7), (112, 6), NONE)
WITH_GAPS = index_of((100, 5), NONE, (105, 6), (300, 2))


@pytest.mark.parametrize(
    ("index", "slots", "runs", "skipped"),
    [
        (IN_A_ROW, [0, 1, 2], [Run([0, 1, 2], [100, 105, 112, 118])], []),
        (IN_A_ROW, [1], [Run([1], [105, 112])], []),
        (IN_A_ROW, [2, 3], [Run([2], [112, 118])], [3]),
        (IN_A_ROW, [0, 2], [Run([0], [100, 105]), Run([2], [112, 118])], []),
        (WITH_GAPS, [0, 1, 2, 3], [Run([0, 2], [100, 105, 111]), Run([3], [300, 302])], [1]),
        (
            index_of((100, 5), (110, 7)),
            [0, 1],
            [Run([0], [100, 105]), Run([1], [110, 117])],
            [],
        ),
        (index_of(NONE, NONE), [0, 1], [], [0, 1]),
    ],
)
def test_chunks_whose_bytes_follow_each_other_are_a_run(
    index: Index, slots: list[int], runs: list[Run], skipped: list[int]
) -> None:
    assert ShardChunks(index, 50).runs_of(slots) == (runs, skipped)


@pytest.mark.parametrize(
    "chunk", [(105, 51), (2**62 - 1, 2), (2**64 - 2, 5), (105, 2**64 - 2)], ids=str
)
def test_a_chunk_that_cannot_be_is_an_error_once_it_is_wanted(chunk: tuple[int, int]) -> None:
    chunks = ShardChunks(index_of((100, 5), chunk), 50)
    assert chunks.runs_of([0]) == ([Run([0], [100, 105])], [])
    with pytest.raises(UnlikelyChunkError, match=f"chunk 1 has {chunk[1]} bytes .* {chunk[0]} on"):
        chunks.runs_of([0, 1])


def test_a_run_is_taken_apart() -> None:
    assert Run([3, 4], [10, 15, 17]).apart() == [Run([3], [10, 15]), Run([4], [15, 17])]
