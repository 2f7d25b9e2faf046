"""Raw files as the vtk library reads them, whole: for all kinds, and to compare with.

It needs the package vtk (`requirements-vtk.txt`). What is here runs in a process of its own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from aerozarr.config.file_patterns import whole_name
from aerozarr.config.raw_keys import RawKey, parse_raw_key
from aerozarr.errors import SettingsError
from aerozarr.messages import printable
from aerozarr.source.files.raw.choose import Names, Unreadable, choose
from aerozarr.source.files.raw.resample import resample

GET_AGAIN = "get the file again from where the dataset comes from, or write it again"
_SURFACE = "name the file of a surface, of triangles or other polygons"

# Bytes of a file that are looked at together, and what may lie across two of such pieces.
_PIECE = 2**20
_MARKS = (b"<!DOCTYPE", b"<!ENTITY")
_OVERLAP = max(map(len, _MARKS))

# Where in vtk an error is, in its text.
_WHERE = re.compile(r"^\w+: In \S+, line \d+\s*|\w+ \(0x[0-9a-f]+\): ")

Array = npt.NDArray[Any]


def import_vtk(file: str) -> None:
    """Import what reads raw files.

    Raises
    ------
    SettingsError
        When vtk is not installed.
    """
    try:
        import vtkmodules.util.numpy_support
        import vtkmodules.vtkFiltersCore
        import vtkmodules.vtkFiltersGeometry
        import vtkmodules.vtkFiltersVerdict
        import vtkmodules.vtkIOGeometry
        import vtkmodules.vtkIOLegacy
        import vtkmodules.vtkIOXML  # noqa: F401 - so that a fork has it already
    except ImportError:
        raise SettingsError(
            f"filemap: {file!r} is read by the package vtk. Install it: "
            "pip install -r requirements-vtk.txt."
        ) from None


class LibraryFile:
    """A file that vtk has read.

    Parameters
    ----------
    paths
        The file, or its parts in order.
    wanted
        The names of the arrays that will be asked for: others are not read, where vtk can leave
        them out. By default all.

    Raises
    ------
    Unreadable
        When vtk cannot read it.
    """

    def __init__(self, paths: Sequence[Path], wanted: Collection[str] | None = None) -> None:
        self._errors = _catch_errors()
        self._left_out: dict[Literal["point", "cell"], list[str]] = {"point": [], "cell": []}
        self._data = self._read(paths, wanted)
        self.n_points = int(self._data.GetNumberOfPoints())
        self.n_cells = int(self._data.GetNumberOfCells())
        if not self.n_points:
            raise Unreadable("vtk finds no points in it", GET_AGAIN)

    def answer(self, question: Sequence[Any]) -> tuple[dict[str, Any], Array | None]:
        """Return what a question asks for.

        `names`, or a key of a file map, a seed, and the paths of a surface.
        """
        if question[0] == "names":
            return {"names": {kind: list(of) for kind, of in self.names().items()}}, None
        key = parse_raw_key(question[0])
        array = self.take(key, question[1], [Path(path) for path in question[2]])
        association = key.association or choose(key, self.names())
        return {"association": association}, array

    def names(self) -> Names:
        """Return the names of its arrays."""
        return {
            "point": [*_names_of(self._data.GetPointData()), *self._left_out["point"]],
            "cell": [*_names_of(self._data.GetCellData()), *self._left_out["cell"]],
        }

    def take(self, key: RawKey, seed: int = 0, surface: Sequence[Path] = ()) -> Array:
        """Return an array, or what is derived from the mesh.

        Parameters
        ----------
        key
            What is asked for.
        seed
            Of a resampling.
        surface
            The file that distances are to.

        Raises
        ------
        Unreadable
            When it has no such thing.
        """
        if key.derived is None:
            return self._array(key)
        if key.derived == "points":
            return self._points()
        if key.derived == "cell_centers":
            return self._cell_centers()
        if key.derived == "cell_normals":
            return self._cell_normals()
        if key.derived == "cell_areas":
            return self._cell_areas()
        if key.derived == "signed_distance":
            return self._signed_distance(key, surface)
        points, triangles = self._triangles()
        return resample(points, triangles, key.count, seed)

    def _array(self, key: RawKey) -> Array:
        association = choose(key, self.names())
        data = self._data.GetPointData() if association == "point" else self._data.GetCellData()
        array = data.GetArray(key.name)
        if array is None:
            kind = data.GetAbstractArray(key.name).GetDataTypeAsString()
            what = f"{association} array {printable(key.name)!r}"
            raise Unreadable(
                f"the values of its {what} are of no number type ({kind})",
                "write an array of numbers, or name another one in filemap",
            )
        return _to_numpy(array)

    def _points(self) -> Array:
        if not hasattr(self._data, "GetPoints") or self._data.GetPoints() is None:
            raise Unreadable(
                f"its points are not written down ({self._data.GetClassName()})",
                "write it as an unstructured grid or as polygons",
            )
        return _to_numpy(self._data.GetPoints().GetData())

    def _cell_centers(self) -> Array:
        from vtkmodules.vtkFiltersCore import vtkCellCenters

        centers = self._filtered(vtkCellCenters()).GetPoints()
        array = np.empty((0, 3)) if centers is None else _to_numpy(centers.GetData())
        return self._of_cells(array, "centres")

    def _cell_normals(self) -> Array:
        from vtkmodules.vtkFiltersCore import vtkPolyDataNormals

        normals = vtkPolyDataNormals()
        normals.ComputeCellNormalsOn()
        normals.ComputePointNormalsOff()
        # As the cells are: none turned round, and none of their points doubled.
        normals.SplittingOff()
        normals.ConsistencyOff()
        normals.AutoOrientNormalsOff()
        made = self._filtered(normals, self.surface("normals")).GetCellData().GetNormals()
        array = np.empty((0, 3), np.float32) if made is None else _to_numpy(made)
        return self._of_cells(array, "normals")

    def _cell_areas(self) -> Array:
        from vtkmodules.vtkFiltersVerdict import vtkCellSizeFilter

        self._check_surface("areas")
        sizes = vtkCellSizeFilter()
        sizes.ComputeVertexCountOff()
        sizes.ComputeLengthOff()
        sizes.ComputeVolumeOff()
        sizes.ComputeAreaOn()
        made = self._filtered(sizes).GetCellData().GetArray("Area")
        array = np.empty(0) if made is None else _to_numpy(made)
        return self._of_cells(array, "areas")

    def _signed_distance(self, key: RawKey, surface: Sequence[Path]) -> Array:
        from vtkmodules.util.numpy_support import numpy_to_vtk
        from vtkmodules.vtkCommonCore import vtkDoubleArray
        from vtkmodules.vtkFiltersCore import vtkImplicitPolyDataDistance

        points = self._points() if key.association == "point" else self._cell_centers()
        distance = vtkImplicitPolyDataDistance()
        other = LibraryFile(surface, wanted=())  # which from now on is told of all errors
        distance.SetInput(other.surface("distances to it"))
        made = vtkDoubleArray()
        places = numpy_to_vtk(points.astype(np.float64))  # type: ignore[no-untyped-call] # vtk's own Python
        distance.FunctionValue(places, made)
        other._check()
        return _to_numpy(made)

    def _of_cells(self, array: Array, what: str) -> Array:
        if len(array) != self.n_cells:
            raise Unreadable(
                f"vtk finds {len(array)} {what} of its {self.n_cells} cells",
                "write it without empty cells, and without vertices and lines",
            )
        return array

    def _check_surface(self, what: str) -> None:
        dimension = self._data.GetMaxSpatialDimension()
        if dimension != 2:
            raise Unreadable(
                f"it has no {what} of cells: its cells have {dimension} dimensions, and a "
                "surface's have 2",
                _SURFACE,
            )

    def surface(self, what: str) -> Any:
        """Return it as polygons, in the order of its cells."""
        from vtkmodules.vtkCommonDataModel import vtkPolyData
        from vtkmodules.vtkFiltersGeometry import vtkGeometryFilter

        self._check_surface(what)
        if isinstance(self._data, vtkPolyData):
            return self._data
        polygons = vtkGeometryFilter()
        polygons.PassThroughCellIdsOn()
        polygons.MergingOff()
        made = self._filtered(polygons)
        order = _to_numpy(made.GetCellData().GetArray(polygons.GetOriginalCellIdsName()))
        if not np.array_equal(order, np.arange(self.n_cells)):
            raise Unreadable(f"vtk puts its cells into another order for their {what}", _SURFACE)
        return made

    def _triangles(self) -> tuple[Array, Array]:
        """Return the points of its surface, and its triangles as three of them each."""
        from vtkmodules.vtkFiltersCore import vtkTriangleFilter

        triangles = vtkTriangleFilter()
        triangles.PassVertsOff()
        triangles.PassLinesOff()
        made = self._filtered(triangles, self.surface("triangles"))
        corners = _to_numpy(made.GetPolys().GetConnectivityArray()).reshape(-1, 3)
        points = _to_numpy(made.GetPoints().GetData()).astype(np.float64)
        if not len(corners) or corners.min() < 0 or corners.max() >= len(points):
            raise Unreadable("it has no surface of triangles", _SURFACE)
        return points, corners

    def _filtered(self, filtering: Any, data: Any = None) -> Any:
        filtering.SetInputData(self._data if data is None else data)
        filtering.Update()
        self._check()
        return filtering.GetOutput()

    def _read(self, paths: Sequence[Path], wanted: Collection[str] | None) -> Any:
        suffix = Path(whole_name(paths[0].name)).suffix.lower()
        if suffix in (".vtp", ".vtu"):
            for path in paths:
                _refuse_entities(path)
        reader = _reader(suffix)
        # Held until all is read: a stream does not own its bytes.
        content = None
        if len(paths) == 1:
            reader.SetFileName(str(paths[0]))
        else:
            content = _stream_of(paths, reader)
        if wanted is not None and suffix in (".vtp", ".vtu"):
            self._leave_out(reader, wanted)
        reader.Update()
        del content
        self._check()
        return reader.GetOutput()

    def _leave_out(self, reader: Any, wanted: Collection[str]) -> None:
        reader.UpdateInformation()
        self._check()
        selections = {
            "point": reader.GetPointDataArraySelection(),
            "cell": reader.GetCellDataArraySelection(),
        }
        for association, left_out in self._left_out.items():
            selection = selections[association]
            names = [selection.GetArrayName(n) for n in range(selection.GetNumberOfArrays())]
            left_out += [name for name in names if name not in wanted]
            for name in left_out:
                selection.DisableArray(name)

    def _check(self) -> None:
        if self._errors:
            # ERROR: In vtkXMLReader.cxx, line 1\nvtkXMLReader (0x1234): Cannot read …
            text = _WHERE.sub("", self._errors[0])
            said = printable(" ".join(text.split()))[:300]
            raise Unreadable(f"vtk cannot read it: {said}", GET_AGAIN)


def _reader(suffix: str) -> Any:
    from vtkmodules.vtkIOGeometry import vtkSTLReader
    from vtkmodules.vtkIOLegacy import vtkDataSetReader
    from vtkmodules.vtkIOXML import vtkXMLPolyDataReader, vtkXMLUnstructuredGridReader

    if suffix == ".vtp":
        return vtkXMLPolyDataReader()
    if suffix == ".vtu":
        return vtkXMLUnstructuredGridReader()
    if suffix == ".stl":
        return vtkSTLReader()
    reader = vtkDataSetReader()
    # By itself it takes the first array of each kind.
    for kind in ("Scalars", "Vectors", "Normals", "Tensors", "TCoords", "Fields"):
        getattr(reader, f"ReadAll{kind}On")()
    return reader


def _stream_of(paths: Sequence[Path], reader: Any) -> Array:
    """Have a reader read parts of a file as one; return what must be kept until it has."""
    from vtkmodules.vtkIOCore import vtkMemoryResourceStream

    sizes = [path.stat().st_size for path in paths]
    content = np.empty(sum(sizes), np.uint8)
    first = 0
    for path, size in zip(paths, sizes, strict=True):
        with path.open("rb") as file:
            if file.readinto(content[first : first + size].data) != size:
                raise Unreadable("it became shorter while it was read", GET_AGAIN)
        first += size
    stream = vtkMemoryResourceStream()
    stream.SetBuffer(content, content.nbytes)
    reader.SetStream(stream)
    reader.ReadFromInputStreamOn()
    return content


def _refuse_entities(path: Path) -> None:
    """Refuse XML with a document type or entities, before vtk unfolds them."""
    end = b""
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            if not end and (b"\0" in piece[:4] or piece[:2] in (b"\xfe\xff", b"\xff\xfe")):
                raise Unreadable("its XML is no UTF-8", "write it as UTF-8")
            text = end + piece
            if any(mark in text for mark in _MARKS):
                # In appended data it means nothing, but nobody's data has it there by chance.
                raise Unreadable(
                    "its XML has a document type or entities, which no VTK file has", GET_AGAIN
                )
            end = text[-_OVERLAP:]


def _catch_errors() -> list[str]:
    """Return a list to which the text of each error is added that vtk tells anybody from now on."""
    from vtkmodules.vtkCommonCore import (
        vtkCommand,
        vtkLogger,
        vtkOutputWindow,
        vtkStringOutputWindow,
    )

    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)
    window = vtkStringOutputWindow()
    vtkOutputWindow.SetInstance(window)
    errors: list[str] = []

    def add(*_: object) -> None:
        errors.append(window.GetOutput().strip())

    window.AddObserver(vtkCommand.ErrorEvent, add)
    return errors


def _names_of(data: Any) -> list[str]:
    names = (data.GetAbstractArray(number).GetName() for number in range(data.GetNumberOfArrays()))
    return [name for name in names if name]


def _to_numpy(array: Any) -> Array:
    from vtkmodules.util.numpy_support import vtk_to_numpy

    made: Array = vtk_to_numpy(array)  # type: ignore[no-untyped-call] # vtk's own Python
    return made
