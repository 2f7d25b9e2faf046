"""Hostile and damaged VTK files: told for what they are, and never more than they are worth."""

from __future__ import annotations

import lzma
import os
import re
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import lz4.block
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aerozarr.source.files.vtk import centers
from aerozarr.source.files.vtk.errors import DamagedVtk, NotInBlocks
from aerozarr.source.files.vtk.xml import open_xml
from unit.source.files.vtk.vtk_files import (
    SIZES,
    add_arrays,
    add_polyhedra,
    by_hand,
    grid_of,
    piece_of,
    random_points,
    set_points,
    surface_of,
    write,
)

N = 50
PIECE = piece_of(
    np.eye(N, 3), [centers.LINE] * N, [[0, 1]] * N, {"a": np.arange(N), "b": np.ones((N, 3))}
)
GOOD = by_hand([PIECE])
CELLS = f'NumberOfCells="{N}"'
POINTS = f'NumberOfPoints="{N}"'
ROOT = '<VTKFile type="UnstructuredGrid" byte_order="LittleEndian" header_type="UInt64">'


def read_all(path: Path) -> None:
    with open_xml([path]) as file:
        for association, arrays in file.arrays.items():
            for name in arrays:
                assert all(len(block) for block in file.blocks(association, name, 20))
        assert all(len(block) for block in file.points(20))
        assert all(len(block) for block in file.cell_centers(20))


def changed(old: str, new: str) -> bytes:
    assert old.encode() in GOOD
    return GOOD.replace(old.encode(), new.encode(), 1)


def test_the_file_that_is_damaged_here_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "file.vtu"
    path.write_bytes(GOOD)
    read_all(path)


BOMB = b'<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;&b;">]>'
EXTERNAL = b'<!DOCTYPE a SYSTEM "file:///etc/passwd">'


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "it is empty"),
        (b"# vtk DataFile Version 3.0", "no XML file"),
        (GOOD.decode("latin-1").encode("utf-16"), "no XML file"),
        (b"<html></html>", "first element is html"),
        (ROOT.encode() + BOMB + b"</VTKFile>", "XML is damaged"),
        (BOMB + GOOD, "document type or entities"),
        (EXTERNAL + GOOD, "document type or entities"),
        (changed(POINTS, 'NumberOfPoints="&b;"'), "XML is damaged"),
        (GOOD[:300], "ends too early"),
        (GOOD[:-40], "ends too early"),
        (GOOD[: GOOD.index(b"<AppendedData")], "ends too early"),
        (GOOD[: GOOD.index(b"<AppendedData")] + b"</VTKFile>", "no appended data"),
        (changed('"raw"', '""'), "encoding ''"),
        (changed('"raw">\n  _', '"raw">\n  '), "does not begin with an underscore"),
        (changed("LittleEndian", "MiddleEndian"), "byte_order is 'MiddleEndian'"),
        (changed(POINTS, 'NumberOfPoints="-1"'), "NumberOfPoints is '-1'"),
        (changed(POINTS, ""), "NumberOfPoints is 'None'"),
        (changed(POINTS, f'NumberOfPoints="{10**17}"'), "Points has 1200 bytes, where 1000"),
        (changed(CELLS, f'NumberOfCells="{10**17}"'), "offsets has 400 bytes"),
        (changed(CELLS, 'NumberOfCells="0x9"'), "NumberOfCells is '0x9'"),
        (changed('offset="0"', 'offset="-8"'), "offset is '-8'"),
        (changed('offset="0"', f'offset="{10**12}"'), "ends too early"),
        (changed('offset="0"', 'offset="3"'), "ends too early|bytes, where"),
        (changed('Components="3"', 'Components="2"'), "bytes, where 50 rows have 800"),
        (changed('<Points>', '<Punkte>').replace(b"</Points>", b"</Punkte>"), "no points"),
        (changed('"connectivity"', '"konnektivity"'), "no connectivity"),
        (changed('"offsets"', '"ofsets"'), "no offsets"),
        (changed('"types"', '"typs"'), "no types"),
        (changed('"Int64" Name="conn', '"Float64" Name="conn'), "are no integers"),
        (changed(" <Unstr", " <!--" + "x" * 3 * 2**20 + "--><Unstr"), "a tag of more than"),
        (changed(" <Unstr", "<a>" * 40 + " <Unstr"), "too many elements"),
    ],
)  # fmt: skip
def test_damage_is_told(content: bytes, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "file.vtu"
    path.write_bytes(content)
    with pytest.raises((DamagedVtk, NotInBlocks), match=cause) as caught:
        read_all(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("UnstructuredGrid", "ImageData", "its type is 'ImageData'"),
        ('header_type="UInt64"', 'header_type="UInt16"', "header_type is 'UInt16'"),
        ('header_type="UInt64"', 'compressor="vtkZstd"', "compressor is 'vtkZstd'"),
        ('"raw"', '"hex"', "encoding 'hex'"),
        ("<VTKFile", '<?xml version="1.0" encoding="utf-16"?><VTKFile', "encoding 'utf-16'"),
        ("<UnstructuredGrid", '<UnstructuredGrid TimeValues="1 2"', "steps in time"),
        ('offset="0"', 'offset="0" TimeStep="1"', "steps in time"),
        ('Name="b"', 'Name="a"', "two arrays named 'a'"),
    ],
)
def test_what_needs_the_library_is_told(old: str, new: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "file.vtu"
    path.write_bytes(changed(old, new))
    with pytest.raises(NotInBlocks, match=why):
        read_all(path)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"appended"', '"ascii"', "a: it is written as text"),
        ('type="Int64"', 'type="Bit"', "a: its values are of the type 'Bit'"),
        ('Components="3"', f'Components="{10**9}"', f"b: it has {10**9} components"),
        ('Components="3"', 'Components="0"', "b: it has 0 components"),
    ],
)
def test_an_array_that_needs_the_library_leaves_the_others(
    old: str, new: str, why: str, tmp_path: Path
) -> None:
    path = tmp_path / "file.vtu"
    path.write_bytes(changed(old, new))
    name, others = why[0], {"a", "b"} - {why[0]}
    with open_xml([path]) as file:
        assert {*file.arrays["cell"]} == others
        with pytest.raises(NotInBlocks, match=why):
            file.blocks("cell", name)


