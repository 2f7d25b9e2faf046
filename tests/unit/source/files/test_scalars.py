"""Specification of reading scalars: from each kind of file, and what is refused."""

from __future__ import annotations

import io
import json
import math
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr

from aerozarr.config.filemap import parse_file
from aerozarr.config.scalars import Scalar
from aerozarr.config.setting_types import Compression
from aerozarr.errors import BrokenSample
from aerozarr.filesystems.location import open_location
from aerozarr.source.files import scalars as reading
from aerozarr.source.files.read import load_bytes, load_file
from aerozarr.source.files.scalars import as_scalar
from aerozarr.store.format.metadata import metadata_files
from aerozarr.store.format.scalars import ScalarValue, parse_scalars, scalar_attributes


@pytest.fixture(params=["folder", "bytes"])
def kind(request: pytest.FixtureRequest) -> str:
    """How a file is read: where it lies, or from what was fetched of it."""
    return str(request.param)


def read(kind: str, folder: Path, text: str, content: bytes) -> ScalarValue:
    part = parse_file(text)
    scalar = Scalar("drag", part.file, part.key)
    if kind == "bytes":
        return as_scalar(load_bytes(content, scalar), scalar)
    (folder / part.file).write_bytes(content)
    place = open_location(str(folder), {}, key="source_url")
    return as_scalar(load_file(place, part.file, len(content), scalar), scalar)


def saved(value: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


CONDITIONS = {
    "U_inf": 38.9,
    "count": 3,
    "ground": {"moves": True, "name": "belt"},
    "a/b": 5,
    "wheel": [1, 2.5, -3],
    "nothing": None,
    "odd": [1, "x"],
    "nan": "NaN",
    "edge": ["Infinity", -1.0, "-Infinity"],
}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("U_inf", 38.9),
        ("count", 3.0),
        ("ground/moves", True),
        ("ground/name", "belt"),
        ("a/b", 5.0),
        ("wheel", [1.0, 2.5, -3.0]),
        ("edge", [math.inf, -1.0, -math.inf]),
    ],
)
def test_a_value_of_a_json_file(kind: str, tmp_path: Path, key: str, value: ScalarValue) -> None:
    content = json.dumps(CONDITIONS).encode()
    found = read(kind, tmp_path, f"c.json::{key}", content)
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_in_json_is_a_word_or_what_python_writes(kind: str, tmp_path: Path) -> None:
    for content in (b'{"a": "NaN"}', b'{"a": NaN}'):
        found = read(kind, tmp_path, "c.json::a", content)
        assert isinstance(found, float) and math.isnan(found)


@pytest.mark.parametrize("other", ["1e999", "-1e999", "7" * 5000, "[1e999]"])
def test_a_number_that_nobody_asks_for_may_be_beyond_float64(
    kind: str, tmp_path: Path, other: str
) -> None:
    content = f'{{"residual": {other}, "a": 0.5}}'.encode()
    assert read(kind, tmp_path, "c.json::a", content) == 0.5
    with pytest.raises(BrokenSample, match="which is beyond float64"):
        read(kind, tmp_path, "c.json::residual", content)


def test_a_json_file_may_hold_one_value_alone(kind: str, tmp_path: Path) -> None:
    assert read(kind, tmp_path, "drag.json", b"0.25\n") == 0.25


