"""Specification of reading `.pt` files: what is taken, how it is rounded, and what is refused."""

import collections
import io
import math
import os
import pickle
import random
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aerozarr.convert.cast import ReusableBuffer, RoundingSample, cast_field
from aerozarr.errors import BrokenSample, SourceChangedError
from aerozarr.filesystems.location import Location, open_location
from aerozarr.source.files.read import load_file
from aerozarr.source.files.rows import as_rows, columns_note
from unit.store_helpers import Array, field_of, put_file, url_of

FILE = "velocity.pt"
DTYPES = ("float16", "float32", "float64")
GRID = torch.arange(12.0).reshape(4, 3)
INF, NAN = math.inf, math.nan

each_place = pytest.mark.parametrize("place", ["folder", "memory-url"])
each_format = pytest.mark.parametrize("legacy", [False, True], ids=["zip-format", "legacy-format"])
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
many_examples = settings(max_examples=150, deadline=None, database=None, derandomize=True)


def saved(value: object, *, legacy: bool = False) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates quantized tensors and TorchScript
        if isinstance(value, torch.jit.ScriptModule):
            torch.jit.save(value, stream)
        else:
            torch.save(value, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


@pytest.fixture
def folder(place: str, tmp_path: Path) -> Location:
    return open_location(url_of(place, tmp_path), {}, key="source_url")


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


# What is refused -------------------------------------------------------------------------------


# Lengths at which torch's zip reader behaves differently: it looks for the end in blocks of 4 KiB,
# up to 64 KiB back, and past the beginning when the file is shorter than that.
CUTS = (0, 1, 3, 4, 5, 30, 100, 1000, 4000, 4095, 4096, 4097, 5000, 16_384, 65_536, 69_000, 100_000)


@each_place
@each_format
@pytest.mark.parametrize("length", [*CUTS, -100_000, -1000, -100, -22, -1])
def test_a_truncated_file_is_broken_wherever_it_ends(folder, legacy, length):
    content = saved(torch.randn(20_000, 3), legacy=legacy)
    error = broken(lambda: load(folder, content[:length]))
    assert "torch.save" in error.remedy


@each_place
@each_format
def test_a_short_truncated_file_is_broken_wherever_it_ends(folder, legacy):
    content = saved(torch.zeros(4, 3), legacy=legacy)
    for length in range(0, len(content), 11):
        broken(lambda length=length: load(folder, content[:length]))


@each_place
@pytest.mark.parametrize("length", [1, 3, 4, 64, 4096, 10_000])
@pytest.mark.parametrize(
    "head", [b"", b"PK\x03\x04", b"\x80\x02"], ids=["bare", "zip-head", "pickle-head"]
)
def test_random_bytes_are_broken(folder, head, length):
    for seed in range(5):
        broken(lambda seed=seed: load(folder, head + random.Random(seed).randbytes(length)))


@each_place
def test_zeros_and_text_are_broken(folder):
    for content in (b"\0" * 1000, b"\n" * 10, b"version https://git-lfs.github.com/spec/v1\n"):
        broken(lambda content=content: load(folder, content))


def tar_archive() -> bytes:
    """The container of torch before 2017, whose loader unpacks files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            entry = tarfile.TarInfo(name)
            entry.size = 3
            archive.addfile(entry, io.BytesIO(b"abc"))
    return stream.getvalue()


@each_place
def test_a_tar_archive_is_broken(folder):
    broken(lambda: load(folder, tar_archive()))


@each_place
@each_format
def test_a_flipped_bit_is_broken_or_goes_unnoticed_but_is_no_other_error(folder, legacy):
    content = saved(torch.zeros(4, 3), legacy=legacy)
    dice = random.Random(0)
    for place in range(0, len(content), 2 if legacy else 7):
        flipped = bytearray(content)
        flipped[place] ^= 1 << dice.randrange(8)
        try:
            value = load(folder, bytes(flipped))
            rows = stored(value, dtype="float32")
        except BrokenSample:
            continue
        assert rows.shape[1] == 3


class RunsACommand:
    """A pickle of this runs a shell command when it is loaded."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.sentinel}'",)


