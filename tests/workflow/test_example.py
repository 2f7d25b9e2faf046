"""The default configuration converts the bundled example."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray
import zarr

from workflow.harness import REPOSITORY


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("example")
    command = [sys.executable, "-m", "snakemake", "-s", f"{REPOSITORY}/Snakefile", "--cores", "2"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    last = done.stderr.split("aerozarr: ")[-1].splitlines()[0]
    assert last.startswith("results/store/manifest.json lists 10 samples of example")
    assert last.endswith("0 skipped")
    again = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert "Nothing to be done" in again.stderr
    return folder


def test_the_manifest_lists_ten_cars_in_order(example: Path) -> None:
    manifest = json.loads((example / "results/store/manifest.json").read_bytes())
    ids = list(manifest["samples"])
    assert len(ids) == 10
    assert ids == sorted(ids)
    assert list(manifest["domains"]) == ["surface", "volume"]


def test_zarr_reads_the_sources_values_in_the_stores_order(example: Path) -> None:
    car = "param0/car_00"
    group = zarr.open_consolidated(example / f"results/store/{car}.zarr", mode="r")
    source = example / "results/work/example_source" / car
    velocity = torch.load(source / "volume_velocity.pt", weights_only=True)
    position = torch.load(source / "volume_points.pt", weights_only=True)
    stored = group["volume/position"][:]
    assert stored.dtype == np.float32
    back = np.lexsort(stored.T), np.lexsort(position.numpy().T)
    np.testing.assert_array_equal(stored[back[0]], position.numpy()[back[1]])
    np.testing.assert_array_equal(
        group["volume/velocity"][:][back[0]], velocity.numpy()[back[1]].astype(np.float16)
    )


def test_xarray_opens_a_domain(example: Path) -> None:
    car = example / "results/store/param0/car_00.zarr"
    opened = xarray.open_zarr(car, group="surface", consolidated=False)
    assert dict(opened["pressure"].sizes) == {"points": opened.sizes["points"], "scalar": 1}
    assert float(opened["pressure"].max()) == pytest.approx(0.5 * 1.225 * 30**2, rel=0.05)
    tree = xarray.open_datatree(car, engine="zarr")
    assert tree["volume/velocity"].dims == ("points", "xyz")