@pytest.mark.parametrize(
    ("text", "content", "message"),
    [
        (
            "c.json::U_ing",
            CONDITIONS,
            r"no value 'U_ing'; it has U_inf, count.* Did you mean U_inf",
        ),
        ("c.json::nothing", CONDITIONS, r"it holds nothing \(null\)"),
        ("c.json::x", b'{"x": 1, "x": 2}', "it has 'x' 2 times"),
        ("c.json::x", b'{"x": 1e400}', "it holds 1e400, which is beyond float64"),
        ("c.json::ground", CONDITIONS, "it holds a dict; give a number, a text, or a list"),
        ("c.json::odd", CONDITIONS, "it holds a list with a str"),
        ("c.json::U_inf", [1.0], "it holds a list, not a dict with 'U_inf'"),
        ("c.json", [[1.0]], "it holds a list with a list"),
        ("c.json", [True, False], "it holds a list with a bool"),
        ("c.json", [], "it holds 0 values"),
        ("c.json", [0.5] * 4097, "it holds 4097 values; give 1 to 4,096 numbers"),
        ("c.json", None, r"nothing \(null\)"),
        ("c.json", "x" * 1025, "a text of 1,025 characters"),
        ("c.json", 2**60 + 1, "a whole number of 61 bits, which float64 does not hold"),
        ("c.json", 10**400, "a whole number of 1329 bits"),
        ("c.json::x", b'{"x": 1', r"it is damaged, or no JSON"),
        ("c.json::x", b"[" * 100_000, "it is damaged, or no JSON"),
        ("c.json::x", b"\xff\xfe", "it is no UTF-8 text"),
        ("c.json", b'"\\ud800"', "a text that is no Unicode"),
        ("f.csv::Cd", b"", "no column 'Cd'; its header has nothing"),
        ("f.csv::Cd", b"Cl,Cs\n1,2\n", "no column 'Cd'; its header has Cl, Cs"),
        ("f.csv::Cd", b"Cd,Cd\n1,2\n", "it has 2 columns 'Cd'"),
        ("f.csv::Cd", b"Cd\n", "it has 0 rows of values"),
        ("f.csv::Cd", b"Cd\n1\n2\n", "it has 2 rows of values below its header; write one row"),
        ("f.csv::Cd", b"Cl,Cd\n1,\n", "its column 'Cd' is empty"),
        ("f.csv::Cd", b"Cl,Cd\n1\n", "its column 'Cd' is empty"),
        ("f.csv::Cd", b'Cd\n"1\n', "it is damaged, or no CSV"),
        # Numbers with a decimal comma are no others.
        ("f.csv::Cd", b"Cd\n0,5\n", "its row has 2 values, and its header 1 column"),
        ("f.csv::Cd", b"Cd;Cl\n1,5;2,5\n", "it holds '1,5', with a comma"),
        ("f.csv::Cd", b"Cd\n-1e999\n", "it holds -1e999, which is beyond float64"),
        ("f.csv::Cd", b"Cd\n9007199254740993\n", "a whole number of 54 bits"),
    ],
)
def test_a_text_that_gives_no_scalar_is_broken(
    kind: str, tmp_path: Path, text: str, content: Any, message: str
) -> None:
    written = content if isinstance(content, bytes) else json.dumps(content).encode()
    with pytest.raises(BrokenSample, match=message) as raised:
        read(kind, tmp_path, text, written)
    assert raised.value.field == "drag"
    assert raised.value.file == parse_file(text).file


def test_a_long_text_is_not_read(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LARGEST_TEXT_FILE", 10)
    with pytest.raises(BrokenSample, match="it has 11 bytes, and is read up to 10"):
        read(kind, tmp_path, "c.json", b"[1.0, 2.00]")


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"Cd,Cl\n0.3,1e-2\n", 0.3),
        (b"\xef\xbb\xbf Cd , Cl\r\n 0.3 ,2\r\n\r\n", 0.3),
        (b"Cl;Cd\n1;0.3\n", 0.3),
        (b"Cl\tCd\n1\t0.3", 0.3),
        (b'"Cd","a, b"\n"0.3","x, y"\n', 0.3),
        (b"Cd\n-inf\n", -math.inf),
        (b"Cd\nbelt\n", "belt"),
        (b"Cd\n1_000\n", "1_000"),
        ("Cd\n\u0663\n".encode(), "\u0663"),
    ],
)
def test_a_column_of_a_csv_file(
    kind: str, tmp_path: Path, content: bytes, value: ScalarValue
) -> None:
    assert read(kind, tmp_path, "forces.csv::Cd", content) == value


DESIGN = {
    "angle": 3.5,
    "count": 4,
    "name": "wing",
    "moves": False,
    "params": torch.tensor([0.5, 1.5], dtype=torch.float32),
    "one": torch.tensor(2, dtype=torch.int64),
    "half": torch.tensor([0.25, 3.0], dtype=torch.bfloat16),
    "flag": torch.tensor(True),
    "list": [1, 2.5],
    "view": torch.arange(6.0)[::2],
    "deep": OrderedDict(mach=0.8),
    "points": torch.zeros(5000, 3),
}


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("angle", 3.5),
        ("count", 4.0),
        ("name", "wing"),
        ("moves", False),
        ("params", [0.5, 1.5]),
        ("one", 2.0),
        ("half", [0.25, 3.0]),
        ("flag", True),
        ("list", [1.0, 2.5]),
        ("view", [0.0, 2.0, 4.0]),
        ("deep/mach", 0.8),
    ],
)
def test_a_value_of_a_pt_file(
    kind: str, tmp_path: Path, key: str, value: ScalarValue, options: dict[str, bool]
) -> None:
    found = read(kind, tmp_path, f"design.pt::{key}", saved(DESIGN, **options))
    assert found == value
    assert type(found) is type(value)


def test_a_pt_file_may_be_one_short_tensor(kind: str, tmp_path: Path) -> None:
    assert read(kind, tmp_path, "design.pt", saved(torch.arange(3.0))) == [0.0, 1.0, 2.0]


