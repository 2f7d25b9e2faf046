"""VTU and VTP files for tests: written by vtk, and by hand; and what vtk reads from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkDoubleArray, vtkIdList, vtkPoints, vtkStringArray
from vtkmodules.vtkCommonDataModel import (
    vtkCellArray,
    vtkDataSet,
    vtkPolyData,
    vtkUnstructuredGrid,
)
from vtkmodules.vtkFiltersCore import vtkCellCenters
from vtkmodules.vtkIOXML import (
    vtkXMLPolyDataReader,
    vtkXMLPolyDataWriter,
    vtkXMLUnstructuredGridReader,
    vtkXMLUnstructuredGridWriter,
)

from aerozarr.source.files.vtk import centers

Values = npt.NDArray[Any]

POINTS = 60
# Of each linear type, how many points its cells have: from, to.
SIZES = {
    centers.VERTEX: (1, 1),
    centers.POLY_VERTEX: (1, 6),
    centers.LINE: (2, 2),
    centers.POLY_LINE: (2, 7),
    centers.TRIANGLE: (3, 3),
    centers.TRIANGLE_STRIP: (3, 8),
    centers.POLYGON: (3, 9),
    centers.PIXEL: (4, 4),
    centers.QUAD: (4, 4),
    centers.TETRA: (4, 4),
    centers.VOXEL: (8, 8),
    centers.HEXAHEDRON: (8, 8),
    centers.WEDGE: (6, 6),
    centers.PYRAMID: (5, 5),
}
# Likewise of the sections of a PolyData.
SECTIONS = {"Verts": (1, 4), "Lines": (2, 5), "Polys": (3, 8), "Strips": (3, 8)}
DTYPES = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")


def random_points(rng: np.random.Generator, dtype: str = "f4") -> Values:
    """Points of which some are alike, and one is a negative zero."""
    points = rng.standard_normal((POINTS, 3)).astype(dtype)
    points[:4] = points[4]
    points[5] = -0.0
    return points


def random_ids(rng: np.random.Generator, size: tuple[int, int]) -> list[int]:
    ids: list[int] = rng.integers(0, POINTS, rng.integers(size[0], size[1] + 1)).tolist()
    return ids


def grid_of(
    points: Values, kinds: Sequence[int], count: int, dtypes: Sequence[str] = DTYPES
) -> Any:
    """A grid of cells of some types, with arrays of some dtypes."""
    rng = np.random.default_rng(0)
    grid = vtkUnstructuredGrid()
    set_points(grid, points)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        ids = random_ids(rng, SIZES[kind])
        grid.InsertNextCell(kind, len(ids), ids)
    add_arrays(grid, rng, dtypes)
    return grid


def surface_of(points: Values, count: int, dtypes: Sequence[str] = DTYPES) -> Any:
    """A surface with cells of every section, with arrays of some dtypes."""
    rng = np.random.default_rng(0)
    surface = vtkPolyData()
    set_points(surface, points)
    for section, size in SECTIONS.items():
        cells = vtkCellArray()
        for _ in range(count):
            ids = random_ids(rng, size)
            cells.InsertNextCell(len(ids), ids)
        getattr(surface, f"Set{section}")(cells)
    add_arrays(surface, rng, dtypes)
    return surface


def add_polyhedra(grid: Any, points: list[Values], count: int, scale: float) -> None:
    """Add warped cubes, tetrahedra and prisms as polyhedra, with points of their own."""
    rng = np.random.default_rng(0)
    cube = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    for number in range(count):
        if number % 3 == 0:
            corners, faces = np.array(list(product((0.0, 1.0), repeat=3))), cube
        elif number % 3 == 1:
            corners, faces = (
                rng.standard_normal((4, 3)),
                [[0, 1, 2], [0, 3, 1], [1, 3, 2], [0, 2, 3]],
            )
        else:
            n = 3 + number % 5
            angle = 2 * np.pi * np.arange(n) / n
            ring = np.stack((np.cos(angle), np.sin(angle), 0 * angle), axis=1)
            corners = np.concatenate((ring, ring + np.array([0, 0, 1])))
            sides = [[i, (i + 1) % n, n + (i + 1) % n, n + i] for i in range(n)]
            faces = [list(range(n))[::-1], list(range(n, 2 * n)), *sides]
        first = sum(map(len, points))
        warped = corners + 0.1 * rng.standard_normal(corners.shape)
        points.append(rng.standard_normal(3) + warped * scale * 10.0 ** rng.integers(-4, 1))
        ids = vtkIdList()
        flat = [len(faces)] + [i for face in faces for i in (len(face), *(first + c for c in face))]
        for i in flat:
            ids.InsertNextId(i)
        grid.InsertNextCell(centers.POLYHEDRON, ids)


def set_points(data: Any, points: Values) -> None:
    held = vtkPoints()
    held.SetData(numpy_to_vtk(points, deep=True))
    data.SetPoints(held)


def add_arrays(data: Any, rng: np.random.Generator, dtypes: Sequence[str] = DTYPES) -> None:
    for count, attributes in (
        (data.GetNumberOfPoints(), data.GetPointData()),
        (data.GetNumberOfCells(), data.GetCellData()),
    ):
        for number, dtype in enumerate(dtypes):
            shape = (count,) if number % 3 == 0 else (count, 1 + number)
            array = numpy_to_vtk(rng.integers(0, 100, shape).astype(dtype), deep=True)
            array.SetName(f"of {dtype} (ü)")
            attributes.AddArray(array)
    names = vtkStringArray()
    names.SetName("names")
    names.InsertNextValue("a text")
    time = vtkDoubleArray()
    time.SetName("TimeValue")
    time.InsertNextValue(0.5)
    data.GetFieldData().AddArray(names)
    data.GetFieldData().AddArray(time)


def write(data: Any, path: Path, **options: Any) -> Path:
    """Write a file as vtk does; options are names of the writer's setters."""
    is_surface = isinstance(data, vtkPolyData)
    writer: Any = vtkXMLPolyDataWriter() if is_surface else vtkXMLUnstructuredGridWriter()
    writer.SetInputData(data)
    writer.SetFileName(str(path))
    for name, value in options.items():
        getattr(writer, name)(*(() if value is None else (value,)))
    assert writer.Write()
    return path


