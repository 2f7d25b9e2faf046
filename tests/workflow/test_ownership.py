"""Nothing is removed or replaced that a store's own runs did not write; one run at a time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
import zarr

from workflow.harness import FILEMAP, Workspace, digests, fresh_digests, tensors, write_sample

ALL = ["a", "b", "deep%2Fc"]


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder by path."""
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_remove_orphans_leaves_what_others_wrote_below_the_store(
    converted: Workspace, tmp_path: Path
) -> None:
    other = converted.store / "other"
    shutil.copytree(converted.store, other)
    zarr.create_group(converted.store / "mine.zarr").create_array("x", shape=(3,), dtype="f4")
    theirs = files(other) | files(converted.store / "mine.zarr")
    shutil.rmtree(converted.source / "b")
    converted.run()
    dry = converted.run("remove_orphans", "--dry-run")
    assert "a run would remove 1 group\n" in dry.output
    converted.run("remove_orphans")
    assert files(other) | files(converted.store / "mine.zarr") == theirs
    assert not (converted.store / "b.zarr").exists()
    assert converted.listed() == ["a", "deep/c"]
    assert converted.run().nothing_to_do


def shown(store: Path) -> dict[str, str]:
    """Return what any reader sees of a store: not what a stopped run has half-written."""
    found = digests(store)
    return {path: d for path, d in found.items() if not path.startswith(".aerozarr-partial")}


def other_source(w: Workspace) -> dict[str, str]:
    write_sample(w.root / "elsewhere" / "z", 1)
    return {"source_url": "elsewhere"}


def other_dataset(w: Workspace) -> dict[str, str]:
    return {"dataset": "drivaerml"}


@pytest.mark.parametrize("workdir", ["results/work", "results/other_work"])
@pytest.mark.parametrize("change", [other_source, other_dataset], ids=lambda f: f.__name__)
def test_the_store_of_another_dataset_is_refused_before_anything_is_written(
    converted: Workspace, change, workdir: str
) -> None:
    before = files(converted.store)
    original = dict(converted.config)
    converted.config.update(change(converted), workdir=workdir)
    for options in (("--dry-run",), ()):
        run = converted.run(*options, ok=False)
        assert "set take_over: true" in run.output
        assert "'results/store' holds custom (dataset: example) from " in run.output
        assert files(converted.store) == before
    converted.config = original
    assert converted.run().nothing_to_do


def test_with_take_over_the_other_datasets_groups_are_orphans(converted: Workspace) -> None:
    converted.config.update(other_source(converted), take_over=True)
    assert converted.run().converted == ["z"]
    assert converted.listed() == ["z"]
    del converted.config["take_over"]
    assert converted.run().nothing_to_do
    converted.run("remove_orphans")
    assert converted.groups() == ["z"]


def test_a_foreign_group_in_a_samples_place_is_refused_before_anything_is_written(
    converted: Workspace,
) -> None:
    write_sample(converted.source / "mine", 3)
    zarr.create_group(converted.store / "mine.zarr").create_array("x", shape=(3,), dtype="f4")
    before = files(converted.store)
    run = converted.run(ok=False)
    assert "holds 1 group that no run of this store wrote" in run.output
    assert files(converted.store) == before
    converted.config["take_over"] = True
    assert converted.run().converted == ["mine"]


def test_somebodys_own_files_in_a_group_are_neither_replaced_nor_removed(
    converted: Workspace,
) -> None:
    w = converted
    mine = w.store / "b.zarr/volume/notes.txt"
    mine.write_text("mine")
    (w.store / "a.zarr/.DS_Store").write_text("a desktop's")
    assert w.run().nothing_to_do, "a group that is left alone is no matter"
    before = files(w.store)
    w.config["shuffle_seed"] = 5
    for options in (("--dry-run",), ()):
        run = w.run(*options, ok=False)
        assert "holds 1 file that aerozarr did not write" in run.output
        assert "b.zarr/volume/notes.txt" in run.output
        assert files(w.store) == before
    mine.rename(w.root / "notes.txt")
    assert w.run().converted == ALL

    (w.root / "notes.txt").rename(mine)
    for sample in ("a", "b"):
        shutil.rmtree(w.source / sample)
    w.run()
    dry = w.run("remove_orphans", "--dry-run")
    assert "a run would remove 1 group\n" in dry.output
    for run in (dry, w.run("remove_orphans", ok=False)):
        assert "1 group not removed, because of files that aerozarr did not write" in run.output
        assert "b.zarr/volume/notes.txt" in run.output
    assert (mine.read_text(), w.groups()) == ("mine", ["b", "deep/c"])
    mine.rename(w.root / "notes.txt")
    w.run("remove_orphans")
    assert w.groups() == ["deep/c"]


