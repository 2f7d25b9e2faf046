"""VTU and VTP files: what is read in blocks is what vtk reads, to the last bit."""

from __future__ import annotations

import tempfile
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vtkmodules.util.numpy_support import vtk_to_numpy

from aerozarr.source.files.vtk import centers
from aerozarr.source.files.vtk.errors import NotInBlocks
from aerozarr.source.files.vtk.xml import VtkXml, open_xml
from unit.source.files.vtk.vtk_files import (
    SIZES,
    Values,
    arrays_by_vtk,
    by_hand,
    centers_by_vtk,
    grid_of,
    piece_of,
    random_points,
    read,
    surface_of,
    write,
)

open_temporary = tempfile.TemporaryFile
MODES = {
    "raw": {"SetDataModeToAppended": None, "EncodeAppendedDataOff": None},
    "base64": {"SetDataModeToAppended": None, "EncodeAppendedDataOn": None},
    "inline": {"SetDataModeToBinary": None},
}
RNG = np.random.default_rng(0)
# LZMA takes a hundred times as long for so little data: it gets less of it.
DATA = {
    ("vtu", False): grid_of(random_points(RNG), list(SIZES), 70),
    ("vtu", True): grid_of(random_points(RNG), list(SIZES), 70, ["f4"]),
    ("vtp", False): surface_of(random_points(RNG, "f8"), 17),
    ("vtp", True): surface_of(random_points(RNG, "f8"), 17, ["f4"]),
}


def joined(blocks: Any, rows: int) -> Values:
    """Blocks as one array, none of which may be larger than was asked for."""
    kept = list(blocks)
    assert all(0 < len(block) <= rows for block in kept)
    assert all(block.dtype.isnative for block in kept)
    return np.concatenate(kept)


def same(ours: Values, theirs: Values) -> None:
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    assert ours.tobytes() == theirs.tobytes()


