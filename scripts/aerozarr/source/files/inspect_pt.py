"""What a `.pt` file is, before anything of it is loaded: a plain tensor, or why it is none.

A file's own numbers are not believed. Sizes come from the zip's directory and from the pickle, and
are compared with each other and with the file, before memory is asked for.
"""

from __future__ import annotations

import io
import math
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from aerozarr.messages import did_you_mean, printable
from aerozarr.source.files.pickle_tensor import (
    Pickle,
    Tensor,
    UnreadablePickleError,
    calls_only_tensors,
    entry_at,
    foreign_name,
    keys_of,
    kind_of,
    read_pickle,
    tensor_of,
)
from aerozarr.source.files.zip_directory import (
    DamagedZipError,
    Record,
    crc_of,
    pieces_of,
    read_directory,
)

TRUNCATED = "it is truncated or damaged"
SAVE_AGAIN = "write the file again with torch.save(tensor, path)"
_SAVE_VALUES = "write the file again with torch.save({name: float(value)}, path)"
# What a packed file may unpack to, as a multiple of its size. Fields do not even shrink to a tenth.
UNPACKED = 100
# A tensor's pickle has some 200 bytes; more than this is no tensor.
_LONGEST_PICKLE = 16 * 2**20
_FETCH = "get the file itself again from where the dataset comes from"
# The first object of a file of torch.save before version 1.6, and the number of pickles before the
# values: it, the format's version, the writer's sizes, the tensor, and the keys of its values.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PICKLES = 5
_READ_PROTOCOL = 2


_SAVE_ARRAY = "if it is a NumPy array, save a tensor: torch.save(torch.from_numpy(array), path)"


class NotATensorError(Exception):
    """A file that is not one plain tensor of torch.save: what it is, and what to do."""

    def __init__(self, cause: str, remedy: str = SAVE_AGAIN) -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy


@dataclass(frozen=True)
class Inspected:
    """A file that holds what is wanted of it.

    Attributes
    ----------
    record
        The zip record of the values; None in the format of before torch 1.6, which has none, and
        for values that stand in the pickle itself.
    is_plain
        Whether all records are stored as they are, so that the file can be mapped.
    """

    record: Record | None
    is_plain: bool


def inspect_pt(stream: BinaryIO, size: int, key: str | None = None) -> Inspected:
    """Look at what a file holds, without loading it.

    Parameters
    ----------
    stream
        The file, which can be moved in.
    size
        Its size in bytes.
    key
        The key of the tensor, where the file holds a dict.

    Raises
    ------
    NotATensorError
        When it is not one plain tensor, or no dict with one, or its parts do not fit each other.
    OSError
        When it cannot be read.
    """
    stream.seek(0)
    head = stream.read(512)
    if head.startswith(b"PK"):
        return _inspect_zip(stream, size, key)
    told = _told_by_head(head)
    if told is not None:
        raise told
    return _inspect_legacy(stream, size, key)


def inspect_values(stream: BinaryIO, size: int, key: str | None = None) -> Inspected:
    """Look at a file for a value in it that need not be a tensor, without loading it.

    Parameters
    ----------
    stream, size, key
        As for `inspect_pt`.

    Raises
    ------
    NotATensorError
        When it holds more than tensors and plain values, or its parts do not fit each other.
    OSError
        When it cannot be read.
    """
    stream.seek(0)
    head = stream.read(512)
    if head.startswith(b"PK"):
        pickle, folder, by_name = _open_zip(stream, size)
        _check_values(pickle)
        _check_storages(pickle, folder, by_name)
        tensor = tensor_of(pickle, key)
        record = None if tensor is None else by_name[f"{folder}data/{tensor.storage.key}"]
        is_plain = all(one.is_plain for one in by_name.values())
        return Inspected(record, is_plain)
    told = _told_by_head(head)
    if told is not None:
        raise told
    _check_values(_open_legacy(stream, size))
    return Inspected(None, is_plain=False)


def is_damaged(stream: BinaryIO, record: Record) -> bool:
    """Whether a record's content is not what was written, by its CRC-32; 0 stands for none."""
    if not record.crc:
        return False
    try:
        return crc_of(stream, record) != record.crc
    except DamagedZipError:
        return True


def damaged(record: Record) -> NotATensorError:
    """Return the error of a record whose content is not what was written."""
    return NotATensorError(
        f"it is damaged: the record {record.name!r} does not match its CRC-32",
        f"{_FETCH}, or {SAVE_AGAIN}",
    )


