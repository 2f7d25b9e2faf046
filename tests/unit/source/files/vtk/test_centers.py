"""Cell centres: those of `vtkCellCenters`, to the last bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from vtkmodules.vtkCommonDataModel import vtkUnstructuredGrid

from aerozarr.source.files.vtk import centers
from aerozarr.source.files.vtk.errors import DamagedVtk, NotInBlocks
from aerozarr.source.files.vtk.xml import open_xml
from unit.source.files.vtk.vtk_files import (
    POINTS,
    SIZES,
    Values,
    add_polyhedra,
    by_hand,
    centers_by_vtk,
    grid_of,
    piece_of,
    random_points,
    read,
    set_points,
    write,
)


def check(path: Path, rows: int = 50) -> None:
    with open_xml([path]) as file:
        ours = np.concatenate(list(file.cell_centers(rows)))
    theirs = centers_by_vtk(read(path))
    assert ours.dtype == theirs.dtype
    # A NaN is one, whatever its bits are.
    different = (ours.view("u8") != theirs.view("u8")) & ~(np.isnan(ours) & np.isnan(theirs))
    assert not different.any(), np.flatnonzero(different.any(axis=1))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("kind", SIZES)
def test_each_linear_type(kind: int, dtype: str, tmp_path: Path) -> None:
    points = random_points(np.random.default_rng(kind), dtype)
    check(write(grid_of(points, [kind], 200, []), tmp_path / "file.vtu"))


def test_types_that_are_mixed_and_points_far_and_near(tmp_path: Path) -> None:
    points = random_points(np.random.default_rng(0), "f8")
    points[::3] *= 1e-7
    points[1::7] += 1e5
    check(write(grid_of(points, list(SIZES), 500, []), tmp_path / "file.vtu"))


def test_points_that_are_not_finite(tmp_path: Path) -> None:
    points = random_points(np.random.default_rng(0))
    points[10:14] = np.nan, np.inf, -np.inf
    check(write(grid_of(points, list(SIZES), 500, []), tmp_path / "file.vtu"))


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("mixed", [False, True])
def test_polyhedra(mixed: bool, scale: float, tmp_path: Path) -> None:
    """Down to those whose volume vtk takes for none."""
    first = random_points(np.random.default_rng(0), "f8")
    grid = grid_of(first, list(SIZES), 30, []) if mixed else vtkUnstructuredGrid()
    points = [first]
    add_polyhedra(grid, points, 100, scale)
    if mixed:
        for _ in range(20):
            grid.InsertNextCell(centers.TETRA, 4, [3, 1, 2, 0])
        add_polyhedra(grid, points, 10, scale)
    set_points(grid, np.concatenate(points))
    check(write(grid, tmp_path / "file.vtu"))


CUBE = [[0, 3, 2, 1], [4, 5, 6, 7], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7]]
TETRA = [[0, 1, 2], [0, 3, 1], [1, 3, 2], [0, 2, 3]]


def polyhedra_by_hand(**changes: Values) -> bytes:
    """A cube, a vertex and a tetrahedron, their faces in the order of older files."""
    rng = np.random.default_rng(2)
    streams = [
        [len(faces), *(i for face in faces for i in (len(face), *face))] for faces in (CUBE, TETRA)
    ]
    ends = np.cumsum([len(stream) for stream in streams])
    more = {"faces": np.concatenate(streams), "faceoffsets": np.array([ends[0], -1, ends[1]])}
    return by_hand(
        [
            piece_of(
                rng.random((8, 3)),
                [centers.POLYHEDRON, centers.VERTEX, centers.POLYHEDRON],
                [range(8), [2], range(4)],
                **{**more, **changes},
            )
        ]
    )


def test_polyhedra_of_older_files(tmp_path: Path) -> None:
    path = tmp_path / "file.vtu"
    path.write_bytes(polyhedra_by_hand())
    check(path)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"faces": np.arange(3)}, "refer to more faces"),
        ({"faces": np.full(48, 7)}, "do not fit together"),
        ({"faces": np.full(48, 4097)}, "a polyhedron of 4097 faces"),
        ({"faces": np.full(48, 0)}, "without points or faces"),
        ({"faces": np.full(48, -1)}, "without points or faces"),
        ({"faces": np.array([1, 3, 0, 1, 2] + [1] * 26 + [1, 3, 0, 1, 9] + [0] * 12)}, "0 to 9"),
        ({"faceoffsets": np.array([31, -1, 30])}, "without points or faces"),
        ({"faceoffsets": np.array([31, -1, 49])}, "refer to more faces"),
        ({"faceoffsets": np.array([31, 48])}, "bytes, not those of 3"),
        ({"faceoffsets": np.array([-1, -1, -1])}, "without points or faces"),
        ({"faceoffsets": np.zeros(0, "i8")}, "polyhedra without faces"),
    ],
)
def test_faces_that_are_damaged(changes: dict[str, Values], cause: str, tmp_path: Path) -> None:
    path = tmp_path / "file.vtu"
    path.write_bytes(polyhedra_by_hand(**changes))
    with open_xml([path]) as file, pytest.raises((DamagedVtk, NotInBlocks), match=cause):
        list(file.cell_centers())


@pytest.mark.parametrize(
    ("kind", "ids", "error", "cause"),
    [
        (centers.HEXAHEDRON, range(7), DamagedVtk, "type 12 with 7 points"),
        (centers.POLYGON, range(2), DamagedVtk, "type 7 with 2 points"),
        (centers.TETRA, [0, 1, 2, POINTS], DamagedVtk, f"points 0 to {POINTS}, of {POINTS}"),
        (centers.TETRA, [-1, 1, 2, 3], DamagedVtk, "points -1 to 3"),
        (24, range(10), NotInBlocks, "type 24"),
        (0, [], NotInBlocks, "type 0"),
        (16, range(12), NotInBlocks, "type 16"),
    ],
)
def test_cells_whose_centre_cannot_be_told(
    kind: int, ids: list[int], error: type[Exception], cause: str, tmp_path: Path
) -> None:
    path = tmp_path / "file.vtu"
    path.write_bytes(by_hand([piece_of(np.zeros((POINTS, 3)), [1, kind], [[0], ids])]))
    with open_xml([path]) as file, pytest.raises(error, match=cause):
        list(file.cell_centers())
