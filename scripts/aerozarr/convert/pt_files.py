"""From a `.pt` file to a field's rows.

What a file holds is not trusted: it is inspected before it is loaded (`inspect_pt`), loaded with
`weights_only=True`, and compared with its checksum while its rows are read. Whatever is wrong with
the content is the sample's fault (`BrokenSample`). What is wrong with reaching the file (missing,
no permission, no memory) is not, and is raised as it comes.
"""

from __future__ import annotations

import errno
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import torch

from aerozarr.config.fields import Field, attribute_of
from aerozarr.convert.download import check_size, read_file
from aerozarr.convert.inspect_pt import (
    SAVE_AGAIN,
    TRUNCATED,
    Inspected,
    NotATensorError,
    damaged,
    inspect_pt,
    is_damaged,
)
from aerozarr.errors import BrokenSample, SourceChangedError
from aerozarr.filesystems.location import Location
from aerozarr.source.zip_directory import Record

# What numpy knows too; other floats are widened first.
_TORCH_FLOATS = (torch.float16, torch.float32, torch.float64)
_REAL = {
    *(*_TORCH_FLOATS, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu),
    *(torch.bool, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint8, torch.uint16, torch.uint32, torch.uint64),
}
# More columns than this are points, when there are as many rows as a field has components.
_MOST_COLUMNS = 16
# Rows that are read, cast and measured together: they stay in the cache.
BLOCK = 2**16
# Bytes of a mapped file that may be read before it is mapped anew, which gives its pages back. Once
# costs a quarter of a millisecond, converting as much some forty.
_MAPPED_BYTES = 8 * 2**20


def load_file(base: Location, file: str, size: int | None, field: Field) -> object:
    """Read what a `.pt` file holds, without executing anything in it.

    Parameters
    ----------
    base
        The sample's folder. A local file is mapped into memory and not copied: see `Mapped`.
    file, size
        Its name, and its size in bytes as listed; None when that is not known.
    field
        The field it is read for, for error messages.

    Raises
    ------
    BrokenSample
        When the content cannot be read as a tensor.
    SourceChangedError
        When the size is not the listed one.
    OSError
        When the file cannot be reached.
    """
    if not base.is_local:
        return load_bytes(read_file(base, file, size), field)
    path = Path(base.join(file))
    with path.open("rb") as stream:
        status = os.fstat(stream.fileno())
        check_size(base, file, status.st_size, size)
        inspected = _inspect(stream, status.st_size, field)
        value = _unpickle(path, field, mmap=inspected.record is not None and inspected.is_plain)
        record = inspected.record
        if record is None:
            return value
        if not inspected.is_plain or not _is_whole_record(value, record):
            _check_record(stream, record, field)
            record = None
    return Mapped(value, path, status, field, record) if inspected.is_plain else value


class Mapped:
    """A tensor whose values are read from its file when they are used.

    What was read counts as this process's memory. To give it back, the file is mapped anew: torch
    has no other way, and where its mapping begins and ends it does not tell.

    Attributes
    ----------
    tensor
        The tensor. It has to be let go before `renew`, and so do views of it.
    unchecked
        The zip record of its values, in the order of its rows, while nobody has compared them
        with its CRC-32; else None. `blocks_of` does that.
    """

    def __init__(
        self,
        tensor: torch.Tensor,
        path: Path,
        status: os.stat_result,
        field: Field,
        unchecked: Record | None,
    ) -> None:
        self.tensor = tensor
        self.unchecked = unchecked
        self._path, self._status, self._field = path, status, field

    def renew(self) -> None:
        """Map the file again.

        Raises
        ------
        SourceChangedError
            When it is another one by now.
        OSError
            When it cannot be reached.
        """
        if _identity(self._path.stat()) != _identity(self._status):
            raise SourceChangedError(
                f"{self._path} changed while it was read. Run snakemake again when the source is "
                "complete."
            )
        del self.tensor
        self.tensor = _unpickle(self._path, self._field, mmap=True)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def load_bytes(content: bytes, field: Field) -> object:
    """Return what the content of a `.pt` file holds, as `load_file` does.

    Raises
    ------
    BrokenSample
        When it cannot be read as a tensor.
    """
    stream = io.BytesIO(content)
    inspected = _inspect(stream, len(content), field)
    if inspected.record is not None:
        _check_record(stream, inspected.record, field)
    stream.seek(0)
    return _unpickle(stream, field, mmap=False)


