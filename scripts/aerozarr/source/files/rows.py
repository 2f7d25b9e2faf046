"""A field's rows, from what any kind of file or class gave for it: one real array.

What is wrong with a value is the sample's fault (`BrokenSample`).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from aerozarr.config.fields import Field, setting_of
from aerozarr.errors import BrokenSample, SourceChangedError
from aerozarr.source.files.blocks import Blocks
from aerozarr.source.files.zip_directory import Record

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


def broken(field: Field, cause: str, remedy: str) -> BrokenSample:
    """Return the error of a sample whose file for a field cannot be used."""
    return BrokenSample(field=field.canonical, file=field.file, cause=cause, remedy=remedy)


def damaged(field: Field, record: Record) -> BrokenSample:
    """Return the error of a zip record whose content is not what was written."""
    return broken(
        field,
        f"it is damaged: the record {record.name!r} does not match its CRC-32",
        "get the file itself again from where the dataset comes from, or write it again",
    )


class Mapped:
    """A tensor whose values are read from its file when they are used.

    What was read counts as this process's memory. To give it back, the file is mapped anew: torch
    has no other way, and where its mapping begins and ends it does not tell.

    Parameters
    ----------
    path, status
        The file, and what its `stat` said when it was opened.
    map_tensor
        Maps the file, and returns the tensor.
    unchecked
        See below.

    Attributes
    ----------
    tensor
        The tensor. It has to be let go before `renew`, and so do views of it.
    unchecked
        The zip record of its values, in the order of its rows, while nobody has compared them
        with its CRC-32; else None. `blocks_of` does that.
    crc_before
        CRC-32 of what the record holds before the values.
    """

    def __init__(
        self,
        path: Path,
        status: os.stat_result,
        map_tensor: Callable[[], torch.Tensor],
        unchecked: Record | None = None,
    ) -> None:
        self.tensor = map_tensor()
        self.unchecked = unchecked
        self.crc_before = 0
        self._path, self._status, self._map_tensor = path, status, map_tensor

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
        self.tensor = self._map_tensor()


def outline_of(value: object) -> object:
    """Return a tensor with the shape and the dtype of a loaded value, not all with its values.

    Of what is no array, the value itself.
    """
    if isinstance(value, Blocks):
        return value.outline
    return value.tensor if isinstance(value, Mapped) else value


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def as_rows(value: object, field: Field) -> torch.Tensor:
    """Return a loaded value as the field's rows.

    Parameters
    ----------
    value
        What was loaded: a real tensor of shape (n,), (n, 1) or (n, at least the field's width).
        It may be mapped from a file; one that comes in `Blocks` is read whole.
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
    if isinstance(value, Blocks):
        outline_rows(value, field)  # before anything is read
        value = torch.from_numpy(np.concatenate([block.copy() for block in value.blocks(BLOCK)]))
    value = outline_of(value)
    article, noun = ("a", "tensor") if field.file.endswith((".pt", ".pth")) else ("an", "array")
    one_tensor = f"save one {noun} of shape (n, {field.width})"
    if not isinstance(value, torch.Tensor):
        raise broken(field, f"it holds a {type(value).__name__}, not {article} {noun}", one_tensor)
    if value.layout != torch.strided or value.is_nested or value.is_quantized or value.is_meta:
        cause = "it holds a sparse, nested, quantized or empty-handed tensor"
        raise broken(field, cause, f"{one_tensor}: tensor.to_dense() or tensor.dequantize()")
    # Torch may keep a sign apart from the values, which are then read with the other one.
    tensor = value.detach().resolve_neg()
    if tensor.is_complex():
        raise broken(
            field,
            f"its values are complex ({tensor.dtype})",
            f"save {article} {noun} of real numbers",
        )
    if tensor.dtype not in _REAL:
        cause = f"its values are of no number type ({tensor.dtype})"
        raise broken(field, cause, f"save a float {noun}")
    shape = tuple(tensor.shape)
    if tensor.ndim not in (1, 2):
        raise broken(field, f"its shape {shape} is neither (n,) nor (n, columns)", one_tensor)
    if tensor.numel() == 0:
        raise broken(field, f"its shape {shape} holds no values", "fill it, or exclude the sample")
    rows = tensor.unsqueeze(1) if tensor.ndim == 1 else tensor
    first, stop = field.columns or (0, field.width)
    if rows.shape[1] < stop:
        wanted, remedy = f"{field.name} has {field.width}", one_tensor
        if field.columns:
            wanted = f"the file map asks for column {stop - 1}, counted from 0"
            remedy = "name columns in filemap that all samples have, or exclude this one"
        raise broken(field, f"its shape {shape} has too few columns: {wanted}", remedy)
    is_row = rows.shape[0] == 1 and rows.shape[1] > _MOST_COLUMNS
    if field.width == 1 and rows.shape[1] > 1 and not field.columns and not is_row:
        raise broken(
            field,
            f"its shape {shape} has {rows.shape[1]} columns, and {field.name} is one",
            f"say which: {setting_of(field, f'{field.file_and_key}[:, 0]')}, or {one_tensor}",
        )
    return rows[:, first:stop]


def outline_rows(value: object, field: Field) -> torch.Tensor:
    """Return `as_rows` of a loaded value without values: what has its shape and its dtype.

    Raises
    ------
    BrokenSample
        As `as_rows` does.
    """
    return as_rows(outline_of(value), field)


# Between what is told of columns that are not stored, and the setting that stores them.
TO_STORE_OTHERS = "; to store others: "


def looks_transposed(value: object, field: Field) -> int | None:
    """Return the length of the second axis when a value looks like (components, points)."""
    value = outline_of(value)
    if not isinstance(value, torch.Tensor) or value.ndim != 2:
        return None
    rows, columns = value.shape
    if field.columns:  # of a cloud that lies on its side, they are as many rows
        return columns if columns > _MOST_COLUMNS * rows else None
    return columns if rows == field.width and columns > _MOST_COLUMNS else None


def columns_note(value: object, field: Field) -> str | None:
    """Return what to tell of a value that has more columns than are stored, else None."""
    value = outline_of(value)
    if field.columns or not isinstance(value, torch.Tensor) or value.ndim != 2:
        return None
    columns = value.shape[1]
    if columns <= field.width:
        return None
    others = f"{field.file_and_key}[:, {columns - field.width}:{columns}]"
    return (
        f"{field.canonical} ({field.file_and_key}): of {columns} columns the first {field.width} "
        f"are stored{TO_STORE_OTHERS}{setting_of(field, others)}"
    )


def whole_numbers_note(value: object, field: Field, largest: float) -> str | None:
    """Return what to tell of whole numbers that the storage dtype does not tell apart, else None.

    Parameters
    ----------
    value, field
        As for `as_rows`.
    largest
        The greatest magnitude among the values as stored.
    """
    value = outline_of(value)
    if not isinstance(value, torch.Tensor) or value.is_floating_point() or value.is_complex():
        return None
    # From here on neighbours are stored as the same number: what is rounded may be an id.
    limit = 2 ** (np.finfo(field.dtype).nmant + 1)
    if largest < limit:
        return None
    note = (
        f"{field.canonical} ({field.file_and_key}): whole numbers from {limit:,} on are rounded as "
        f"{field.dtype}"
    )
    wider = {"float16": "float32", "float32": "float64"}.get(field.dtype)
    if wider is None:
        return note
    return f"{note}; to keep them: field_dtypes: {{{field.canonical}: {wider}}}"


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
    if isinstance(value, Blocks):
        yield from _blocks_in_turn(value, field)
        return
    rows = as_rows(value, field)
    n_rows = len(rows)
    a_row = rows.untyped_storage().nbytes() / n_rows
    record = value.unchecked if isinstance(value, Mapped) else None
    read, crc = 0.0, value.crc_before if isinstance(value, Mapped) else 0
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
            raise damaged(field, record)
        value.unchecked = None


def _blocks_in_turn(value: Blocks, field: Field) -> Iterator[tuple[int, torch.Tensor]]:
    outline_rows(value, field)
    row = 0
    for block in value.blocks(BLOCK):
        yield row, as_rows(torch.from_numpy(block), field)
        row += len(block)


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
