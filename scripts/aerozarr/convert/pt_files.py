"""From a `.pt` file to a field's rows, refusing what is none.

What a file holds is not trusted: it is unpickled with `weights_only=True`, and whatever is wrong
with the content is the sample's fault (`BrokenSample`). What is wrong with reaching the file
(missing, no permission, no memory) is not, and is raised as it comes.
"""

from __future__ import annotations

import errno
import io
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import torch

from aerozarr.config.fields import Field
from aerozarr.convert.download import check_size, read_file
from aerozarr.errors import BrokenSample, SourceChangedError
from aerozarr.filesystems.location import Location

# What numpy knows too; other floats are widened first.
_TORCH_FLOATS = (torch.float16, torch.float32, torch.float64)
_REAL = {
    *(*_TORCH_FLOATS, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu),
    *(torch.bool, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint8, torch.uint16, torch.uint32, torch.uint64),
}
# How torch says which class or function it will not load.
_REFUSED_NAME = re.compile(r"(?i)unsupported (?:global|class|operand).*?(\w[\w.]*\.\w+)")
# How torch says how much memory it could not have.
_ALLOCATION = re.compile(r"tried to allocate (\d+) bytes")
_TRUNCATED = "it is truncated or damaged"
# Rows that are read, cast and measured together: they stay in the cache.
BLOCK = 2**16
# Bytes of a mapped file that may be read before it is mapped anew, which gives its pages back. Once
# costs a quarter of a millisecond, converting as much some forty.
_MAPPED_BYTES = 8 * 2**20
_SAVE_AGAIN = "write the file again with torch.save(tensor, path)"


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
        record = _largest_plain_record(stream)
    value = _unpickle(path, field, status.st_size, mmap=record is not None)
    if record is None or not isinstance(value, torch.Tensor):
        return value
    _check_record(value, record, field)
    return Mapped(value, path, status, field)


class Mapped:
    """A tensor whose values are read from its file when they are used.

    What was read counts as this process's memory. To give it back, the file is mapped anew: torch
    has no other way, and where its mapping begins and ends it does not tell.

    Attributes
    ----------
    tensor
        The tensor. It has to be let go before `renew`, and so do views of it.
    """

    def __init__(
        self, tensor: torch.Tensor, path: Path, status: os.stat_result, field: Field
    ) -> None:
        self.tensor = tensor
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
        value = _unpickle(self._path, self._field, self._status.st_size, mmap=True)
        if not isinstance(value, torch.Tensor):
            raise SourceChangedError(f"{self._path} changed while it was read")
        self.tensor = value


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def load_bytes(content: bytes, field: Field) -> object:
    """Return what the content of a `.pt` file holds, as `load_file` does.

    Raises
    ------
    BrokenSample
        When it cannot be read as a tensor.
    """
    return _unpickle(io.BytesIO(content), field, len(content), mmap=False)