def _broken(field: Field, cause: str, remedy: str) -> BrokenSample:
    return BrokenSample(field=field.canonical, file=field.file, cause=cause, remedy=remedy)


def _inspect(stream: BinaryIO, size: int, field: Field) -> Inspected:
    try:
        return inspect_pt(stream, size)
    except NotATensorError as error:
        raise _broken(field, error.cause, error.remedy) from None


def _check_record(stream: BinaryIO, record: Record, field: Field) -> None:
    """Refuse a record whose content does not match its CRC-32."""
    if is_damaged(stream, record):
        raise _damaged(record, field)


def _damaged(record: Record, field: Field) -> BrokenSample:
    error = damaged(record)
    return _broken(field, error.cause, error.remedy)


def _is_whole_record(tensor: torch.Tensor, record: Record) -> bool:
    """Whether a tensor's values are those of a record, in their order and without gaps."""
    return (
        tensor.is_contiguous()
        and not tensor.is_neg()
        and not tensor.is_conj()
        and tensor.storage_offset() == 0
        and tensor.ndim > 0
        and tensor.nbytes == record.size
    )


def _unpickle(source: Path | io.BytesIO, field: Field, *, mmap: bool) -> torch.Tensor:
    """Load a tensor from what was inspected."""
    try:
        value = torch.load(source, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:
        # A mapping that would begin behind the file's end: the file was cut. Other errors of the
        # operating system, or of too little memory, are not the file's fault.
        past_the_end = isinstance(error, OSError) and error.errno == errno.EINVAL
        if isinstance(error, OSError | MemoryError) and not past_the_end:
            raise
        if "Cannot allocate memory" in str(error):  # what is asked for was compared with the file
            raise MemoryError(str(error)) from None
        raise _broken(field, f"{TRUNCATED} ({type(error).__name__})", SAVE_AGAIN) from None
    if not isinstance(value, torch.Tensor):
        raise _broken(field, f"it holds a {type(value).__name__}, not a tensor", SAVE_AGAIN)
    return value


def as_rows(value: object, field: Field) -> torch.Tensor:
    """Return a loaded value as the field's rows.

    Parameters
    ----------
    value
        What was loaded: a real tensor of shape (n,), (n, 1) or (n, at least the field's width).
        It may be mapped from a file.
    field
        The field it is for.

    Returns
    -------
    tensor, shape (n, width)
        A view of the value in its own dtype; only the field's columns.

    Raises
    ------
    BrokenSample
        When the value is anything else.
    """
    value = value.tensor if isinstance(value, Mapped) else value
    one_tensor = f"save one tensor of shape (n, {field.width})"
    if not isinstance(value, torch.Tensor):
        raise _broken(field, f"it holds a {type(value).__name__}, not a tensor", one_tensor)
    if value.layout != torch.strided or value.is_nested or value.is_quantized or value.is_meta:
        cause = "it holds a sparse, nested, quantized or empty-handed tensor"
        raise _broken(field, cause, one_tensor)
    # Torch may keep a sign apart from the values, which are then read with the other one.
    tensor = value.detach().resolve_neg()
    if tensor.is_complex():
        raise _broken(field, f"its values are complex ({tensor.dtype})", "save a real tensor")
    if tensor.dtype not in _REAL:
        cause = f"its values are of no number type ({tensor.dtype})"
        raise _broken(field, cause, "save a float tensor")
    shape = tuple(tensor.shape)
    if tensor.ndim not in (1, 2):
        raise _broken(field, f"its shape {shape} is neither (n,) nor (n, columns)", one_tensor)
    if tensor.numel() == 0:
        raise _broken(field, f"its shape {shape} holds no values", "fill it, or exclude the sample")
    rows = tensor.unsqueeze(1) if tensor.ndim == 1 else tensor
    first, stop = field.columns or (0, field.width)
    if rows.shape[1] < stop:
        wanted = f"{field.name} has {field.width}"
        if field.columns:
            wanted = f"the file map asks for column {stop - 1}, counted from 0"
        raise _broken(field, f"its shape {shape} has too few columns: {wanted}", one_tensor)
    is_row = rows.shape[0] == 1 and rows.shape[1] > _MOST_COLUMNS
    if field.width == 1 and rows.shape[1] > 1 and not field.columns and not is_row:
        raise _broken(
            field,
            f"its shape {shape} has {rows.shape[1]} columns, and {field.name} is one",
            f"say which: filemap: {{{attribute_of(field)}: '{field.file}[:, 0]'}}, or {one_tensor}",
        )
    return rows[:, first:stop]


def looks_transposed(value: object, field: Field) -> int | None:
    """Return the length of the second axis when a value looks like (components, points)."""
    value = value.tensor if isinstance(value, Mapped) else value
    if not isinstance(value, torch.Tensor) or value.ndim != 2 or field.columns:
        return None
    rows, columns = value.shape
    return columns if rows == field.width and columns > _MOST_COLUMNS else None


def columns_note(value: object, field: Field) -> str | None:
    """Return what to tell of a value that has more columns than are stored, else None."""
    value = value.tensor if isinstance(value, Mapped) else value
    if field.columns or not isinstance(value, torch.Tensor) or value.ndim != 2:
        return None
    columns = value.shape[1]
    if columns <= field.width:
        return None
    return (
        f"{field.canonical} ({field.file}): of {columns} columns the first {field.width} are "
        f"stored; to store others: filemap: {{{attribute_of(field)}: "
        f"'{field.file}[:, {columns - field.width}:{columns}]'}}"
    )


def blocks_of(
    value: object, field: Field, *, keep_mapping: bool = False
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield a loaded value's rows a block at a time, and the number of each block's first row.

    The first time, a mapped file is compared with its checksum on the way, so that its pages are
    touched once.

    Parameters
    ----------
    value, field
        As for `as_rows`.
    keep_mapping
        False to hold only a part of a mapped file in memory, which must then not be used elsewhere.

    Raises
    ------
    BrokenSample
        When the value is not what `as_rows` takes; after the last block, when the file is damaged.
    """
    rows = as_rows(value, field)
    n_rows = len(rows)
    a_row = rows.untyped_storage().nbytes() / n_rows
    record = value.unchecked if isinstance(value, Mapped) else None
    read, crc = 0.0, 0
    for first in range(0, n_rows, BLOCK):
        if isinstance(value, Mapped) and read >= _MAPPED_BYTES and not keep_mapping:
            del rows
            value.renew()
            rows = as_rows(value, field)
            read = 0.0
        part = rows[first : first + BLOCK]
        if record is not None and isinstance(value, Mapped):
            crc = _crc32(value.tensor, first, crc)
        yield first, part
        read += len(part) * a_row
        del part
    if record is not None and isinstance(value, Mapped):
        if record.crc not in (0, crc):
            raise _damaged(record, field)
        value.unchecked = None


def check_whole(value: object, field: Field) -> None:
    """Compare a mapped file with its checksum, if nobody has yet.

    Raises
    ------
    BrokenSample
        When it is damaged.
    """
    if isinstance(value, Mapped) and value.unchecked is not None:
        for _ in blocks_of(value, field, keep_mapping=True):
            pass


def _crc32(tensor: torch.Tensor, first: int, crc: int) -> int:
    """Return the CRC-32 of what was read and of a block of rows, all of their columns."""
    block = tensor.detach()[first : first + BLOCK].reshape(-1)
    return zlib.crc32(block.view(torch.uint8).numpy(), crc)  # type: ignore[arg-type] # a buffer


def to_numpy(rows: torch.Tensor) -> npt.NDArray[np.generic]:
    """Return rows of any real dtype as numpy has them, with the same values."""
    if rows.is_floating_point() and rows.dtype not in _TORCH_FLOATS:
        # bfloat16 and the 8-bit floats, which numpy does not know: exact in float32.
        rows = rows.float()
    array: npt.NDArray[np.generic] = rows.resolve_neg().numpy()
    return array
