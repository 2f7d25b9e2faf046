"""From NumPy's `.npy` and `.npz` files to a tensor; a pickle in one is never loaded."""

from __future__ import annotations

import io
import math
import os
import zipfile
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import torch

from aerozarr.config.fields import Field, setting_of
from aerozarr.errors import BrokenSample
from aerozarr.messages import did_you_mean, printable
from aerozarr.source.files.rows import Mapped, broken, damaged
from aerozarr.source.files.zip_directory import (
    DamagedZipError,
    Record,
    pieces_of,
    read_directory,
    start_of,
)

TRUNCATED = "it is truncated or damaged"
SAVE_AGAIN = "write the file again with numpy.save(path, array)"
SAVEZ_AGAIN = "write the file again with numpy.savez(path, name=array, …)"
# What a packed archive may unpack to, as a multiple of its size.
UNPACKED = 100
# Headers are a dict of three entries; more than this is none.
_LONGEST_HEADER = 10_000
# What torch takes from numpy, by kind and size in bytes; complex is for `as_rows` to refuse.
_KNOWN = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1", "c8", "c16"}
_SUFFIX = ".npy"


@dataclass(frozen=True)
class _Header:
    """What stands before an array's values: its shape, order and dtype, and the bytes it takes."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]
    length: int

    @property
    def nbytes(self) -> int:
        """Bytes of the array's values."""
        return math.prod(self.shape) * self.dtype.itemsize


def load_npy(path: Path, stream: BinaryIO, status: os.stat_result, field: Field) -> object:
    """Return the array of a local `.npy` file, mapped; parameters and errors as for `load_pt`."""
    header = _read_header(stream, status.st_size, field)
    return _mapped(path, status, header, header.length, field)


def load_npy_bytes(content: bytes, field: Field) -> object:
    """Return the array in the content of a `.npy` file; errors as for `load_pt`."""
    header = _read_header(io.BytesIO(content), len(content), field)
    return _tensor(bytearray(content[header.length : header.length + header.nbytes]), header)


def load_npz(path: Path, stream: BinaryIO, status: os.stat_result, field: Field) -> object:
    """Return an array of a local `.npz` file; parameters and errors as for `load_pt`.

    It is mapped where the archive holds it unpacked, as `numpy.savez` writes it.
    """
    record = _record_of(stream, status.st_size, field)
    if not record.is_plain:
        return _unpacked(stream, record, field)
    try:
        start = start_of(stream, record)
    except DamagedZipError:
        raise broken(field, TRUNCATED, SAVEZ_AGAIN) from None
    stream.seek(start)
    head = stream.read(min(record.size, _LONGEST_HEADER + 128))
    header = _read_header(io.BytesIO(head), record.size, field)
    made = _mapped(path, status, header, start + header.length, field)
    if isinstance(made, Mapped) and made.tensor.is_contiguous() and record.crc:
        made.unchecked, made.crc_before = record, zlib.crc32(head[: header.length])
    else:
        _unpacked(stream, record, field)  # for its checksum
    return made


def load_npz_bytes(content: bytes, field: Field) -> object:
    """Return an array in the content of a `.npz` file; errors as for `load_pt`."""
    stream = io.BytesIO(content)
    return _unpacked(stream, _record_of(stream, len(content), field), field)


