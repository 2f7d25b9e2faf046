"""Hostile and damaged `.pt` files: told for what they are, before they are loaded."""

from __future__ import annotations

import bz2
import copy
import gzip
import io
import lzma
import pickle
import resource
import struct
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
import torch

from aerozarr.convert.cast import ReusableBuffer, RoundingSample, cast_field
from aerozarr.errors import BrokenSample
from aerozarr.filesystems.location import Location, open_location
from aerozarr.source.files.read import load_file
from aerozarr.source.files.rows import as_rows, blocks_of, check_whole
from aerozarr.source.files.zip_directory import read_directory, start_of
from unit.store_helpers import field_of, put_file

FILE = "velocity.pt"
ROWS = torch.randn(3000, 3, generator=torch.Generator().manual_seed(0))

each_place = pytest.mark.parametrize("place", ["folder", "memory-url"])


def saved(value: object, **options: object) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def read(folder: Location, content: bytes) -> torch.Tensor:
    """All rows of a file, as a conversion reads them."""
    put_file(folder.url, FILE, content)
    value = load_file(folder, FILE, len(content), field_of())
    return torch.cat([part.clone() for _, part in blocks_of(value, field_of())])


def broken(run: Callable[[], object]) -> BrokenSample:
    with pytest.raises(BrokenSample) as caught:
        run()
    assert caught.value.file == FILE
    assert "\n" not in str(caught.value)
    return caught.value


def with_records(content: bytes, method: int = zipfile.ZIP_STORED, **records: bytes) -> bytes:
    """The file with some records (`data_0` for `data/0`, `pkl` for the pickle) replaced."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w", method) as new:
        for entry in old.infolist():
            key = entry.filename.partition("/")[2].replace("/", "_").removeprefix("data.")
            new.writestr(entry.filename, records.get(key, old.read(entry)))
    return stream.getvalue()


def with_pickle(content: bytes, change: Callable[[bytes], bytes]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        pickled = archive.read("archive/data.pkl")
    changed = change(pickled)
    assert changed != pickled
    return with_records(content, pkl=changed)


def values_of(content: bytes) -> tuple[int, int]:
    """Where a file's values begin, and how many bytes they are."""
    stream = io.BytesIO(content)
    (record,) = (r for r in read_directory(stream) if r.name.endswith("/data/0"))
    return start_of(stream, record), record.size


# Damage ----------------------------------------------------------------------------------------


def flipped(content: bytes, place: int) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 0x10
    return bytes(changed)


def hole(content: bytes, place: int) -> bytes:
    return content[:place] + bytes(512) + content[place + 512 :]


@each_place
@pytest.mark.parametrize("damage", [flipped, hole])
@pytest.mark.parametrize("where", [0.0, 0.4, 0.9])
def test_values_that_do_not_match_their_checksum_are_broken(folder, damage, where):
    content = saved(ROWS)
    start, size = values_of(content)
    error = broken(lambda: read(folder, damage(content, start + int(where * size))))
    assert "damaged: the record 'archive/data/0' does not match its CRC-32" in error.cause


