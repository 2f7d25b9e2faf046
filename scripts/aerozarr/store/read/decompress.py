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

# Blosc's header: the format's version, flags, and bytes in a value; then bytes in the chunk once
# decoded, in a block of it, and in the chunk as it is stored.
_BLOSC_HEADER = struct.Struct("<BxBBIII")
BLOSC_HEADER_BYTES = 16
_BLOSC_VERSION = 2
# Flags: the values follow the header as they are; and one that no version has set yet.
_AS_THEY_ARE, _UNKNOWN = 0x02, 0x08

# What codecs raise on damaged bytes; they have no error of their own in common.
DAMAGED = (ValueError, TypeError, RuntimeError, OSError, EOFError, zlib.error, struct.error)


def check_blosc(content: Array, nbytes: int) -> bool:
    """Check the sizes that Blosc's header gives: the library takes them as they are.

    Parameters
    ----------
    content
        A chunk.
    nbytes
        Its size once decoded.

    Returns
    -------
    bool
        Whether its values follow the header as they are, by all that the library checks of such a
        header. Otherwise it is for the library to decode, or to refuse.

    Raises
    ------
    ValueError
        When they are others.
    struct.error
        When it is too short for a header.
    """
    version, flags, width, decoded, block, stored = _BLOSC_HEADER.unpack_from(content.data)
    if decoded != nbytes or stored != len(content):
        raise ValueError("the sizes in its header do not fit")
    return bool(
        flags & _AS_THEY_ARE
        and not flags & _UNKNOWN
        and version == _BLOSC_VERSION
        and stored == nbytes + BLOSC_HEADER_BYTES
        and width
        and 0 < block <= nbytes
    )


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