def test_an_array_of_somebodys_own_is_neither_replaced_nor_removed(converted: Workspace) -> None:
    w = converted
    for sample in ("a", "b"):
        group = zarr.open_group(w.store / f"{sample}.zarr", mode="r+")
        group.create_array("surface/mine", data=torch.arange(40.0).numpy()[:, None])
    mine = w.store / "b.zarr/surface/mine"
    kept = files(mine)
    assert kept
    run = w.run("verify", ok=False)
    assert "surface/mine/c/0/0: is not a file that was written" in run.output
    assert "move away what aerozarr did not write" in run.output
    assert w.run("repair", ok=False).converted == []
    torch.save(tensors(9)["p.pt"], w.source / "b/p.pt")
    run = w.run(ok=False)
    assert "holds 2 files that aerozarr did not write, inside groups" in run.output
    assert "b.zarr/surface/mine/zarr.json" in run.output
    shutil.rmtree(w.source / "b")
    w.run()
    assert "b.zarr/surface/mine" in w.run("remove_orphans", ok=False).output
    assert files(mine) == kept
    for sample in ("a", "b"):
        shutil.rmtree(w.store / f"{sample}.zarr/surface/mine")
    w.run("remove_orphans")
    assert w.groups() == ["a", "deep/c"]
    assert w.run("verify").returncode == 0


def test_arrays_of_fields_that_are_no_longer_asked_for_are_the_stores_own(
    converted: Workspace,
) -> None:
    w = converted
    for sample in ("a", "b", "deep/c"):
        torch.save(tensors(9)["p.pt"], w.source / sample / "T.pt")
    w.config["fields"] = {"surface_T": {"file": "T.pt", "kind": "value"}}
    w.run()
    assert (w.store / "b.zarr/surface/T").is_dir()
    del w.config["fields"]
    w.config["exclude"] = ["b"]
    w.run()
    # Nothing but the store's own record tells of that field by now.
    for fragment in (w.work / "fragments").glob("*/b.json"):
        fragment.unlink()
    w.run("remove_orphans")
    assert w.groups() == ["a", "deep/c"]


def test_groups_behind_links_are_the_stores_own(converted: Workspace) -> None:
    w = converted
    elsewhere = w.root / "elsewhere"
    elsewhere.mkdir()
    (w.store / "deep").rename(elsewhere / "deep")
    (w.store / "deep").symlink_to(elsewhere / "deep")
    (w.store / "b.zarr").rename(elsewhere / "b.zarr")
    (w.store / "b.zarr").symlink_to(elsewhere / "b.zarr")
    theirs = files(elsewhere / "b.zarr")
    assert w.run().nothing_to_do
    assert w.run("verify").returncode == 0
    for sample in ("b", "deep/c"):
        shutil.rmtree(w.source / sample)
    w.run()
    run = w.run("verify", ok=False)
    assert "2 problems: run snakemake remove_orphans" in run.output
    assert "2 groups removed" in w.run("remove_orphans").output
    assert files(elsewhere / "b.zarr") == theirs
    assert files(elsewhere / "deep") == {}


def test_a_file_in_a_groups_place_is_refused(converted: Workspace) -> None:
    w = converted
    write_sample(w.source / "new", 7)
    (w.store / "new.zarr").write_text("mine")
    run = w.run(ok=False)
    assert "holds 1 file that aerozarr did not write, inside groups" in run.output
    assert "new.zarr" in run.output
    assert (w.store / "new.zarr").read_text() == "mine"
    (w.store / "new.zarr").unlink()
    place = w.store / "new.zarr/x/y/c/0"
    place.mkdir(parents=True)
    (place / "0").write_text("mine")
    assert "new.zarr/x/y/c/0/0" in w.run(ok=False).output
    assert (place / "0").read_text() == "mine"


@pytest.mark.parametrize("name", ["manifest.json", "statistics.json", "provenance.json"])
def test_a_folder_in_a_files_place_is_told_before_anything_is_converted(
    converted: Workspace, name: str
) -> None:
    (converted.store / name).unlink()
    (converted.store / name).mkdir()
    (converted.store / name / "mine").write_text("mine")
    converted.config["shuffle_seed"] = 5
    run = converted.run(ok=False)
    assert f"{name} is a folder, where aerozarr keeps a file of that name" in run.output
    assert run.converted == []
    assert "Traceback" not in run.output
    (converted.store / name).rename(converted.root / "mine")
    assert converted.run().converted == ALL


