"""What was read of a remote store, kept on a disk of this machine for all processes that read it.

fsspec's own caches keep whole files or blocks of one open file, and drop nothing when they grow.
Training reads many small ranges, each epoch others: so the chunks themselves are kept.

For each object that was read there are two files: one with its bytes, at the places that they have
in the object (what was not read takes no room), and one with a record of each range that is there.
A record is written after the bytes, and has their checksum: so what a killed process leaves, or a
disk damages, is never taken for what was read.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from aerozarr.errors import SettingsError
from aerozarr.filesystems.byte_ranges import ByteRange

# Below the folder that the user names: nothing else in it is looked at. Raise the number when what
# the files hold changes.
_SUBFOLDER = "aerozarr-cache-1"
_USED = "used"
_DATA, _RECORDS = ".data", ".records"
# What is counted, and removed when room is made: a file that somebody else put there stays.
_OWN = re.compile(r"[0-9a-f]{2}/[0-9a-f]{30}/[0-9a-f]{32}\.(data|records)")
# First byte, the byte before which it ends, length, checksum of the bytes, and of the record.
_RECORD = struct.Struct("<QQQII")
_FIELDS = np.dtype([("start", "<u8"), ("stop", "<u8"), ("length", "<u8"), ("sums", "<u4", 2)])
# For the end of an object.
_END = 2**64 - 1
# Of the disk: what a range takes is a whole number of them, and it may begin within one.
_BLOCK = 4096
# When there is no more room, so much of all is freed at once: to look for what was used longest ago
# takes a while.
_FILLED_AGAIN = 0.9


class DiskCache:
    """Ranges of objects in a folder, up to a number of bytes; those used longest ago go first.

    Any number of processes may use the same folder. Nothing that goes wrong with it is an error:
    what cannot be kept is read again from where it came from.

    Parameters
    ----------
    folder
        Where to; it is made.
    limit
        Bytes that all of it may take on the disk.

    Raises
    ------
    SettingsError
        When the folder cannot be made or written to.
    """

    def __init__(self, folder: str, limit: int) -> None:
        self.limit = limit
        self.folder = Path(folder).expanduser().absolute() / _SUBFOLDER
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                pass
        except OSError as error:
            raise SettingsError(
                f"cache: {folder!r} cannot be a folder that is written to: {error.strerror}. Give "
                "one on a disk of this machine."
            ) from None

    def read(self, group: str, path: str, spans: Sequence[ByteRange]) -> list[bytes | None]:
        """Return ranges of an object; None for those that are not there, or are damaged.

        Parameters
        ----------
        group
            The version of the group that it is of.
        path, spans
            The object, and its ranges.
        """
        place = self._place(group, path)
        try:
            return self._read(place, spans)
        except FileNotFoundError:
            return [None] * len(spans)
        except (OSError, ValueError):
            _remove(place)
            return [None] * len(spans)

    def _read(self, place: str, spans: Sequence[ByteRange]) -> list[bytes | None]:
        with open(place + _RECORDS, "rb") as file:
            records = file.read()
        table = np.frombuffer(records, _FIELDS, len(records) // _RECORD.size)
        starts = np.array([span.start for span in spans], "<u8")
        rows = np.flatnonzero(np.isin(table["start"], starts)).tolist()
        found: dict[tuple[int, int], tuple[int, int]] = {}
        for row in rows:
            record = records[row * _RECORD.size : (row + 1) * _RECORD.size]
            start, stop, length, checksum, of_record = _RECORD.unpack(record)
            if of_record != zlib.crc32(record[:-4]):
                raise ValueError("a record is damaged")
            found[start, stop] = length, checksum
        if not found:
            return [None] * len(spans)
        contents: list[bytes | None] = []
        file_number = os.open(place + _DATA, os.O_RDONLY)
        try:
            for span in spans:
                length, checksum = found.get((span.start, _stop_of(span)), (-1, 0))
                content = os.pread(file_number, length, span.start) if length >= 0 else None
                if content is not None and zlib.crc32(content) != checksum:
                    raise ValueError("the bytes are not those that were written")
                contents.append(content)
        finally:
            os.close(file_number)
        os.utime(place + _RECORDS)  # used just now
        return contents

    def write(self, group: str, path: str, pieces: Sequence[tuple[ByteRange, bytes]]) -> None:
        """Keep ranges of an object. Parameters are as for `read`, each range with its bytes."""
        place = self._place(group, path)
        try:
            self._write(place, pieces)
        except FileNotFoundError:
            pass  # another process has just freed it
        except OSError as error:
            warnings.warn(
                f"cache: {self.folder} cannot be written to ({error.strerror}): what was read is "
                "not kept, and will be read again from the store.",
                stacklevel=2,
            )

    def _write(self, place: str, pieces: Sequence[tuple[ByteRange, bytes]]) -> None:
        if not self._make_room(_blocks_of(pieces)):
            return
        os.makedirs(os.path.dirname(place), exist_ok=True)
        file = os.open(place + _DATA, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            for span, content in pieces:
                if os.pwrite(file, content, span.start) != len(content):
                    return
        finally:
            os.close(file)
        records = b"".join(_record_of(span, content) for span, content in pieces)
        file = os.open(place + _RECORDS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            is_whole = os.write(file, records) == len(records)
            is_whole &= os.fstat(file).st_size % _RECORD.size == 0
        finally:
            os.close(file)
        if not is_whole:  # of a full disk: what comes after a part of a record cannot be read
            _remove(place)

    def drop(self, group: str) -> None:
        """Forget all of a group."""
        with contextlib.suppress(OSError):
            for entry in os.scandir(self._group(group)):
                os.unlink(entry.path)

    def used(self) -> int:
        """Return how many bytes of the disk all of it takes."""
        return sum(size for _, size, _ in self._files())

    def _group(self, group: str) -> str:
        return f"{self.folder}/{group[:2]}/{group[2:]}"

    def _place(self, group: str, path: str) -> str:
        """Return where an object's files are, without their endings."""
        name = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return f"{self._group(group)}/{name}"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """Open the count of bytes that are used, for this thread alone."""
        file = os.open(self.folder / _USED, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        finally:
            # A process that was forked meanwhile has the file open, too, and so the lock.
            fcntl.flock(file, fcntl.LOCK_UN)
            os.close(file)

    def _make_room(self, size: int) -> bool:
        """Count bytes that are about to be written, and free as many; whether there is room."""
        if size > self.limit * _FILLED_AGAIN:
            return False
        with self._locked() as file:
            counted = os.pread(file, 8, 0)
            used = int.from_bytes(counted, "little") if len(counted) == 8 else self.limit
            if used + size > self.limit:
                used = self._free(int(self.limit * _FILLED_AGAIN) - size)
            os.pwrite(file, (used + size).to_bytes(8, "little"), 0)
        return True

    def _free(self, limit: int) -> int:
        """Remove what was used longest ago until no more is used than a limit; return how much."""
        objects: dict[str, tuple[int, int]] = {}
        for path, size, used_at in self._files():
            place, _ = os.path.splitext(path)
            before, latest = objects.get(place, (0, 0))
            objects[place] = before + size, max(latest, used_at)
        total = sum(size for size, _ in objects.values())
        for place in sorted(objects, key=lambda place: objects[place][1]):
            if total <= limit:
                break
            _remove(place)
            with contextlib.suppress(OSError):  # others are in it
                os.rmdir(os.path.dirname(place))
            total -= objects[place][0]
        return total

    def _files(self) -> Iterator[tuple[str, int, int]]:
        """Yield path, bytes on the disk, and time of the last use of each file."""
        for folder, _, names in os.walk(self.folder):
            for name in names:
                if _OWN.fullmatch(f"{folder}/{name}", len(str(self.folder)) + 1):
                    with contextlib.suppress(FileNotFoundError):
                        status = os.stat(f"{folder}/{name}")
                        yield f"{folder}/{name}", status.st_blocks * 512, status.st_mtime_ns


def _blocks_of(pieces: Sequence[tuple[ByteRange, bytes]]) -> int:
    """Return how much of the disk ranges take at most, with their records."""
    size, end = 2 * _BLOCK, -1
    for span, content in pieces:
        # Where it does not follow another, it may touch two blocks in part.
        size += len(content) + _RECORD.size + (0 if span.start == end else 2 * _BLOCK)
        end = span.start + len(content)
    return size


def _stop_of(span: ByteRange) -> int:
    return _END if span.stop is None else span.stop


def _record_of(span: ByteRange, content: bytes) -> bytes:
    record = _RECORD.pack(span.start, _stop_of(span), len(content), zlib.crc32(content), 0)[:-4]
    return record + zlib.crc32(record).to_bytes(4, "little")


def _remove(place: str) -> None:
    # The records first: without them the bytes are nothing.
    for ending in (_RECORDS, _DATA):
        with contextlib.suppress(OSError):
            os.unlink(place + ending)