class RunsPython(RunsACommand):
    def __reduce__(self) -> Any:
        return exec, (f"open({str(self.sentinel)!r}, 'w').close()",)


class CallsAMethod(RunsACommand):
    def __reduce__(self) -> Any:
        return Path.touch, (self.sentinel,)


HOLDERS = {
    "alone": lambda payload: payload,
    "in-a-dict": lambda payload: {"tensor": GRID, "more": payload},
    "after-a-tensor": lambda payload: [GRID, payload],
}


@each_place
@each_format
@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS)
@pytest.mark.parametrize("payload", [RunsACommand, RunsPython, CallsAMethod])
def test_code_in_a_file_is_not_run(folder, tmp_path, payload, holder, legacy):
    sentinel = tmp_path / "code-ran"
    content = saved(holder(payload(sentinel)), legacy=legacy)
    error = broken(lambda: load(folder, content))
    assert not sentinel.exists()
    assert "code" in error.cause
    # The file does run code in a loader that lets it.
    torch.load(io.BytesIO(content), weights_only=False)
    assert sentinel.exists()


@each_place
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_bare_pickle_is_not_run(folder, tmp_path, protocol):
    sentinel = tmp_path / "code-ran"
    content = pickle.dumps(RunsACommand(sentinel), protocol)
    broken(lambda: load(folder, content))
    assert not sentinel.exists()
    pickle.loads(content)
    assert sentinel.exists()


CODE_CARRIERS = {
    "numpy-array": lambda: np.ones((4, 3)),
    "module": lambda: torch.nn.Linear(2, 2),
    "function": lambda: saved,
    "own-object": lambda: RunsACommand,
    "path": lambda: Path("x"),
}


@each_place
@pytest.mark.parametrize("value", CODE_CARRIERS.values(), ids=CODE_CARRIERS)
def test_objects_that_need_code_are_broken_and_named(folder, value):
    error = broken(lambda: load(folder, saved(value())))
    assert "code" in error.cause


