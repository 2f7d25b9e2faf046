"""Raw files of simulations: converted as `.pt` files of the same values are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
import vtkmodules.all as vtk
from vtkmodules.util.numpy_support import vtk_to_numpy

import mesh_files
from aerozarr import Store
from workflow.harness import Workspace, digests

RAW = {
    "surface_position": "boundary_*.vtp::cell_centers",
    "surface_pressure": "boundary_*.vtp::pMean",
    "surface_friction": "boundary_*.vtp::cell:shear",
    "surface_area": "boundary_*.vtp::cell_areas",
    "volume_position": "volume_*.vtu::points",
    "volume_velocity": "volume_*.vtu::U[:, 0:3]",
    "surface_position_stl": "body_*.stl::points",
}
PT = {name: f"{name}.pt" for name in RAW}
# A domain of a legacy file, and one of patches.
RAW_OWN: dict[str, Any] = {
    "wake_position": {"file": "wake.vtk::cell_centers", "width": 3, "kind": "coord"},
    "patches_position": {"file": ["hull.vtp::points", "k*.vtp::points"], "width": 3},
}
PT_OWN = {name: {**said, "file": f"{name}.pt"} for name, said in RAW_OWN.items()}
for own in (RAW_OWN, PT_OWN):
    own["patches_position"]["kind"] = "coord"


def centers(data: Any) -> np.ndarray[Any, Any]:
    made = vtk.vtkCellCenters()
    made.SetInputData(data)
    made.Update()
    return vtk_to_numpy(made.GetOutput().GetPoints().GetData()).copy()


def points(data: Any) -> np.ndarray[Any, Any]:
    return vtk_to_numpy(data.GetPoints().GetData()).copy()


def areas(data: Any) -> np.ndarray[Any, Any]:
    made = vtk.vtkCellSizeFilter()
    made.SetInputData(data)
    made.Update()
    return vtk_to_numpy(made.GetOutput().GetCellData().GetArray("Area")).copy()


def write(folder: Path, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """Write a sample's raw files; return what its fields are, as vtk has them."""
    drawn = np.random.default_rng(seed)
    surface, volume = mesh_files.surface(seed), mesh_files.volume(seed)
    cells, corners = surface.GetNumberOfCells(), volume.GetNumberOfPoints()
    pressure = drawn.normal(size=cells).astype(np.float32)
    shear = drawn.normal(size=(cells, 3))
    velocity = drawn.normal(size=(corners, 4)).astype(np.float32)
    mesh_files.add(surface, cell_pMean=pressure, cell_shear=shear)
    mesh_files.add(surface, point_shear=drawn.normal(size=surface.GetNumberOfPoints()))
    mesh_files.write(surface, folder / f"boundary_{seed}.vtp")
    mesh_files.write(mesh_files.add(volume, point_U=velocity), folder / f"volume_{seed}.vtu")
    mesh_files.cut_in_parts(folder / f"volume_{seed}.vtu", 700, 2000)
    body = mesh_files.surface(seed, 5)
    mesh_files.write(body, folder / f"body_{seed}.stl")
    mesh_files.write(mesh_files.volume(seed + 50), folder / "wake.vtk")
    for number, name in enumerate(("hull", "keel")):
        mesh_files.write(mesh_files.surface(seed + number, 4 + number), folder / f"{name}.vtp")
    (folder / f"force_mom_{seed}.csv").write_text(f"Cd,Cl\n0.{seed},0.1\n")
    reader = vtk.vtkSTLReader()
    reader.SetFileName(str(folder / f"body_{seed}.stl"))
    reader.Update()
    patches = [points(mesh_files.surface(seed + number, 4 + number)) for number in (0, 1)]
    return {
        "surface_position": centers(surface),
        "surface_pressure": pressure,
        "surface_friction": shear,
        "surface_area": areas(surface),
        "volume_position": points(volume),
        "volume_velocity": velocity[:, :3],
        "surface_position_stl": points(reader.GetOutput()),
        "wake_position": centers(mesh_files.volume(seed + 50)),
        "patches_position": np.concatenate(patches),
    }


