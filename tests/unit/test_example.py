"""Specification of the bundled example: potential flow around ellipsoids, written as .pt files.

The references used here share no formula with the module: closed forms for the sphere, Lamb's
published table, a potential from Gauss-Legendre quadrature and bisection, finite differences, and
a search over the surface.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from aerozarr import example
from aerozarr.example import CARS, DENSITY, SPEED, Car

Array: TypeAlias = NDArray[np.float64]
SemiAxes: TypeAlias = tuple[float, float, float]

SPHERE = (1.5, 1.5, 1.5)
DYNAMIC_PRESSURE = 0.5 * DENSITY * SPEED**2

each_car = pytest.mark.parametrize("car", CARS, ids=lambda car: car.sample_id)


def directions(count: int, seed: int = 0) -> Array:
    vectors = np.random.default_rng(seed).standard_normal((count, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def body_points(semi_axes: SemiAxes, count: int = 200) -> tuple[Array, Array]:
    """Points on the ellipsoid and outward normals, from the parametric form."""
    points = directions(count) * semi_axes
    normals: Array = points / np.square(semi_axes)
    return points, normals / np.linalg.norm(normals, axis=1, keepdims=True)


def outside_points(semi_axes: SemiAxes, count: int = 200) -> tuple[Array, Array, Array]:
    """Points off a convex body with their distances and normals, known by construction."""
    feet, normals = body_points(semi_axes, count)
    distance = np.random.default_rng(1).uniform(0.1, 3.0, count)
    return feet + distance[:, None] * normals, distance, normals


def derivatives(function: Callable[[Array], Array], points: Array, step: float) -> Array:
    """Central differences; the last axis of the result is the direction of differentiation."""
    return np.stack(
        [(function(points + h) - function(points - h)) / (2 * step) for h in step * np.eye(3)],
        axis=-1,
    )


def reference_potential(points: Array, semi_axes: SemiAxes) -> Array:
    squares = np.square(semi_axes)
    low, high = np.zeros(len(points)), np.sum(points**2, axis=1)
    for _ in range(80):
        middle = (low + high) / 2
        too_low = np.sum(points**2 / (squares + middle[:, None]), axis=1) > 1
        low, high = np.where(too_low, middle, low), np.where(too_low, high, middle)

    def alpha(coordinate: Array) -> Array:
        # s = (c² + lambda) / u² - c² maps the range of the integral to 0 < u < 1.
        nodes, weights = np.polynomial.legendre.leggauss(80)
        u2 = ((nodes + 1) / 2) ** 2
        base = (squares[2] + coordinate)[:, None]
        x, y, z = (base + (square - squares[2]) * u2 for square in squares)
        integrand = 2 * base * u2 / (x * np.sqrt(x * y * z))
        value: Array = np.prod(semi_axes) * (integrand @ (weights / 2))
        return value

    gain = alpha(low) / (2 - alpha(np.zeros(1)))
    return SPEED * points[:, 0] * (1 + gain)


def searched_distance(point: Array, semi_axes: SemiAxes) -> float:
    """Least distance to the surface, by repeatedly refining a grid of latitudes and longitudes."""
    grid = np.linspace(-1, 1, 41)
    latitude, longitude, width = 0.0, 0.0, 1.0
    best = np.inf
    for _ in range(10):
        v, u = np.meshgrid(
            latitude + width * np.pi / 2 * grid, longitude + width * np.pi * grid, indexing="ij"
        )
        unit = np.stack([np.cos(v) * np.cos(u), np.cos(v) * np.sin(u), np.sin(v)], axis=-1)
        distance = np.linalg.norm(unit * semi_axes - point, axis=-1)
        nearest = np.unravel_index(np.argmin(distance), distance.shape)
        latitude, longitude, width = v[nearest], u[nearest], width / 8
        best = min(best, float(distance[nearest]))
    return best


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("example")
    example.write_example(path)
    return path


def load(folder: Path, car: Car, field: str) -> Array:
    tensor = torch.load(folder / car.sample_id / f"{field}.pt", weights_only=True)
    return np.asarray(tensor.numpy(), dtype=np.float64)


# The cars and their files


def test_there_are_ten_different_cars_with_different_point_counts() -> None:
    for attribute in ("sample_id", "semi_axes", "n_surface", "n_volume"):
        assert len({getattr(car, attribute) for car in CARS}) == len(CARS) == 10
    assert all(3000 <= car.n_surface <= 4000 and 5000 <= car.n_volume <= 8000 for car in CARS)


def test_three_cars_are_in_param0_and_the_others_in_further_folders() -> None:
    folders = [car.sample_id.split("/")[0] for car in CARS]
    assert folders.count("param0") == 3
    assert set(folders) == {"param0", "param1", "param2", "param3"}


def test_example_files_lists_exactly_the_written_files(folder: Path) -> None:
    written = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    assert sorted(example.example_files()) == sorted(written)
    assert len(written) == 70


def test_example_files_goes_car_by_car() -> None:
    files = example.example_files()
    assert files[0] == "param0/car_00/surface_points.pt"
    assert [Path(file).parent.as_posix() for file in files[::7]] == [c.sample_id for c in CARS]


def test_example_files_does_not_import_torch() -> None:
    code = (
        "import sys; from aerozarr import example; example.example_files(); "
        "sys.exit('torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@each_car
def test_files_hold_compact_float32_tensors_of_the_promised_shapes(folder: Path, car: Car) -> None:
    n, m = car.n_surface, car.n_volume
    shapes = {
        "surface_points": (n, 3),
        "surface_pressure": (n,),
        "surface_normals": (n, 3),
        "volume_points": (m, 3),
        "volume_velocity": (m, 3),
        "volume_sdf": (m,),
        "volume_normals": (m, 3),
    }
    for field, shape in shapes.items():
        tensor = torch.load(folder / car.sample_id / f"{field}.pt", weights_only=True)
        assert tensor.dtype == torch.float32
        assert tensor.shape == shape
        assert tensor.is_contiguous()
        assert tensor.untyped_storage().nbytes() == 4 * tensor.numel()
        assert torch.isfinite(tensor).all()


def test_writing_again_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    example.write_example(tmp_path / "new" / "folder")
    for file in example.example_files():
        assert (tmp_path / "new" / "folder" / file).read_bytes() == (folder / file).read_bytes()


def test_points_are_drawn_anew_for_every_car_and_part(folder: Path) -> None:
    # Scaled to the unit sphere, because cars with the same draws differ by their semi-axes.
    drawn = []
    for car in CARS:
        distance, normals = load(folder, car, "volume_sdf"), load(folder, car, "volume_normals")
        feet = load(folder, car, "volume_points") - distance[:, None] * normals
        drawn += [load(folder, car, "surface_points") / car.semi_axes, feet / car.semi_axes]
    everything = np.concatenate(drawn).round(4)
    assert len(np.unique(everything, axis=0)) > 0.999 * len(everything)


# The written values


@each_car
def test_written_surface_points_are_on_the_body(folder: Path, car: Car) -> None:
    level = np.sum((load(folder, car, "surface_points") / car.semi_axes) ** 2, axis=1)
    np.testing.assert_allclose(level, 1, atol=3e-7)


@each_car
def test_written_surface_points_are_uniform_by_area(folder: Path, car: Car) -> None:
    # The share of the area between x = -a/2 and x = a/2, by the midpoint rule in x/a and angle.
    a, b, c = car.semi_axes
    x = (np.arange(-500, 500) + 0.5)[:, None] / 500
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    radial = (1 - x**2) * ((np.cos(angle) / b) ** 2 + (np.sin(angle) / c) ** 2)
    strip_area = np.sqrt((x / a) ** 2 + radial).sum(axis=1)
    share = strip_area[np.abs(x[:, 0]) < 0.5].sum() / strip_area.sum()

    inside = np.abs(load(folder, car, "surface_points")[:, 0]) < a / 2
    deviation = np.sqrt(share * (1 - share) / car.n_surface)
    assert abs(inside.mean() - share) < 3.5 * deviation


@each_car
def test_written_pressure_obeys_bernoulli(folder: Path, car: Car) -> None:
    velocity = example.flow(load(folder, car, "surface_points"), car.semi_axes)
    expected = 0.5 * DENSITY * (SPEED**2 - np.sum(velocity**2, axis=1))
    # The stored points are off by their rounding, 1e-7 m, in gradients of up to 1e4 Pa/m.
    np.testing.assert_allclose(load(folder, car, "surface_pressure"), expected, atol=1e-3)


@each_car
def test_written_surface_normals_point_outwards_along_the_gradient(folder: Path, car: Car) -> None:
    points, normals = load(folder, car, "surface_points"), load(folder, car, "surface_normals")
    gradient = points / np.square(car.semi_axes)
    gradient /= np.linalg.norm(gradient, axis=1, keepdims=True)
    np.testing.assert_allclose(normals, gradient, atol=5e-7)


@each_car
def test_written_volume_points_are_outside_and_denser_near_the_body(folder: Path, car: Car) -> None:
    points, distance = load(folder, car, "volume_points"), load(folder, car, "volume_sdf")
    assert np.all(np.sum((points / car.semi_axes) ** 2, axis=1) > 1)
    assert distance.min() > 0
    assert np.median(distance) < 0.5
    assert distance.max() > 5


@each_car
def test_written_velocity_is_the_gradient_of_the_potential(folder: Path, car: Car) -> None:
    points = load(folder, car, "volume_points")[::25]
    expected = derivatives(lambda p: reference_potential(p, car.semi_axes), points, 1e-4)
    np.testing.assert_allclose(load(folder, car, "volume_velocity")[::25], expected, atol=2e-5)


@each_car
def test_written_sdf_and_normals_lead_back_to_the_body(folder: Path, car: Car) -> None:
    points, normals = load(folder, car, "volume_points"), load(folder, car, "volume_normals")
    distance = load(folder, car, "volume_sdf")
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=2e-7)
    feet = points - distance[:, None] * normals
    np.testing.assert_allclose(np.sum((feet / car.semi_axes) ** 2, axis=1), 1, atol=1e-5)
    gradient = feet / np.square(car.semi_axes)
    gradient /= np.linalg.norm(gradient, axis=1, keepdims=True)
    np.testing.assert_allclose(normals, gradient, atol=5e-6)


# The flow


@each_car
def test_nothing_flows_through_the_surface(car: Car) -> None:
    points, normals = body_points(car.semi_axes)
    through = np.sum(example.flow(points, car.semi_axes) * normals, axis=1)
    np.testing.assert_allclose(through, 0, atol=1e-12 * SPEED)


@each_car
def test_divergence_and_curl_vanish(car: Car) -> None:
    points, _, _ = outside_points(car.semi_axes)
    gradient = derivatives(lambda p: example.flow(p, car.semi_axes), points, 2e-4)
    assert np.abs(gradient).max() > 5  # 1/s; the flow does vary here
    np.testing.assert_allclose(np.trace(gradient, axis1=1, axis2=2), 0, atol=1e-4)
    np.testing.assert_allclose(gradient, gradient.transpose(0, 2, 1), atol=1e-4)


@each_car
def test_far_away_the_disturbance_fades_with_the_cube_of_the_distance(car: Car) -> None:
    stream = np.array([SPEED, 0, 0])
    disturbance = [
        np.linalg.norm(example.flow(radius * directions(50), car.semi_axes) - stream, axis=1)
        for radius in (100.0, 1000.0)
    ]
    assert disturbance[0].max() < 1e-3
    np.testing.assert_allclose(disturbance[1], disturbance[0] / 1000, rtol=5e-3)


@each_car
def test_velocity_is_the_gradient_of_the_potential(car: Car) -> None:
    points, _, _ = outside_points(car.semi_axes)
    expected = derivatives(lambda p: reference_potential(p, car.semi_axes), points, 1e-4)
    np.testing.assert_allclose(example.flow(points, car.semi_axes), expected, atol=1e-5)


@each_car
def test_the_flow_stagnates_at_nose_and_tail(car: Car) -> None:
    ends = np.array([[-car.semi_axes[0], 0, 0], [car.semi_axes[0], 0, 0]])
    velocity = example.flow(ends, car.semi_axes)
    np.testing.assert_allclose(velocity, 0, atol=1e-12 * SPEED)
    np.testing.assert_allclose(example.pressure(velocity), DYNAMIC_PRESSURE, rtol=1e-14)


@each_car
def test_no_surface_pressure_exceeds_the_stagnation_pressure(folder: Path, car: Car) -> None:
    highest = load(folder, car, "surface_pressure").max()
    assert 0.95 * DYNAMIC_PRESSURE < highest < 1.000001 * DYNAMIC_PRESSURE


def test_the_undisturbed_stream_has_no_gauge_pressure() -> None:
    assert example.pressure(np.array([[SPEED, 0, 0]])) == 0


def test_flow_around_a_sphere_is_a_stream_and_a_dipole() -> None:
    points, _, _ = outside_points(SPHERE)
    x, r = points[:, :1], np.linalg.norm(points, axis=1, keepdims=True)
    dipole = (np.array([1, 0, 0]) / r**3 - 3 * x * points / r**5) * 1.5**3 / 2
    expected = SPEED * (np.array([1, 0, 0]) + dipole)
    np.testing.assert_allclose(example.flow(points, SPHERE), expected, atol=1e-13 * SPEED)


def test_pressure_on_a_sphere_is_the_closed_form() -> None:
    points, normals = body_points(SPHERE)
    expected = DYNAMIC_PRESSURE * (1 - 9 / 4 * (1 - normals[:, 0] ** 2))
    pressure = example.pressure(example.flow(points, SPHERE))
    np.testing.assert_allclose(pressure, expected, atol=1e-12 * DYNAMIC_PRESSURE)


def test_speed_at_the_equator_of_a_sphere_is_one_and_a_half_times_the_stream() -> None:
    angle = np.linspace(0, 2 * np.pi, 37)
    equator = 1.5 * np.stack([np.zeros(37), np.cos(angle), np.sin(angle)], axis=1)
    expected = np.tile([1.5 * SPEED, 0, 0], (37, 1))
    np.testing.assert_allclose(example.flow(equator, SPHERE), expected, atol=1e-12 * SPEED)


@pytest.mark.parametrize(
    ("length_to_width", "inertia"),
    [(1, 0.5), (1.5, 0.305), (2, 0.209), (2.51, 0.156), (2.99, 0.122), (3.99, 0.082)],
)
def test_speed_at_the_waist_of_a_spheroid_agrees_with_lambs_table(
    length_to_width: float, inertia: float
) -> None:
    # H. Lamb, The inertia-coefficients of an ellipsoid moving in fluid, ARC R&M 623 (1918): the
    # end-on coefficient k; the speed at the waist is U (1 + k). The printed proportions are
    # rounded to 0.005, which is worth up to 0.0013 of k.
    velocity = example.flow(np.array([[0, 1.0, 0]]), (length_to_width, 1.0, 1.0))
    assert velocity[0, 0] / SPEED - 1 == pytest.approx(inertia, abs=2e-3)


@pytest.mark.parametrize("length_to_width", [1.2, 2, 3, 10])
def test_speed_at_the_waist_of_a_spheroid_agrees_with_lambs_closed_form(
    length_to_width: float,
) -> None:
    # Same report: k = g / (2 - g), with g in terms of the eccentricity e.
    e = np.sqrt(1 - 1 / length_to_width**2)
    g = 2 * (1 - e**2) / e**3 * (np.arctanh(e) - e)
    velocity = example.flow(np.array([[0, 0, 1.0]]), (length_to_width, 1.0, 1.0))
    assert velocity[0, 0] / SPEED - 1 == pytest.approx(g / (2 - g), abs=1e-12)


# The distance


@each_car
def test_distance_and_normal_recover_an_offset_along_the_normal(car: Car) -> None:
    points, distance, normals = outside_points(car.semi_axes)
    computed = example.signed_distance(points, car.semi_axes)
    np.testing.assert_allclose(computed[0], distance, atol=1e-13)
    np.testing.assert_allclose(computed[1], normals, atol=1e-13)


@each_car
def test_distance_agrees_with_a_search_over_the_surface(car: Car) -> None:
    points, _, _ = outside_points(car.semi_axes, 20)
    expected = [searched_distance(point, car.semi_axes) for point in points]
    np.testing.assert_allclose(example.signed_distance(points, car.semi_axes)[0], expected, 1e-11)


@each_car
def test_distance_has_the_normal_as_its_gradient(car: Car) -> None:
    points, _, normals = outside_points(car.semi_axes)
    gradient = derivatives(lambda p: example.signed_distance(p, car.semi_axes)[0], points, 1e-5)
    np.testing.assert_allclose(np.linalg.norm(gradient, axis=1), 1, atol=1e-8)
    np.testing.assert_allclose(gradient, normals, atol=1e-8)


def test_distance_to_a_sphere_is_the_radius_less() -> None:
    points = directions(200) * np.geomspace(1.5, 1e4, 200)[:, None]
    distance, normals = example.signed_distance(points, SPHERE)
    expected = np.linalg.norm(points, axis=1) - 1.5
    np.testing.assert_allclose(distance, expected, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(normals, directions(200), atol=1e-14)


@each_car
def test_points_on_the_body_are_at_no_distance(car: Car) -> None:
    points, normals = body_points(car.semi_axes)
    computed = example.signed_distance(points, car.semi_axes)
    np.testing.assert_allclose(computed[0], 0, atol=1e-14)
    np.testing.assert_allclose(computed[1], normals, atol=1e-14)


@pytest.mark.parametrize("plane", [0, 1, 2])
def test_points_in_a_plane_of_symmetry_are_no_special_case(plane: int) -> None:
    # A vanishing coordinate makes the equation for the closest point nearly singular.
    flat = (2.0, 2.0, 0.3)
    unit = directions(100)
    unit[:, plane] = 0
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    feet, normals = unit * flat, unit / flat
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    for offset in (0.0, 1e-9, 1.0):
        distance, gradient = example.signed_distance(feet + offset * normals, flat)
        np.testing.assert_allclose(distance, offset, atol=1e-14)
        np.testing.assert_allclose(gradient, normals, atol=1e-13)


@pytest.mark.parametrize("function", [example.flow, example.signed_distance])
@pytest.mark.parametrize(
    "point", [(0, 0, 0), (1.99, 0, 0), (0, 0.5, 0.2), (np.nan, 5, 5), (np.inf, 0, 0)]
)
def test_a_point_inside_the_body_or_not_finite_is_refused(
    function: Callable[[Array, SemiAxes], object], point: tuple[float, float, float]
) -> None:
    with pytest.raises(ValueError, match="inside the body or not finite"):
        function(np.array([(9.0, 9.0, 9.0), point]), (2.0, 1.0, 0.7))
