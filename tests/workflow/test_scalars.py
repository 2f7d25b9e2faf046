"""Scalars from the files of samples to the reader: converted, verified, converted again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
import zarr

from aerozarr import ChunkDataset, Store
from workflow.harness import Workspace, write_sample


def write_scalars(folder: Path, drag: str, velocity: float) -> None:
    (folder / "forces.csv").write_text(f"Cl,Cd\n0.1,{drag}\n")
    (folder / "conditions.json").write_text(json.dumps({"inflow": {"U": velocity}, "case": "x"}))
    torch.save({"params": torch.tensor([0.5, velocity])}, folder / "design.pt")


def test_scalars_of_files_reach_the_reader(workspace: Workspace) -> None:
    w = workspace
    for seed, sample in enumerate(("a", "b", "broken", "incomplete")):
        write_sample(w.source / sample, seed)
        write_scalars(w.source / sample, "nan" if sample == "b" else f"0.2{seed}", 30.5 + seed)
    (w.source / "b/note.json").write_text('"wet"')
    (w.source / "broken/forces.csv").write_text("Cl,Cd\n0.1,0.2\n0.1,0.3\n")
    (w.source / "incomplete/design.pt").unlink()
    table = w.source / "geo_all.csv"
    table.write_text("Sample,length\nb,4.5\na,4.25\nbroken,4.75\n")
    w.config["scalars"] = {
        "drag": {"file": "forces.csv::Cd", "long_name": "drag coefficient"},
        "velocity": {"file": "conditions.json::inflow/U", "unit": "m/s"},
        "params": "design.pt::params",
        "case": "conditions.json::case",
        "note": "note.json?",
        "length": {"table": "geo_all.csv::length", "id_column": "Sample", "unit": "m"},
    }
    w.run()
    skipped = w.skipped().set_index("id")
    assert list(skipped.loc["incomplete", ["kind", "file"]]) == ["incomplete", "design.pt"]
    assert list(skipped.loc["broken", ["kind", "field", "file"]]) == [
        "broken",
        "drag",
        "forces.csv",
    ]
    assert "2 rows of values" in skipped.loc["broken", "cause"]

    store = Store(w.store)
    assert store.samples == ["a", "b"]
    a, b = {"drag": 0.2, "velocity": 30.5}, {"velocity": 31.5, "note": "wet", "length": 4.5}
    assert store.scalars("a") == {**a, "params": [0.5, 30.5], "case": "x", "length": 4.25}
    assert store.scalars("b").items() >= b.items()
    (batch,) = ChunkDataset(store, points={"surface": 8}, scalars=["params", "drag"]).loader(2)
    assert batch["params"].tolist() == [[0.5, 30.5], [0.5, 31.5]]
    assert batch["drag"].isnan().tolist() == [False, True]
    attributes = zarr.open_group(w.store / "b.zarr", mode="r").attrs.asdict()
    assert attributes["scalars"]["drag"] == "NaN"
    assert attributes["scalar_attributes"] == {
        "drag": {"long_name": "drag coefficient"},
        "velocity": {"units": "m/s"},
        "length": {"units": "m"},
    }

    # A change of the same size, with the old time: verify tells it, and a run converts it.
    noted = (w.source / "b/note.json").stat().st_mtime_ns
    path = w.source / "a/conditions.json"
    status = path.stat()
    path.write_text(path.read_text().replace("30.5", "30.7"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    note = w.source / "b/note.json"
    note.write_text("{wet}")
    # One row changes, and one is new: what is broken is not tried again for that.
    table.write_text("Sample,length\nnew,5\nb,4.625\na,4.25\nbroken,4.75\n")
    output = w.run("verify", ok=False).output
    assert "a: velocity: the scalar stored is 30.5, the source's is 30.7" in output
    assert "b: note: the source's file cannot be read: it is damaged, or no JSON" in output
    assert "b: length: the scalar stored is 4.5, the source's is 4.625" in output
    assert "3 problems, 2 samples affected" in output
    note.write_text('"wet"')
    os.utime(note, ns=(status.st_atime_ns, noted))
    assert sorted(w.run().converted) == ["a", "b"]
    assert Store(w.store).scalars("a")["velocity"] == 30.7
    assert Store(w.store).scalars("b")["length"] == 4.625
    assert "is as it should be (2 samples" in w.run("verify").said[-1]

    w.config["scalars"]["drag"] = "forces.csv::Cl"  # type: ignore[index] # settings are plain objects here
    assert "3 samples (3 stored with other settings)" in w.run("--dry-run").said[-1]
