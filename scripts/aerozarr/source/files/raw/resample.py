"""Points spread evenly over a surface, the same ones wherever they are made."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from aerozarr.source.files.raw.choose import Unreadable

Floats = npt.NDArray[np.float64]


def resample(points: Floats, triangles: npt.NDArray[Any], count: int, seed: int) -> Floats:
    """Return points on a surface, so many, as many on each part as it has area.

    The area is cut into `count` equal shares, one behind the other in the order of the triangles,
    and each gets one point at random. Only sums, products and roots are used, and the raw numbers
    of the generator, so that the same points come out everywhere.

    Parameters
    ----------
    points
        Shape (n, 3).
    triangles
        Shape (m, 3): numbers of points.
    count, seed
        How many points, and what the random numbers begin with.

    Returns
    -------
    float64 array, shape (count, 3)

    Raises
    ------
    Unreadable
        When the surface has no area.
    """
    origin, one, two = (points[triangles[:, corner]] for corner in range(3))
    normals = np.cross(one - origin, two - origin)
    ends = np.cumsum(np.sqrt((normals * normals).sum(axis=1)))
    if not np.isfinite(ends[-1]) or ends[-1] <= 0:
        raise Unreadable("its surface has no area", "name the file of a surface")
    raw = np.random.PCG64(seed).random_raw(3 * count)
    random = (raw >> np.uint64(11)).astype(np.float64).reshape(3, count) * 2.0**-53
    shares = (np.arange(count) + random[0]) / count * ends[-1]
    chosen = np.minimum(np.searchsorted(ends, shares, side="right"), len(ends) - 1)
    root = np.sqrt(random[1])
    weights = 1.0 - root, root * (1.0 - random[2]), root * random[2]
    corners = origin[chosen], one[chosen], two[chosen]
    made: Floats = sum(w[:, None] * c for w, c in zip(weights, corners, strict=True))
    return made
