"""One field in a `.pt` file: writing it, loading it, storing it, and the error if it is broken."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from aerozarr.convert.cast import ReusableBuffer, RoundingSample, cast_field
from aerozarr.errors import BrokenSample
from aerozarr.filesystems.location import Location
from aerozarr.source.files.read import load_file
from aerozarr.source.files.rows import as_rows
from unit.store_helpers import Array, field_of, put_file

FILE = "velocity.pt"
DTYPES = ("float16", "float32", "float64")
GRID = torch.arange(12.0).reshape(4, 3)

each_place = pytest.mark.parametrize("place", ["folder", "memory-url"])
each_format = pytest.mark.parametrize("legacy", [False, True], ids=["zip-format", "legacy-format"])
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def saved(value: object, *, legacy: bool = False) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates quantized tensors and TorchScript
        if isinstance(value, torch.jit.ScriptModule):
            torch.jit.save(value, stream)
        else:
            torch.save(value, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def load(folder: Location, content: bytes, *, listed: int | None = None) -> object:
    put_file(folder.url, FILE, content)
    return load_file(folder, FILE, listed, field_of())


def stored(value: object, **field: Any) -> Array:
    """A loaded value in storage dtype."""
    rows = as_rows(value, field_of(**field))
    sample = RoundingSample(np.empty(0, np.int64), len(rows))
    made = cast_field(rows, field_of(**{**field, "columns": None}), ReusableBuffer(), sample)
    return np.ascontiguousarray(made.rows)


def column(values: list[Any], dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).to(dtype).unsqueeze(1)


def broken(run: Callable[[], object]) -> BrokenSample:
    """The error that says that a sample is broken, checked for what every such error needs."""
    with pytest.raises(BrokenSample) as caught:
        run()
    error = caught.value
    assert error.field == "volume_velocity"
    assert error.file == FILE
    assert error.cause
    assert error.remedy
    assert all(part in str(error) for part in (error.field, FILE, error.cause, error.remedy))
    assert "\n" not in error.cause
    assert not error.cause.endswith(".")
    return error
