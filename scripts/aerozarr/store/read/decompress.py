"""Decompressing chunks into no more memory than a chunk takes, whatever their headers say."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from numcodecs import blosc, zstd

Array = npt.NDArray[np.uint8]

# Bytes that Blosc can hold, by its own limit.
MOST_BLOSC_BYTES = 2**31

# Bytes in a chunk once decoded, and as it is stored: from byte 4 of its header on.
_BLOSC_SIZES = struct.Struct("<I4xI")

# What codecs raise on damaged bytes; they have no error of their own in common.
DAMAGED = (ValueError, TypeError, RuntimeError, OSError, EOFError, zlib.error, struct.error)


def check_blosc(content: Array, nbytes: int) -> None:
    """Check the sizes that Blosc's header gives: the library takes them as they are.

    Parameters
    ----------
    content
        A chunk.
    nbytes
        Its size once decoded.

    Raises
    ------
    ValueError
        When they are others.
    struct.error
        When it is too short for a header.
    """
    if _BLOSC_SIZES.unpack_from(content.data, 4) != (nbytes, len(content)):
        raise ValueError("the sizes in its header do not fit")


def _from_zstd(content: Array, nbytes: int) -> bytes:
    # The library takes the size that the frame's header says, whatever it is.
    if _zstd_size(bytes(content[:14])) != nbytes:
        raise ValueError("its header does not say the size of a chunk")
    decoded: bytes = zstd.decompress(content)
    return decoded


def _zstd_size(header: bytes) -> int | None:
    """Return the size of the content of a zstd frame, None where its header does not say.

    By RFC 8878, section 3.1.1.1.
    """
    if header[:4] != b"\x28\xb5\x2f\xfd":
        return None
    descriptor = header[4]
    is_single, size_flag = descriptor >> 5 & 1, descriptor >> 6
    start = 5 + (not is_single) + (0, 1, 2, 4)[descriptor & 3]
    length = (is_single, 2, 4, 8)[size_flag]
    size = int.from_bytes(header[start : start + length], "little")
    return (size + 256 if length == 2 else size) if length else None


def _from_gzip(content: Array, nbytes: int) -> bytes:
    decoder = zlib.decompressobj(wbits=31)  # with gzip's header
    decoded = decoder.decompress(content.data, nbytes + 1)
    if len(decoded) <= nbytes and not decoder.eof:
        raise ValueError("it ends before its stream does")
    return decoded


def _as_it_is(content: Array, nbytes: int) -> bytes:
    return bytes(content)


def _from_blosc(content: Array, nbytes: int) -> bytes:
    check_blosc(content, nbytes)
    decoded: bytes = blosc.decompress(content)
    return decoded


# Each takes a chunk and its size once decoded, and no more memory than for that.
DECODERS: Mapping[str, Callable[[Array, int], bytes]] = {
    "": _as_it_is,
    "blosc": _from_blosc,
    "zstd": _from_zstd,
    "gzip": _from_gzip,
}
