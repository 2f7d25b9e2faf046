"""Polyhedra: their faces, which a file has apart from their points, and their centres.

vtk has the centre where that of the volume is, and tells it by the box around the cell's points.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from aerozarr.source.files.vtk.centers import Centers, cross, dot
from aerozarr.source.files.vtk.errors import DamagedVtk, NotInBlocks
from aerozarr.source.files.vtk.header import DataArray
from aerozarr.source.files.vtk.ids import Ids, IdStream, OpenPayload
from aerozarr.source.files.vtk.points import PointAccess

# Six times a volume that vtk takes for none.
_NO_VOLUME = 1e-12
# What the faces of a few cells may refer to, and of faces that one cell may have.
_MOST = 2**20
_MOST_FACES = 4096


class Triangles(NamedTuple):
    """The faces of some cells, cut into triangles as vtk does: a fan from the first point.

    Attributes
    ----------
    cells
        Which of the cells each triangle is of, ascending.
    corners
        The triangles' points, shape (3, triangles).
    """

    cells: Ids
    corners: Ids


class Faces(Protocol):
    """The faces of cells in their order."""

    def read(self, count: int) -> Triangles:
        """Return the faces of the next cells."""
        ...


def open_faces(
    arrays: Mapping[str, DataArray], count: int, open_payload: OpenPayload
) -> Faces | None:
    """Return the faces of a piece's cells, or None when it has none.

    Parameters
    ----------
    arrays, count, open_payload
        Of the piece's cells: their arrays, how many cells, and what gives an array's data.
    """
    for name, kind in (("polyhedron_offsets", _Faces), ("faceoffsets", _OldFaces)):
        if name in arrays and open_payload(arrays[name]).nbytes:
            return kind(arrays, count, open_payload)
    return None


class _Faces:
    """As vtk writes faces since 9.4: each a cell of its own, of which polyhedra have a list."""

    def __init__(
        self, arrays: Mapping[str, DataArray], count: int, open_payload: OpenPayload
    ) -> None:
        self._cell_ends = IdStream(arrays, "polyhedron_offsets", open_payload, count)
        self._faces = IdStream(arrays, "polyhedron_to_faces", open_payload)
        self._face_ends = IdStream(arrays, "face_offsets", open_payload)
        self._corners = IdStream(arrays, "face_connectivity", open_payload)
        self._last_face = self._last_corner = 0

    def read(self, count: int) -> Triangles:
        """Return the faces of the next cells."""
        cell_ends = self._cell_ends.read(count)
        faces = np.diff(cell_ends, prepend=self._last_face)
        _check_slice(faces)
        listed = self._faces.read(int(faces.sum()))
        if not np.array_equal(listed, np.arange(self._last_face, cell_ends[-1])):
            raise NotInBlocks("its polyhedra do not have their faces in order")
        face_ends = self._face_ends.read(len(listed))
        sizes = np.diff(face_ends, prepend=self._last_corner)
        _check_slice(sizes)
        corners = self._corners.read(int(sizes.sum()))
        self._last_face = int(cell_ends[-1])
        self._last_corner += len(corners)
        return _fans(np.repeat(np.arange(count), faces), np.cumsum(sizes) - sizes, sizes, corners)


class _OldFaces:
    """As vtk wrote faces before: of each polyhedron its number of faces, and theirs of points."""

    def __init__(
        self, arrays: Mapping[str, DataArray], count: int, open_payload: OpenPayload
    ) -> None:
        self._ends = IdStream(arrays, "faceoffsets", open_payload, count)
        self._stream = IdStream(arrays, "faces", open_payload)
        self._last = 0

    def read(self, count: int) -> Triangles:
        """Return the faces of the next cells."""
        ends = self._ends.read(count)
        # Cells that are no polyhedra have -1.
        ends = np.maximum.accumulate(np.where(ends < 0, self._last, ends))
        sizes = np.diff(ends, prepend=self._last)
        _check_slice(sizes)
        stream = self._stream.read(int(sizes.sum()))
        stops = ends - self._last
        self._last = int(ends[-1])
        cells = np.flatnonzero(sizes)
        at = (stops - sizes)[cells]
        left, at = stream[at], at + 1
        if left.max(initial=0) > _MOST_FACES:
            raise NotInBlocks(f"it has a polyhedron of {left.max()} faces")
        found_cells, found_starts, found_sizes = [], [], []
        # The first face of every cell, then the second one of those that have one, and so on.
        while (left > 0).any():
            more = left > 0
            cells, at, left = cells[more], at[more], left[more] - 1
            _check_inside(at, stops[cells])
            face_sizes = stream[at]
            at = at + 1
            if face_sizes.min() < 0:
                raise DamagedVtk("a face of its cells has fewer than no points")
            _check_inside(at + face_sizes - 1, stops[cells])
            found_cells.append(cells)
            found_starts.append(at)
            found_sizes.append(face_sizes)
            at = at + face_sizes
        if not found_cells:
            none = np.zeros(0, np.int64)
            return Triangles(none, np.zeros((3, 0), np.int64))
        of_cell = np.concatenate(found_cells)
        order = np.argsort(of_cell, kind="stable")
        starts, sizes = np.concatenate(found_starts)[order], np.concatenate(found_sizes)[order]
        return _fans(of_cell[order], starts, sizes, stream)


def _check_slice(sizes: Ids) -> None:
    if sizes.min(initial=0) < 0:
        raise DamagedVtk("the offsets of its cells' faces descend")
    if sizes.max(initial=0) > _MOST or sizes.sum() > _MOST:
        raise NotInBlocks("it has polyhedra of millions of faces")


def _check_inside(at: Ids, stops: Ids) -> None:
    if (at >= stops).any():
        raise DamagedVtk("the faces of its cells do not fit together")


def _fans(cells: Ids, starts: Ids, sizes: Ids, corners: Ids) -> Triangles:
    """Return triangles of faces, given where each begins among the corners."""
    triangles = np.maximum(sizes - 2, 0)
    number = np.arange(triangles.sum()) - np.repeat(np.cumsum(triangles) - triangles, triangles)
    first = np.repeat(starts, triangles)
    second = first + 1 + number
    return Triangles(np.repeat(cells, triangles), corners[np.stack((first, second, second + 1))])


def centers_of_polyhedra(
    which: npt.NDArray[np.bool_], sizes: Ids, ids: Ids, points: PointAccess, triangles: Triangles
) -> Centers:
    """Return the centres of those of some cells that are polyhedra.

    Parameters
    ----------
    which, sizes
        Which of the cells are polyhedra, and how many points each cell has.
    ids
        The polyhedra's points, one cell after the other.
    points
        The piece's points.
    triangles
        The faces of all of the cells.

    Raises
    ------
    DamagedVtk
        When a polyhedron has no points, or no faces.
    """
    count = int(which.sum())
    sizes = sizes[which]
    is_theirs = which[triangles.cells]
    of, corners = (
        (np.cumsum(which) - 1)[triangles.cells[is_theirs]],
        triangles.corners[:, is_theirs],
    )
    if sizes.min() < 1 or not np.bincount(of, minlength=count).all():
        raise DamagedVtk("it has a polyhedron without points or faces")
    if not 0 <= corners.min() <= corners.max() < len(points):
        raise DamagedVtk(
            f"its faces have points {corners.min()} to {corners.max()}, of {len(points)}"
        )
    taken = np.ascontiguousarray(points.take(corners.reshape(-1)))
    one, two, three = taken.reshape(3, 3, -1).swapaxes(0, 1)
    own = np.ascontiguousarray(points.take(ids))
    starts = np.cumsum(sizes) - sizes
    with np.errstate(all="ignore"):  # of points that are not finite, as vtk computes with them
        # bincount adds in the order of the triangles, as vtk does.
        part = dot(one, cross(two, three))
        volume = np.bincount(of, part, count)
        moment = _sums(of, part * (one + two + three), count)
        mean = _sums(np.repeat(np.arange(count), sizes), own, count) * (1.0 / sizes)
        center = np.where(np.abs(volume) > _NO_VOLUME, moment * (1.0 / (4.0 * volume)), mean)
        low = np.minimum.reduceat(own, starts, axis=1)
        high = np.maximum.reduceat(own, starts, axis=1)
        share = (center - low) / (high - low)
        centers: Centers = (1.0 - share) * low + share * high
    return centers


def _sums(of: Ids, values: npt.NDArray[np.float64], count: int) -> Centers:
    """Return sums of vectors by cell, added in their order."""
    return np.stack([np.bincount(of, column, count) for column in values])