@each_place
def test_a_torchscript_archive_is_broken(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.script(torch.nn.Linear(2, 2))
    broken(lambda: load(folder, saved(module)))


def bare_pickle() -> bytes:
    return pickle.dumps(RunsACommand(Path("never")), 2)


UNREADABLE = {
    "command": lambda: saved(RunsACommand(Path("never"))),
    "command-in-legacy-format": lambda: saved(RunsACommand(Path("never")), legacy=True),
    "command-in-a-bare-pickle": bare_pickle,
    "python": lambda: saved(RunsPython(Path("never"))),
    "numpy-array": lambda: saved(np.ones(3)),
    "torchscript": lambda: saved(torch.jit.script(torch.nn.Linear(2, 2))),
    "tar": tar_archive,
    "truncated-zip": lambda: saved(GRID)[:-100],
    "truncated-legacy": lambda: saved(GRID, legacy=True)[:-10],
    "random-bytes": lambda: random.Random(0).randbytes(100),
    "zeros": lambda: bytes(100),
    "text": lambda: b"version https://git-lfs.github.com/spec/v1\n",
    "empty": lambda: b"",
}


@each_place
@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_no_message_passes_on_the_advice_to_load_without_protection(folder, content):
    error = broken(lambda: load(folder, content()))
    assert "weights_only" not in str(error)
    assert "arbitrary code" not in str(error)


NOT_A_TENSOR = {
    "dict": {"velocity": GRID},
    "ordered-dict": collections.OrderedDict(velocity=GRID),
    "list": [GRID],
    "tuple": (GRID,),
    "str": "velocity",
    "bytes": b"velocity",
    "none": None,
    "int": 3,
    "float": 3.0,
    "size": torch.Size([4, 3]),
    "dtype": torch.float16,
}


@each_place
@pytest.mark.parametrize("value", NOT_A_TENSOR.values(), ids=NOT_A_TENSOR)
def test_what_is_no_tensor_is_broken_and_its_type_named(folder, value):
    error = broken(lambda: stored(load(folder, saved(value))))
    assert type(value).__name__ in error.cause


def of_dtype(name: str) -> torch.Tensor:
    """Raw bytes as a dtype that nothing can be converted to."""
    return torch.zeros(4, 3, dtype=torch.uint8).view(getattr(torch, name))


ODD_TENSORS = {
    "sparse-coo": lambda: GRID.to_sparse(),
    "sparse-csr": lambda: GRID.to_sparse_csr(),
    "quantized": lambda: torch.quantize_per_tensor(GRID, 0.1, 0, torch.quint8),
    "quantized-per-channel": lambda: torch.quantize_per_channel(
        GRID, torch.ones(3), torch.zeros(3), 1, torch.quint8
    ),
    "meta": lambda: GRID.to("meta"),
    "nested": lambda: torch.nested.nested_tensor([GRID, GRID[:2]]),
    "nested-jagged": lambda: torch.nested.nested_tensor([GRID, GRID[:2]], layout=torch.jagged),
    "complex64": lambda: torch.complex(GRID, GRID),
    "complex128": lambda: torch.complex(GRID, GRID).to(torch.complex128),
    "complex-line": lambda: torch.complex(GRID, GRID)[:, 0],
    "float4": lambda: of_dtype("float4_e2m1fn_x2"),
    "bits": lambda: of_dtype("bits8"),
}


@each_place
@each_dtype
@pytest.mark.parametrize("value", ODD_TENSORS.values(), ids=ODD_TENSORS)
def test_tensors_that_are_not_plain_and_real_are_broken(folder, value, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = saved(value())
        broken(lambda: stored(load(folder, content), dtype=dtype))


@pytest.mark.parametrize(
    ("shape", "width"),
    [
        pytest.param((), 1, id="no-dimension"),
        pytest.param((4, 3, 1), 3, id="three-dimensions"),
        pytest.param((1, 4, 3), 3, id="a-batch-of-one"),
        pytest.param((4, 3, 2, 1), 3, id="four-dimensions"),
        pytest.param((4,), 3, id="a-line-for-three-columns"),
        pytest.param((4, 1), 3, id="one-column-for-three"),
        pytest.param((4, 2), 3, id="two-columns-for-three"),
        pytest.param((3, 4, 1), 1, id="three-dimensions-for-one-column"),
        pytest.param((0,), 1, id="an-empty-line"),
        pytest.param((0, 3), 3, id="no-rows"),
        pytest.param((4, 0), 1, id="no-columns"),
        pytest.param((0, 2), 3, id="no-rows-and-too-narrow"),
    ],
)
def test_shapes_that_do_not_fit_are_broken_and_named(shape, width):
    error = broken(lambda: as_rows(torch.ones(shape), field_of(width=width)))
    assert str(shape) in error.cause


# Rounding --------------------------------------------------------------------------------------

PRECISION = {"float16": (11, -24, 65504), "float32": (24, -149, (2**24 - 1) * 2**104)}
"""Significant bits, exponent of the smallest step, and the largest number of an IEEE format."""


def nearest(value: Fraction, dtype: str) -> Fraction | None:
    """Round once, to nearest even, by exact arithmetic; None when that is past the largest."""
    digits, lowest, largest = PRECISION[dtype]
    if value == 0:
        return value
    size = abs(value)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent -= Fraction(2) ** exponent > size
    step = Fraction(2) ** max(exponent - digits + 1, lowest)
    rounded = round(value / step) * step  # Python rounds halves to even
    return rounded if abs(rounded) <= largest else None


def check_rounding(values: list[Any], source: torch.dtype, dtype: str) -> None:
    """Compare with exact arithmetic, value by value; one too large to store is refused."""
    tensor = torch.tensor(values, dtype=source).unsqueeze(1)
    exact = [Fraction(number) for number in tensor.double().flatten().tolist()]
    if source == torch.int64:  # float64 does not hold them all
        exact = [Fraction(number) for number in values]
    expected = [nearest(number, dtype) for number in exact]
    if None in expected:
        broken(lambda: stored(tensor, dtype=dtype, width=1))
        return
    rows = stored(tensor, dtype=dtype, width=1)
    assert rows.dtype == dtype
    assert [Fraction(float(row)) for row in rows[:, 0]] == expected


TIES = (2**-11, 2**-11 + 2**-40, 3 * 2**-11, 3 * 2**-11 - 2**-40, 2**-24, 2**-24 + 2**-40)


@pytest.mark.parametrize("source", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("scale", [1.0, 2.0**-14, 2.0**-20, 2.0**14])
def test_ties_to_even_by_hand(source, scale):
    values = [sign * scale * (1 + tie) for tie in TIES for sign in (1, -1)]
    check_rounding(values, source, "float16")


def test_float64_to_float16_rounds_once():
    # By way of float32 the first would become 1 + 2^-11, a tie, and then 1.
    rows = stored(column([1 + 2**-11 + 2**-40, 1 + 2**-11, 1 + 2**-11 - 2**-40]), width=1)
    assert rows[:, 0].tolist() == [1 + 2**-10, 1, 1]


@many_examples
@given(st.lists(st.floats(-65519, 65519, width=64), min_size=1, max_size=20))
def test_float64_to_float16_is_nearest_even(values):
    check_rounding(values, torch.float64, "float16")


@many_examples
@given(
    st.integers(0, 0x7BFE),
    st.sampled_from([-1, 1]),
    st.integers(-60, -1),
    st.sampled_from([-1, 0, 1]),
)
def test_float64_near_the_middle_of_two_halves_goes_to_the_right_one(index, sign, power, side):
    low, high = np.array([index, index + 1], np.uint16).view(np.float16).astype(np.float64)
    value = sign * float(low + (high - low) * (0.5 + side * 2.0**power / 2))
    check_rounding([value], torch.float64, "float16")


@many_examples
@given(st.lists(st.floats(-65519, 65519, width=32), min_size=1, max_size=20))
def test_float32_to_float16_is_nearest_even(values):
    check_rounding(values, torch.float32, "float16")


@many_examples
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=4))
def test_float64_to_float32_is_nearest_even_or_refused(values):
    check_rounding(values, torch.float64, "float32")


@many_examples
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20))
def test_int64_to_float32_is_nearest_even(values):
    check_rounding(values, torch.int64, "float32")