@each_place
@pytest.mark.parametrize(
    "value",
    [ROWS[100:], ROWS[:, :3].T.contiguous().T, ROWS[::2], ROWS.bfloat16(), ROWS[:, 0].bool()],
    ids=["offset", "transposed", "every-other-row", "bfloat16", "bool"],
)
def test_damage_is_seen_whatever_the_layout(folder, value):
    content = saved(value)
    start, size = values_of(content)
    field = field_of(width=1 if value.ndim == 1 else 3)

    def rows(content: bytes) -> torch.Tensor:
        put_file(folder.url, FILE, content)
        loaded = load_file(folder, FILE, None, field)
        return torch.cat([part.clone() for _, part in blocks_of(loaded, field)])

    assert torch.equal(rows(content), value if value.ndim == 2 else value[:, None])
    error = broken(lambda: rows(flipped(content, start + size // 2)))
    assert "CRC-32" in error.cause


@each_place
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_cast_sees_damage_in_every_storage_dtype(folder, dtype):
    content = saved(ROWS)
    start, size = values_of(content)
    put_file(folder.url, FILE, flipped(content, start + size - 1))
    looked_at = RoundingSample(np.arange(0, 3000, 7), 3000)
    field = field_of(dtype=dtype)
    broken(
        lambda: cast_field(load_file(folder, FILE, None, field), field, ReusableBuffer(), looked_at)
    )


def test_who_does_not_read_in_blocks_can_ask(tmp_path):
    folder = open_location(str(tmp_path), {}, key="source_url")
    content = saved(ROWS)
    start, _ = values_of(content)
    put_file(folder.url, FILE, content)
    check_whole(load_file(folder, FILE, None, field_of()), field_of())
    put_file(folder.url, FILE, flipped(content, start))
    value = load_file(folder, FILE, None, field_of())
    as_rows(value, field_of())
    broken(lambda: check_whole(value, field_of()))


@each_place
def test_a_checksum_of_zero_was_not_computed(folder):
    content = bytearray(saved(ROWS))
    start, _ = values_of(bytes(content))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        crc = struct.pack("<I", archive.getinfo("archive/data/0").CRC)
    assert content.count(crc) >= 1
    content[start] ^= 1
    assert torch.equal(read(folder, bytes(content).replace(crc, bytes(4)))[1:], ROWS[1:])


@each_place
def test_a_damaged_pickle_is_named(folder):
    content = saved(ROWS)
    place = content.index(b"FloatStorage")
    error = broken(lambda: read(folder, flipped(content, place)))
    assert "'archive/data.pkl'" in error.cause


@each_place
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_packed_again_and_whole_it_is_taken(folder, method):
    assert torch.equal(read(folder, with_records(saved(ROWS), method)), ROWS)


# What a file claims ----------------------------------------------------------------------------


@each_place
def test_a_record_shorter_than_its_tensor_beside_a_longer_one_is_broken(folder):
    both = [torch.zeros(1000, 3), torch.ones(5000, 3)]
    content = with_records(saved(ROWS), data_0=both[0].numpy().tobytes())
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("archive/data/1", both[1].numpy().tobytes())
    error = broken(lambda: read(folder, stream.getvalue()))
    assert "'data/0' holds 12000 bytes, and 36000 are claimed" in error.cause


@each_place
@pytest.mark.parametrize("rows", [10**9, 10**12, 2])
def test_a_view_of_more_rows_than_are_stored_is_broken(folder, rows):
    error = broken(lambda: read(folder, saved(torch.zeros(1, 3).expand(rows, 3))))
    assert f"claims {rows}×3 values, and 3 are stored" in error.cause
    assert "contiguous()" in error.remedy


def asks_for_memory(legacy: bool) -> bytes:
    class AsksForMemory:
        def __reduce__(self):
            return bytearray, (100 * 10**9,)

    return saved([ROWS, AsksForMemory()], _use_new_zipfile_serialization=not legacy)


@each_place
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_asks_for_memory_is_broken_before_it_gets_any(folder, legacy):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = broken(lambda: read(folder, asks_for_memory(legacy)))
    assert "a list" in error.cause
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # KiB


@each_place
def test_memory_asked_for_beside_a_tensor_is_not_given(folder):
    # Where a tensor's hooks stand: an OrderedDict of something that is made on the way.
    def change(pickled: bytes) -> bytes:
        made = b"c__builtin__\nbytearray\n\x8a\x05\x00\xe8\x76\x48\x17\x85R"
        return pickled.replace(
            b"ccollections\nOrderedDict\n", made + b"0ccollections\nOrderedDict\n"
        )

    error = broken(lambda: read(folder, with_pickle(saved(ROWS), change)))
    assert "more than a tensor" in error.cause


@each_place
def test_two_gigabytes_of_packed_zeros_are_broken_before_they_are_unpacked(folder):
    stream = io.BytesIO()
    zeros = bytes(2**24)
    with (
        zipfile.ZipFile(io.BytesIO(saved(torch.zeros(4, 3)))) as old,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new,
    ):
        new.writestr("archive/data.pkl", old.read("archive/data.pkl"))
        with new.open("archive/data/0", "w", force_zip64=True) as record:
            for _ in range(16):
                record.write(zeros)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = broken(lambda: read(folder, stream.getvalue()))
    assert "would unpack to" in error.cause
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # KiB


@each_place
def test_records_that_lie_over_each_other_are_broken(folder):
    content = io.BytesIO(saved(ROWS))
    with zipfile.ZipFile(content, "a") as archive:
        values = archive.getinfo("archive/data/0")
        for number in range(1, 11):
            more = copy.copy(values)
            more.filename = f"archive/data/{number}"
            archive.filelist.append(more)
        archive.writestr("archive/more", b"")  # so that the directory is written anew
    error = broken(lambda: read(folder, content.getvalue()))
    assert "damaged" in error.cause


# What it is instead ----------------------------------------------------------------------------


def npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, velocity=ROWS.numpy())
    return stream.getvalue()


def npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, ROWS.numpy())
    return stream.getvalue()


def a_zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("readme.txt", "hello")
    return stream.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 12345\n"
PAGE = b"\n<!DOCTYPE html>\n<html><head><title>403 Forbidden</title></head></html>"
S3_ERROR = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>'

OTHERS: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "no-bytes": (lambda: b"", "no bytes", "again"),
    "git-lfs": (lambda: LFS, "Git LFS pointer", "git lfs pull"),
    "html": (lambda: PAGE, "HTML", "download"),
    "xml": (lambda: S3_ERROR, "XML", "download"),
    "gzip": (lambda: gzip.compress(saved(ROWS)), "gzip", "gunzip"),
    "bzip2": (lambda: bz2.compress(saved(ROWS)), "bzip2", "bunzip2"),
    "xz": (lambda: lzma.compress(saved(ROWS)), "xz", "unxz"),
    "npy": (npy, "NumPy array (.npy)", "torch.from_numpy(numpy.load(path))"),
    "npz": (npz, "NumPy archive (.npz)", "torch.save"),
    "hdf5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5", "torch.save"),
    "zip": (a_zip, "zip archive, but no file of torch.save", "torch.save"),
    "pickle": (lambda: pickle.dumps([1, 2], 2), "no file of torch.save", "torch.save"),
    "protocol-4": (lambda: saved(ROWS, pickle_protocol=4), "protocol 4", "without pickle_protocol"),
    "protocol-5": (lambda: saved(ROWS, pickle_protocol=5), "protocol 5", "without pickle_protocol"),
    "protocol-4-legacy": (
        lambda: saved(ROWS, pickle_protocol=4, _use_new_zipfile_serialization=False),
        "protocol 4",
        "without pickle_protocol",
    ),
    "text": (lambda: b"1.0 2.0 3.0", "no file of torch.save", "torch.save"),
}


