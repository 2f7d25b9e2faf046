"""Specification of loading .pt files: what is loaded, as what, and from which containers."""

import io
import math
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
import torch

from aerozarr.errors import BrokenSample, SourceChangedError
from aerozarr.source.files.read import load_file
from aerozarr.source.files.rows import as_rows, columns_note
from unit.pt_helpers import (
    FILE,
    GRID,
    broken,
    each_dtype,
    each_format,
    each_place,
    load,
    saved,
    stored,
)
from unit.store_helpers import field_of, put_file

INF, NAN = math.inf, math.nan


# What is loaded, and as what -------------------------------------------------------------------

OLD_DTYPES = (torch.float16, torch.float32, torch.float64, torch.bfloat16, torch.uint8)
OLD_DTYPES += (torch.int8, torch.int16, torch.int32, torch.int64)
# The legacy format cannot hold these.
NEW_DTYPES = (torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2)


@each_place
@each_dtype
@pytest.mark.parametrize(
    ("source", "legacy"),
    [(kind, False) for kind in OLD_DTYPES + NEW_DTYPES] + [(kind, True) for kind in OLD_DTYPES],
    ids=lambda value: {False: "zip", True: "legacy"}.get(value, str(value)),
)
def test_every_real_dtype_is_taken(folder, source, legacy, dtype):
    # Numbers up to 4 are exact in all of them.
    rows = stored(load(folder, saved((GRID % 5).to(source), legacy=legacy)), dtype=dtype)
    np.testing.assert_array_equal(rows, np.arange(12, dtype=dtype).reshape(4, 3) % 5, strict=True)


@each_place
@each_dtype
def test_booleans_become_zero_and_one(folder, dtype):
    rows = stored(load(folder, saved(GRID % 2 == 1)), dtype=dtype)
    np.testing.assert_array_equal(rows, np.arange(12).reshape(4, 3) % 2)
    assert rows.dtype == dtype


def view_with_negative_bit() -> torch.Tensor:
    view = torch.complex(GRID, -GRID).conj().imag
    assert view.is_neg()
    return view


VIEWS = {
    "contiguous": lambda: GRID.clone(),
    "with-gradient": lambda: GRID.clone().requires_grad_(),
    "result-of-a-computation": lambda: GRID.clone().requires_grad_() * 1,
    "parameter": lambda: torch.nn.Parameter(GRID.clone()),
    "transposed": lambda: GRID.T.contiguous().T,
    "slice-of-rows": lambda: torch.cat([GRID - 9, GRID, GRID + 9])[4:8],
    "every-other-row": lambda: torch.stack([GRID, GRID + 9], dim=1).flatten(0, 1)[::2],
    "slice-of-columns": lambda: torch.cat([GRID + 9, GRID], dim=1)[:, 3:],
    "negative-bit": view_with_negative_bit,
    "extra-columns-are-cut": lambda: torch.cat([GRID, GRID + 9], dim=1),
    "nan-in-extra-columns": lambda: torch.cat([GRID, GRID * NAN], dim=1),
    "too-large-in-extra-columns": lambda: torch.cat([GRID, GRID + 1e30], dim=1),
}


@each_place
@each_format
@each_dtype
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_every_layout_gives_the_same_rows(folder, view, legacy, dtype):
    rows = stored(load(folder, saved(view(), legacy=legacy)), dtype=dtype)
    np.testing.assert_array_equal(rows, np.arange(12, dtype=dtype).reshape(4, 3), strict=True)
    assert rows.flags.c_contiguous
    assert rows.flags.aligned


@each_dtype
@pytest.mark.parametrize("shape", [(3,), (3, 1)], ids=str)
def test_a_field_of_width_one_takes_a_line_or_one_column(shape, dtype):
    rows = stored(torch.arange(3.0).reshape(shape), dtype=dtype, width=1)
    np.testing.assert_array_equal(rows, np.array([[0], [1], [2]], dtype), strict=True)


@each_dtype
@pytest.mark.parametrize("columns", [2, 5])
def test_a_field_of_width_one_takes_of_several_columns_the_one_it_is_told(columns, dtype):
    value = torch.arange(3.0)[:, None] + torch.arange(columns) * 10
    error = broken(lambda: stored(value, dtype=dtype, width=1))
    assert f"{columns} columns" in error.cause
    # The remedy names an attribute of file maps, and what to write.
    assert f"filemap: {{volume_velocity: '{FILE}[:, 0]'}}" in error.remedy
    for column in range(columns):
        rows = stored(value, dtype=dtype, width=1, columns=(column, column + 1))
        np.testing.assert_array_equal(rows[:, 0], np.arange(3) + column * 10)
    error = broken(lambda: stored(value, width=1, columns=(columns, columns + 1)))
    assert f"column {columns}, counted from 0" in error.cause


