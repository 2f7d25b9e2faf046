"""One field at a time: what is added, changed or dropped is converted, and nothing else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch

from workflow.harness import FILEMAP, Workspace, digests, fresh_digests, tensors, write_sample


def inodes(w: Workspace) -> dict[str, int]:
    """Return the inode of every shard of the store, by its path there."""
    return {str(p.relative_to(w.store)): p.stat().st_ino for p in w.store.rglob("c/*/*")}


def written(w: Workspace, before: dict[str, int]) -> set[str]:
    """Return the shards that are other files than before, and those that are gone."""
    now = inodes(w)
    return {path for path in now.keys() | before.keys() if now.get(path) != before.get(path)}


def of_fields(*names: str, samples: tuple[str, ...] = ("a", "b", "deep/c")) -> set[str]:
    return {f"{sample}.zarr/{name}/c/0/0" for sample in samples for name in names}


def test_only_the_fields_that_differ_are_converted(converted: Workspace, tmp_path: Path) -> None:
    w, before = converted, inodes(converted)
    assert w.run().converted == []  # which looks into the files, since they are copies
    for sample in ("a", "b", "deep/c"):
        torch.save(torch.rand(70, 1), w.source / sample / "T.pt")
    torch.save(tensors(9)["U.pt"], w.source / "b" / "U.pt")
    more = {"volume_temperature": {"file": "T.pt", "unit": "K"}}
    less = {name: file for name, file in FILEMAP.items() if name != "surface_pressure"}
    w.config |= {"filemap": less, "fields": more}
    said = w.run("--dry-run").said
    assert any("3 samples" in line and "surface_pressure" in line for line in said), said
    assert any("volume_temperature, volume_velocity alone" in line for line in said), said
    assert any("3 samples (3 stored with other settings)" in line for line in said), said
    said = w.run().said
    told = "3 samples to convert; of each, surface_pressure, volume_temperature, volume_velocity"
    assert any(f"{told} alone" in line for line in said), said
    changed = of_fields("volume/temperature", "surface/pressure")
    assert written(w, before) == changed | of_fields("volume/velocity", samples=("b",))
    assert digests(w.store) == fresh_digests(w, tmp_path / "fresh")
    assert w.run().nothing_to_do

    # What is said of an array, and no value.
    before = inodes(w)
    w.config["fields"] = {"volume_temperature": {"file": "T.pt", "unit": "K m^{2}"}}
    w.run()
    assert written(w, before) == set()
    assert '"K m^{2}"' in (w.store / "a.zarr/volume/temperature/zarr.json").read_text()

    w.config["field_dtypes"] = {"volume_velocity": "float32"}
    # Other positions, as many as before, and more of them.
    write_sample(w.source / "b", 1, points=tensors(5)["points.pt"])
    write_sample(w.source / "deep" / "c", 2, points=torch.rand(44, 3), p=torch.rand(44))
    for sample in ("b", "deep/c"):
        torch.save(torch.rand(70, 1), w.source / sample / "T.pt")
    os.utime(w.source / "a" / "cells.pt")
    w.run()
    assert digests(w.store) == fresh_digests(w, tmp_path / "again")
    assert not w.skipped().size

    # A field that does not fit costs its sample, as in a conversion of all.
    torch.save(torch.rand(69, 1), w.source / "a" / "T.pt")
    assert "69 rows" in w.run().output
    assert w.listed() == ["b", "deep/c"]
    torch.save(torch.rand(70, 1), w.source / "a" / "T.pt")
    w.run()
    assert w.listed() == ["a", "b", "deep/c"]
    assert digests(w.store) == fresh_digests(w, tmp_path / "mended")


def test_an_added_field_that_is_wrong_costs_no_group(converted: Workspace, tmp_path: Path) -> None:
    w = converted
    assert w.run().converted == []
    before, manifest = inodes(w), (w.store / "manifest.json").read_bytes()
    for sample in ("a", "b", "deep/c"):
        torch.save(torch.rand(69, 1), w.source / sample / "T.pt")
    w.config["fields"] = {"volume_temperature": "T.pt"}
    assert "every sample is broken (3)" in w.run(ok=False).output
    assert inodes(w) == before
    assert (w.store / "manifest.json").read_bytes() == manifest

    torch.save(torch.rand(70, 1), w.source / "a" / "T.pt")
    run = w.run()
    assert run.converted == ["a"]
    assert w.listed() == ["a"]
    assert written(w, before) == of_fields("volume/temperature", samples=("a",))

    del w.config["fields"]
    run = w.run()
    assert run.converted == ["a"]  # what is stored of the others holds
    assert inodes(w) == before
    assert (w.store / "manifest.json").read_bytes() == manifest
    assert digests(w.store) == fresh_digests(w, tmp_path / "fresh")


def test_what_is_kept_is_what_the_source_holds(converted: Workspace, tmp_path: Path) -> None:
    """A run that has to look twice: a lost shard, a file replaced in secret, an end halfway."""
    w, before = converted, inodes(converted)
    assert w.run().converted == []  # which looks into the files, since they are copies
    (w.store / "a.zarr/surface/pressure/c/0/0").unlink()
    # Of the same size and time, beside one whose time tells it.
    path = w.source / "b" / "p.pt"
    times = path.stat()
    torch.save(torch.rand(40), tmp_path / "p.pt")
    assert (tmp_path / "p.pt").stat().st_size == times.st_size
    shutil.copyfile(tmp_path / "p.pt", path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    torch.save(tensors(9)["U.pt"], w.source / "b" / "U.pt")
    w.config["field_dtypes"] = {"volume_velocity": "float32"}
    assert w.kill_when(lambda: any(w.work.glob("fragments/*/.set_aside/*")))
    w.run()
    assert digests(w.store) == fresh_digests(w, tmp_path / "fresh")
    lost = {path for path in before if path.startswith("a.zarr/")}
    told = {"b.zarr/surface/pressure/c/0/0", *of_fields("volume/velocity", samples=("b", "deep/c"))}
    assert written(w, before) == lost | told
    assert not list(w.work.glob("fragments/*/.set_aside/*"))

    # What was begun, and is not wanted any more, holds as it was.
    del w.config["field_dtypes"]
    before, kept = inodes(w), dict(w.config)
    w.config["field_dtypes"] = {"surface_pressure": "float32"}
    assert w.kill_when(lambda: any(w.work.glob("fragments/*/.set_aside/*")))
    w.config = kept
    w.run()
    assert digests(w.store) == fresh_digests(w, tmp_path / "back")