def test_text_is_left_to_the_library(tmp_path: Path) -> None:
    grid = grid_of(random_points(np.random.default_rng(0)), [centers.TETRA], 5, ["f4"])
    with pytest.raises(NotInBlocks, match="as text"):
        open_xml([write(grid, tmp_path / "file.vtu", SetDataModeToAscii=None)])


def table(*numbers: int) -> bytes:
    return np.array(numbers, "<u8").tobytes()


def packed(compress: Callable[[bytes], bytes], *, block: int = 2**14) -> Callable[[bytes], bytes]:
    def pack(values: bytes) -> bytes:
        blocks = [compress(values[i : i + block]) for i in range(0, len(values), block)]
        sizes = [len(each) for each in blocks]
        return table(len(blocks), block, len(values) % block, *sizes) + b"".join(blocks)

    return pack


ZEROS = bytes(30 * 10**6)


@pytest.mark.parametrize(
    ("compressor", "compress"),
    [
        ("vtkZLibDataCompressor", zlib.compress),
        ("vtkLZMADataCompressor", lzma.compress),
        ("vtkLZ4DataCompressor", lambda content: lz4.block.compress(content, store_size=False)),
    ],
)
def test_a_block_never_unpacks_to_more_than_it_says(
    compressor: str, compress: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    bomb = compress(ZEROS)
    # What is said of each block's size may be as much as a block has, and something.
    block = max(2**14, len(bomb))
    announced = {"header_type": f'compressor="{compressor}" header_type'}
    honest = packed(compress, block=block)

    def pack(values: bytes) -> bytes:
        if values != PIECE[1]["CellData"]["a"].tobytes():
            return honest(values)
        return table(1, block, len(values), len(bomb)) + bomb

    path = tmp_path / "file.vtu"
    path.write_bytes(by_hand([PIECE], changes=announced, pack=pack))
    tracemalloc.start()
    try:
        with open_xml([path]) as file:
            assert sum(len(part) for part in file.blocks("cell", "b")) == N
            with pytest.raises(DamagedVtk, match="a compressed block of its data is damaged"):
                list(file.blocks("cell", "a"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # LZMA keeps what it unpacks last: 8 MiB.
    assert peak < 12 * 2**20


@pytest.mark.parametrize(
    ("numbers", "error", "cause"),
    [
        ((2**40, 8, 0), DamagedVtk, "ends too early"),
        ((1, 0, 0), DamagedVtk, "a block of 0 bytes"),
        ((1, 8, 9, 9), DamagedVtk, "a block of 8 bytes has 9"),
        ((1, 2**30, 400, 99), NotInBlocks, f"its blocks have {2**30} bytes"),
        ((1, 400, 0, 10**6), DamagedVtk, "a compressed block has 1000000 bytes"),
        ((2, 200, 0, 0, 9), DamagedVtk, "a compressed block has 9 bytes, or none"),
        ((1, 2**25, 0, 9), DamagedVtk, f"9 bytes unpack to {2**25}"),
        ((1, 2**20, 0, 2**20), DamagedVtk, "ends too early"),
        ((0,), DamagedVtk, "a has 0 bytes, where 50 rows have 400"),
        ((1, 408, 0, 99), DamagedVtk, "a has 408 bytes, where 50 rows have 400"),
    ],
)
def test_numbers_before_compressed_data_that_lie(
    numbers: tuple[int, ...], error: type[Exception], cause: str, tmp_path: Path
) -> None:
    honest = packed(zlib.compress)
    values = PIECE[1]["CellData"]["a"].tobytes()
    path = tmp_path / "file.vtu"
    path.write_bytes(
        by_hand(
            [PIECE],
            changes={"header_type": 'compressor="vtkZLibDataCompressor" header_type'},
            pack=lambda v: table(*numbers) + zlib.compress(v) if v == values else honest(v),
        )
    )
    with open_xml([path]) as file:
        assert file.n_points == N
        with pytest.raises(error, match=re.escape(cause)):
            list(file.blocks("cell", "a"))


def test_without_lz4_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = grid_of(random_points(np.random.default_rng(0)), [centers.TETRA], 5, ["f4"])
    path = write(grid, tmp_path / "file.vtu", SetCompressorTypeToLZ4=None)
    monkeypatch.setitem(sys.modules, "lz4.block", None)
    with pytest.raises(NotInBlocks, match=r"pip install -r requirements-vtk\.txt"):
        open_xml([path])


@pytest.mark.parametrize(
    ("names", "cause"),
    [
        (["v.vtu.00.part", "v.vtu.02.part"], "part 1 of it is missing, and part 2 is there"),
        (["v.vtu.01.part", "v.vtu.03.part"], "part 2 of it is missing"),
        (["v.vtu.05.part", "v.vtu.06.part"], "part 1 of it is missing"),
        (["v.vtu.01.part", "v.vtu.00.part"], "not in their order"),
        (["v.vtu.00.part", "v.vtu.01.part"], "ends too early"),
        (["a", "b"], "ends too early"),
    ],
)
def test_a_part_that_is_missing(names: list[str], cause: str, tmp_path: Path) -> None:
    third = len(GOOD) // 3
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(GOOD[number * third : (number + 1) * third])
    with pytest.raises(DamagedVtk, match=cause):
        open_xml([tmp_path / name for name in names])


def test_a_file_that_is_not_there_leaves_none_open(tmp_path: Path) -> None:
    (tmp_path / "v.00").write_bytes(GOOD)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        open_xml([tmp_path / "v.00", tmp_path / "v.01"])
    with pytest.raises(DamagedVtk):
        open_xml([tmp_path / "v.00", tmp_path / "v.00"])
    assert os.listdir("/proc/self/fd") == before


def test_a_file_that_is_cut_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file.vtu"
    path.write_bytes(GOOD)
    with open_xml([path]) as file:
        blocks = file.blocks("cell", "a", 10)
        next(blocks)
        os.truncate(path, 900)
        with pytest.raises(DamagedVtk, match="became shorter"):
            list(blocks)


def seeds(folder: Path) -> list[bytes]:
    """Small files of every way to write, with cells of all kinds."""
    rng = np.random.default_rng(0)
    first = random_points(rng)
    grid = grid_of(first, list(SIZES), 30, [])
    points = [first]
    add_polyhedra(grid, points, 6, 1.0)
    set_points(grid, np.concatenate(points))
    add_arrays(grid, rng, ["f4", "i2"])
    surface = surface_of(first, 4, ["f8"])
    found = []
    for data, name in ((grid, "seed.vtu"), (surface, "seed.vtp")):
        for mode in ({"EncodeAppendedDataOff": None}, {}, {"SetDataModeToBinary": None}):
            for compressor in ("None", "ZLib", "LZ4"):
                options = {**mode, f"SetCompressorTypeTo{compressor}": None}
                path = write(data, folder / name, **options, SetBlockSize=512)
                found.append(path.read_bytes())
    return found


NUMBERS = st.one_of(st.integers(-2, 300), st.integers(0, 2**64), st.just(10**40)).map(str)
WORDS = st.sampled_from(
    [
        *("", "Int8", "UInt64", "Float32", "String", "UInt32", "BigEndian", "appended", "binary"),
        *("ascii", "types", "offsets", "vtkZLibDataCompressor", "vtkLZMADataCompressor"),
    ]
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_is_damaged_is_told(data: st.DataObject, tmp_path: Path) -> None:
    """Attributes of other values, other bytes, and ends and bytes that are missing."""
    if not SEEDS:
        SEEDS.extend(seeds(tmp_path))
    content = bytearray(data.draw(st.sampled_from(SEEDS)))
    header = max(content.find(b"<AppendedData"), 0) or len(content)
    how = data.draw(st.sampled_from(["attribute", "bytes", "word", "cut"]))
    if how == "attribute":
        found = list(re.finditer(rb'"([^"\n]*)"', content[:header]))
        first, stop = data.draw(st.sampled_from(found)).span(1)
        content[first:stop] = data.draw(NUMBERS | WORDS).encode()
    elif how == "bytes":
        for _ in range(data.draw(st.integers(1, 4))):
            # Behind the header, if there is one: the XML would mostly be no XML any more.
            at = data.draw(st.integers(header if header < len(content) else 0, len(content) - 1))
            content[at] = data.draw(st.integers(0, 255))
    elif how == "word":
        at = data.draw(st.integers(0, len(content) - 8))
        content[at : at + 8] = data.draw(st.binary(min_size=8, max_size=8))
    else:
        at = data.draw(st.integers(0, len(content)))
        del content[at : at + data.draw(st.integers(0, len(content)))]
        content += data.draw(st.sampled_from([b"", b"</VTKFile>"]))
    path = tmp_path / "damaged"
    path.write_bytes(content)
    try:
        read_all(path)
    except DamagedVtk as error:
        assert error.cause and error.remedy
    except NotInBlocks as error:
        assert str(error)


SEEDS: list[bytes] = []
