"""Whether the files of a sample hold what they held, at the cost of reading their ends.

A file that is replaced by one of the same size and given its old time cannot be told from what a
listing says. Its inode or ctime differ, but so do those of a copy. What tells the two apart stands
in the file: the checksums in the directory of a zip.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from aerozarr.config.file_patterns import is_raw
from aerozarr.filesystems.location import Location
from aerozarr.source.files.zip_directory import DamagedZipError, read_directory

_PIECE = 2**20
# Of a large raw file, as many are looked at, the first and the last among them.
_PIECES = 64


def content_digest(base: Location, sample_id: str, files: Iterable[str]) -> str:
    """Return a hash that changes when the content of a sample's files does.

    Parameters
    ----------
    base
        The folder that sample ids are paths below.
    sample_id, files
        The sample, and the names of its files.

    Returns
    -------
    str
        Empty for files that are not local: what their listing says has to do.
    """
    if not base.is_local:
        return ""
    folder = base.below(sample_id)
    records = []
    for name in sorted(files):
        with Path(folder.join(name)).open("rb") as stream:
            records.append([name, _few_checksums(stream) if is_raw(name) else _checksums(stream)])
    return hashlib.sha256(json.dumps(records).encode()).hexdigest()[:32] if records else ""


def _few_checksums(stream: BinaryIO) -> list[list[object]]:
    """Return size and CRC-32 of pieces of a raw file, spread over it; of all of it when short.

    It may have 50 GB, all of which would be read once more.
    """
    size = stream.seek(0, os.SEEK_END)
    starts = [number * (size - _PIECE) // (_PIECES - 1) for number in range(_PIECES)]
    if size <= _PIECES * _PIECE:
        starts = [*range(0, size, _PIECE)]
    crc = 0
    for start in starts:
        stream.seek(start)
        crc = zlib.crc32(stream.read(_PIECE), crc)
    return [["", size, crc]]


def _checksums(stream: BinaryIO) -> list[list[object]]:
    """Return name, size and CRC-32 of each record; of a file without them, those of the whole."""
    try:
        records = read_directory(stream)
    except DamagedZipError:
        records = []
    if records and all(record.crc or not record.size for record in records):
        return [[record.name, record.size, record.crc] for record in records]
    stream.seek(0)
    crc, size = 0, 0
    while piece := stream.read(_PIECE):
        crc, size = zlib.crc32(piece, crc), size + len(piece)
    return [["", size, crc]]