def load_by_numpy(source: Path | BinaryIO, field: Field) -> torch.Tensor:
    """Return an array as numpy itself loads it, from a file that was looked into before.

    What verification compares with: none of it is read by the code of this module.

    Raises
    ------
    BrokenSample
        When numpy does not take it.
    """
    # Mapped copy-on-write where it can be, since torch has no tensors that cannot be written to.
    mode: Literal["c"] | None = "c" if isinstance(source, Path) else None
    try:
        loaded = np.load(source, mmap_mode=mode, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            array = loaded
        else:
            with loaded:
                # By the member's own name: one that is called as the key is another.
                key = loaded.files[0] if field.key is None else field.key
                array = loaded[f"{key}{_SUFFIX}"]
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        cause = f"numpy cannot read it: {printable(str(error))[:200]}"
        raise broken(field, cause, _again(field)) from None
    return torch.from_numpy(np.asarray(array, array.dtype.newbyteorder("=")))


def _again(field: Field) -> str:
    """Return how a field's file is written again."""
    return SAVEZ_AGAIN if field.file.lower().endswith(".npz") else SAVE_AGAIN


def _record_of(stream: BinaryIO, size: int, field: Field) -> Record:
    """Return the record of the field's array, once its claims are believable."""
    try:
        records = read_directory(stream)
    except DamagedZipError:
        raise broken(field, f"{TRUNCATED}, or no NumPy archive (.npz)", SAVEZ_AGAIN) from None
    by_key = {r.name.removesuffix(_SUFFIX): r for r in records if r.name.endswith(_SUFFIX)}
    if not by_key:
        raise broken(field, "it is a zip archive without NumPy arrays", SAVEZ_AGAIN)
    if field.key is None and len(by_key) > 1:
        raise broken(
            field,
            f"it holds {len(by_key)} arrays: {_names(by_key)}",
            f"say which: {setting_of(field, f'{field.file}::{next(iter(by_key))}')}",
        )
    key = next(iter(by_key)) if field.key is None else field.key
    if key not in by_key:
        near = did_you_mean(key, by_key)
        raise broken(
            field,
            f"it has no array {key!r}; it has {_names(by_key)}",
            f"name one of them in filemap.{near}".removesuffix("."),
        )
    record = by_key[key]
    if record.size > UNPACKED * size or (record.is_plain and record.size > size):
        raise broken(
            field,
            f"it would unpack to {record.size / size:.0f} times its size; "
            f"{UNPACKED} times are believed",
            SAVEZ_AGAIN,
        )
    return record


def _names(names: Any) -> str:
    shown = [printable(name) for name in names]
    return ", ".join(shown[:10]) + (" …" if len(shown) > 10 else "")


def _unpacked(stream: BinaryIO, record: Record, field: Field) -> torch.Tensor:
    """Return an array that is packed, or need not be mapped, compared with its checksum."""
    content = bytearray()
    try:
        for piece in pieces_of(stream, record):
            content += piece
    except DamagedZipError:
        what = f"{TRUNCATED}, or packed by something else than deflate"
        raise broken(field, what, SAVEZ_AGAIN) from None
    if record.crc and zlib.crc32(content) != record.crc:
        raise damaged(field, record)
    header = _read_header(io.BytesIO(content), len(content), field)
    return _tensor(content, header, header.length)


def _read_header(stream: BinaryIO, size: int, field: Field) -> _Header:
    """Read an array's header, and compare it with the file's size."""
    stream.seek(0)
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            read = np.lib.format.read_array_header_1_0
        elif version == (2, 0):
            read = np.lib.format.read_array_header_2_0
        else:
            raise broken(
                field,
                f"its format has version {'.'.join(map(str, version))}; 1.0 and 2.0 are read",
                _again(field),
            )
        shape, is_fortran, dtype = read(stream, max_header_size=_LONGEST_HEADER)
    except (OSError, BrokenSample):
        raise
    except Exception:  # noqa: BLE001 - numpy meets hostile headers with many kinds of error
        raise broken(field, f"{TRUNCATED}, or no NumPy array (.npy)", _again(field)) from None
    if dtype.hasobject:
        raise broken(
            field,
            "it holds Python objects, which are not loaded because they could run code",
            "write an array of numbers",
        )
    if dtype.str[1:] not in _KNOWN:
        raise broken(field, f"its values are of no number type ({dtype})", "write float values")
    header = _Header(tuple(shape), bool(is_fortran), dtype, stream.tell())
    if any(length < 0 for length in shape) or header.length + header.nbytes > size:
        raise broken(
            field,
            f"{TRUNCATED}: it claims {'×'.join(map(str, shape))} values of {dtype}, and holds "
            f"{max(0, size - header.length)} bytes",
            _again(field),
        )
    return header


def _mapped(
    path: Path, status: os.stat_result, header: _Header, start: int, field: Field
) -> object:
    """Map an array of a file; load it where it cannot be used as it lies there."""
    if header.nbytes == 0 or not header.dtype.isnative:
        with path.open("rb") as stream:
            stream.seek(start)
            content = bytearray(stream.read(header.nbytes))
        if len(content) != header.nbytes:
            raise broken(field, TRUNCATED, SAVE_AGAIN)
        return _tensor(content, header)
    return Mapped(path, status, partial(_map, path, header, start))


def _map(path: Path, header: _Header, start: int) -> torch.Tensor:
    # Copy-on-write, because torch has no tensors that cannot be written to; nobody writes.
    array = np.memmap(
        path,
        header.dtype,
        mode="c",
        offset=start,
        shape=header.shape,
        order="F" if header.is_fortran else "C",
    )
    return torch.from_numpy(array)


def _tensor(content: bytearray, header: _Header, start: int = 0) -> torch.Tensor:
    flat: npt.NDArray[Any] = np.frombuffer(content, header.dtype, math.prod(header.shape), start)
    array = flat.reshape(header.shape, order="F" if header.is_fortran else "C")
    return torch.from_numpy(np.asarray(array, header.dtype.newbyteorder("=")))