def test_a_store_whose_work_folder_was_lost_is_gone_on_with(converted: Workspace) -> None:
    before = digests(converted.store)
    shutil.rmtree(converted.work)
    assert converted.run().converted == ALL
    assert digests(converted.store) == before


@pytest.mark.parametrize("known_by", ["provenance", "merged"])
def test_a_store_of_an_earlier_version_without_a_record_is_gone_on_with(
    converted: Workspace, known_by: str
) -> None:
    shutil.rmtree(converted.store / ".aerozarr")
    if known_by == "merged":
        (converted.store / "provenance.json").unlink()
    write_sample(converted.source / "new", 7)
    shutil.rmtree(converted.source / "b")
    assert converted.run().converted == ["new"]
    converted.run("remove_orphans")
    assert converted.groups() == ["a", "deep/c", "new"]


def test_a_second_run_from_another_work_folder_is_refused_until_the_first_has_ended(
    converted: Workspace,
) -> None:
    before = files(converted.store)
    converted.config["shuffle_seed"] = 5
    first = converted.start()
    lease = converted.store / ".aerozarr/lease.json"
    deadline = time.monotonic() + 60
    while not lease.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(first.pid, signal.SIGSTOP)
    other = ("--config", "workdir=results/other_work", "shuffle_seed=9")
    for options in (other, ("--dry-run", *other)):
        run = converted.run(*options, ok=False)
        assert f"another run is at work in it (process {first.pid} on " in run.output
        assert "take_over: true" in run.output
    os.killpg(first.pid, signal.SIGCONT)
    assert first.wait(timeout=120) == 0
    assert not lease.exists()
    assert before.keys() == files(converted.store).keys()
    converted.run(*other)
    assert converted.manifest()["shuffle_seed"] == 9


def test_a_killed_runs_lease_does_not_keep_others_out(converted: Workspace) -> None:
    converted.config["shuffle_seed"] = 5
    lease = converted.store / ".aerozarr/lease.json"
    assert converted.kill_when(lease.exists)
    assert lease.exists()
    converted.run("--config", "workdir=results/other_work", "shuffle_seed=9")
    assert not lease.exists()


def test_a_run_whose_store_was_taken_over_publishes_nothing(converted: Workspace) -> None:
    converted.config["shuffle_seed"] = 5
    first = converted.start()
    lease = converted.store / ".aerozarr/lease.json"
    deadline = time.monotonic() + 60
    while not lease.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(first.pid, signal.SIGSTOP)
    converted.run(*("--config", "workdir=results/other_work", "shuffle_seed=9", "take_over=True"))
    expected = shown(converted.store)
    os.killpg(first.pid, signal.SIGCONT)
    assert first.wait(timeout=120) != 0
    assert "another run has taken the store over" in (converted.root / "output.txt").read_text()
    assert shown(converted.store) == expected
    # The next plain run of the first settings has the store to itself again.
    assert converted.run().converted == ALL
    assert json.loads((converted.store / "manifest.json").read_text())["shuffle_seed"] == 5


def test_groups_of_another_run_are_not_taken_for_ones_own_by_their_sizes(
    converted: Workspace, tmp_path: Path
) -> None:
    w = converted
    for seed, sample in enumerate(("a", "b", "deep/c")):
        torch.save(tensors(20 + seed)["p.pt"], w.source / sample / "T.pt")
    # Nothing compressed: whatever is stored has the same size.
    mine = {**w.config, "compression": {"cname": "zstd", "clevel": 0}}
    w.config = dict(mine)
    w.run()
    expected = fresh_digests(w, tmp_path / "fresh")

    # The same samples and manifest, from another work folder, of other values.
    w.config |= {"workdir": "results/other", "filemap": {**FILEMAP, "surface_pressure": "T.pt"}}
    w.run()
    # A run that looks at one sample alone, after which the store is this work folder's again.
    w.config = {**mine, "limit": 1}
    run = w.run()
    assert any("a run from another work folder wrote to" in line for line in run.said)
    assert any("2 records of samples that this run does not look at" in line for line in run.said)
    assert run.converted == ["a"]
    w.config = dict(mine)
    assert w.run().converted == ["b", "deep%2Fc"]
    assert digests(w.store) == expected
    assert w.run().nothing_to_do

    # The same work folder, by another name of the store.
    w.config |= {"store": str(w.store), "shuffle_seed": 7}
    w.run()
    w.config = dict(mine)
    w.run()
    assert digests(w.store) == expected

    # What another work folder stored alike is not converted again.
    w.config["workdir"] = "results/other"
    assert w.run().converted == ["a", "b", "deep%2Fc"]  # it knows its own settings alone
    w.config = dict(mine)
    assert w.run().converted == []
    assert digests(w.store) == expected
