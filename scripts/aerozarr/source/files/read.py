"""From the files of a sample to what they hold for a field, whatever their kind.

What is wrong with a file's content is the sample's fault (`BrokenSample`). What is wrong with
reaching it (missing, no permission, no memory) is not, and is raised as it comes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from aerozarr.config.fields import Field
from aerozarr.config.scalars import Scalar
from aerozarr.filesystems.location import Location
from aerozarr.source.files.download import ReadAhead, check_size, read_file
from aerozarr.source.files.hdf5 import load_hdf5, load_hdf5_bytes
from aerozarr.source.files.npy import (
    load_by_numpy,
    load_npy,
    load_npy_bytes,
    load_npz,
    load_npz_bytes,
)
from aerozarr.source.files.pt import load_pt, load_pt_bytes
from aerozarr.source.files.scalars import load_scalar, load_scalar_bytes

Loader = Callable[[Field | Scalar], object]
"""Returns what a sample holds for a field or a scalar, not yet checked.

See `rows.as_rows` and `scalars.as_scalar`."""

_Load = Callable[[Path, BinaryIO, os.stat_result, Field], object]
_LoadBytes = Callable[[bytes, Field], object]

# By the end of the file's name, how a local file is read, and one that is in memory.
_KINDS: dict[str, tuple[_Load, _LoadBytes]] = {
    ".npy": (load_npy, load_npy_bytes),
    ".npz": (load_npz, load_npz_bytes),
    ".h5": (load_hdf5, load_hdf5_bytes),
    ".hdf5": (load_hdf5, load_hdf5_bytes),
}
_PT = (load_pt, load_pt_bytes)


# Those whose files are also read by their library alone, for verification; it reads the others.
_BY_LIBRARY = {".npy": load_by_numpy, ".npz": load_by_numpy}


def _kind_of(file: str) -> tuple[_Load, _LoadBytes]:
    return _KINDS.get(os.path.splitext(file)[1].lower(), _PT)


def load_file(folder: Location, file: str, size: int | None, field: Field | Scalar) -> object:
    """Read what a file holds for a field or a scalar, without executing anything in it.

    Parameters
    ----------
    folder
        The sample's folder. A local file is mapped into memory and not copied, where it can be.
    file, size
        Its name, and its size in bytes as listed; None when that is not known.
    field
        The field or scalar that it is read for.

    Raises
    ------
    BrokenSample
        When the content is not what it can be read from.
    SourceChangedError
        When the size is not the listed one.
    SettingsError
        When a package is missing that reads such a file.
    OSError
        When the file cannot be reached.
    """
    if not folder.is_local:
        return load_bytes(read_file(folder, file, size), field)
    path = Path(folder.join(file))
    with path.open("rb") as stream:
        status = os.fstat(stream.fileno())
        check_size(folder, file, status.st_size, size)
        if isinstance(field, Scalar):
            return load_scalar(path, stream, status, field)
        return _kind_of(file)[0](path, stream, status, field)


def load_bytes(content: bytes, field: Field | Scalar) -> object:
    """Return what the content of the field's file holds for it, as `load_file` does.

    Raises
    ------
    BrokenSample, SettingsError
        As `load_file` does.
    """
    if isinstance(field, Scalar):
        return load_scalar_bytes(content, field)
    return _kind_of(field.file)[1](content, field)


def by_library(load: Loader, open_file: Callable[[str], BinaryIO | Path]) -> Loader:
    """Return how fields are loaded by the libraries of their formats, once `load` has checked them.

    Parameters
    ----------
    load
        Loads a field, or says what is wrong with its file.
    open_file
        Returns a file of the sample by its name: its path, or its content.
    """

    def load_by_library(field: Field | Scalar) -> object:
        value = load(field)
        kind = _BY_LIBRARY.get(os.path.splitext(field.file)[1].lower())
        if kind is None or isinstance(field, Scalar):
            return value
        return kind(open_file(field.file), field)

    return load_by_library


def load_remote(
    folder: Location,
    fields: Iterable[Field | Scalar],
    size_of: Callable[[str], int | None],
    read_sizes: dict[str, int] | None = None,
) -> Loader:
    """Return how what a sample behind a URL has is loaded: its files are read ahead, once.

    Parameters
    ----------
    folder
        The sample's folder.
    fields
        The fields and scalars that will be loaded, in this order.
    size_of
        Returns a file's size in bytes as listed; None when that is not known.
    read_sizes
        Where the bytes read of each file are noted, by its name.
    """
    # A file of several is held until the last of them has been loaded.
    wanted = Counter(field.file for field in fields)
    ahead = ReadAhead(folder, {file: size_of(file) for file in wanted})
    held: dict[str, bytes] = {}

    def load(field: Field | Scalar) -> object:
        file = field.file
        content = held.pop(file, None)
        if content is None:
            content = ahead.read(file)
        wanted[file] -= 1
        if wanted[file] > 0:
            held[file] = content
        if read_sizes is not None:
            read_sizes[file] = len(content)
        return load_bytes(content, field)

    return load