def read(path: Path) -> Any:
    """What vtk reads from a file."""
    is_surface = path.suffix == ".vtp"
    reader: Any = vtkXMLPolyDataReader() if is_surface else vtkXMLUnstructuredGridReader()
    reader.SetFileName(str(path))
    reader.Update()
    return reader.GetOutput()


def centers_by_vtk(data: vtkDataSet) -> npt.NDArray[np.float64]:
    search = vtkCellCenters()
    search.SetInputData(data)
    search.Update()
    return vtk_to_numpy(search.GetOutput().GetPoints().GetData())


def arrays_by_vtk(data: Any) -> dict[tuple[str, str], Values]:
    """The point and cell arrays of what vtk read: each of shape (rows, components)."""
    found = {}
    for association, attributes in (("point", data.GetPointData()), ("cell", data.GetCellData())):
        for number in range(attributes.GetNumberOfArrays()):
            array = attributes.GetArray(number)
            rows = vtk_to_numpy(array).reshape(array.GetNumberOfTuples(), -1)
            found[association, array.GetName()] = rows
    return found


# By hand: what vtk does not write.

Piece = tuple[dict[str, str], dict[str, dict[str, Values]]]
_TYPES = {
    **{f"i{n}": f"Int{8 * n}" for n in (1, 2, 4, 8)},
    **{f"u{n}": f"UInt{8 * n}" for n in (1, 2, 4, 8)},
    **{f"f{n}": f"Float{8 * n}" for n in (4, 8)},
}


def plain(values: bytes) -> bytes:
    """An array's data as it is, after its size."""
    return len(values).to_bytes(8, "little") + values


def by_hand(
    pieces: Sequence[Piece],
    kind: str = "UnstructuredGrid",
    changes: Mapping[str, str] = {},
    pack: Callable[[bytes], bytes] = plain,
) -> bytes:
    """A file of raw data; `changes` are made to its XML, and `pack` makes an array's data."""
    data = b""
    xml = f'<VTKFile type="{kind}" byte_order="LittleEndian" header_type="UInt64">\n <{kind}>\n'
    for attributes, sections in pieces:
        said = " ".join(f'{key}="{value}"' for key, value in attributes.items())
        xml += f"  <Piece {said}>\n"
        for section, arrays in sections.items():
            xml += f"   <{section}>\n"
            for name, values in arrays.items():
                components = f'NumberOfComponents="{values.shape[1]}" ' if values.ndim == 2 else ""
                xml += (
                    f'    <DataArray type="{_TYPES[values.dtype.str[1:]]}" Name="{name}" '
                    f'{components}format="appended" offset="{len(data)}"/>\n'
                )
                data += pack(values.tobytes())
            xml += f"   </{section}>\n"
        xml += "  </Piece>\n"
    xml += f' </{kind}>\n <AppendedData encoding="raw">\n  _'
    for old, new in changes.items():
        assert old in xml, old
        xml = xml.replace(old, new, 1)
    return xml.encode() + data + b"\n </AppendedData>\n</VTKFile>\n"


def piece_of(
    points: Values,
    kinds: Sequence[int],
    cells: Sequence[Sequence[int]],
    arrays: Mapping[str, Values] = {},
    **more: Values,
) -> Piece:
    """A piece of a grid, with cell arrays, and with more arrays of its cells."""
    numbers = {"NumberOfPoints": str(len(points)), "NumberOfCells": str(len(kinds))}
    return numbers, {
        "CellData": dict(arrays),
        "Points": {"Points": points},
        "Cells": {
            "connectivity": np.array([i for ids in cells for i in ids], "i8"),
            "offsets": np.cumsum([len(ids) for ids in cells], dtype="i8"),
            "types": np.array(kinds, "u1"),
            **more,
        },
    }
