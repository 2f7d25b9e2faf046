"""The bundled example source: potential flow around ten ellipsoidal "cars".

Each car is an ellipsoid at rest, centred on the origin, in a uniform stream along +x. The flow is
inviscid, incompressible and irrotational, so every stored field has an analytic value that a
conversion can be checked against. All quantities are computed in float64 and in SI units; only the
written files are float32.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
SemiAxes: TypeAlias = tuple[float, float, float]

DENSITY = 1.225  # kg/m³, air at sea level
SPEED = 30.0  # m/s, of the undisturbed stream

# Volume points keep a clear distance to the body (metres), so that rounding them to float32
# cannot put one on or under the surface.
NEAREST, FARTHEST = 0.01, 10.0

FIELDS = (
    "surface_points",
    "surface_pressure",
    "surface_normals",
    "volume_points",
    "volume_velocity",
    "volume_sdf",
    "volume_normals",
)


@dataclass(frozen=True)
class Car:
    """One sample of the example.

    Attributes
    ----------
    sample_id : str
        Folder of the sample inside the source, e.g. ``param0/car_00``. It also seeds the points.
    semi_axes : tuple of three float
        Half the length (along the stream), width and height, in metres.
    n_surface, n_volume : int
        Number of surface and of volume points.
    """

    sample_id: str
    semi_axes: SemiAxes
    n_surface: int
    n_volume: int


CARS = (
    Car("param0/car_00", (1.0, 1.0, 1.0), 3000, 5000),  # sphere
    Car("param0/car_01", (2.2, 0.8, 0.8), 3109, 5333),  # prolate
    Car("param0/car_02", (2.1, 0.9, 0.7), 3217, 5667),
    Car("param1/car_03", (2.4, 0.95, 0.75), 3331, 6001),
    Car("param1/car_04", (1.8, 0.85, 0.75), 3449, 6337),
    Car("param1/car_05", (1.6, 0.8, 0.7), 3541, 6661),
    Car("param2/car_06", (2.5, 1.0, 0.65), 3659, 7001),
    Car("param2/car_07", (2.0, 2.0, 0.9), 3767, 7333),  # oblate, edge-on
    Car("param3/car_08", (2.3, 0.9, 1.2), 3877, 7669),  # taller than wide
    Car("param3/car_09", (0.8, 1.1, 1.0), 4000, 8000),  # bluff: shorter than wide
)


def example_files() -> list[str]:
    """List the files that `write_example` writes.

    Returns
    -------
    list of str
        Paths relative to the source folder, car by car in the order of `CARS`, and within a car
        in the order of `FIELDS`.
    """
    return [f"{car.sample_id}/{field}.pt" for car in CARS for field in FIELDS]


def flow(points: Array, semi_axes: SemiAxes) -> Array:
    """Evaluate the velocity of the stream around an ellipsoid at rest.

    The potential is ``U x (1 + alpha(lambda) / (2 - alpha(0)))`` with the ellipsoidal coordinate
    lambda, the largest root of ``sum x_i²/(a_i² + lambda) = 1`` (zero on the body), and
    ``alpha(lambda) = abc ∫_lambda^inf ds / ((a² + s) sqrt((a² + s)(b² + s)(c² + s)))``:
    H. Lamb, Hydrodynamics, 6th ed. (1932), art. 114, seen from the body. Its gradient is taken
    analytically here.

    Parameters
    ----------
    points : array of float64, shape (n, 3)
        Positions in metres, outside the body or on it.
    semi_axes : tuple of three float
        Semi-axes along x, y and z, in metres.

    Returns
    -------
    array of float64, shape (n, 3)
        Velocity in m/s.

    Raises
    ------
    ValueError
        If a point is not finite or lies inside the body by more than float32 rounding.
    """
    squares = np.square(semi_axes)
    coordinate = _outer_root(points**2, squares, power=1)
    shifted = squares + coordinate[:, None]
    alpha, alpha_body = _alpha(shifted, semi_axes), _alpha(squares[None, :], semi_axes)
    alpha_slope = -math.prod(semi_axes) / (shifted[:, 0] * np.sqrt(np.prod(shifted, axis=1)))

    # Implicit differentiation of the equation that defines lambda.
    direction = points / shifted
    coordinate_gradient = 2 * direction / np.sum(direction**2, axis=1, keepdims=True)

    velocity: Array = (points[:, 0] * alpha_slope)[:, None] * coordinate_gradient
    velocity[:, 0] += 2 - alpha_body + alpha
    return velocity * (SPEED / (2 - alpha_body))


def pressure(velocity: Array) -> Array:
    """Evaluate Bernoulli's equation for the pressure relative to the undisturbed stream.

    Parameters
    ----------
    velocity : array of float64, shape (n, 3)
        Velocity in m/s.

    Returns
    -------
    array of float64, shape (n,)
        Gauge pressure in Pa.
    """
    speed_squared: Array = np.sum(velocity**2, axis=1)
    return 0.5 * DENSITY * (SPEED**2 - speed_squared)


def signed_distance(points: Array, semi_axes: SemiAxes) -> tuple[Array, Array]:
    """Measure the distance to an ellipsoid and its gradient.

    A point x has its closest surface point at ``a_i² x_i / (a_i² + t)``, with t the largest root
    of ``sum (a_i x_i / (a_i² + t))² = 1``: D. Eberly, Distance from a Point to an Ellipse, an
    Ellipsoid, or a Hyperellipsoid (Geometric Tools, 2013), section 3.

    Parameters
    ----------
    points : array of float64, shape (n, 3)
        Positions in metres, outside the body or on it.
    semi_axes : tuple of three float
        Semi-axes along x, y and z, in metres.

    Returns
    -------
    distance : array of float64, shape (n,)
        Distance in metres, positive outside, and zero on the surface up to rounding.
    normal : array of float64, shape (n, 3)
        Unit gradient of the distance, which is the outward normal at the closest surface point.

    Raises
    ------
    ValueError
        If a point is not finite or lies inside the body by more than float32 rounding.
    """
    squares = np.square(semi_axes)
    root = _outer_root((points * semi_axes) ** 2, squares, power=2)
    # The point minus its closest surface point is root * direction; in this form nothing cancels
    # near the surface.
    direction = points / (squares + root[:, None])
    length = np.linalg.norm(direction, axis=1)
    return root * length, direction / length[:, None]


def sample_surface(car: Car) -> dict[str, Array]:
    """Sample the fields on the body of a car.

    Parameters
    ----------
    car : Car
        The sample; the same car always gives the same points.

    Returns
    -------
    dict of str to array of float64
        ``surface_points`` (n_surface, 3) in metres, uniform by area; ``surface_pressure``
        (n_surface,) in Pa, gauge; ``surface_normals`` (n_surface, 3), outward and of unit length.
    """
    points = _points_on_body(_generator(car, "surface"), car.semi_axes, car.n_surface)
    return {
        "surface_points": points,
        "surface_pressure": pressure(flow(points, car.semi_axes)),
        "surface_normals": signed_distance(points, car.semi_axes)[1],
    }


def sample_volume(car: Car) -> dict[str, Array]:
    """Sample the fields around the body of a car.

    Parameters
    ----------
    car : Car
        The sample; the same car always gives the same points.

    Returns
    -------
    dict of str to array of float64
        ``volume_points`` (n_volume, 3) in metres, denser near the body; ``volume_velocity``
        (n_volume, 3) in m/s; ``volume_sdf`` (n_volume,) in metres, positive; ``volume_normals``
        (n_volume, 3), the unit gradient of ``volume_sdf``.
    """
    generator = _generator(car, "volume")
    foot = _points_on_body(generator, car.semi_axes, car.n_volume)
    _, outward = signed_distance(foot, car.semi_axes)
    # Uniform in the logarithm of the distance, which crowds the points towards the body.
    offset = np.geomspace(NEAREST, FARTHEST, car.n_volume)
    points = foot + generator.permutation(offset)[:, None] * outward
    # The other fields belong to the points as stored, not to the points before rounding.
    points = points.astype(np.float32).astype(np.float64)
    distance, normals = signed_distance(points, car.semi_axes)
    return {
        "volume_points": points,
        "volume_velocity": flow(points, car.semi_axes),
        "volume_sdf": distance,
        "volume_normals": normals,
    }


def write_example(folder: Path) -> None:
    """Write the fields of all cars as float32 tensors, the same bytes on every run.

    Parameters
    ----------
    folder : Path
        The source folder; it is created if needed and its example files are replaced.

    Raises
    ------
    OSError
        If a folder or a file cannot be written.
    """
    # The Snakefile imports this module for example_files() only, and torch costs about a second.
    import torch

    for car in CARS:
        (folder / car.sample_id).mkdir(parents=True, exist_ok=True)
        for field, values in (sample_surface(car) | sample_volume(car)).items():
            tensor = torch.from_numpy(values.astype(np.float32, order="C"))
            torch.save(tensor, folder / car.sample_id / f"{field}.pt")


def _generator(car: Car, part: str) -> np.random.Generator:
    """Seed by name, so that a car keeps its points whatever happens to the other cars."""
    return np.random.default_rng(list(f"{car.sample_id}/{part}".encode()))


def _points_on_body(generator: np.random.Generator, semi_axes: SemiAxes, count: int) -> Array:
    """Draw `count` points uniformly by area.

    Stretching the unit sphere to the ellipsoid enlarges the area around a unit vector u in
    proportion to ``|u_i / a_i|``; keeping u with a probability in that proportion undoes the bias.
    """
    kept = np.empty((0, 3))
    while len(kept) < count:
        unit = generator.standard_normal((count, 3))
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        stretch = np.linalg.norm(unit / semi_axes, axis=1) * min(semi_axes)
        kept = np.concatenate([kept, unit[generator.random(count) < stretch]])
    return kept[:count] * semi_axes


def _outer_root(terms: Array, squares: Array, power: int) -> Array:
    """Solve ``sum_i terms_i / (squares_i + t)**power = 1`` for its largest root t, row by row.

    The sum is a convex, decreasing function of t, so Newton's method climbs to the root from any
    start on its left: zero, or where the first single term comes down to 1.
    """
    # For both equations in this module this sum is sum x_i²/a_i², which is 1 on the body.
    # Surface points read back from float32 may lie inside by 1e-7; flow and distance are
    # smooth there. Written so that nan fails too.
    level = np.sum(terms / squares**power, axis=1)
    if not np.all((level >= 1 - 1e-6) & np.isfinite(level)):
        raise ValueError("a point is inside the body or not finite")
    root: Array = np.maximum(0.0, np.max(terms ** (1 / power) - squares, axis=1))
    for _ in range(50):
        shifted = squares + root[:, None]
        ratios = terms / shifted**power
        step = (ratios.sum(axis=1) - 1) / (power * np.sum(ratios / shifted, axis=1))
        root += step
        # Convergence is quadratic: after a step this small the error is pure rounding.
        if np.all(np.abs(step) <= 1e-12 * shifted.min(axis=1)):
            break
    return root


def _alpha(shifted: Array, semi_axes: SemiAxes) -> Array:
    """Evaluate alpha of `flow` from the rows ``(a² + lambda, b² + lambda, c² + lambda)``.

    It is 2/3 abc times Carlson's symmetric integral R_D(b² + lambda, c² + lambda, a² + lambda).
    The duplication formula, NIST DLMF eq. 19.26.20 (https://dlmf.nist.gov/19.26), with the
    homogeneity of R_D, brings the arguments closer together by a factor of 4 a step; after 16
    steps the differences that remain no longer show in float64.
    """
    z, x, y = shifted.T
    total: Array = np.zeros(len(shifted))
    weight = 1.0
    for _ in range(16):
        shift = np.sqrt(x * y) + np.sqrt(y * z) + np.sqrt(z * x)
        total += 3 * weight / (np.sqrt(z) * (z + shift))
        x, y, z = (x + shift) / 4, (y + shift) / 4, (z + shift) / 4
        weight /= 4
    total += weight / z**1.5
    return 2 / 3 * math.prod(semi_axes) * total
