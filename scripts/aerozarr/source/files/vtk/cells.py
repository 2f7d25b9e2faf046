"""The cells of a piece, a few at a time: their types, their points and their centres."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from aerozarr.source.files.vtk.centers import (
    AT_LEAST,
    CORNERS,
    LINE,
    POLY_LINE,
    POLY_VERTEX,
    POLYGON,
    POLYHEDRON,
    QUAD,
    TRIANGLE,
    TRIANGLE_STRIP,
    VERTEX,
    Centers,
    centers_of,
)
from aerozarr.source.files.vtk.errors import DamagedVtk, NotInBlocks
from aerozarr.source.files.vtk.header import DataArray
from aerozarr.source.files.vtk.ids import Ids, IdStream, OpenPayload
from aerozarr.source.files.vtk.points import PointAccess
from aerozarr.source.files.vtk.polyhedra import Triangles, centers_of_polyhedra, open_faces

# Cells that are computed together, and their points: they stay in the cache.
_TOGETHER = 4096
# Of a polygon, which is computed point by point.
_MOST_CORNERS = 4096
# The type of a PolyData's cells, by section and number of points; any other number's is the last.
_POLY_TYPES = {
    "Verts": ({1: VERTEX}, POLY_VERTEX),
    "Lines": ({2: LINE}, POLY_LINE),
    "Polys": ({3: TRIANGLE, 4: QUAD}, POLYGON),
    "Strips": ({}, TRIANGLE_STRIP),
}


def cell_centers(
    section: str,
    count: int,
    arrays: Mapping[str, DataArray],
    points: PointAccess,
    open_payload: OpenPayload,
) -> Iterator[Centers]:
    """Yield the centres of a section's cells, shape (3, k), a few thousand at a time.

    Parameters
    ----------
    section, count, arrays
        `Cells`, or one of a PolyData; how many cells it has; and its arrays.
    points
        The piece's points.
    open_payload
        Gives an array's data.

    Raises
    ------
    DamagedVtk
        When the cells are not what they may be.
    NotInBlocks
        When the centre of a type of cell is not known here.
    """
    ends = IdStream(arrays, "offsets", open_payload, count)
    corners = IdStream(arrays, "connectivity", open_payload)
    types = IdStream(arrays, "types", open_payload, count) if section == "Cells" else None
    faces = open_faces(arrays, count, open_payload)
    last = 0
    for first in range(0, count, _TOGETHER):
        some = ends.read(min(_TOGETHER, count - first))
        kinds = None if types is None else types.read(len(some))
        for cells, sizes, ids in corners.read_slices(last, some):
            if len(ids) and not 0 <= ids.min() <= ids.max() < len(points):
                raise DamagedVtk(
                    f"its cells have points {ids.min()} to {ids.max()}, of {len(points)}"
                )
            those = _poly_kinds(section, sizes) if kinds is None else kinds[cells]
            triangles = None if faces is None else faces.read(len(sizes))
            yield _centers(those, sizes, ids, points, triangles)
        last = int(some[-1])


def _poly_kinds(section: str, sizes: Ids) -> Ids:
    known, other = _POLY_TYPES[section]
    kinds = np.full(len(sizes), other)
    for size, kind in known.items():
        kinds[sizes == size] = kind
    return kinds


def _centers(
    kinds: Ids, sizes: Ids, ids: Ids, points: PointAccess, triangles: Triangles | None
) -> Centers:
    """Return the centres of some cells."""
    is_one = (kinds == kinds[0]).all() and (sizes == sizes[0]).all()
    if is_one and kinds[0] != POLYHEDRON:
        return _of_one_kind(int(kinds[0]), ids.reshape(len(sizes), -1), points)
    centers = np.empty((3, len(sizes)))
    starts = np.cumsum(sizes) - sizes
    for kind in np.unique(kinds).tolist():
        of_kind = kinds == kind
        if kind == POLYHEDRON:
            if triangles is None:
                raise DamagedVtk("it has polyhedra without faces")
            picked = ids[np.repeat(of_kind, sizes)]
            centers[:, of_kind] = centers_of_polyhedra(of_kind, sizes, picked, points, triangles)
            continue
        for size in np.unique(sizes[of_kind]).tolist():
            which = np.flatnonzero(of_kind & (sizes == size))
            table = ids[starts[which][:, None] + np.arange(size)]
            centers[:, which] = _of_one_kind(kind, table, points)
    return centers


def _of_one_kind(kind: int, table: Ids, points: PointAccess) -> Centers:
    """Return the centres of cells of one type and number of points: shape (cells, points)."""
    size = table.shape[1]
    if kind not in CORNERS and kind not in AT_LEAST:
        raise NotInBlocks(f"it has cells of VTK's type {kind}, whose centres need the library")
    if kind == POLYGON and size > _MOST_CORNERS:
        raise NotInBlocks(f"it has a polygon of {size} points")
    if size != CORNERS.get(kind, size) or size < AT_LEAST.get(kind, 0):
        raise DamagedVtk(f"it has a cell of VTK's type {kind} with {size} points")
    taken = points.take(np.ascontiguousarray(table.T).reshape(-1))
    return centers_of(kind, np.split(taken, size, axis=1))
