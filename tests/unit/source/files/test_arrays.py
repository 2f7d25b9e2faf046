"""Arrays in `.npy`, `.npz`, `.h5`, and dicts in `.pt`; each of a folder and from a URL."""

from __future__ import annotations

import contextlib
import io
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aerozarr.config.fields import Field
from aerozarr.config.filemap import parse_file
from aerozarr.config.scalars import Scalar
from aerozarr.errors import BrokenSample
from aerozarr.filesystems.location import Location, open_location
from aerozarr.source.files import npy as npy_module
from aerozarr.source.files import rows as rows_module
from aerozarr.source.files.read import by_library, load_bytes, load_file
from aerozarr.source.files.rows import Mapped, as_rows, blocks_of, check_whole
from unit.store_helpers import field_of, put_file

N = 11
ROWS = np.arange(N * 4, dtype=np.float32).reshape(N, 4) / 7
Array = np.ndarray[Any, Any]

each_place = pytest.mark.parametrize("place", ["folder", "memory-url"])


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "BLOCK", 4)
    monkeypatch.setattr(rows_module, "_MAPPED_BYTES", 1)


def field_at(text: str, width: int = 3) -> Field:
    file, key, columns, _ = parse_file(text)
    return replace(field_of(width=width), file=file, key=key, columns=columns)


def npy(array: Array, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def npz(save: Callable[..., None] = np.savez, **arrays: Array) -> bytes:
    stream = io.BytesIO()
    save(stream, **arrays)
    return stream.getvalue()


def hdf5(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name.replace("__", "/"), data=array)
    return stream.getvalue()


def pt(value: object, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


def rows_of(folder: Location, text: str, content: bytes, width: int = 3) -> Array:
    """Read a field block by block, as a conversion does."""
    field = field_at(text, width)
    put_file(folder.url, field.file, content)
    value = load_file(folder, field.file, len(content), field)
    blocks = [part.clone() for _, part in blocks_of(value, field)]
    return torch.cat(blocks).numpy()


OTHER = ROWS[:3, :2]
# What a file map says, and the file that numpy, h5py or torch wrote.
FILES: dict[str, tuple[str, Callable[[Array], bytes]]] = {
    "npy": ("p.npy", npy),
    "npy in Fortran's order": ("p.npy", lambda rows: npy(np.asfortranarray(rows))),
    "npy big-endian": ("p.npy", lambda rows: npy(rows.astype(rows.dtype.newbyteorder(">")))),
    "npz of one": ("p.npz", lambda rows: npz(points=rows)),
    "npz": ("p.npz::points", lambda rows: npz(other=OTHER, points=rows)),
    "npz packed": ("p.npz::points", lambda rows: npz(np.savez_compressed, a=OTHER, points=rows)),
    "npz in Fortran's order": ("p.npz::p", lambda rows: npz(a=OTHER, p=np.asfortranarray(rows))),
    "h5": ("p.h5::points", lambda rows: hdf5(other=OTHER, points=rows)),
    "h5 in a group": ("p.hdf5::a/points", lambda rows: hdf5(other=OTHER, a__points=rows)),
    "pt dict": ("p.pt::points", lambda rows: pt({"a": torch.ones(2), "points": to_torch(rows)})),
    "pt dict in a dict": ("p.pt::a/points", lambda rows: pt({"a": {"points": to_torch(rows)}})),
    "pt dict of before 1.6": (
        "p.pt::points",
        lambda rows: pt({"points": to_torch(rows)}, _use_new_zipfile_serialization=False),
    ),
}


def to_torch(rows: Array) -> torch.Tensor:
    return torch.from_numpy(rows.copy())


@each_place
@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "uint16"])
def test_a_file_gives_the_array_that_was_written(folder: Location, kind: str, dtype: str) -> None:
    text, write = FILES[kind]
    if dtype == "uint16" and "1.6" in kind:
        dtype = "int16"  # torch.save had no uint16 then
    rows = (ROWS * 100).astype(dtype)
    np.testing.assert_array_equal(rows_of(folder, text, write(rows)), rows[:, :3])
    np.testing.assert_array_equal(rows_of(folder, f"{text}[:, 1:4]", write(rows)), rows[:, 1:])
    np.testing.assert_array_equal(rows_of(folder, f"{text}[:, 3]", write(rows), 1), rows[:, 3:])


