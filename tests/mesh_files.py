"""Small raw files of a simulation, as vtk itself writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import vtkmodules.all as vtk
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy

Arrays = dict[str, npt.NDArray[Any]]


def surface(seed: int = 0, resolution: int = 8) -> Any:
    """Return an ellipsoid of triangles."""
    sphere = vtk.vtkSphereSource()
    sphere.SetThetaResolution(resolution)
    sphere.SetRadius(1.0 + seed / 10)
    sphere.GenerateNormalsOff()
    sphere.Update()
    return sphere.GetOutput()


def volume(seed: int = 0) -> Any:
    """Return a mesh of hexahedra, bent so that no two cells are alike."""
    image = vtk.vtkImageData()
    image.SetDimensions(5, 4, 6)
    grid = vtk.vtkAppendFilter()
    grid.AddInputData(image)
    grid.Update()
    made = grid.GetOutput()
    shape = (made.GetNumberOfPoints(), 3)
    move = np.random.default_rng(seed).uniform(-0.2, 0.2, shape).astype(np.float32)
    points = vtk.vtkPoints()
    moved = vtk_to_numpy(made.GetPoints().GetData()) + move
    points.SetData(numpy_to_vtk(moved.astype(np.float32), deep=1))
    made.SetPoints(points)
    return made


def add(data: Any, **arrays: npt.NDArray[Any]) -> Any:
    """Add arrays to the cells or to the points of a mesh: `cell_p`, `point_p`."""
    for name, values in arrays.items():
        association, _, own = name.partition("_")
        array = numpy_to_vtk(values, deep=1)
        array.SetName(own)
        of = data.GetCellData() if association == "cell" else data.GetPointData()
        of.AddArray(array)
    return data


def write(data: Any, path: Path, *, is_text: bool = False) -> None:
    """Write a mesh, by the end of the file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writers = {
        ".vtp": vtk.vtkXMLPolyDataWriter,
        ".vtu": vtk.vtkXMLUnstructuredGridWriter,
        ".vtk": vtk.vtkDataSetWriter,
        ".stl": vtk.vtkSTLWriter,
    }
    writer = writers[path.suffix]()
    writer.SetFileName(str(path))
    writer.SetInputData(data)
    if path.suffix in (".vtp", ".vtu") and is_text:
        writer.SetDataModeToAscii()
    if path.suffix in (".vtk", ".stl") and not is_text:
        writer.SetFileTypeToBinary()
    assert writer.Write()


def cut_in_parts(path: Path, *at: int) -> None:
    """Cut a file into numbered parts, and remove it."""
    content = path.read_bytes()
    for number, (first, stop) in enumerate(zip((0, *at), (*at, len(content)), strict=True)):
        path.with_name(f"{path.name}.{number:02}.part").write_bytes(content[first:stop])
    path.unlink()


# A polygon of a point that there is not, which ends the process that asks for its centre.
CRASHES = (
    "# vtk DataFile Version 3.0\na mesh\nASCII\nDATASET POLYDATA\nPOINTS 3 float\n"
    "0 0 0 1 0 0 0 1 0\nPOLYGONS 1 4\n3 0 1 900000000\n"
)
