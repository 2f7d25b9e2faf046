"""The index of a shard, which says where in it each chunk lies; and the checksums of both.

An index has for each chunk its place and length in bytes, as little-endian uint64; then their
crc32c. A chunk, too, may end in the crc32c of what is before it.
"""

from __future__ import annotations

import google_crc32c
import numpy as np
import numpy.typing as npt

Index = npt.NDArray[np.uint64]
"""Shape (chunks in the shard, 2): place and length of each chunk."""

# Place and length of a chunk that is not stored, or lies past the array's end.
NO_CHUNK = 2**64 - 1

CHECKSUM_BYTES = 4

# What the crc32c of any bytes with their own crc32c after them is: a property of CRCs, which spares
# copying the bytes apart. (RFC 3720's CRC, whose residue before its last inversion is B798B438.)
_WITH_ITS_CHECKSUM = 0x48674BC7


class DamagedIndexError(Exception):
    """What is wrong with a shard's index; the caller says where."""


def with_checksum(content: bytes) -> bytes:
    """Return bytes with their crc32c after them, little-endian, as Zarr's codec of that name."""
    checksum: int = google_crc32c.value(content)
    return content + checksum.to_bytes(CHECKSUM_BYTES, "little")


def fits_checksum(content: bytes | npt.NDArray[np.uint8]) -> bool:
    """Whether bytes end in the crc32c of those before."""
    found: int = google_crc32c.value(content)
    return found == _WITH_ITS_CHECKSUM


def new_index(n_chunks: int) -> Index:
    """Return the index of a shard of `n_chunks` chunks, none of which is stored yet."""
    return np.full((n_chunks, 2), NO_CHUNK, dtype="<u8")


def index_size(n_chunks: int) -> int:
    """Return how many bytes the index of `n_chunks` chunks takes, with its checksum."""
    return 16 * n_chunks + CHECKSUM_BYTES


def encode_index(index: Index) -> bytes:
    """Return an index as it is stored."""
    return with_checksum(index.tobytes())


def decode_index(content: bytes, n_chunks: int) -> Index:
    """Return the index of a shard of `n_chunks` chunks.

    Raises
    ------
    DamagedIndexError
        When it is cut short, or its checksum does not fit.
    """
    if len(content) != index_size(n_chunks):
        raise DamagedIndexError("ends before its index does")
    if not fits_checksum(content):
        raise DamagedIndexError("has a damaged index: its checksum does not fit")
    return np.frombuffer(content, "<u8", 2 * n_chunks).reshape(-1, 2)
