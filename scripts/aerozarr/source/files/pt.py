"""From a `.pt` file to a tensor.

What a file holds is not trusted: it is inspected before it is loaded (`inspect_pt`), loaded with
`weights_only=True`, and compared with its checksum, at the latest while its rows are read.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch

from aerozarr.config.fields import Field
from aerozarr.source.files.inspect_pt import (
    SAVE_AGAIN,
    TRUNCATED,
    Inspected,
    NotATensorError,
    inspect_pt,
    is_damaged,
)
from aerozarr.source.files.pickle_tensor import at_key
from aerozarr.source.files.rows import Mapped, broken, damaged
from aerozarr.source.files.zip_directory import Record


def load_pt(path: Path, stream: BinaryIO, status: os.stat_result, field: Field) -> object:
    """Return the tensor of a local `.pt` file, or that of the field's key in its dict.

    Parameters
    ----------
    path, stream, status
        The file: its path, opened, and what its `stat` says. It is mapped into memory and not
        copied, if it can be: see `Mapped`.
    field
        The field it is for.

    Raises
    ------
    BrokenSample
        When the content cannot be read as a tensor.
    OSError
        When the file cannot be reached.
    """
    inspected = _inspect(stream, status.st_size, field)
    record = inspected.record
    if record is None or not inspected.is_plain:
        value = _unpickle(path, field, mmap=False)
        if record is not None:
            _check_record(stream, record, field)
        return value
    mapped = Mapped(path, status, partial(_unpickle, path, field, mmap=True), record)
    if not _is_whole_record(mapped.tensor, record):
        _check_record(stream, record, field)
        mapped.unchecked = None
    return mapped


def load_pt_bytes(content: bytes, field: Field) -> object:
    """Return what the content of a `.pt` file holds, as `load_pt` does.

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


def _inspect(stream: BinaryIO, size: int, field: Field) -> Inspected:
    try:
        return inspect_pt(stream, size, field.key)
    except NotATensorError as error:
        raise broken(field, error.cause, error.remedy) from None


def _check_record(stream: BinaryIO, record: Record, field: Field) -> None:
    """Refuse a record whose content does not match its CRC-32."""
    if is_damaged(stream, record):
        raise damaged(field, record)


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
        value: Any = torch.load(source, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:
        # A mapping that would begin behind the file's end: the file was cut. Other errors of the
        # operating system, or of too little memory, are not the file's fault.
        past_the_end = isinstance(error, OSError) and error.errno == errno.EINVAL
        if isinstance(error, OSError | MemoryError) and not past_the_end:
            raise
        if "Cannot allocate memory" in str(error):  # what is asked for was compared with the file
            raise MemoryError(str(error)) from None
        raise broken(field, f"{TRUNCATED} ({type(error).__name__})", SAVE_AGAIN) from None
    if field.key is not None:
        value = at_key(value, field.key, Mapping)
    if not isinstance(value, torch.Tensor):
        raise broken(field, f"it holds a {type(value).__name__}, not a tensor", SAVE_AGAIN)
    return value