@each_place
@pytest.mark.parametrize(("content", "cause", "remedy"), list(OTHERS.values()), ids=list(OTHERS))
def test_what_is_often_taken_for_a_pt_file_is_told_for_what_it_is(folder, content, cause, remedy):
    error = broken(lambda: read(folder, content()))
    assert cause in error.cause
    assert remedy in error.remedy


@each_place
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_torchscript_module_is_told(folder):
    stream = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), stream)
    assert "TorchScript" in broken(lambda: read(folder, stream.getvalue())).cause


def test_the_remedy_for_a_numpy_array_mends_it(tmp_path):
    path = tmp_path / FILE
    path.write_bytes(npy())
    folder = open_location(str(tmp_path), {}, key="source_url")
    remedy = broken(lambda: load_file(folder, FILE, None, field_of())).remedy
    exec(remedy.removeprefix("convert it: "), {"torch": torch, "numpy": np, "path": path})
    assert torch.equal(as_rows(load_file(folder, FILE, None, field_of()), field_of()), ROWS)


def test_the_remedy_for_a_repeating_view_mends_it(tmp_path):
    path = tmp_path / FILE
    folder = open_location(str(tmp_path), {}, key="source_url")
    view = torch.zeros(1, 3).expand(70, 3)
    torch.save(view, path)
    broken(lambda: load_file(folder, FILE, None, field_of()))
    torch.save(view.contiguous(), path)
    assert as_rows(load_file(folder, FILE, None, field_of()), field_of()).shape == (70, 3)
