from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from aerozarr.filesystems import byte_ranges
from aerozarr.filesystems.byte_ranges import ByteRange, LocalFetcher

CONTENT = bytes(range(200)) * 10

SPANS = [
    ByteRange("a", 5, 20),
    ByteRange("a", 100, 100),
    ByteRange("a", 1990, 2010),
    ByteRange("a", 3000, 3010),
    ByteRange("none", 0, 5),
    ByteRange("none", 5, 9),
    ByteRange("folder", 0, 5),
    ByteRange("a/below", 0, 5),
    ByteRange("b"),
    ByteRange("b", -7),
    ByteRange("a", 7),
]


@pytest.fixture
def fetcher(tmp_path: Path) -> LocalFetcher:
    (tmp_path / "a").write_bytes(CONTENT)
    (tmp_path / "b").write_bytes(CONTENT[::-1])
    (tmp_path / "folder").mkdir()
    return LocalFetcher(str(tmp_path))


@pytest.mark.parametrize("much", [2**20, 8])
def test_spans_in_turn_are_those_of_fetch(
    fetcher: LocalFetcher, much: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(byte_ranges, "_MUCH", much)
    monkeypatch.setattr(byte_ranges, "_MOST_KEPT", 2 * much)
    n_open = len(os.listdir("/proc/self/fd"))
    expected = [*fetcher.fetch(SPANS)]
    assert expected[:7] == [CONTENT[5:20], b"", CONTENT[1990:], b"", None, None, None]
    for _ in range(2):
        in_turn = [
            None if content is None else bytes(content) for content in fetcher.fetch_in_turn(SPANS)
        ]
        assert in_turn == expected
    assert len(os.listdir("/proc/self/fd")) == n_open


def test_memory_of_one_reading_is_not_that_of_another(fetcher: LocalFetcher) -> None:
    for _ in range(2):  # with new memory, and with what is kept of it
        first, second = (
            iter(fetcher.fetch_in_turn([ByteRange("a", start, 100)])) for start in (0, 50)
        )
        of_first, of_second = next(first), next(second)
        assert isinstance(of_first, np.ndarray)
        assert isinstance(of_second, np.ndarray)
        assert not np.shares_memory(of_first, of_second)
        assert (bytes(of_first), bytes(of_second)) == (CONTENT[:100], CONTENT[50:100])
        assert [*first, *second] == []


def test_a_file_is_closed_when_reading_ends_early(fetcher: LocalFetcher) -> None:
    n_open = len(os.listdir("/proc/self/fd"))
    contents = fetcher.fetch(SPANS)
    next(contents)
    assert len(os.listdir("/proc/self/fd")) == n_open + 1
    contents.close()  # type: ignore[attr-defined] # a generator
    assert len(os.listdir("/proc/self/fd")) == n_open