@many_examples
@given(st.lists(st.integers(-(2**17), 2**17), min_size=1, max_size=4))
def test_int64_to_float16_is_nearest_even_or_refused(values):
    check_rounding(values, torch.int64, "float16")


@pytest.mark.parametrize("source", [torch.float32, torch.float64], ids=str)
def test_every_pair_of_neighbouring_halves_is_told_apart(source):
    """All 31,743 gaps: their middle goes to the even side, the next float beside it does not."""
    index = np.arange(0x7BFF, dtype=np.uint16)
    low, high = index.view(np.float16), (index + 1).astype(np.uint16).view(np.float16)
    width = np.float32 if source == torch.float32 else np.float64
    middle = (low.astype(np.float64) + high.astype(np.float64)) / 2  # exact in both
    middle = middle.astype(width)
    even = np.where(index % 2 == 0, index, index + 1).astype(np.uint16).view(np.float16)
    for sign in (1, -1):
        for values, expected in (
            (low.astype(width), low),
            (np.nextafter(middle, width(0)), low),
            (middle, even),
            (np.nextafter(middle, width(INF)), high),
        ):
            rows = stored(torch.from_numpy(sign * values)[:, None], width=1)[:, 0]
            np.testing.assert_array_equal(rows, sign * expected)


def test_every_bfloat16_is_widened_exactly_and_then_rounded():
    patterns = np.arange(2**16, dtype=np.uint32)
    exact = (patterns << 16).view(np.float32)  # bfloat16 is the upper half of a float32
    source = torch.from_numpy(patterns.astype(np.uint16).view(np.int16)).view(torch.bfloat16)
    np.testing.assert_array_equal(stored(source, dtype="float32", width=1)[:, 0], exact)
    np.testing.assert_array_equal(stored(source, dtype="float64", width=1)[:, 0], exact)
    fits = ~(np.isfinite(exact) & (np.abs(exact) >= 65520))
    rows = stored(source[torch.from_numpy(fits)], dtype="float16", width=1)[:, 0]
    np.testing.assert_array_equal(rows, exact[fits].astype(np.float16))