def test_three_columns_from_anywhere():
    value = torch.cat([GRID + 9, GRID], dim=1)
    np.testing.assert_array_equal(stored(value, columns=(3, 6)), GRID)


def test_columns_that_are_dropped_are_told():
    assert columns_note(GRID, field_of()) is None
    note = columns_note(torch.cat([GRID, GRID], dim=1), field_of())
    assert "of 6 columns the first 3 are stored" in note
    assert f"{FILE}[:, 3:6]" in note
    assert columns_note(torch.cat([GRID, GRID], dim=1), field_of(columns=(3, 6))) is None


def test_one_point_is_enough():
    assert stored(torch.tensor([[1.0, 2.0, 3.0]])).tolist() == [[1, 2, 3]]
    assert stored(torch.tensor([7.0]), width=1).tolist() == [[7]]


@each_place
def test_the_source_is_not_changed(folder):
    content = saved(GRID)
    rows = stored(load(folder, content), dtype="float32")
    rows = rows if rows.flags.writeable else rows.copy()
    rows[:] = 9  # may share memory with what was loaded, but not with the file
    assert folder.fs.cat_file(folder.join(FILE)) == content


# The container ---------------------------------------------------------------------------------


def repacked(
    content: bytes, method: int, change: Callable[[str, bytes], bytes] = lambda name, data: data
) -> bytes:
    """The zip file of torch.save, written again by another program."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w", method) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, change(entry.filename, old.read(entry)))
    return stream.getvalue()


def big_endian(name: str, data: bytes) -> bytes:
    if name.endswith("/byteorder"):
        return b"big"
    if name.endswith("/data/0"):
        return np.frombuffer(data, "<f4").byteswap().tobytes()
    return data


REPACKED = {
    "as-saved": lambda content: content,
    "stored": lambda content: repacked(content, zipfile.ZIP_STORED),
    "compressed": lambda content: repacked(content, zipfile.ZIP_DEFLATED),
    "big-endian": lambda content: repacked(content, zipfile.ZIP_STORED, big_endian),
}


@each_place
@pytest.mark.parametrize("repack", REPACKED.values(), ids=REPACKED)
def test_a_repacked_file_has_the_same_rows_or_is_broken(folder, repack):
    # Mapped into memory, a compressed record is noise: neither rows nor an error by itself.
    value = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    content = repack(saved(value))
    try:
        rows = stored(load(folder, content), dtype="float32")
    except BrokenSample:
        assert content != saved(value)
    else:
        np.testing.assert_array_equal(rows, value.numpy())


def claims_more(name: str, data: bytes) -> bytes:
    """A header that promises 50 rows where there are 40."""
    if not name.endswith("/data.pkl"):
        return data
    assert data.count(b"Kx") == data.count(b"K(K\x03") == 1
    return data.replace(b"Kx", b"K\x96").replace(b"K(K\x03", b"K\x32K\x03")


@each_place
def test_a_header_that_promises_more_than_its_record_holds_is_broken(folder):
    content = repacked(saved(torch.zeros(40, 3)), zipfile.ZIP_STORED, claims_more)
    broken(lambda: stored(load(folder, content), dtype="float32"))


@each_place
def test_a_header_that_promises_more_than_memory_holds_is_broken(folder):
    # Not a MemoryError: that would be tried again, and no machine has what a damaged file asks for.
    content = saved(torch.zeros(40, 3), legacy=True)
    assert content.count(b"Kx") == 1
    huge = b"\x8a\x07" + (2**50).to_bytes(7, "little")
    broken(lambda: load(folder, content.replace(b"Kx", huge)))


@each_place
@each_format
def test_a_file_that_is_not_there_is_no_broken_sample(folder, legacy):
    put_file(folder.url, "other.pt", saved(GRID, legacy=legacy))
    with pytest.raises((FileNotFoundError, SourceChangedError)):
        load_file(folder, FILE, None, field_of())


@each_place
@each_format
@pytest.mark.parametrize("more", [-1, 1, 1000])
def test_another_size_than_listed_is_a_change_under_way(folder, legacy, more):
    content = saved(GRID, legacy=legacy)
    with pytest.raises(SourceChangedError) as caught:
        load(folder, content, listed=len(content) + more)
    message = str(caught.value)
    assert FILE in message
    assert str(len(content)) in message
    assert str(len(content) + more) in message


@each_place
@pytest.mark.parametrize("left", [0, 100])
def test_a_file_cut_since_it_was_listed_is_a_change_and_not_broken(folder, left):
    content = saved(GRID)
    with pytest.raises(SourceChangedError):
        load(folder, content[:left], listed=len(content))


@each_place
@each_format
def test_the_listed_size_is_accepted(folder, legacy):
    content = saved(GRID, legacy=legacy)
    assert torch.equal(as_rows(load(folder, content, listed=len(content)), field_of()), GRID)
