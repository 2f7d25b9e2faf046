"""Decoding chunks that follow each other in a shard, and putting their rows where they are wanted.

They are taken together, because a call of numpy or torch takes as long as some thousand values do:
whole chunks are copied, and cast, several at a time, and values that are stored as they are go from
where they were read to where they are wanted, without a decoder.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numcodecs import blosc

from aerozarr.store.format.shard_index import CHECKSUM_BYTES, fits_checksum
from aerozarr.store.read.array_decoder import Layout, Unreadable
from aerozarr.store.read.chunk_places import Run, Span
from aerozarr.store.read.decompress import DAMAGED, check_blosc

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

# Bytes for chunks to be decoded into, of all shapes together, that are kept.
_MOST_SCRATCH = 2**24

# Values that torch copies in one thread. With more it wakes others, whose waiting costs a core more
# than they gain.
_MOST_COPIED = 2**15


class DamagedChunkError(Exception):
    """What is wrong with a chunk, which is named by its number; the caller says of which array."""


class Scratch(threading.local):
    """Memory that chunks are decoded into, one after the other; each thread has its own.

    It stays from one reading to the next, since memory that is taken anew costs as much as a third
    of the decoding.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[int, int, np.dtype[Any]], tuple[Array, Bytes]] = {}
        self._nbytes = 0

    def of(self, layout: Layout) -> tuple[Array, Bytes]:
        """Return memory for some chunks of an array, at least one.

        Returns
        -------
        rows
            Of shape (chunks, rows in a chunk, components), in stored dtype.
        raw
            The same as bytes to be set, of shape (chunks, bytes in a chunk).
        """
        key = layout.chunk_rows, layout.shape[1], layout.dtype
        if key not in self._made:
            count = _copied_at_once(layout)
            self._nbytes += count * layout.chunk_nbytes
            if self._nbytes > _MOST_SCRATCH:
                self._made, self._nbytes = {}, count * layout.chunk_nbytes
            stored = np.empty((count, *key[:2]), layout.dtype)
            raw = stored.reshape(count, -1).view(np.uint8)
            self._made[key] = stored, raw
        return self._made[key]


