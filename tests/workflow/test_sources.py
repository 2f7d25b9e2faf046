"""Sources other than `.pt` files of one tensor: arrays by name, and classes of frameworks."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import xarray as xr
import zarr

from aerozarr import ChunkDataset, Store
from aerozarr.store.format.shuffle import permutation, seed_of
from workflow.harness import Workspace

# One sample's fields from a file of each kind; the first is of columns, as published point clouds.
FILEMAP = {
    "surface_position": "points.npy[:, 0:3]",
    "surface_pressure": "points.npy[:, 3]",
    "surface_friction": "surface.npz::friction",
    "volume_position": "volume.h5::mesh/cells",
    "volume_velocity": "volume.h5::fields/U",
    "volume_pressure": "fields.pt::p",
}
Arrays = dict[str, np.ndarray[Any, Any]]


def arrays_of(seed: int) -> Arrays:
    drawn = np.random.default_rng(seed)
    shapes = {"points": (40, 4), "friction": (40, 3), "cells": (70, 3), "U": (70, 3), "p": (70,)}
    return {name: drawn.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def write(folder: Path, arrays: Arrays) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "points.npy", arrays["points"])
    np.savez(folder / "surface.npz", friction=arrays["friction"], names=np.array(["a"]))
    with h5py.File(folder / "volume.h5", "w") as file:
        file["mesh/cells"] = arrays["cells"]
        file.create_dataset("fields/U", data=arrays["U"], chunks=(16, 3), compression="gzip")
    torch.save({"p": torch.from_numpy(arrays["p"]), "step": 3}, folder / "fields.pt")


def stored(w: Workspace, sample: str, array: str) -> np.ndarray[Any, Any]:
    """Return a stored array in the order of its source."""
    found = zarr.open_array(w.store / f"{sample}.zarr" / array, mode="r")[:]
    order = permutation(len(found), seed_of(0, sample, array.partition("/")[0]))
    rows = np.empty_like(found)
    rows[order] = found
    return rows


def is_stored(w: Workspace, sample: str, arrays: Arrays) -> None:
    expected = {
        "surface/position": arrays["points"][:, :3],
        "surface/pressure": arrays["points"][:, 3:].astype(np.float16),
        "surface/friction": arrays["friction"].astype(np.float16),
        "volume/position": arrays["cells"],
        "volume/velocity": arrays["U"].astype(np.float16),
        "volume/pressure": arrays["p"][:, None].astype(np.float16),
    }
    for name, rows in expected.items():
        np.testing.assert_array_equal(stored(w, sample, name), rows, err_msg=name)


def test_arrays_of_every_kind_of_file(workspace: Workspace) -> None:
    w = workspace
    w.config["filemap"] = FILEMAP
    arrays = {sample: arrays_of(seed) for seed, sample in enumerate(("a", "b", "c"))}
    for sample, of_sample in arrays.items():
        write(w.source / sample, of_sample)
    write(w.source / "broken", arrays_of(7))
    np.savez(w.source / "broken/surface.npz", frictoin=arrays_of(7)["friction"])
    run = w.run()
    assert "has no array 'friction'; it has frictoin" in run.output
    assert w.listed() == ["a", "b", "c"]
    for sample, of_sample in arrays.items():
        is_stored(w, sample, of_sample)
    assert w.run().nothing_to_do
    assert "is as it should be (3 samples" in w.run("verify").said[-1]

    # Each kind of file is known again when it changes, also in its place and with its old time.
    changed = arrays_of(11)
    for sample, name, file in (("a", "points", "points.npy"), ("b", "U", "volume.h5")):
        path = w.source / sample / file
        status = path.stat()
        arrays[sample][name] = changed[name]
        write(w.source / sample, arrays[sample])
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert w.run().converted == ["a", "b"]
    for sample in ("a", "b"):
        is_stored(w, sample, arrays[sample])


def test_fields_and_domains_of_ones_own(workspace: Workspace) -> None:
    w = workspace
    arrays = arrays_of(3)
    write(w.source / "a", arrays)
    w.config["filemap"] = {"surface_position": "points.npy[:, 0:3]"}
    w.config["fields"] = {
        "surface_position": {"unit": "m"},
        "surface_temperature": {"file": "points.npy[:, 3]", "unit": "K", "dtype": "float32"},
        "wake_position": {"file": "volume.h5::mesh/cells", "kind": "coord", "width": 3},
        "wake_stress": {"file": "volume.h5::fields/U[:, 1:3]", "width": 2, "long_name": "stress"},
    }
    w.run()
    np.testing.assert_array_equal(stored(w, "a", "surface/temperature"), arrays["points"][:, 3:])
    stress = stored(w, "a", "wake/stress")
    np.testing.assert_array_equal(stress, arrays["U"][:, 1:].astype(np.float16))
    assert "is as it should be (1 sample" in w.run("verify").said[-1]
    group = zarr.open_group(w.store / "a.zarr", mode="r")
    assert dict(group["surface/temperature"].attrs) == {"units": "K"}
    assert dict(group["surface/position"].attrs) == {"units": "m"}
    assert dict(group["wake/stress"].attrs) == {"long_name": "stress"}
    xr.open_zarr(w.store / "a.zarr", group="wake", consolidated=False)
    store = Store(w.store)
    assert store.fields == [
        *("surface_position", "surface_temperature"),
        *("wake_position", "wake_stress"),
    ]
    item = ChunkDataset(store, points={"surface": 7, "wake": 9}, normalize=True)[0]
    assert item["wake_stress"].shape == (9, 2)
    w.config["fields"]["surface_temperature"]["unit"] = "degC"  # type: ignore[index] # settings are plain objects here
    assert w.run().converted == ["a"]
    assert w.run().nothing_to_do


def test_an_optional_field_is_one_of_all_samples_or_of_none(workspace: Workspace) -> None:
    w = workspace
    w.config["filemap"] = {
        "surface_position": "points.npy[:, 0:3]",
        "surface_pressure": "points.npy[:, 3]",
        "surface_area": "area.npy?",
    }
    for seed, sample in enumerate(("a", "b")):
        write(w.source / sample, arrays_of(seed))
    w.config["scalars"] = {"drag": "forces.csv::Cd?"}
    told = "filemap: no sample has surface_area (area.npy?), so the store is without"
    assert f"aerozarr: warning: {told}" in (run := w.run()).output
    assert "scalars: no sample has drag (forces.csv), so the store is without" in run.output
    assert Store(w.store).fields == ["surface_position", "surface_pressure"]
    assert w.run().nothing_to_do
    np.save(w.source / "b/area.npy", np.ones(40, np.float32))
    (w.source / "b/forces.csv").write_text("Cd\n0.3\n")
    assert (run := w.run()).converted == ["b"]
    assert "so the store is without" not in run.output
    assert Store(w.store).fields == ["surface_position", "surface_pressure", "surface_area"]
    assert w.listed() == ["b"]
    assert "area.npy" in w.skipped().set_index("id").loc["a", "file"]
    np.save(w.source / "a/area.npy", np.ones(40, np.float32))
    assert w.run().converted == ["a"]
    assert "is as it should be (2 samples" in w.run("verify").said[-1]


FRAMEWORK = """
from typing import Literal