def as_pt(w: Workspace, fields: dict[str, dict[str, np.ndarray[Any, Any]]]) -> dict[str, str]:
    """Convert the same values from `.pt` files; return the digests of the groups."""
    for sample, of_sample in fields.items():
        (w.source / sample).mkdir(parents=True)
        for name, values in of_sample.items():
            torch.save(torch.from_numpy(values), w.source / sample / f"{name}.pt")
    w.config |= {"filemap": PT, "fields": PT_OWN}
    w.run()
    return arrays(w)


def arrays(w: Workspace) -> dict[str, str]:
    """Return the digests of all shards, by path."""
    return {path: digest for path, digest in digests(w.store).items() if "/c/" in path}


def shards(w: Workspace, array: str) -> list[tuple[int, int]]:
    """Return what changes when an array's shards are written: inode and time."""
    found = [path.stat() for path in sorted((w.store / array).rglob("c/*/*"))]
    return [(status.st_ino, status.st_mtime_ns) for status in found]


def test_raw_files_are_converted_as_pt_files_are(workspace: Workspace) -> None:
    w = workspace
    fields = {"a": write(w.source / "a", 1), "b": write(w.source / "b", 2)}
    for seed, broken in enumerate(("crash", "cut", "gap", "two"), 3):
        write(w.source / broken, seed)
    (w.source / "crash/wake.vtk").write_text(mesh_files.CRASHES)
    content = (w.source / "cut/boundary_4.vtp").read_bytes()
    (w.source / "cut/boundary_4.vtp").write_bytes(content[: len(content) // 2])
    (w.source / "gap/volume_5.vtu.01.part").unlink()
    os.link(w.source / "two/boundary_6.vtp", w.source / "two/boundary_old.vtp")
    w.config |= {"filemap": RAW, "fields": RAW_OWN, "scalars": {"drag": "force_mom_*.csv::Cd"}}
    run = w.run()
    assert w.listed() == ["a", "b"], run.output
    skipped = w.skipped().set_index("id")
    assert skipped["kind"].to_dict() == {
        "crash": "broken",
        "cut": "broken",
        "gap": "incomplete",
        "two": "broken",
    }
    assert "crashed on it (signal" in skipped.loc["crash", "cause"]
    assert skipped.loc["cut", "file"] == "boundary_4.vtp"
    assert "cut short" in skipped.loc["cut", "cause"]
    assert skipped.loc["gap", "file"] == "volume_5.vtu.01.part"
    assert "boundary_6.vtp, boundary_old.vtp" in skipped.loc["two", "cause"]
    assert "crash" in run.output, "what a person reads names it"
    assert Store(w.store).scalars("b") == {"drag": 0.2}
    page = (w.work / "report.html").read_text().replace("<wbr>", "")
    assert "boundary_*.vtp: shear (point)" in page, "what the files hold besides"

    of_pt = Workspace(w.root / "pt")
    of_pt.root.mkdir()
    expected = as_pt(of_pt, fields)
    assert arrays(w) == expected

    # What reads the source here is vtk, and not what has converted it.
    assert "is as it should be (2 samples" in w.run("verify").said[-1]

    # The surface of one, and the STL of the other.
    kept = {name: shards(w, f"b.zarr/{name}") for name in ("surface/pressure", "volume/velocity")}
    stl = shards(w, "b.zarr/surface_stl/position")
    other = mesh_files.surface(1)
    pressure = np.arange(other.GetNumberOfCells(), dtype=np.float32)
    mesh_files.add(other, cell_pMean=pressure, cell_shear=fields["a"]["surface_friction"])
    mesh_files.write(other, w.source / "a/boundary_1.vtp")
    mesh_files.write(mesh_files.surface(9, 5), w.source / "b/body_2.stl")
    # (One that crashed may do better the next time, and is tried again.)
    assert w.run().converted == ["a", "b", "crash"]
    assert all(kept.values())
    assert {name: shards(w, f"b.zarr/{name}") for name in kept} == kept
    assert shards(w, "b.zarr/surface_stl/position") != stl
    item = Store(w.store)
    assert item.read("a", {"surface": None})["surface_pressure"].max() == pressure.max()