def check_all(file: VtkXml, path: Path, rows: int = 13) -> None:
    """Compare everything that is in a file with what vtk reads from it."""
    theirs = read(path)
    assert (file.n_points, file.n_cells) == (theirs.GetNumberOfPoints(), theirs.GetNumberOfCells())
    expected = arrays_by_vtk(theirs)
    assert {(kind, name) for kind in ("point", "cell") for name in file.arrays[kind]} == {*expected}
    for (association, name), values in expected.items():
        same(joined(file.blocks(association, name, rows), rows), values)
        said = file.arrays[association][name]
        assert (said.dtype, said.components) == (values.dtype, values.shape[1])
    same(joined(file.points(rows), rows), vtk_to_numpy(theirs.GetPoints().GetData()))
    same(joined(file.cell_centers(rows), rows), centers_by_vtk(theirs))


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("order", ["Little", "Big"])
@pytest.mark.parametrize("word", [32, 64])
@pytest.mark.parametrize("compressor", ["None", "ZLib", "LZ4", "LZMA"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["vtu", "vtp"])
def test_everything_that_vtk_writes_is_read(
    kind: str, mode: str, compressor: str, word: int, order: str, pieces: int, tmp_path: Path
) -> None:
    options = {
        **MODES[mode],
        f"SetCompressorTypeTo{compressor}": None,
        f"SetHeaderTypeToUInt{word}": None,
        f"SetByteOrderTo{order}Endian": None,
        "SetNumberOfPieces": pieces,
        "SetBlockSize": 512 if compressor == "LZMA" else 96,
        "SetCompressionLevel": 1,
    }
    path = write(DATA[kind, compressor == "LZMA"], tmp_path / f"file.{kind}", **options)
    with open_xml([path]) as file:
        check_all(file, path)


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """No points are held in memory, and pages are given back at once."""
    monkeypatch.setattr("aerozarr.source.files.vtk.points._HELD_BYTES", 0)
    monkeypatch.setattr("aerozarr.source.files.vtk.points._ASKED", 1)


@pytest.mark.usefixtures("mapped")
@pytest.mark.parametrize("order", ["Little", "Big"])
@pytest.mark.parametrize(
    ("mode", "compressor", "spilled"),
    [("raw", "None", 0), ("base64", "None", 1), ("raw", "ZLib", 1)],
)
def test_points_that_are_mapped(
    mode: str,
    compressor: str,
    spilled: int,
    order: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From the file when they are there as they are, else from a temporary one."""
    options = {f"SetCompressorTypeTo{compressor}": None, f"SetByteOrderTo{order}Endian": None}
    path = write(DATA["vtu", False], tmp_path / "file.vtu", **MODES[mode], **options)
    files = []
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: files.append(0) or open_temporary())
    with open_xml([path]) as file:
        check_all(file, path)
    assert len(files) == spilled


@pytest.mark.usefixtures("mapped")
def test_a_file_cut_in_parts_is_one(tmp_path: Path) -> None:
    whole = write(DATA["vtu", False], tmp_path / "whole.vtu", **MODES["raw"], SetBlockSize=96)
    content = whole.read_bytes()
    cuts = [0, 700, 701, len(content) // 2, len(content)]
    paths = [tmp_path / f"volume_1.vtu.{number:02}.part" for number in range(len(cuts) - 1)]
    for path, (first, stop) in zip(paths, pairwise(cuts), strict=True):
        path.write_bytes(content[first:stop])
    with open_xml(paths) as file:
        check_all(file, whole)


@pytest.mark.parametrize("kind", ["vtu", "vtp"])
def test_pieces_that_differ_follow_one_another(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    pieces = []
    for number in (5, 0, 9):
        if kind == "vtu":
            cells = [rng.integers(0, 20, 4).tolist() for _ in range(number)]
            points = rng.random((20 if number else 0, 3))
            pieces.append(
                piece_of(points, [centers.TETRA] * number, cells, {"a": np.arange(number)})
            )
            continue
        sections = dict.fromkeys(("Verts", "Lines", "Polys"), number)
        arrays: dict[str, dict[str, Values]] = {
            "CellData": {"a": rng.random((3 * number, 2)).astype("f4")},
            "Points": {"Points": rng.random((20 if number else 0, 3)).astype("f4")},
        }
        for section in sections:
            arrays[section] = {
                "connectivity": rng.integers(0, 20, 5 * number),
                "offsets": 5 * np.arange(1, number + 1),
            }
        counts = {f"NumberOf{name}": str(count) for name, count in sections.items()}
        pieces.append(({"NumberOfPoints": str(20 if number else 0), **counts}, arrays))
    path = tmp_path / f"file.{kind}"
    path.write_bytes(by_hand(pieces, "PolyData" if kind == "vtp" else "UnstructuredGrid"))
    with open_xml([path]) as file:
        check_all(file, path)


def test_what_one_piece_lacks_no_file_has(tmp_path: Path) -> None:
    a, b = np.arange(3.0), np.arange(3)
    with_both = piece_of(np.eye(3), [1] * 3, [[0], [1], [2]], {"a": a, "b": b, "c": b})
    with_one = piece_of(np.eye(3), [1] * 3, [[0], [1], [2]], {"c": a, "a": a})
    path = tmp_path / "file.vtu"
    path.write_bytes(by_hand([with_both, with_one]))
    with open_xml([path]) as file:
        assert list(file.arrays["cell"]) == ["a"]
        with pytest.raises(NotInBlocks, match="c: its pieces have it in different types"):
            file.blocks("cell", "c")
        with pytest.raises(KeyError):
            file.blocks("cell", "b")


def test_components_and_other_attributes_may_be_missing(tmp_path: Path) -> None:
    piece = piece_of(np.eye(3, dtype="f4"), [1], [[2]], {"a": np.array([7.0])})
    path = tmp_path / "file.vtu"
    little = ' byte_order="LittleEndian"'
    path.write_bytes(by_hand([piece], changes={little: "", "<Piece": "<Piece", "  <Cell": "<Cell"}))
    with open_xml([path]) as file:
        assert file.arrays["cell"] == {"a": (np.dtype("f8"), 1)}
        same(joined(file.blocks("cell", "a"), 9), np.array([[7.0]]))


@pytest.mark.parametrize("compressor", ["None", "ZLib"])
def test_reading_takes_a_few_blocks_of_memory(
    compressor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what numpy and Python allocate; the file has 6 MB of points and 4 MB of cells."""
    monkeypatch.setattr("aerozarr.source.files.vtk.points._HELD_BYTES", 2**16)
    n = 2**17
    lines = np.arange(2 * n).reshape(n, 2)
    path = tmp_path / "file.vtu"
    path.write_bytes(
        by_hand([piece_of(np.zeros((2 * n, 3)), [centers.LINE] * n, lines, {"a": np.ones(n)})])
    )
    if compressor != "None":
        options = {**MODES["raw"], f"SetCompressorTypeTo{compressor}": None}
        path = write(read(path), tmp_path / "again.vtu", **options)
    tracemalloc.start()
    try:
        with open_xml([path]) as file:
            for blocks in (file.points(4096), file.blocks("cell", "a"), file.cell_centers(4096)):
                assert sum(len(block) for block in blocks) % n == 0
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * 2**20
