from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from numcodecs import blosc

from aerozarr.store.format.shard_index import with_checksum
from aerozarr.store.read import run_decoder
from aerozarr.store.read.array_decoder import Layout
from aerozarr.store.read.chunk_places import Run, TouchedChunks
from aerozarr.store.read.run_decoder import (
    DamagedChunkError,
    Scratch,
    decode_run,
    is_for_numpy,
)

CHUNK_ROWS, WIDTH, N_CHUNKS = 50, 3, 4
RAW, MADE_SMALLER = 0, 5  # levels of compression

Bytes = npt.NDArray[np.uint8]


def layout_of(dtype: str, codec: str = "blosc", *, has_checksums: bool = True) -> Layout:
    rows = CHUNK_ROWS * N_CHUNKS
    return Layout(
        shape=(rows, WIDTH),
        dtype=np.dtype(dtype),
        object_rows=rows,
        chunk_rows=CHUNK_ROWS,
        index_at_end=False,
        codec=codec,
        has_checksums=has_checksums,
        chunk_metadata=None,
        separator="/",
        fill=0.0,
    )


def values_of(dtype: str) -> npt.NDArray[Any]:
    return np.arange(CHUNK_ROWS * N_CHUNKS * WIDTH).reshape(-1, WIDTH).astype(dtype)


def chunks_of(layout: Layout, levels: list[int]) -> list[bytes]:
    """Return chunks as they are stored, each of its level."""
    stored = []
    for part, level in zip(
        np.split(values_of(layout.dtype.name), len(levels)), levels, strict=True
    ):
        body = part.tobytes()
        if layout.codec:
            body = blosc.compress(body, b"lz4", level, typesize=part.itemsize)
        stored.append(with_checksum(body) if layout.has_checksums else body)
    return stored


def read(
    layout: Layout,
    chunks: list[bytes],
    into: torch.dtype,
    rows: tuple[tuple[int, int], ...] = ((20, 190),),
    *,
    is_writable: bool = True,
) -> torch.Tensor:
    content: Bytes = np.frombuffer(b"".join(chunks), np.uint8)
    if is_writable:
        content = content.copy()
    touched = TouchedChunks(rows, CHUNK_ROWS, N_CHUNKS)
    bounds = np.cumsum([0, *map(len, chunks)]).tolist()
    values = torch.full((sum(stop - first for first, stop in rows), WIDTH), -1, dtype=into)
    numbers = list(range(len(chunks)))
    decode_run(layout, content, Run(numbers, bounds), touched.spans_of(numbers), values, Scratch())
    return values


@pytest.mark.parametrize("into", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("levels", [[0, 0, 0, 0], [5, 5, 5, 5], [0, 5, 0, 0]], ids=str)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32"])
def test_rows_are_where_they_are_wanted(dtype: str, levels: list[int], into: torch.dtype) -> None:
    expected = torch.from_numpy(values_of(dtype)).to(into)
    for has_checksums, is_writable in itertools.product([True, False], repeat=2):
        layout = layout_of(dtype, has_checksums=has_checksums)
        chunks = chunks_of(layout, levels)
        values = read(layout, chunks, into, is_writable=is_writable)
        assert torch.equal(values, expected[20:190])
        values = read(layout, chunks, into, ((170, 200), (0, 175)), is_writable=is_writable)
        assert torch.equal(values, torch.cat([expected[170:], expected[:175]]))


@pytest.mark.parametrize("threads", [1, 2])
def test_chunks_are_copied_several_at_a_time(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_decoder, "_MOST_COPIED", 2 * CHUNK_ROWS * WIDTH)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    expected = torch.from_numpy(values_of("float16")).float()
    for level in (RAW, MADE_SMALLER):
        layout = layout_of("float16")
        chunks = chunks_of(layout, [level] * N_CHUNKS)
        assert torch.equal(read(layout, chunks, torch.float32, ((0, 200),)), expected)


@pytest.mark.parametrize("has_checksums", [True, False])
def test_values_without_a_codec(has_checksums: bool) -> None:
    layout = layout_of("float16", "", has_checksums=has_checksums)
    expected = torch.from_numpy(values_of("float16")).float()
    chunks = chunks_of(layout, [RAW] * N_CHUNKS)
    assert torch.equal(read(layout, chunks, torch.float32), expected[20:190])


def flipped(content: bytes, at: int, bit: int = 0) -> bytes:
    return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]


@pytest.mark.parametrize("level", [RAW, MADE_SMALLER])
def test_a_flipped_bit_is_an_error_that_names_the_chunk(level: int) -> None:
    layout = layout_of("float16")
    chunks = chunks_of(layout, [level] * N_CHUNKS)
    for at in (0, 20, len(chunks[2]) - 1):
        damaged = [*chunks[:2], flipped(chunks[2], at), chunks[3]]
        with pytest.raises(DamagedChunkError, match="chunk 2 is damaged: its checksum"):
            read(layout, damaged, torch.float32)


# Of Blosc's header: version, flags (that no version has; that values are as they are), width of a
# value, and the sizes of values, block and chunk.
@pytest.mark.parametrize(
    "bit", [(0, 0), (0, 7), (2, 3), (3, 1), (4, 0), (7, 7), (10, 7), (12, 0), (15, 6)], ids=str
)
@pytest.mark.parametrize("numbers", [[0], [2], [0, 1, 2, 3]], ids=str)
def test_a_header_is_read_as_blosc_reads_it(numbers: list[int], bit: tuple[int, int]) -> None:
    layout = layout_of("float16", has_checksums=False)
    chunks = chunks_of(layout, [RAW] * N_CHUNKS)
    for number in numbers:
        chunks[number] = flipped(chunks[number], *bit)
    try:
        blosc.decompress(chunks[numbers[0]], np.empty(layout.chunk_nbytes, np.uint8))
    except (RuntimeError, ValueError):
        with pytest.raises(DamagedChunkError, match=f"chunk {numbers[0]} cannot be decoded"):
            read(layout, chunks, torch.float32)
    else:
        expected = torch.from_numpy(values_of("float16")).float()
        assert torch.equal(read(layout, chunks, torch.float32), expected[20:190])


@pytest.mark.parametrize("codec", ["", "blosc"])
def test_a_chunk_of_another_size_is_an_error(codec: str) -> None:
    layout = layout_of("float16", codec, has_checksums=False)
    chunks = chunks_of(layout, [RAW] * N_CHUNKS)
    for cut in (b"", chunks[1][:-1], chunks[1] + b"\0"):
        with pytest.raises(DamagedChunkError, match="chunk 1 "):
            read(layout, [chunks[0], cut, *chunks[2:]], torch.float32)


def test_which_tensors_are_for_numpy() -> None:
    assert is_for_numpy(torch.empty(4, 3))
    assert not is_for_numpy(torch.empty(4, 3, dtype=torch.bfloat16))
    assert not is_for_numpy(torch.empty(4, 3, requires_grad=True))
    assert not is_for_numpy(torch.empty(3, 4).T)
    assert not is_for_numpy(torch.empty(4, 3, device="meta"))