@each_place
@pytest.mark.parametrize("kind", FILES)
def test_verification_reads_it_by_its_library(
    folder: Location, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, write = FILES[kind]
    field, content = field_at(text), write(ROWS)
    put_file(folder.url, field.file, content)

    def open_file(file: str) -> Path | io.BytesIO:
        return Path(folder.join(file)) if folder.is_local else io.BytesIO(content)

    def load(field: Field | Scalar) -> object:
        return load_file(folder, field.file, len(content), field)

    # What this project reads itself would be misread.
    monkeypatch.setattr(npy_module, "_tensor", lambda *_: torch.zeros(len(ROWS), 4))
    monkeypatch.setattr(npy_module, "_map", lambda *_: torch.zeros(len(ROWS), 4))
    value = by_library(load, open_file)(field)
    blocks = [part.clone() for _, part in blocks_of(value, field)]
    np.testing.assert_array_equal(torch.cat(blocks).numpy(), ROWS[:, :3])
    # A pickle is not loaded in this way either.
    hostile = npy(np.array([{}], dtype=object), allow_pickle=True)
    put_file(folder.url, "hostile.npy", hostile)
    content = hostile
    with pytest.raises(BrokenSample):
        by_library(load, open_file)(replace(field, file="hostile.npy", key=None))


@pytest.mark.parametrize("kind", ["npy", "npy in Fortran's order", "npz", "pt dict"])
def test_a_local_file_is_mapped_where_it_can_be(tmp_path: Path, kind: str) -> None:
    folder = open_location(str(tmp_path), {}, key="source_url")
    text, write = FILES[kind]
    field = field_at(text)
    put_file(folder.url, field.file, write(ROWS))
    assert isinstance(load_file(folder, field.file, None, field), Mapped)


@each_place
@pytest.mark.parametrize("kind", ["npz", "npz packed", "npz in Fortran's order", "pt dict"])
def test_a_damaged_byte_of_a_checksummed_file_is_broken(folder: Location, kind: str) -> None:
    text, write = FILES[kind]
    content = bytearray(write(ROWS))
    if "packed" in kind:
        content[len(content) // 2] ^= 255
    else:
        place = bytes(content).index(np.asarray(ROWS[5, 1]).tobytes())
        content[place] ^= 1
    field = field_at(text)
    put_file(folder.url, field.file, bytes(content))
    with pytest.raises(BrokenSample, match="damaged"):
        check_whole(load_file(folder, field.file, None, field), field)


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("executed",))


def lying_npy(claim: str) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {claim}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(40)


def zipped(name: str, content: bytes, **options: Any) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **options) as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def linked(make: Callable[[Any], None]) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        make(file)
    return stream.getvalue()


def unwritten(file: Any) -> None:
    file.create_dataset("points", shape=(10**9, 3), dtype="f4", chunks=(1000, 3))


def half_written(file: Any) -> None:
    made = file.create_dataset("points", shape=(10, 3), dtype="f4", chunks=(4, 3))
    made[:4] = ROWS[:4, :3]
    made[8:] = ROWS[8:10, :3]


def packed_by_nobody(file: Any) -> None:
    created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    created.set_chunk((10, 3))
    created.set_filter(32999, h5py.h5z.FLAG_OPTIONAL, ())  # as blosc's, where it is not installed
    space = h5py.h5s.create_simple((10, 3))
    made = h5py.h5d.create(file.id, b"points", h5py.h5t.IEEE_F32LE, space, created)
    made.write_direct_chunk((0, 0), ROWS[:10, :3].tobytes())


def short_integers(file: Any) -> None:
    of_24_bits = h5py.h5t.STD_I32LE.copy()  # which numpy has not
    of_24_bits.set_size(3)
    of_24_bits.set_precision(24)
    space = h5py.h5s.create_simple((10, 3))
    h5py.h5d.create(file.id, b"points", of_24_bits, space)


def named_in_latin_1(file: Any) -> None:
    space = h5py.h5s.create_simple((10, 3))
    h5py.h5d.create(file.id, "pression_é".encode("latin-1"), h5py.h5t.IEEE_F32LE, space)


def external(file: Any) -> None:
    file["points"] = h5py.ExternalLink("/etc/passwd", "points")


def outside(file: Any) -> None:
    file.create_dataset("points", (10, 3), "f4", external=[("/etc/passwd", 0, 120)])


