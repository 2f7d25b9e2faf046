"""From a `.pt` file to rows in storage dtype, refusing what would not survive the way.

What a file holds is not trusted: it is unpickled with `weights_only=True`, and whatever is wrong
with the content is the sample's fault (`BrokenSample`). What is wrong with reaching the file
(missing, no permission, no memory) is not, and is raised as it comes.
"""

from __future__ import annotations

import errno
import io
import re
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import torch

from aerozarr.errors import BrokenSample
from aerozarr.fields import Field
from aerozarr.locations import Location
from aerozarr.readahead import check_size, read_file

Rows = npt.NDArray[np.floating]

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
# Rows that are looked at together.
_BLOCK = 2**18
_SAVE_AGAIN = "write the file again with torch.save(tensor, path)"


def load_file(base: Location, file: str, size: int | None, field: Field) -> object:
    """Read what a `.pt` file holds, without executing anything in it.

    Parameters
    ----------
    base
        The sample's folder. A local file is mapped into memory and not copied.
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
    if base.is_local:
        path = Path(base.join(file))
        with path.open("rb") as stream:
            found = stream.seek(0, io.SEEK_END)
            check_size(base, file, found, size)
            record = _largest_plain_record(stream)
        value = _unpickle(path, field, found, mmap=record is not None)
        if record is not None and isinstance(value, torch.Tensor):
            _check_record(value, record, field)
        return value
    return load_bytes(read_file(base, file, size), field)


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


def to_storage(rows: torch.Tensor, field: Field) -> Rows:
    """Cast rows to the field's storage dtype, rounding to nearest even.

    Parameters
    ----------
    rows
        Shape (n, width), any real dtype.
    field
        Its `dtype` is the storage dtype.

    Returns
    -------
    array, shape (n, width), C-contiguous
        May share memory with `rows`.

    Raises
    ------
    BrokenSample
        When a finite value would become infinite.
    """
    stored = _cast(rows, np.dtype(field.dtype))
    # Infinities in the result are rare, and cheap to see in the bits; only then is it worth
    # comparing with the source. A maximum would not do: one NaN hides every overflow.
    if _has_infinity(stored):
        overflow = torch.from_numpy(np.isinf(stored)) & torch.isfinite(rows)
        if bool(overflow.any()):
            value = float(rows[overflow].double().abs().max())
            wider = "float32" if value <= torch.finfo(torch.float32).max else "float64"
            raise BrokenSample(
                field=field.canonical,
                file=field.file,
                cause=f"a value of {value:.6g} is too large for {field.dtype}",
                remedy=f"set field_dtypes: {{{field.canonical}: {wider}}}",
            )
    # np.take copies an array that is not contiguous and aligned, whole, at every call.
    return np.require(stored, requirements=["C", "A"])


def to_numpy(rows: torch.Tensor) -> npt.NDArray[np.generic]:
    """Return rows of any real dtype as numpy has them, with the same values."""
    if rows.is_floating_point() and rows.dtype not in _TORCH_FLOATS:
        # bfloat16 and the 8-bit floats, which numpy does not know: exact in float32.
        rows = rows.float()
    array: npt.NDArray[np.generic] = rows.resolve_neg().numpy()
    return array


def _cast(rows: torch.Tensor, dtype: np.dtype[np.floating]) -> Rows:
    if rows.dtype == torch.float32 and dtype == np.float16:
        half: Rows = rows.half().numpy()  # torch is some ten times faster here than numpy
        return half
    # From float64, torch would round twice (by way of float32); numpy rounds once.
    with np.errstate(over="ignore", invalid="ignore"):
        return to_numpy(rows).astype(dtype, copy=False)


def _has_infinity(stored: Rows) -> bool:
    """Whether any value is infinite; looks at the bits, a block at a time to need no memory."""
    if stored.dtype == np.float64:
        return False  # nothing that torch loads is wider
    half = stored.dtype == np.float16
    magnitude, infinity = (0x7FFF, 0x7C00) if half else (0x7FFFFFFF, 0x7F800000)
    bits: npt.NDArray[np.uint32] = stored.view(np.uint16 if half else np.uint32)
    blocks = (bits[first : first + _BLOCK] for first in range(0, len(bits), _BLOCK))
    return any(bool(((block & magnitude) == infinity).any()) for block in blocks)
