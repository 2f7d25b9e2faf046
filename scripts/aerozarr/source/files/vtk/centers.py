"""Where the centre of a cell is, as `vtkCellCenters` has it: to the last bit.

It is the location of the cell's parametric centre, which is not the mean of its points for all
types: vtk's weights are written down here as its own code rounds them, and sums are made in its
order.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Centers = npt.NDArray[np.float64]
"""Shape (3, cells)."""

Points = Sequence[Centers]
"""Of cells of one type: the first point of each, then the second ones, and so on."""

VERTEX, POLY_VERTEX, LINE, POLY_LINE, TRIANGLE, TRIANGLE_STRIP, POLYGON = range(1, 8)
PIXEL, QUAD, TETRA, VOXEL, HEXAHEDRON, WEDGE, PYRAMID = range(8, 15)
POLYHEDRON = 42

_THIRD = 1.0 / 3.0
# 1/3 as vtk writes it where it does not divide.
_ROUNDED = 0.333333
_WEDGE = (
    *((1.0 - _ROUNDED - _ROUNDED) * 0.5, _ROUNDED * 0.5, _ROUNDED * 0.5),
    *((1.0 - _ROUNDED - _ROUNDED) * 0.5, _ROUNDED * 0.5, _ROUNDED * 0.5),
)
_PYRAMID = (0.6 * 0.6 * 0.8, 0.4 * 0.6 * 0.8, 0.4 * 0.4 * 0.8, 0.6 * 0.4 * 0.8, 0.2)
# Of each corner, in their order, from a sum that begins with zero.
_WEIGHTS: dict[int, tuple[float, ...]] = {
    QUAD: (0.25,) * 4,
    HEXAHEDRON: (0.125,) * 8,
    WEDGE: _WEDGE,
    PYRAMID: _PYRAMID,
}
# How many points a cell of each type has, where that is fixed.
CORNERS = {kind: len(weights) for kind, weights in _WEIGHTS.items()}
CORNERS |= {VERTEX: 1, LINE: 2, TRIANGLE: 3, PIXEL: 4, TETRA: 4, VOXEL: 8}
# The least number of points, where it is not.
AT_LEAST = {POLY_VERTEX: 1, POLY_LINE: 2, TRIANGLE_STRIP: 3, POLYGON: 3}


def centers_of(kind: int, points: Points) -> Centers:
    """Return the centres of cells of one type and number of points.

    Parameters
    ----------
    kind
        VTK's number of the type: a key of `CORNERS` or `AT_LEAST`.
    points
        Their points, as many as the type has.
    """
    with np.errstate(all="ignore"):  # of points that are not finite, as vtk computes with them
        if kind in _WEIGHTS:
            return _weighted(points, _WEIGHTS[kind])
        return _FORMULAS[kind](points)


def _weighted(points: Points, weights: tuple[float, ...]) -> Centers:
    total = 0.0 + points[0] * weights[0]
    for corner, weight in zip(points[1:], weights[1:], strict=True):
        total += corner * weight
    return total


def _middle_point(points: Points) -> Centers:
    return points[len(points) // 2]


def _middle_of_line(points: Points) -> Centers:
    first = (len(points) - 1) // 2
    # A line of an odd number of points has its centre in the segment behind the middle.
    begin, end = points[first], points[first + 1]
    return begin + 0.5 * (end - begin)


def _triangle(points: Points) -> Centers:
    return points[0] * (1.0 - _THIRD - _THIRD) + points[1] * _THIRD + points[2] * _THIRD


def _strip(points: Points) -> Centers:
    first = (len(points) - 2) // 2
    one, two, three = points[first : first + 3]
    if first % 2:
        one, two = two, one
    return one * (1.0 - _ROUNDED - _ROUNDED) + two * _ROUNDED + three * _ROUNDED


def _pixel(points: Points) -> Centers:
    first = points[0]
    return first + 0.5 * (points[1] - first) + 0.5 * (points[2] - first)


def _tetra(points: Points) -> Centers:
    return points[1] * 0.25 + points[2] * 0.25 + points[3] * 0.25 + points[0] * 0.25


def _voxel(points: Points) -> Centers:
    first = points[0]
    return first + 0.5 * (points[1] - first) + 0.5 * (points[2] - first) + 0.5 * (points[4] - first)


def _polygon(points: Points) -> Centers:
    """Return the middle of the rectangle along the first edge that holds a polygon."""
    points = [np.ascontiguousarray(point) for point in points]  # vectors are taken apart a lot
    origin, along = points[0], points[1] - points[0]
    across = cross(_normal(points), along)
    along_2, across_2 = dot(along, along), dot(across, across)
    low_s = high_s = low_t = high_t = np.zeros_like(origin[0])
    for point in points[1:]:
        offset = point - origin
        s, t = dot(offset, along) / along_2, dot(offset, across) / across_2
        # Not numpy's minimum, which keeps a NaN.
        low_s, high_s = np.where(s < low_s, s, low_s), np.where(s > high_s, s, high_s)
        low_t, high_t = np.where(t < low_t, t, low_t), np.where(t > high_t, t, high_t)

    def corner(s: npt.NDArray[np.float64], t: npt.NDArray[np.float64]) -> Centers:
        return origin + s * along + t * across

    low = corner(low_s, low_t)
    fitted = low + 0.5 * (corner(high_s, low_t) - low) + 0.5 * (corner(low_s, high_t) - low)
    # Without an extent, vtk leaves the axes as they are.
    flat = (along_2 == 0.0) | (across_2 == 0.0)
    return np.where(flat, origin + 0.5 * along + 0.5 * across, fitted)


def _normal(points: Points) -> Centers:
    """Return the normals of polygons, from a fan of triangles from their first points."""
    total = np.zeros_like(points[0])
    for one, two in pairwise(points[1:]):
        total += cross(one - points[0], two - points[0])
    length = np.sqrt(dot(total, total))
    return np.where(length != 0.0, total / length, total)


def cross(one: Centers, two: Centers) -> Centers:
    """Return cross products of vectors, shape (3, k)."""
    (ax, ay, az), (bx, by, bz) = one, two
    return np.stack((ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx))


def dot(one: Centers, two: Centers) -> npt.NDArray[np.float64]:
    """Return scalar products of vectors, shape (3, k), summed in the order of their components."""
    (ax, ay, az), (bx, by, bz) = one, two
    total: npt.NDArray[np.float64] = ax * bx + ay * by + az * bz
    return total


_FORMULAS = {
    VERTEX: _middle_point,
    POLY_VERTEX: _middle_point,
    LINE: _middle_of_line,
    POLY_LINE: _middle_of_line,
    TRIANGLE: _triangle,
    TRIANGLE_STRIP: _strip,
    POLYGON: _polygon,
    PIXEL: _pixel,
    TETRA: _tetra,
    VOXEL: _voxel,
}