class Evil:
    """What a hostile pickle would call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("executed",)


@pytest.mark.parametrize(
    ("text", "value", "message"),
    [
        ("d.pt::angel", DESIGN, r"no value 'angel'; it has angle, .* Did you mean angle"),
        ("d.pt::points", DESIGN, r"a tensor of shape \(5000, 3\); save one of shape"),
        ("d.pt", DESIGN, "it holds a dict"),
        ("d.pt::x", torch.zeros(3), "it holds a Tensor, not a dict with 'x'"),
        ("d.pt", torch.zeros(0), r"shape \(0,\)"),
        ("d.pt", torch.zeros(1).expand(5000), r"shape \(5000,\)"),
        ("d.pt", torch.zeros(2, dtype=torch.complex64), "complex"),
        ("d.pt", torch.zeros(3).to_sparse(), "more than tensors and plain values"),
        ("d.pt::x", {"x": np.float64(3)}, r"more than tensors and plain values \(numpy"),
        ("d.pt::x", {"x": 1.0, "y": {1, 2}}, "more than tensors and plain values"),
        ("d.pt::x", {"x": 1.0, "y": Evil()}, "could run code"),
        ("d.pt::x", {"x": [1.0, "a"]}, "a list with a str"),
    ],
)
def test_a_pt_file_that_gives_no_scalar_is_broken(
    kind: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    value: Any,
    message: str,
) -> None:
    with pytest.raises(BrokenSample, match=message) as raised:
        read(kind, tmp_path, text, saved(value))
    assert raised.value.field == "drag"
    assert "executed" not in capsys.readouterr().out


def flipped(content: bytes, name: str) -> bytes:
    """Flip a bit of the last byte of a record."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (found,) = (one for one in archive.infolist() if one.filename.endswith(name))
    names = len(found.filename)
    extra = int.from_bytes(content[found.header_offset + 28 : found.header_offset + 30], "little")
    place = found.header_offset + 30 + names + extra + found.file_size - 1
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("record", ["data.pkl", "data/0"])
def test_a_flipped_bit_in_a_pt_file_is_told(kind: str, tmp_path: Path, record: str) -> None:
    content = saved({"params": torch.tensor([0.5, 1.5]), "angle": 3.5})
    assert read(kind, tmp_path, "d.pt::params", content) == [0.5, 1.5]
    with pytest.raises(BrokenSample, match="does not match its CRC-32"):
        read(kind, tmp_path, "d.pt::params", flipped(content, record))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it has no bytes"),
        (b"<!DOCTYPE html>", "a page of text"),
        (saved(DESIGN)[:-100], "truncated or damaged"),
        (pickle.dumps({"x": 1.0}), "it is a pickle, but no file of torch.save"),
    ],
)
def test_what_is_no_pt_file_is_broken(
    kind: str, tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(BrokenSample, match=message):
        read(kind, tmp_path, "d.pt::x", content)


@pytest.mark.parametrize(
    ("value", "wanted", "message"),
    [
        ("abc", "number", "it holds a str, 'abc', where a number is wanted"),
        (True, "number", "it holds true, where a number is wanted"),
        (0.5, "text", r"it holds a float, 0\.5, where a text is wanted"),
        ("NaN", "text", "it holds a float, nan, where a text is wanted"),
        ([1.0], "text", "it holds a list"),
    ],
)
def test_what_is_not_of_the_kind_that_the_settings_want(
    value: Any, wanted: Any, message: str
) -> None:
    scalar = Scalar("drag", "a.json", kind=wanted)
    with pytest.raises(BrokenSample, match=message) as caught:
        as_scalar(value, scalar)
    assert "take kind out of scalars.drag" in str(caught.value)


def test_what_is_of_the_kind_that_the_settings_want(kind: str, tmp_path: Path) -> None:
    assert as_scalar([1, 2.5], Scalar("drag", "a.json", kind="number")) == [1.0, 2.5]
    assert as_scalar("abc", Scalar("drag", "a.json", kind="text")) == "abc"
    # A column of texts that look like numbers.
    text = Scalar("design", "a.csv", "id", kind="text")
    assert load_bytes(b"id\n0012\n", text) == "0012"
    assert load_bytes(b"id\n0012\n", Scalar("design", "a.csv", "id")) == 12


def test_a_text_with_a_nul_is_kept_as_it_is(kind: str, tmp_path: Path) -> None:
    assert read(kind, tmp_path, "c.json::x", rb'{"x": "a\u0000b"}') == "a\0b"
    assert read(kind, tmp_path, "c.csv::x", b"x\na\0b\n") == "a\0b"
    scalar = Scalar("note", "c.json")
    attributes = scalar_attributes({scalar: "a\0b"})
    files = metadata_files((), {}, Compression(), chunk_checksums=True, attributes=attributes)
    (tmp_path / "zarr.json").write_bytes(files["zarr.json"])
    found = zarr.open_group(tmp_path, mode="r").attrs.asdict()
    assert parse_scalars(found) == {"note": "a\0b"}