def soft(file: Any) -> None:
    file["points"] = h5py.SoftLink("/points")


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((10, 3), "f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "points", (10, 3))
    file.create_virtual_dataset("points", layout)


BAD: dict[str, tuple[str, bytes, str]] = {
    "a pickle in npy": ("p.npy", npy(np.array([Hostile()]), allow_pickle=True), "Python objects"),
    "a bare pickle as npy": ("p.npy", pickle.dumps(Hostile()), "no NumPy array"),
    "a pickle in npz": ("p.npz::a", npz(a=np.array([Hostile()])), "Python objects"),
    "an object in pt": ("p.pt::a", pt({"a": Hostile()}), "could run code"),
    "npy cut short": ("p.npy", npy(ROWS)[:-1], "truncated or damaged"),
    "npy of nothing": ("p.npy", b"", "no NumPy array"),
    "npy that claims much": ("p.npy", lying_npy("(1000000000000, 3)"), "it claims"),
    "npy that claims less than nothing": ("p.npy", lying_npy("(-3, 3)"), "truncated or damaged"),
    "npy of texts": ("p.npy", npy(np.array(["a", "b"])), "of no number type"),
    "npy of structures": ("p.npy", npy(np.zeros(3, [("x", "f4")])), "of no number type"),
    "npy of three axes": ("p.npy", npy(np.zeros((2, 2, 2))), "neither"),
    "npy of complex": ("p.npy", npy(np.zeros((2, 3), complex)), "complex"),
    "npy without rows": ("p.npy", npy(np.zeros((0, 3))), "holds no values"),
    "npy of too few columns": ("p.npy[:, 4:7]", npy(ROWS), "too few columns"),
    "npz without the key": ("p.npz::pionts", npz(points=ROWS, a=OTHER), "Did you mean points?"),
    "npz of several": ("p.npz", npz(points=ROWS, a=OTHER), "it holds 2 arrays: points, a"),
    "npz of none": ("p.npz::a", zipped("a.txt", b"a"), "without NumPy arrays"),
    "npz that is none": ("p.npz::a", npy(ROWS), "no NumPy archive"),
    "a bomb in npz": (
        "p.npz::a",
        npz(np.savez_compressed, a=np.zeros(10**7)),
        "times its size",
    ),
    "h5 without the key": ("p.h5::pionts", hdf5(points=ROWS), "Did you mean points?"),
    "h5 without a key": ("p.h5", hdf5(points=ROWS), "it is no dataset; it has points"),
    "h5 of a group": ("p.h5::a", hdf5(a__points=ROWS), "/a is no dataset; it has points"),
    "h5 below a dataset": ("p.h5::points/x", hdf5(points=ROWS), "it has no /points/x"),
    "h5 that is none": ("p.h5::a", npy(ROWS), "no HDF5 file"),
    "h5 cut short": ("p.h5::points", hdf5(points=ROWS)[:-100], "damaged"),
    "h5 of texts": ("p.h5::points", hdf5(points=["a", "b"]), "of no number type"),
    "h5 never written": ("p.h5::points", linked(unwritten), "it was never written"),
    "h5 written in part": ("p.h5::points", linked(half_written), "1 of its 3 chunks were never"),
    "h5 of a foreign filter": ("p.h5::points", linked(packed_by_nobody), "HDF5_PLUGIN_PATH"),
    "h5 of 24 bits": ("p.h5::points", linked(short_integers), "not understood"),
    "h5 of odd names": ("p.h5::pression", linked(named_in_latin_1), r"it has pression_\xe9"),
    "an external link": ("p.h5::points", linked(external), "a link to another file"),
    "external values": ("p.h5::points", linked(outside), "lie in other files"),
    "a link in a circle": ("p.h5::points", linked(soft), "is a link"),
    "virtual values": ("p.h5::points", linked(virtual), "lie in other files"),
    "pt without the key": ("p.pt::pionts", pt({"points": torch.ones(3)}), "Did you mean points?"),
    "pt dict without a key": ("p.pt", pt({"points": torch.ones(3)}), "it has points"),
    "pt dict of numbers": ("p.pt::0", pt({0: torch.ones(3)}), "whose keys are no texts"),
    "pt tensor with a key": ("p.pt::points", pt(torch.ones(3, 3)), "not a dict with 'points'"),
    "pt of something else": ("p.pt::points", pt({"points": [1, 2]}), "something else at 'points'"),
}


def test_an_array_that_has_rotted_is_broken_for_verification_too(tmp_path: Path) -> None:
    field, content = field_at("p.npz::points"), bytearray(npz(points=ROWS, other=OTHER))
    content[content.index(ROWS.tobytes()) + 5] ^= 1
    path = tmp_path / "p.npz"
    path.write_bytes(content)
    folder = open_location(str(tmp_path), {}, key="source_url")
    load = by_library(lambda one: load_file(folder, one.file, None, one), lambda _: path)
    with pytest.raises(BrokenSample, match=r"numpy cannot read it: Bad CRC-32.*numpy\.savez"):
        load(field)


def test_a_member_that_is_called_as_the_key_is_another_array() -> None:
    field, stream = field_at("p.npz::a"), io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a", npy(ROWS * 2))
        archive.writestr("a.npy", npy(ROWS))
    content = stream.getvalue()
    load = by_library(lambda one: load_bytes(content, one), lambda _: io.BytesIO(content))
    for value in (load_bytes(content, field), load(field)):
        np.testing.assert_array_equal(as_rows(value, field).numpy(), ROWS[:, :3])


@each_place
@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_broken_and_says_what(
    folder: Location, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text, content, message = BAD[case]
    field = field_at(text)
    put_file(folder.url, field.file, content)
    with pytest.raises(BrokenSample) as error:
        as_rows(load_file(folder, field.file, None, field), field)
    assert message in f"{error.value.cause}; {error.value.remedy}"
    assert "executed" not in capsys.readouterr().out


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(data=st.data())
def test_damaged_bytes_are_broken_or_go_unnoticed_and_are_no_other_error(
    data: st.DataObject,
) -> None:
    text, write = FILES[data.draw(st.sampled_from(sorted(FILES)))]
    content = bytearray(write(ROWS))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    field = field_at(text)
    end = data.draw(st.integers(1, len(content)))
    with contextlib.suppress(BrokenSample):
        as_rows(load_bytes(bytes(content[:end]), field), field)