@each_dtype
@pytest.mark.parametrize(
    ("source", "exponent_bits", "bias"),
    [(torch.float8_e4m3fn, 4, 7), (torch.float8_e5m2, 5, 15)],
    ids=["e4m3fn", "e5m2"],
)
def test_every_eight_bit_float_is_exact(source, exponent_bits, bias, dtype):
    def value(pattern: int) -> float:
        digits = 7 - exponent_bits
        fraction, exponent = pattern % 2**digits, pattern % 128 >> digits
        sign = -1 if pattern & 128 else 1
        if exponent_bits == 5 and exponent == 31:  # as in IEEE
            return sign * INF if fraction == 0 else NAN
        if exponent_bits == 4 and pattern % 128 == 127:  # the only NaN, and there is no infinity
            return NAN
        if exponent == 0:
            return sign * math.ldexp(fraction, 1 - bias - digits)
        return sign * math.ldexp(fraction + 2**digits, exponent - bias - digits)

    tensor = torch.arange(256).to(torch.uint8).view(source)
    expected = np.array([value(pattern) for pattern in range(256)], dtype)
    np.testing.assert_array_equal(stored(tensor, dtype=dtype, width=1)[:, 0], expected)


@pytest.mark.parametrize(
    ("source", "values"),
    [
        (torch.uint16, [0, 2**16 - 1]),
        (torch.uint32, [0, 2**24 + 1, 2**24 + 3, 2**32 - 1]),
        (torch.uint64, [0, 2**24 + 1, 2**63 + 2**39, 2**64 - 1]),
    ],
    ids=str,
)
def test_unsigned_integers_round_once(source, values):
    tensor = torch.tensor(values, dtype=source)[:, None]
    rows = stored(tensor, dtype="float32", width=1)[:, 0]
    assert [Fraction(float(row)) for row in rows] == [
        nearest(Fraction(number), "float32") for number in values
    ]


@each_dtype
def test_signed_zeros_and_the_smallest_numbers_are_kept(dtype):
    smallest = float(np.finfo(dtype).smallest_subnormal)
    rows = stored(column([0.0, -0.0, smallest, -smallest]), dtype=dtype, width=1)[:, 0]
    assert np.signbit(rows).tolist() == [False, True, False, True]
    assert rows.astype(np.float64).tolist() == [0, 0, smallest, -smallest]


# Overflow --------------------------------------------------------------------------------------

f16, f32, f64, bf16 = torch.float16, torch.float32, torch.float64, torch.bfloat16

TOO_LARGE = [
    pytest.param(f32, 65520.0, "float16", id="float32-first-that-rounds-up"),
    pytest.param(f64, 65520.0, "float16", id="float64-first-that-rounds-up"),
    pytest.param(f32, 1e30, "float16", id="float32-far"),
    pytest.param(f64, 1e300, "float16", id="float64-far-to-float16"),
    pytest.param(f64, 1e39, "float32", id="float64-1e39-to-float32"),
    pytest.param(f64, 2.0**128 - 2.0**103, "float32", id="float64-first-that-rounds-up-to-float32"),
    pytest.param(bf16, 1e38, "float16", id="bfloat16"),
    pytest.param(torch.int32, 70000, "float16", id="int32"),
    pytest.param(torch.int64, 70000, "float16", id="int64"),
    pytest.param(torch.int64, 2**62, "float16", id="int64-far"),
    pytest.param(torch.uint16, 65535, "float16", id="uint16"),
    pytest.param(torch.uint32, 70000, "float16", id="uint32"),
]
FITS = [
    pytest.param(f32, 65519.99609375, "float16", 65504.0, id="float32-last-that-rounds-down"),
    pytest.param(f64, 65519.99999999999, "float16", 65504.0, id="float64-last-that-rounds-down"),
    pytest.param(torch.int32, 65519, "float16", 65504.0, id="int32-last-that-rounds-down"),
    pytest.param(
        f64,
        2.0**128 - 2.0**103 - 2.0**75,
        "float32",
        2.0**128 - 2.0**104,
        id="float64-last-that-rounds-down-to-float32",
    ),
    pytest.param(f32, 1e30, "float32", float(np.float32(1e30)), id="float32-in-float32"),
    pytest.param(f64, 1e300, "float64", 1e300, id="float64-in-float64"),
]
NEIGHBOURS = {
    "alone": [],
    "beside-nan": [NAN, NAN, NAN],
    "beside-infinities": [INF, -INF],
    "beside-nan-and-infinities": [NAN, INF, -INF, 1.0],
    "beside-numbers": [1.0, -1.0, 0.0],
}