import torch
from pydantic import BaseModel

from aerozarr import SkipSample


class Config(BaseModel):
    kind: str
    root: str
    split: Literal["train", "test"]
    scale: float = 1.0


class Base:
    def __init__(self, dataset_config: Config):
        self.config = dataset_config
        self.filemap = {"surface_position": "mesh/points", "surface_pressure": "mesh/p"}


class Cars(Base):
    def __len__(self):
        return {"train": 3, "test": 1}[self.config.split]

    def sample_info(self, index):
        return {"run_name": f"{self.config.split}_{index}"}

    def _load(self, index, name):
        if (self.config.split, index) == ("train", 1):
            raise SkipSample("it did not converge")
        rows = torch.arange(12.0).reshape(4, 3)
        return rows if name == "mesh/points" else rows[:, 0] * self.config.scale
"""


def test_a_class_as_frameworks_write_it(workspace: Workspace) -> None:
    w = workspace
    (w.root / "mine.py").write_text(FRAMEWORK)
    w.config = {"dataset": "mine.Cars", "source_root": "source", "splits": ["train", "test"]}
    run = w.run()
    assert "it did not converge" in run.output
    assert w.listed() == ["train_0", "train_2", "test_0"]
    assert stored(w, "test_0", "surface/pressure")[:, 0].tolist() == [0, 3, 6, 9]
    w.config["dataset_args"] = {"scale": 2.0}
    w.config["exclude"] = ["train_2"]
    assert w.run().converted == ["test_0", "train_0", "train_1"]
    assert w.listed() == ["train_0", "test_0"]
    assert stored(w, "test_0", "surface/pressure")[:, 0].tolist() == [0, 6, 12, 18]
    assert w.run().nothing_to_do


WING = {
    "surface_position.pt": (40, 3),
    "surface_pressure.pt": (40,),
    "surface_wall_shear_stress.pt": (40, 3),
    "volume_position.pt": (70, 3),
    "volume_pressure.pt": (70,),
    "volume_velocity.pt": (70, 3),
    "volume_vorticity.pt": (70, 3),
}


def wing(seed: int) -> bytes:
    """Return one `run_N.zip` of Emmi-Wing as its authors publish it."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Any] = {
        name: torch.randn(shape, generator=generator) for name, shape in WING.items()
    }
    tensors["design_parameters.pt"] = {"sweep": 20.0 + seed, "twist": torch.arange(3.0)}
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in tensors.items():
            saved = io.BytesIO()
            torch.save(value, saved)
            archive.writestr(name, saved.getvalue())
    return inner.getvalue()


def test_an_archive_of_archives_is_converted_as_it_is(workspace: Workspace) -> None:
    w = workspace

    def publish(seeds: dict[str, int]) -> None:
        with zipfile.ZipFile(w.root / "scans.zip", "w") as archive:
            for run, seed in seeds.items():
                archive.writestr(f"{run}.zip", wing(seed))

    publish({"run_1": 1, "run_2": 2, "run_10": 10})
    (w.root / "train.txt").write_text("run_10\nrun_2\n")
    (w.root / "test.txt").write_text("run_1\n")
    w.config = {
        "dataset": "emmi_wing",
        "source_root": f"zip://::file://{w.root}/scans.zip",
        "splits": ["train", "test"],
        "split_files": {split: f"{w.root}/{split}.txt" for split in ("train", "test")},
        "scalars": {"sweep": "design_parameters.pt::sweep", "twist": "design_parameters.pt::twist"},
    }
    w.run()
    store = Store(w.store)
    assert store.splits == {"train": ("run_10", "run_2"), "test": ("run_1",)}
    assert store.scalars("run_10") == {"sweep": 30.0, "twist": [0.0, 1.0, 2.0]}
    expected = torch.randn(40, 3, generator=torch.Generator().manual_seed(2)).numpy()
    np.testing.assert_array_equal(stored(w, "run_2", "surface/position"), expected)
    assert "is as it should be (3 samples" in w.run("verify").said[-1]
    publish({"run_1": 1, "run_2": 3, "run_10": 10})
    assert w.run().converted == ["run_2"]
