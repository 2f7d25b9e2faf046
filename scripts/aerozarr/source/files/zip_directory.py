"""The directory at the end of a zip file: its records, with sizes and checksums.

`torch.save` writes zip files. Their directory tells what a file holds before any of it is read, and
whether its content is the one of before. Nothing here imports torch.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

# Bytes that are read, or unpacked, at a time: they stay in the cache.
_PIECE = 2**18
_LOCAL_HEADER = 30


class DamagedZipError(Exception):
    """A zip file whose directory or record cannot be read."""


@dataclass(frozen=True)
class Record:
    """One record of a zip file.

    Attributes
    ----------
    name
        Its name, e.g. `archive/data/0`.
    offset
        Place of its header in the file.
    size, packed_size
        Its length in bytes, and that of what stands in the file.
    crc
        CRC-32 of its content; 0 where the writer computed none.
    is_plain
        Whether it is stored as it is, neither packed nor encrypted.
    """

    name: str
    offset: int
    size: int
    packed_size: int
    crc: int
    is_plain: bool


def read_directory(stream: BinaryIO) -> list[Record]:
    """Return the records of a zip file, in the order of its directory.

    Raises
    ------
    DamagedZipError
        When it is no zip file, or its directory is damaged.
    OSError
        When it cannot be read.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            found = archive.infolist()
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - zipfile meets hostile bytes with many kinds of error
        raise DamagedZipError(type(error).__name__) from None
    return [
        Record(
            name=entry.filename,
            offset=entry.header_offset,
            size=entry.file_size,
            packed_size=entry.compress_size,
            crc=entry.CRC,
            is_plain=entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1,
        )
        for entry in found
    ]


def start_of(stream: BinaryIO, record: Record) -> int:
    """Return the place in the file where a record's content begins.

    Raises
    ------
    DamagedZipError
        When there is no header of a record.
    """
    if record.offset < 0:
        raise DamagedZipError("offset")
    stream.seek(record.offset)
    header = stream.read(_LOCAL_HEADER)
    if len(header) < _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
        raise DamagedZipError("header")
    name, extra = struct.unpack("<HH", header[26:30])
    return record.offset + _LOCAL_HEADER + int(name) + int(extra)


def pieces_of(stream: BinaryIO, record: Record) -> Iterator[bytes]:
    """Yield a record's content, unpacked, in pieces; never more than its size.

    Raises
    ------
    DamagedZipError
        When it is cut short, or cannot be unpacked.
    """
    stream.seek(start_of(stream, record))
    if record.is_plain:
        left = record.size
        while left:
            piece = stream.read(min(left, _PIECE))
            if not piece:
                raise DamagedZipError("end of file")
            left -= len(piece)
            yield piece
        return
    unpacker, packed, left = zlib.decompressobj(-zlib.MAX_WBITS), record.packed_size, record.size
    try:
        while left and (packed or unpacker.unconsumed_tail):
            source = unpacker.unconsumed_tail
            if not source:
                source = stream.read(min(packed, _PIECE))
                packed -= len(source)
            piece = unpacker.decompress(source, min(left, _PIECE))
            left -= len(piece)
            if piece:
                yield piece
            elif not source:
                break
    except zlib.error:
        raise DamagedZipError("deflate") from None
    if left:
        raise DamagedZipError("end of record")


def crc_of(stream: BinaryIO, record: Record) -> int:
    """Return the CRC-32 of a record's content."""
    crc = 0
    for piece in pieces_of(stream, record):
        crc = zlib.crc32(piece, crc)
    return crc
