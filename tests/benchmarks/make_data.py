"""Makes benchmark data: samples of the size and the files of a real dataset, filled with a flow.

Points lie on an ellipsoid and around it, denser towards it; the other fields are smooth functions
of the position with a little noise, so that they compress about as simulations do. The same kind
and number always give the same values.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[np.float32]
Fields = dict[str, Array]

SPEED = np.float32(30.0)


@dataclass(frozen=True)
class Flow:
    """Points and the fields on them, all float32: shape (n, 3), pressure and distance (n,)."""

    position: Array
    normals: Array
    distance: Array
    pressure: Array
    velocity: Array
    vorticity: Array
    friction: Array


def make_flow(
    generator: np.random.Generator, n_points: int, semi_axes: Array, reach: float
) -> Flow:
    """Make the fields at `n_points` points, at most `reach` body lengths from the body."""
    normals = generator.standard_normal((n_points, 3), dtype=np.float32)
    normals /= np.sqrt(np.einsum("ij,ij->i", normals, normals))[:, None]
    # The cube crowds the points towards the body, as meshes do.
    distance = np.float32(reach) * generator.random(n_points, dtype=np.float32) ** 3
    position = normals * (semi_axes + distance[:, None])
    near: Array = np.reciprocal((1 + distance) ** 3)
    noise = generator.standard_normal((n_points, 3), dtype=np.float32)
    noise *= np.float32(0.01) * near[:, None]
    velocity = (noise - 1.5 * (near * normals[:, 0])[:, None] * normals) * SPEED
    velocity[:, 0] += SPEED
    pressure = 0.6125 * (SPEED**2 - np.einsum("ij,ij->i", velocity, velocity))
    rolled = np.roll(normals, 1, axis=1)
    vorticity = (np.sin(4 * position) + noise) * near[:, None] * 200
    friction = (rolled * velocity) * (near**2 * 0.01)[:, None]
    return Flow(position, normals, distance, pressure, velocity, vorticity, friction)


@dataclass(frozen=True)
class Kind:
    """How the samples of a dataset look: their points, their files and their ids."""

    surface_points: int
    volume_points: int
    files: Callable[[Flow, Flow], Fields]
    sample_id: Callable[[int], str]


def shapenet_files(surface: Flow, volume: Flow) -> Fields:
    """Return the files of a ShapeNet-Car sample."""
    return {
        "surface_points": surface.position,
        "surface_pressure": surface.pressure,
        "surface_normals": surface.normals,
        "volume_points": volume.position,
        "volume_velocity": volume.velocity,
        "volume_normals": volume.normals,
        "volume_sdf": volume.distance,
    }


def drivaernet_files(surface: Flow, volume: Flow) -> Fields:
    """Return the files of a DrivAerNet sample."""
    return {
        "surface_position": surface.position,
        "surface_p": surface.pressure,
        "surface_wallShearStress": surface.friction,
        "volume_position": volume.position,
        "volume_p": volume.pressure,
        "volume_U": volume.velocity,
        "volume_vorticity": volume.vorticity,
        "volume_wallShearStress": volume.friction,
    }


def drivaerml_files(surface: Flow, volume: Flow) -> Fields:
    """Return the files of a DrivAerML sample."""
    return {
        "surface_position_vtp": surface.position,
        "surface_pressure": surface.pressure,
        "surface_wallshearstress": surface.friction,
        "volume_cell_position": volume.position,
        "volume_cell_totalpcoeff": volume.pressure,
        "volume_cell_velocity": volume.velocity,
        "volume_cell_vorticity": volume.vorticity,
    }


def shapenet_id(number: int) -> str:
    """Return an id of ShapeNet-Car's form."""
    return f"param{number % 9}/{hashlib.sha256(str(number).encode()).hexdigest()[:32]}"


def drivaernet_id(number: int) -> str:
    """Return an id of DrivAerNet's form."""
    return f"E_S_WWC_WM_{number + 1:03}"


def drivaerml_id(number: int) -> str:
    """Return an id of DrivAerML's form."""
    return f"run_{number + 1}"


KINDS = {
    "shapenet": Kind(3_586, 28_504, shapenet_files, shapenet_id),
    "drivaernet": Kind(100_000, 1_000_000, drivaernet_files, drivaernet_id),
    "large": Kind(500_000, 4_800_000, drivaernet_files, drivaernet_id),
    "drivaerml": Kind(1_000_000, 60_000_000, drivaerml_files, drivaerml_id),
    "tiny": Kind(300, 1_000, shapenet_files, shapenet_id),
}


def make_sample(kind: Kind, number: int) -> Fields:
    """Return the fields of one sample by the name of their file."""
    generator = np.random.default_rng([kind.surface_points, number])
    semi_axes = np.array([2.2, 0.9, 0.7], np.float32)
    semi_axes *= generator.uniform(0.9, 1.1, 3).astype(np.float32)
    surface = make_flow(generator, kind.surface_points, semi_axes, 0.0)
    volume = make_flow(generator, kind.volume_points, semi_axes, 8.0)
    return kind.files(surface, volume)


def write_data(kind: Kind, n_samples: int, folder: Path) -> None:
    """Write the samples below `folder`."""
    for number in range(n_samples):
        place = folder / kind.sample_id(number)
        place.mkdir(parents=True, exist_ok=True)
        for name, values in make_sample(kind, number).items():
            torch.save(torch.from_numpy(values), place / f"{name}.pt")


def main() -> None:
    """Make the data; a folder that is there already is complete, and kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    arguments = parser.parse_args()
    if arguments.out.exists():
        return
    partial = arguments.out.with_name(f"{arguments.out.name}.partial")
    write_data(KINDS[arguments.kind], arguments.samples, partial)
    partial.rename(arguments.out)


if __name__ == "__main__":
    main()
