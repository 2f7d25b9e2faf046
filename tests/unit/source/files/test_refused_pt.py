"""Specification of .pt files that are broken: cut, hostile, or of something else."""

import collections
import io
import os
import pickle
import random
import tarfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aerozarr.errors import BrokenSample
from aerozarr.source.files.rows import as_rows
from unit.pt_helpers import GRID, broken, each_dtype, each_format, each_place, load, saved, stored
from unit.store_helpers import field_of

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