def _copied_at_once(layout: Layout) -> int:
    """Return how many whole chunks of an array are copied at a time, at least one."""
    return max(1, _MOST_COPIED // (layout.chunk_rows * layout.shape[1]))


def is_for_numpy(values: torch.Tensor) -> bool:
    """Whether a tensor's memory is an array that can be written to, in one piece."""
    return (
        values.is_cpu
        and values.dtype is not torch.bfloat16
        and not values.requires_grad
        and values.is_contiguous()
    )


def decode_run(
    layout: Layout,
    content: Bytes,
    run: Run,
    spans: Sequence[Span],
    values: torch.Tensor,
    scratch: Scratch,
) -> None:
    """Decode chunks, and put rows of them where they are wanted.

    Parameters
    ----------
    layout
        How their array is stored.
    content
        The chunks as they are stored: of one axis.
    run
        Their numbers, and their bounds in `content`.
    spans
        Which of their rows go where.
    values
        Where they go: of shape (rows, components), to whose dtype they are cast; `is_for_numpy`.
    scratch
        Memory to decode into.

    Raises
    ------
    DamagedChunkError
        When the bytes are damaged.
    """
    bodies: list[Bytes] = []
    for number, start, stop in zip(run.numbers, run.bounds, run.bounds[1:], strict=False):
        body = content[start:stop]
        if layout.has_checksums:
            if not fits_checksum(body):
                raise DamagedChunkError(f"chunk {number} is damaged: its checksum does not fit")
            body = body[:-CHECKSUM_BYTES]
        bodies.append(body)
    target: Array = values.numpy()
    if not layout.is_plain:
        _decode_slowly(layout, run.numbers, bodies, spans, target)
        return
    rows = _rows_as_stored(layout, content, run, bodies)
    if rows is None:
        _decode(layout, run.numbers, bodies, spans, target, scratch)
        return
    for place, chunk, n_chunks, first, n_rows in spans:
        if n_chunks == 1:
            _copy(rows[chunk, first : first + n_rows], target[place : place + n_rows])
        else:
            until = place + n_chunks * n_rows
            _copy_chunks(rows[chunk : chunk + n_chunks], target[place:until])


def _rows_as_stored(
    layout: Layout, content: Bytes, run: Run, bodies: Sequence[Bytes]
) -> Array | None:
    """Return the rows of all chunks where they were read, of shape (chunks, rows, components).

    None where they are not stored as they are, or torch cannot have them: from memory that may not
    be written to, or from places that are no multiples of a value's size.
    """
    n_chunks, stride, before = len(bodies), layout.nbytes_as_stored, layout.header_nbytes
    if len(content) != n_chunks * stride or not content.flags.writeable:
        return None
    if stride % layout.dtype.itemsize or [*run.bounds[:-1]] != [*range(0, len(content), stride)]:
        return None
    if before:
        if not _is_as_stored(layout, bodies[0], run.numbers[0]):
            return None
        # The others all at once, since they are the same where values are stored as they are.
        headers = np.ndarray((n_chunks, before), np.uint8, content, 0, (stride, 1))
        if headers.tobytes() != headers[0].tobytes() * n_chunks:
            return None
    shape = n_chunks, layout.chunk_rows, layout.shape[1]
    strides = stride, layout.row_nbytes, layout.dtype.itemsize
    rows: Array = np.ndarray(shape, layout.dtype, content, before, strides)
    return rows if rows.flags.aligned else None


def _is_as_stored(layout: Layout, body: Bytes, number: int) -> bool:
    """Whether a chunk's values are stored as they are; otherwise Blosc made them smaller.

    Raises
    ------
    DamagedChunkError
        When it is not of a chunk's size.
    """
    if layout.codec != "blosc":
        if len(body) != layout.chunk_nbytes:
            raise DamagedChunkError(
                f"chunk {number} decodes to {len(body)} bytes, which is not a chunk's size"
            )
        return True
    try:
        return check_blosc(body, layout.chunk_nbytes)
    except DAMAGED as error:
        raise DamagedChunkError(f"chunk {number} cannot be decoded: {error}") from None


def _decode_slowly(
    layout: Layout,
    numbers: Sequence[int],
    bodies: Sequence[Bytes],
    spans: Sequence[Span],
    values: Array,
) -> None:
    """Decode chunks as others store them, one after the other."""
    decoded, rows = -1, values
    for place, chunk, n_chunks, first, n_rows in spans:
        for at in range(chunk, chunk + n_chunks):
            if at != decoded:
                try:
                    rows = layout.decode_slowly(bodies[at]).numpy()
                except Unreadable as error:
                    raise DamagedChunkError(f"chunk {numbers[at]} {error}") from None
                decoded = at
            start = place + (at - chunk) * n_rows
            _copy(rows[first : first + n_rows], values[start : start + n_rows])


def _decode(
    layout: Layout,
    numbers: Sequence[int],
    bodies: Sequence[Bytes],
    spans: Sequence[Span],
    values: Array,
    scratch: Scratch,
) -> None:
    """Decode chunks that Blosc made, or stored as they are.

    Those that are wanted whole and in their own dtype are decoded in place, others in scratch.
    """
    size = layout.chunk_nbytes
    # All before there is memory for them: their sizes may be damaged numbers.
    as_stored = [
        _is_as_stored(layout, body, number) for number, body in zip(numbers, bodies, strict=True)
    ]

    def decode(at: int, into: Bytes) -> None:
        body = bodies[at]
        if as_stored[at]:
            into[:] = body[layout.header_nbytes :]
            return
        try:
            blosc.decompress(body, into)
        except DAMAGED as error:
            raise DamagedChunkError(f"chunk {numbers[at]} cannot be decoded: {error}") from None

    rows, raw = scratch.of(layout)
    in_place = values.reshape(-1).view(np.uint8) if values.dtype == layout.dtype else None
    held = -1  # the chunk that is in scratch, of those that are wanted in part
    for place, chunk, n_chunks, first, n_rows in spans:
        if n_rows < layout.chunk_rows:
            if chunk != held:
                decode(chunk, raw[0])
                held = chunk
            _copy(rows[0, first : first + n_rows], values[place : place + n_rows])
        elif in_place is not None:
            start = place * layout.row_nbytes
            for at in range(chunk, chunk + n_chunks):
                decode(at, in_place[start : start + size])
                start += size
        else:
            held = -1
            for done in range(0, n_chunks, len(raw)):
                step = min(len(raw), n_chunks - done)
                for number in range(step):
                    decode(chunk + done + number, raw[number])
                start = place + done * n_rows
                _copy_chunks(rows[:step], values[start : start + step * n_rows])


def _copy_chunks(rows: Array, values: Array) -> None:
    """Copy rows of whole chunks, of shape (chunks, rows in a chunk, components)."""
    values = values.reshape(rows.shape)
    step = max(1, _MOST_COPIED // (rows.shape[1] * rows.shape[2]))
    if len(rows) <= step or torch.get_num_threads() == 1:
        _copy(rows, values)
        return
    for done in range(0, len(rows), step):
        _copy(rows[done : done + step], values[done : done + step])


def _copy(rows: Array, values: Array) -> None:
    if rows.dtype == values.dtype:
        np.copyto(values, rows)
    else:
        # By torch, since numpy casts float16 many times slower.
        torch.from_numpy(values).copy_(torch.from_numpy(rows))
