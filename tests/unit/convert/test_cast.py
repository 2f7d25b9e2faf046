"""Specification of casting block by block, from mapped files and into padded rows."""

import io
import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aerozarr.convert import cast, gather
from aerozarr.convert.accumulate import moments_of
from aerozarr.convert.cast import ReusableBuffer, RoundingSample, cast_field
from aerozarr.convert.gather import Gatherer, columns_for
from aerozarr.convert.rounding import Rounding
from aerozarr.errors import BrokenSample, SourceChangedError
from aerozarr.filesystems.location import open_location
from aerozarr.source.files import rows as rows_module
from aerozarr.source.files.read import load_bytes, load_file
from aerozarr.source.files.rows import Mapped, as_rows, to_numpy
from unit.store_helpers import field_of

N = 23  # rows: several blocks, and one that is not full
FILE = "velocity.pt"
LOOK = np.array([0, 3, 4, 7, 8, 15, 22])


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of a few rows, with the file mapped anew for each."""
    for module in (cast, rows_module):
        monkeypatch.setattr(module, "BLOCK", 4)
    monkeypatch.setattr(rows_module, "_MAPPED_BYTES", 1)


def whole(columns: int = 3) -> torch.Tensor:
    """Values that no storage dtype but float64 holds exactly, and all hold roughly."""
    generator = torch.Generator().manual_seed(columns)
    return torch.randn(N, columns, generator=generator, dtype=torch.float64) * 20


# Of rows and of others, which are not to be seen.
LAYOUTS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "plain": lambda rows, _: rows,
    "transposed": lambda rows, _: rows.T.contiguous().T,
    "offset": lambda rows, other: torch.cat([other, rows])[len(rows) :],
    "every-other-row": lambda rows, other: torch.stack([rows, other], dim=1).flatten(0, 1)[::2],
    "every-other-column": lambda rows, other: torch.stack([rows, other], 2).flatten(1, 2)[:, ::2],
    "more-columns": lambda rows, other: torch.cat([rows, other], dim=1),
}
SOURCES = ("float16", "float32", "float64", "bfloat16", "float8_e5m2", "int8", "int64", "uint16")


def mapped(value: object, tmp_path: Path, **options: Any) -> object:
    torch.save(value, tmp_path / FILE, **options)
    return load_file(open_location(str(tmp_path), {}, key="source_url"), FILE, None, field_of())


def from_legacy_file(value: object, tmp_path: Path) -> object:
    return mapped(value, tmp_path, _use_new_zipfile_serialization=False)


def from_bytes(value: object, tmp_path: Path) -> object:
    stream = io.BytesIO()
    torch.save(value, stream)
    return load_bytes(stream.getvalue(), field_of())


KINDS = {"mapped": mapped, "bytes": from_bytes, "in-memory": lambda value, _: value}


def agrees(value: object, plain: torch.Tensor, field: Any) -> bool:
    """Whether a cast gives what the whole tensor gives at once."""
    made = cast_field(value, field, ReusableBuffer(), RoundingSample(LOOK, N))
    source = to_numpy(as_rows(plain, field))
    expected = source.astype(field.dtype)
    assert made.padded.flags.c_contiguous
    np.testing.assert_array_equal(made.rows, expected, strict=True)
    assert made.moments.rows == len(plain)
    assert made.moments.mean == pytest.approx(moments_of(expected).mean, rel=1e-9, abs=1e-12)
    assert made.moments.m2 == pytest.approx(moments_of(expected).m2, rel=1e-9)
    assert made.rounding == Rounding.of(source[LOOK], expected[LOOK])
    return True


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("source", SOURCES)
def test_blocks_give_what_the_whole_gives(tmp_path, source, dtype, width, layout, kind):
    rows = whole(width).abs() if source.startswith("u") else whole(width)
    kept = getattr(torch, source)
    value = layout(rows.to(kept), (rows + 1).to(kept))
    field = field_of(width=width, dtype=dtype, columns=(0, width))
    assert agrees(kind(value, tmp_path), value, field)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_legacy_file_gives_the_same(tmp_path, dtype):
    value = whole().float()
    assert agrees(from_legacy_file(value, tmp_path), value, field_of(dtype=dtype))


@pytest.mark.parametrize("most", [0, N - 1, N, 2**21])
def test_padding_makes_no_difference(tmp_path, monkeypatch, most):
    monkeypatch.setattr(gather, "_PADDED_FLOAT32", most)
    value = whole().float()
    for kind in KINDS.values():
        assert agrees(kind(value, tmp_path), value, field_of(dtype="float32"))


def test_rows_that_are_in_storage_dtype_and_not_padded_are_not_copied():
    value = whole()
    made = cast_field(value, field_of(dtype="float64"), ReusableBuffer(), RoundingSample(LOOK, N))
    assert made.padded.ctypes.data == value.data_ptr()


@pytest.mark.parametrize("places", [[2], [2, 9], [22, 9, 2]])
@pytest.mark.parametrize("hole", [math.nan, math.inf])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_largest_overflow_of_all_blocks_is_named(tmp_path, kind, places, hole):
    value = whole().float()
    value[5, 1] = hole
    for power, place in enumerate(places):
        value[place, 0] = -(2.0 ** (17 + power))
    with pytest.raises(BrokenSample) as caught:
        cast_field(
            kind(value, tmp_path),
            field_of(dtype="float16"),
            ReusableBuffer(),
            RoundingSample(LOOK, N),
        )
    assert f"a value of {2.0 ** (16 + len(places)):.6g} is too large" in caught.value.cause
    assert "float32" in caught.value.remedy


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_an_infinity_of_the_source_is_no_overflow(tmp_path, kind):
    value = whole().float()
    value[5, 1] = -math.inf
    made = cast_field(
        kind(value, tmp_path), field_of(dtype="float16"), ReusableBuffer(), RoundingSample(LOOK, N)
    )
    assert made.moments.infinities == [0, 1, 0]
    assert made.rows[5, 1] == -math.inf


# The file, mapped anew -------------------------------------------------------------------------


def test_a_local_file_is_mapped_and_one_that_cannot_be_is_not(tmp_path):
    assert isinstance(mapped(whole(), tmp_path), Mapped)
    assert isinstance(from_legacy_file(whole(), tmp_path), torch.Tensor)
    packed = io.BytesIO()
    torch.save(whole(), packed)
    with (
        zipfile.ZipFile(packed) as old,
        zipfile.ZipFile(tmp_path / FILE, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    folder = open_location(str(tmp_path), {}, key="source_url")
    assert isinstance(load_file(folder, FILE, None, field_of()), torch.Tensor)


def replace_with_another(path: Path) -> None:
    os.replace(path.with_name("other.pt"), path)


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("change", [replace_with_another, touch])
def test_a_file_that_changes_while_it_is_read_is_no_broken_sample(tmp_path, change):
    torch.save(whole() + 1, tmp_path / "other.pt")
    value = mapped(whole(), tmp_path)
    change(tmp_path / FILE)
    with pytest.raises(SourceChangedError, match="changed while it was read"):
        cast_field(value, field_of(dtype="float16"), ReusableBuffer(), RoundingSample(LOOK, N))


def test_a_file_that_goes_while_it_is_read_is_no_broken_sample(tmp_path):
    value = mapped(whole(), tmp_path)
    (tmp_path / FILE).unlink()
    with pytest.raises(FileNotFoundError):
        cast_field(value, field_of(dtype="float16"), ReusableBuffer(), RoundingSample(LOOK, N))


# The buffer, and gathering


def test_the_buffer_is_used_again_by_what_fits():
    buffer = ReusableBuffer()
    first = buffer.rows(10, 4, np.dtype("float32"))
    again = buffer.rows(20, 3, np.dtype("float16"))
    assert again.shape == (20, 3)
    assert again.dtype == np.float16
    assert np.shares_memory(first, again)
    assert not np.shares_memory(first, buffer.rows(11, 4, np.dtype("float32")))


@pytest.mark.parametrize(
    ("n_rows", "width", "dtype", "columns"),
    [
        (1, 3, "float16", 4),
        (10**8, 3, "float16", 4),
        (2**21, 3, "float32", 4),
        (2**21 + 1, 3, "float32", 3),
        (1, 3, "float64", 3),
        (1, 1, "float16", 1),
        (1, 1, "float32", 1),
    ],
)
def test_what_is_padded(n_rows, width, dtype, columns):
    assert columns_for(n_rows, width, np.dtype(dtype)) == columns


@pytest.mark.parametrize("block", [1, 5, 8, 100])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(("width", "columns"), [(1, 1), (3, 3), (3, 4)])
@pytest.mark.parametrize("kind", ["int32", "int64"])
def test_a_gathered_chunk_is_the_rows_and_then_zeros(
    monkeypatch, block, dtype, width, columns, kind
):
    if (columns, dtype) == (4, "float64"):
        columns = 3  # is never padded
    monkeypatch.setattr(gather, "_BLOCK", block)
    rows = np.random.default_rng(0).standard_normal((N, columns)).astype(dtype)
    rows[:, width:] = np.nan  # the padding is never seen
    perm = np.random.default_rng(1).permutation(N).astype(kind)
    gatherer = Gatherer(rows, width, 8)
    for first in (0, 8, 16, 0):
        part = perm[first : first + 8]
        expected = np.zeros((8, width), dtype)
        expected[: len(part)] = rows[part, :width]
        np.testing.assert_array_equal(gatherer.chunk(part), expected, strict=True)
