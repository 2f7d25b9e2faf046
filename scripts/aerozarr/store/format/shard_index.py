"""The index of a shard: where in it each chunk lies.

For each chunk its place and length in bytes, as little-endian uint64; then their crc32c.
"""

from __future__ import annotations

import google_crc32c
import numpy as np
import numpy.typing as npt

Index = npt.NDArray[np.uint64]
"""Shape (chunks in the shard, 2): place and length of each chunk."""

# Place and length of a chunk that is not stored, or lies past the array's end.
NO_CHUNK = 2**64 - 1

_CHECKSUM_BYTES = 4


class DamagedIndexError(Exception):
    """What is wrong with a shard's index; the caller says where."""


def new_index(n_chunks: int) -> Index:
    """Return the index of a shard of `n_chunks` chunks, none of which is stored yet."""
    return np.full((n_chunks, 2), NO_CHUNK, dtype="<u8")


def index_size(n_chunks: int) -> int:
    """Return how many bytes the index of `n_chunks` chunks takes, with its checksum."""
    return 16 * n_chunks + _CHECKSUM_BYTES


def encode_index(index: Index) -> bytes:
    """Return an index as it is stored."""
    content = index.tobytes()
    checksum: bytes = google_crc32c.value(content).to_bytes(_CHECKSUM_BYTES, "little")
    return content + checksum


def decode_index(content: bytes, n_chunks: int) -> Index:
    """Return the index of a shard of `n_chunks` chunks.

    Raises
    ------
    DamagedIndexError
        When it is cut short, or its checksum does not fit.
    """
    length = 16 * n_chunks
    if len(content) != length + _CHECKSUM_BYTES:
        raise DamagedIndexError("ends before its index does")
    if google_crc32c.value(content[:length]) != int.from_bytes(content[length:], "little"):
        raise DamagedIndexError("has a damaged index: its checksum does not fit")
    return np.frombuffer(content, "<u8", 2 * n_chunks).reshape(-1, 2)
