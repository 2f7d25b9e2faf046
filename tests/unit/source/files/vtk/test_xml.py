"""VTU and VTP files: what is read in blocks is what vtk reads, to the last bit."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aerozarr.source.files.vtk import centers
from aerozarr.source.files.vtk.errors import DamagedVtk, NotInBlocks
from aerozarr.source.files.vtk.xml import VtkXml, open_xml
from unit.source.files.vtk.vtk_files import (
    DTYPES,
    POINTS,
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
from vtkmodules.util.numpy_support import vtk_to_numpy

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
    }
    path = write(DATA[kind, compressor == "LZMA"], tmp_path / f"file.{kind}", **options)
    with open_xml([path]) as file:
        check_all(file, path)
