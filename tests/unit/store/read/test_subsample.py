"""Which rows a draw takes: counted out over all that chance may bring."""

from __future__ import annotations

from collections import Counter
from math import lcm

import pytest
import torch

from aerozarr.store.read.subsample import Rows, choose_rows, merge_ends, random_below, run

# Points of the domain and of a chunk: whole chunks, a last one with fewer points, a single one.
GRIDS = [(12, 4), (13, 4), (11, 4), (9, 3), (7, 3), (5, 4), (3, 4), (10, 5)]


def numbers(rows: Rows) -> list[int]:
    return [row for first, stop in rows for row in range(first, stop)]


def chunks(rows: Rows, chunk: int) -> int:
    return len({row // chunk for row in numbers(rows)})


@pytest.mark.parametrize("n_points", [1, 2, 7, 12])
def test_over_all_starts_a_run_takes_each_row_equally_often(n_points: int) -> None:
    for count in range(1, n_points + 1):
        taken: Counter[int] = Counter()
        for start in range(n_points):
            rows = numbers(run(start, count, n_points))
            assert len(set(rows)) == len(rows) == count
            taken.update(rows)
        assert taken == dict.fromkeys(range(n_points), count)


def test_a_run_goes_on_at_the_first_row_after_the_last() -> None:
    assert run(8, 4, 10) == ((8, 10), (0, 2))
    assert run(6, 4, 10) == ((6, 10),)


@pytest.mark.parametrize(("n_points", "chunk"), GRIDS)
def test_over_all_chances_whole_chunks_take_each_row_equally_often(
    n_points: int, chunk: int
) -> None:
    chances = lcm(*range(1, chunk + 1))
    for count in range(1, n_points):
        taken: Counter[int] = Counter()
        for start in range(n_points):
            for pick in range(chances):
                for offset in range(chances):
                    drawn = merge_ends(start, count, n_points, chunk, pick=pick, offset=offset)
                    rows = numbers(drawn)
                    assert len(set(rows)) == len(rows) == count
                    taken.update(rows)
        each = chances**2 * count
        assert taken == dict.fromkeys(range(n_points), each)


@pytest.mark.parametrize("count", range(1, 12))
def test_whole_chunks_touch_as_few_chunks_as_can_be(count: int) -> None:
    for start in range(12):
        for pick in range(12):
            rows = merge_ends(start, count, 12, 4, pick=pick, offset=pick)
            assert chunks(rows, 4) == -(-count // 4)


@pytest.mark.parametrize("whole_chunks", [None, 256])
def test_a_generator_decides_the_draw(whole_chunks: int | None) -> None:
    def draw(seed: int) -> Rows:
        return choose_rows(10_000, 700, torch.Generator().manual_seed(seed), whole_chunks)

    assert draw(1) == draw(1)
    assert len({draw(seed) for seed in range(20)}) == 20


def test_all_rows_are_drawn_in_the_order_they_are_stored_in() -> None:
    assert choose_rows(10, 10, None) == choose_rows(10, 10, None, 4) == ((0, 10),)


def test_starts_are_uniform_for_large_samples_too() -> None:
    # The remainder of 32 random bits would give the lowest third twice as often as the others.
    limit = 3 * 2**30
    generator = torch.Generator().manual_seed(0)
    low = sum(random_below(limit, generator) < limit // 3 for _ in range(10_000))
    assert abs(low / 10_000 - 1 / 3) < 6 * (2 / 9 / 10_000) ** 0.5
