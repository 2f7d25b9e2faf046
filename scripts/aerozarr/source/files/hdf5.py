"""From an HDF5 file to a tensor. It needs the package h5py (`requirements-hdf5.txt`)."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from aerozarr.config.fields import Field
from aerozarr.errors import BrokenSample, SettingsError
from aerozarr.messages import did_you_mean, how_to_install, plural, printable
from aerozarr.source.files.rows import broken

SAVE_AGAIN = "write the file again"
# What a packed array may unpack to, as a multiple of the bytes that are stored of it.
UNPACKED = 100


def load_hdf5(path: Path, stream: BinaryIO, status: os.stat_result, field: Field) -> object:
    """Return a dataset of a local HDF5 file; parameters and errors as for `load_pt`.

    Raises
    ------
    SettingsError
        When h5py is not installed.
    """
    del path, status
    return _load(stream, field)


def load_hdf5_bytes(content: bytes, field: Field) -> object:
    """Return a dataset in the content of an HDF5 file; errors as for `load_hdf5`."""
    return _load(io.BytesIO(content), field)


def _load(stream: BinaryIO, field: Field) -> torch.Tensor:
    h5py = _import_h5py(field)
    try:
        file = h5py.File(stream, "r")
    except MemoryError:
        raise
    except Exception as error:  # h5py meets damaged bytes with many kinds, OverflowError among them
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, and not the file's
        raise broken(field, "it is damaged, or no HDF5 file", SAVE_AGAIN) from None
    with file:
        try:
            dataset = _dataset_in(file, h5py, field)
            _check_filters(dataset, h5py, field)
            return _read(dataset, field)
        except (BrokenSample, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - h5py meets odd files with many kinds of error
            cause = f"it is damaged: {printable(str(error))[:200]}"
            raise broken(field, cause, SAVE_AGAIN) from None


def _import_h5py(field: Field) -> Any:
    try:
        import h5py
    except ImportError:
        raise SettingsError(
            f"filemap: {field.file!r} is an HDF5 file, which the package h5py reads. Install it: "
            f"{how_to_install('requirements-hdf5.txt', 'hdf5')}."
        ) from None
    return h5py


def _dataset_in(file: Any, h5py: Any, field: Field) -> Any:
    """Return the dataset of the field's key, without following a link out of the file."""
    node, walked = file, ""
    for part in filter(None, (field.key or "").split("/")):
        walked += f"/{part}"
        if not isinstance(node, h5py.Group) or part not in _names_in(node):
            names = _names_in(node) if isinstance(node, h5py.Group) else []
            near = did_you_mean(part, names)
            held = ", ".join(map(printable, names[:10])) or "nothing"
            raise broken(
                field,
                f"it has no {printable(walked)}; there it has {held}",
                f"name what it has in filemap.{near}".removesuffix("."),
            )
        link = node.get(part, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise broken(
                field,
                f"{printable(walked)} is a link to another file",
                "write the values into the file itself",
            )
        if isinstance(link, h5py.SoftLink):
            raise broken(
                field,
                f"{printable(walked)} is a link",
                "name in filemap what it leads to",
            )
        node = node[part]
    if not isinstance(node, h5py.Dataset):
        names = _names_in(node) if isinstance(node, h5py.Group) else []
        raise broken(
            field,
            f"{printable(walked or 'it')} is no dataset; it has "
            f"{', '.join(map(printable, names[:10])) or 'nothing'}",
            f"name a dataset in filemap: '{field.file}::{walked.strip('/') or 'path'}/…'",
        )
    if node.is_virtual or node.external:
        raise broken(
            field,
            f"the values of {printable(walked)} lie in other files",
            "write them into the file itself",
        )
    return node


def _names_in(group: Any) -> list[str]:
    # A name that is no UTF-8 comes as bytes.
    return [
        name if isinstance(name, str) else name.decode("utf-8", "backslashreplace")
        for name in group
    ]


def _check_filters(dataset: Any, h5py: Any, field: Field) -> None:
    """Refuse a dataset that is packed with what is not installed here, which is not its fault."""
    created = dataset.id.get_create_plist()
    for number in range(created.get_nfilters()):
        code, _, _, name = created.get_filter(number)
        if not h5py.h5z.filter_avail(code):
            called = printable((name or b"").decode("utf-8", "replace"))[:80]
            raise BrokenSample(
                field=field.canonical,
                file=field.file,
                cause=f"it is packed by an HDF5 filter that is not installed here: {code} {called}",
                remedy="write it without, or packed by gzip; or set HDF5_PLUGIN_PATH to the folder "
                "of the filter's plugin",
                is_certain=False,
            )


def _check_chunks(dataset: Any, field: Field) -> None:
    """Refuse a dataset of which chunks were never written: they would be read as zeros."""
    if dataset.chunks is None or not dataset.size:
        return
    axes = zip(dataset.shape, dataset.chunks, strict=True)
    wanted = math.prod(-(-length // chunk) for length, chunk in axes)
    missing = wanted - int(dataset.id.get_num_chunks())
    if missing > 0:
        raise broken(
            field,
            f"{missing} of its {plural(wanted, 'chunk')} were never written, and would be read as "
            f"{dataset.fillvalue}",
            "write all of its values, or exclude the sample",
        )


def _read(dataset: Any, field: Field) -> torch.Tensor:
    dtype = dataset.dtype
    if dtype.kind not in "fiubc" or dtype.itemsize > 16 or dtype == np.longdouble:
        raise broken(field, f"its values are of no number type ({dtype})", "write float values")
    if dataset.shape is None:
        raise broken(field, "it has no values", "fill it, or exclude the sample")
    stored = int(dataset.id.get_storage_size())
    if dataset.nbytes > UNPACKED * max(stored, 1):
        raise broken(
            field,
            f"it claims {dataset.nbytes} bytes, and {stored} are stored: it was never written, or "
            f"is damaged ({UNPACKED} times as many are believed)",
            SAVE_AGAIN,
        )
    _check_chunks(dataset, field)
    values = np.empty(dataset.shape, dtype.newbyteorder("="))
    if values.size:
        dataset.read_direct(values)
    return torch.from_numpy(values)