@pytest.mark.parametrize("neighbours", NEIGHBOURS.values(), ids=NEIGHBOURS)
@pytest.mark.parametrize("sign", [1, -1], ids=["positive", "negative"])
@pytest.mark.parametrize(("source", "value", "dtype"), TOO_LARGE)
def test_a_finite_value_too_large_is_broken(source, value, dtype, sign, neighbours):
    numbers = [number for number in neighbours if source.is_floating_point or math.isfinite(number)]
    if not source.is_signed and sign < 0:
        sign, numbers = 1, [abs(number) for number in numbers]
    if not source.is_signed:
        numbers = [abs(number) for number in numbers]
    values = column([*numbers, sign * value, *numbers], source)
    error = broken(lambda: stored(values, dtype=dtype, width=1))
    assert f"{float(column([value], source)):.6g}" in error.cause
    assert dtype in error.cause
    assert "field_dtypes" in error.remedy
    assert "volume_velocity" in error.remedy


@pytest.mark.parametrize("neighbours", NEIGHBOURS.values(), ids=NEIGHBOURS)
@pytest.mark.parametrize(("source", "value", "dtype", "expected"), FITS)
def test_a_value_that_rounds_to_the_largest_is_kept(source, value, dtype, expected, neighbours):
    numbers = [number for number in neighbours if source.is_floating_point or math.isfinite(number)]
    rows = stored(column([*numbers, value, -value], source), dtype=dtype, width=1)[-2:, 0]
    assert rows.tolist() == [expected, -expected]


@pytest.mark.parametrize(
    ("source", "value", "dtype", "wider"),
    [
        (f32, 1e5, "float16", "float32"),
        (bf16, 1e38, "float16", "float32"),
        (torch.int64, 70000, "float16", "float32"),
        (f64, 1e39, "float32", "float64"),
        (f64, 1e39, "float16", "float64"),
    ],
    ids=str,
)
def test_the_remedy_for_overflow_names_a_dtype_that_holds_the_value(source, value, dtype, wider):
    tensor = column([value], source)
    error = broken(lambda: stored(tensor, dtype=dtype, width=1))
    assert f"field_dtypes: {{volume_velocity: {wider}}}" in error.remedy
    assert np.isfinite(stored(tensor, dtype=wider, width=1)).all()


@each_dtype
@pytest.mark.parametrize(
    "source", [f16, f32, f64, bf16, torch.float8_e5m2], ids=lambda kind: str(kind)
)
@pytest.mark.parametrize(
    "values",
    [[INF], [-INF], [NAN], [INF, -INF, NAN, 1.0], [NAN, 1.0], [INF, 1.0, -INF]],
    ids=str,
)
def test_nan_and_infinity_of_the_source_are_kept(source, values, dtype):
    rows = stored(column(values, source), dtype=dtype, width=1)
    np.testing.assert_array_equal(rows[:, 0], np.array(values, dtype))


def test_an_overflow_in_the_last_of_many_values_is_seen():
    tensor = torch.zeros(100_000, 3)
    tensor[-1, -1] = -70000.0
    broken(lambda: stored(tensor))