def _largest_plain_record(stream: BinaryIO) -> int | None:
    """Return the size of a zip file's largest record; None if the file cannot be mapped.

    Only the zip format that torch.save has written since 1.6 can be mapped, and only as it writes
    it: of a file that was packed again with compression, torch would map the compressed bytes.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            records = archive.infolist()
    except OSError:
        raise
    except Exception:  # noqa: BLE001 - zipfile meets hostile bytes with many kinds of error
        return None  # torch will say what is wrong
    plain = records and all(record.compress_type == zipfile.ZIP_STORED for record in records)
    return max(record.file_size for record in records) if plain else None


def _check_record(tensor: torch.Tensor, record: int, field: Field) -> None:
    """Refuse a mapped tensor that is larger than what its file holds of it.

    torch does not look, and would read on into whatever follows.
    """
    if tensor.layout == torch.strided and tensor.untyped_storage().nbytes() > record:
        raise BrokenSample(
            field=field.canonical, file=field.file, cause=_TRUNCATED, remedy=_SAVE_AGAIN
        )


def _unpickle(source: Path | io.BytesIO, field: Field, size: int, *, mmap: bool) -> object:
    try:
        return torch.load(source, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # a hostile pickle can raise anything
        reason = str(error)
        wanted = _ALLOCATION.search(reason)
        promises_too_much = wanted is not None and int(wanted[1]) > size
        # A mapping that would begin behind the file's end: the file was cut. Other errors of the
        # operating system, or of too little memory, are not the file's fault.
        past_the_end = isinstance(error, OSError) and error.errno == errno.EINVAL
        if isinstance(error, OSError | MemoryError) and not past_the_end:
            raise
        if "Cannot allocate memory" in reason and not promises_too_much:
            raise MemoryError(reason) from None
        truncated = past_the_end or promises_too_much
        raise BrokenSample(
            field=field.canonical,
            file=field.file,
            cause=_TRUNCATED if truncated else _why_unreadable(reason, type(error).__name__),
            remedy=_SAVE_AGAIN,
        ) from None


def _why_unreadable(reason: str, kind: str) -> str:
    """Put torch's paragraphs of advice, some of it harmful here, into a few words."""
    refused = _REFUSED_NAME.search(reason)
    if refused:
        return (
            f"it holds more than a tensor ({refused[1]}), which is not loaded because it "
            "could run code"
        )
    if "zip archive" in reason or kind == "EOFError":
        return _TRUNCATED
    first_line = reason.strip().partition("\n")[0][:200]
    detail = kind if "weights_only" in reason else f"{kind}: {first_line}"
    return f"it is no file of torch.save, or damaged ({detail})"


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
        A view of the value in its own dtype; columns past the width are left out.

    Raises
    ------
    BrokenSample
        When the value is anything else.
    """

    def broken(cause: str, remedy: str) -> BrokenSample:
        return BrokenSample(field=field.canonical, file=field.file, cause=cause, remedy=remedy)

    if isinstance(value, Mapped):
        value = value.tensor
    one_tensor = f"save one tensor of shape (n, {field.width})"
    if not isinstance(value, torch.Tensor):
        raise broken(f"it holds a {type(value).__name__}, not a tensor", one_tensor)
    if value.layout != torch.strided or value.is_nested or value.is_quantized or value.is_meta:
        raise broken("it holds a sparse, nested, quantized or empty-handed tensor", one_tensor)
    tensor = value.detach()
    if tensor.is_complex():
        raise broken(f"its values are complex ({tensor.dtype})", "save a real tensor")
    if tensor.dtype not in _REAL:
        raise broken(f"its values are of no number type ({tensor.dtype})", "save a float tensor")
    shape = tuple(tensor.shape)
    if tensor.ndim not in (1, 2):
        raise broken(f"its shape {shape} is neither (n,) nor (n, columns)", one_tensor)
    if tensor.numel() == 0:
        raise broken(f"its shape {shape} holds no values", "leave the sample out, or fill it")
    rows = tensor.unsqueeze(1) if tensor.ndim == 1 else tensor
    if rows.shape[1] < field.width:
        raise broken(
            f"its shape {shape} has too few columns: {field.name} has {field.width}", one_tensor
        )
    return rows[:, : field.width]


def blocks_of(value: object, field: Field) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield a loaded value's rows a block at a time, and the number of each block's first row.

    Of a mapped file only a part is held in memory, unless more of it is asked for.

    Raises
    ------
    BrokenSample
        When the value is not what `as_rows` takes.
    """
    rows = as_rows(value, field)
    n_rows = len(rows)
    a_row = rows.untyped_storage().nbytes() / n_rows
    read = 0.0
    for first in range(0, n_rows, BLOCK):
        if isinstance(value, Mapped) and read >= _MAPPED_BYTES:
            del rows
            value.renew()
            rows = as_rows(value, field)
            read = 0.0
        part = rows[first : first + BLOCK]
        yield first, part
        read += len(part) * a_row
        del part


def to_numpy(rows: torch.Tensor) -> npt.NDArray[np.generic]:
    """Return rows of any real dtype as numpy has them, with the same values."""
    if rows.is_floating_point() and rows.dtype not in _TORCH_FLOATS:
        # bfloat16 and the 8-bit floats, which numpy does not know: exact in float32.
        rows = rows.float()
    array: npt.NDArray[np.generic] = rows.resolve_neg().numpy()
    return array