# Beginnings of files that are often taken for .pt files.
_HEADS = (
    (b"\x1f\x8b", "it is compressed with gzip", "unpack it: gunzip"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd", "unpack it: zstd -d"),
    (b"BZh", "it is compressed with bzip2", "unpack it: bunzip2"),
    (b"\xfd7zXZ\0", "it is compressed with xz", "unpack it: unxz"),
    (
        b"\x93NUMPY",
        "it is a NumPy array (.npy)",
        "convert it: torch.save(torch.from_numpy(numpy.load(path)), path)",
    ),
    (b"\x89HDF\r\n", "it is an HDF5 file", SAVE_AGAIN),
    (
        b"version https://git-lfs.github.com/",
        "it is a Git LFS pointer, not the file that it stands for",
        "run git lfs pull in the dataset's repository",
    ),
)
_PAGES = (b"<!doctype html", b"<html", b"<?xml", b"<error", b"<!doctype")


def _told_by_head(head: bytes) -> NotATensorError | None:
    if not head:
        return NotATensorError("it is truncated: it has no bytes", f"{_FETCH}, or {SAVE_AGAIN}")
    for start, cause, remedy in _HEADS:
        if head.startswith(start):
            return NotATensorError(cause, remedy)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(_PAGES):
        kind = "XML" if text.startswith((b"<?xml", b"<error")) else "HTML"
        return NotATensorError(
            f"it is a page of text ({kind}), such as a server answers instead of a file",
            f"{_FETCH}, and check that the download is allowed",
        )
    if head[257:262] == b"ustar":
        return NotATensorError("it is a tar archive", SAVE_AGAIN)
    return None


def _inspect_zip(stream: BinaryIO, size: int, key: str | None) -> Inspected:
    pickle, folder, by_name = _open_zip(stream, size)
    tensor = _plain_tensor(pickle, key)
    _check_storages(pickle, folder, by_name)
    _check_view(tensor)
    is_plain = all(record.is_plain for record in by_name.values())
    return Inspected(by_name[f"{folder}data/{tensor.storage.key}"], is_plain)


def _open_zip(stream: BinaryIO, size: int) -> tuple[Pickle, str, dict[str, Record]]:
    """Return the pickle of a zip file, the folder in it that has its values, and all records."""
    try:
        records = read_directory(stream)
    except DamagedZipError:
        raise NotATensorError(TRUNCATED) from None
    by_name = {record.name: record for record in records}
    pickles = [name for name in by_name if name.rpartition("/")[2] == "data.pkl"]
    if any("/code/" in name or name.endswith("/constants.pkl") for name in by_name):
        raise NotATensorError("it is a TorchScript module, not a tensor")
    if not pickles:
        if by_name and all(name.endswith(".npy") for name in by_name):
            raise NotATensorError("it is a NumPy archive (.npz)", SAVE_AGAIN)
        raise NotATensorError("it is a zip archive, but no file of torch.save")
    _check_sizes(records, size)
    try:
        pickle = _pickle_in(stream, by_name[pickles[0]])
    except DamagedZipError:
        raise NotATensorError(TRUNCATED) from None
    return pickle, pickles[0].removesuffix("data.pkl"), by_name


def _check_storages(pickle: Pickle, folder: str, by_name: dict[str, Record]) -> None:
    """Refuse a pickle that claims more values than the records hold."""
    for storage in pickle.storages.values():
        record = by_name.get(f"{folder}data/{storage.key}")
        if record is None or record.size < storage.nbytes:
            raise NotATensorError(
                f"{TRUNCATED}: its record {f'data/{storage.key}'!r} holds "
                f"{record.size if record else 0} bytes, and {storage.nbytes} are claimed"
            )


def _check_values(pickle: Pickle) -> None:
    """Refuse a pickle of more than tensors and plain values."""
    foreign = foreign_name(pickle)
    if foreign is not None:
        raise NotATensorError(
            f"it holds more than tensors and plain values ({foreign}), which is not loaded because "
            "it could run code",
            _SAVE_VALUES,
        )
    if not calls_only_tensors(pickle):
        raise NotATensorError("it holds more than tensors and plain values", _SAVE_VALUES)
    _check_protocol(pickle)


def _check_sizes(records: list[Record], size: int) -> None:
    """Refuse a file whose records claim more than it can hold."""
    plain = sum(record.size for record in records if record.is_plain)
    total = sum(record.size for record in records)
    if plain > size:
        raise NotATensorError(TRUNCATED)
    if total > UNPACKED * size:
        raise NotATensorError(
            f"it is packed, and would unpack to {total / size:.0f} times its size; "
            f"{UNPACKED} times are believed"
        )


def _pickle_in(stream: BinaryIO, record: Record) -> Pickle:
    if record.size > _LONGEST_PICKLE:
        raise NotATensorError(f"it holds more than a tensor: its pickle has {record.size} bytes")
    content = b"".join(pieces_of(stream, record))
    if record.crc and zlib.crc32(content) != record.crc:
        raise damaged(record)
    return _followed(io.BytesIO(content))


def _followed(stream: BinaryIO | _Limited) -> Pickle:
    try:
        return read_pickle(stream)
    except UnreadablePickleError as error:
        raise NotATensorError(f"it is no file of torch.save, or damaged ({error})") from None


def _plain_tensor(pickle: Pickle, key: str | None) -> Tensor:
    """Return the tensor that a pickle is, or holds at a key; refuse anything else."""
    foreign = foreign_name(pickle)
    if foreign is not None:
        raise NotATensorError(
            f"it holds more than a tensor ({foreign}), which is not loaded because it could run "
            "code",
            _SAVE_ARRAY if foreign.startswith("numpy") else SAVE_AGAIN,
        )
    if key is not None and not keys_of(pickle) and kind_of(pickle).endswith("dict"):
        raise NotATensorError(
            "it holds a dict that is empty, or whose keys are no texts",
            "write the file again: torch.save({name: tensor})",
        )
    if key is not None and not keys_of(pickle):
        raise NotATensorError(
            f"it holds {kind_of(pickle)}, not a dict with {key!r}",
            f"take ::{key} out of filemap, or write the file again: torch.save({{name: tensor}})",
        )
    if key is not None and entry_at(pickle, key) is None:
        near = did_you_mean(key, keys_of(pickle))
        raise NotATensorError(
            f"it has no {key!r}; it has {_named(keys_of(pickle))}",
            f"name one of them in filemap.{near}".removesuffix("."),
        )
    tensor = tensor_of(pickle, key)
    if tensor is None and key is None and keys_of(pickle):
        raise NotATensorError(
            f"it holds {kind_of(pickle)}, not a tensor of plain values; it has "
            f"{_named(keys_of(pickle))}",
            "name the tensor in filemap after the file, as in file.pt::name, if it is so in all "
            f"samples; otherwise {SAVE_AGAIN}",
        )
    if tensor is None:
        what = kind_of(pickle) if key is None else f"something else at {key!r}"
        raise NotATensorError(f"it holds {what}, not a tensor of plain values")
    if not calls_only_tensors(pickle):
        raise NotATensorError("it holds more than a tensor")
    _check_protocol(pickle)
    return tensor


def _check_protocol(pickle: Pickle) -> None:
    if pickle.protocol > _READ_PROTOCOL:
        raise NotATensorError(
            f"it was saved with pickle protocol {pickle.protocol}, and only {_READ_PROTOCOL} is "
            "loaded without running code",
            "write the file again with torch.save(tensor, path), without pickle_protocol",
        )


def _named(names: list[str]) -> str:
    shown = ", ".join(printable(name) for name in names[:10])
    return f"{shown} …" if len(names) > 10 else shown


def _check_view(tensor: Tensor) -> None:
    """Refuse a tensor of more values than are stored for it."""
    count = math.prod(tensor.shape)
    if any(number < 0 for number in (*tensor.shape, *tensor.strides, tensor.offset)):
        raise NotATensorError(TRUNCATED)
    if count and count * tensor.item_size > tensor.storage.nbytes:
        shape = "×".join(map(str, tensor.shape))
        stored = tensor.storage.nbytes // tensor.item_size
        raise NotATensorError(
            f"it claims {shape} values, and {stored} are stored: it is a view that repeats them, "
            "or damaged",
            "write the file again with torch.save(tensor.contiguous(), path)",
        )


def _inspect_legacy(stream: BinaryIO, size: int, key: str | None) -> Inspected:
    _check_view(_plain_tensor(_open_legacy(stream, size), key))
    return Inspected(None, is_plain=False)


def _open_legacy(stream: BinaryIO, size: int) -> Pickle:
    """Return the pickle of a file as torch.save wrote it before 1.6: pickles, then the values."""
    stream.seek(0)
    if stream.read(1) != b"\x80":
        raise NotATensorError("it is no file of torch.save, or damaged")
    stream.seek(0)
    limited = _Limited(stream, _LONGEST_PICKLE)
    first = _followed(limited)
    if first.value != _LEGACY_MAGIC:
        if foreign_name(first) is not None:
            _plain_tensor(first, None)
        raise NotATensorError(
            "it is a pickle, but no file of torch.save: it was written by pickle.dump or the like"
        )
    pickles = [first, *(_followed(limited) for _ in range(_LEGACY_PICKLES - 1))]
    for other in (*pickles[:3], pickles[4]):
        if other.calls or other.names:
            raise NotATensorError(TRUNCATED)
    pickle = pickles[3]
    if sum(storage.nbytes for storage in pickle.storages.values()) > size - stream.tell():
        raise NotATensorError(TRUNCATED)
    return pickle


class _Limited:
    """A stream that ends after so many bytes, for pickles that never do."""

    def __init__(self, stream: BinaryIO, left: int) -> None:
        self._stream, self._left = stream, left
        self.tell = stream.tell

    def read(self, size: int) -> bytes:
        """Read at most so many bytes."""
        content = self._stream.read(min(size, self._left))
        self._left -= len(content)
        return content

    def readline(self) -> bytes:
        """Read a line."""
        content = self._stream.readline(self._left)
        self._left -= len(content)
        return content
