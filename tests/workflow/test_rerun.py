"""What makes a sample convert again, and what does not, for a plain `snakemake --cores N`."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from workflow.harness import REPOSITORY, Workspace, digests, fresh_digests, tensors, write_sample

ALL = ["a", "b", "deep%2Fc"]


def test_after_changes_only_what_they_touch_is_converted(
    converted: Workspace, tmp_path: Path
) -> None:
    w = converted
    names = ["back", "cut", "fragment", "gone", "group", "lost", "root", "shard", "stays", "touch"]
    for seed, name in enumerate([*names, "half", "values"]):
        write_sample(w.source / name, seed, **({"p": None} if name == "half" else {}))
    (w.source / "back").rename(w.root / "back")
    w.run()
    (w.root / "back").rename(w.source / "back")
    w.run()
    (w.source / "back").rename(w.root / "back")
    w.run()
    assert "half" not in w.listed()

    (w.root / "back").rename(w.source / "back")
    write_sample(w.source / "aa", 7)
    torch.save(tensors(10)["p.pt"], w.source / "half" / "p.pt")
    write_sample(w.source / "values", 99)
    os.utime(w.source / "touch" / "p.pt")
    shutil.rmtree(w.source / "gone")
    shutil.rmtree(w.store / "group.zarr")
    (w.store / "root.zarr" / "zarr.json").unlink()
    (w.store / "shard.zarr/volume/velocity/c/0/0").unlink()
    os.truncate(w.store / "cut.zarr/volume/velocity/c/0/0", 100)
    next(w.work.glob("fragments/*/fragment.json")).unlink()
    next(w.work.glob("fragments/*/lost.json")).write_text("{")
    shutil.rmtree(w.store / "lost.zarr")
    touched = ["aa", "back", "cut", "fragment", "group", "half", "lost", "root", "shard"]
    assert w.run().converted == [*touched, "touch", "values"]
    ours = {p: d for p, d in digests(w.store).items() if not p.startswith("gone.zarr")}
    assert ours == fresh_digests(w, tmp_path / "fresh")
    again = w.run()
    assert again.nothing_to_do
    assert again.converted == []


def delete_the_store(w: Workspace) -> None:
    shutil.rmtree(w.store)


def delete_the_manifest(w: Workspace) -> None:
    (w.store / "manifest.json").unlink()


def damage_the_manifest(w: Workspace) -> None:
    (w.store / "manifest.json").write_text("{}")


def edit_the_manifest(w: Workspace) -> None:
    manifest = {**w.manifest(), "dataset_name": "another run's"}
    (w.store / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (delete_the_store, ALL),
        (delete_the_manifest, []),
        (damage_the_manifest, []),
        (edit_the_manifest, []),
    ],
)
def test_what_happens_to_the_manifest_is_made_good(
    converted: Workspace, damage: Callable[[Workspace], None], expected: list[str]
) -> None:
    before = digests(converted.store)
    damage(converted)
    assert converted.run().converted == expected
    assert digests(converted.store) == before
    assert converted.run().nothing_to_do


def test_a_setting_converts_what_it_decides(converted: Workspace, tmp_path: Path) -> None:
    w = converted
    every: list[tuple[dict[str, object], list[str]]] = [
        ({"shuffle_seed": 1}, ALL),
        ({"chunk_points": 16, "shuffle_seed": 32}, ALL),
        ({"chunk_points": 32, "shuffle_seed": 16}, ALL),  # the numbers change places
        ({"shard_points": 4096}, ALL),
        ({"coords_dtype": "float64"}, ALL),
        ({"field_dtypes": {"surface_pressure": "float32"}}, ALL),
        ({"compression": {"clevel": 1}}, ALL),
        ({"chunk_checksums": False}, ALL),
        ({"dataset_name": "renamed"}, []),
        ({"on_broken_sample": "fail"}, []),
        ({"storage_options": {"s3": {"anon": True}}}, []),
        ({"limit": 2}, []),
    ]
    for changes, expected in every:
        w.config.update(changes)
        assert w.run().converted == expected, changes
    ours = {p: d for p, d in digests(w.store).items() if not p.startswith("deep/")}
    assert ours == fresh_digests(w, tmp_path / "fresh")
    assert w.run().nothing_to_do


def test_nothing_changed_means_nothing_to_be_done(converted: Workspace) -> None:
    before = digests(converted.store)
    run = converted.run()
    assert run.nothing_to_do
    assert digests(converted.store) == before


def test_a_limit_raised_again_converts_nothing_again(converted: Workspace) -> None:
    converted.config["limit"] = 1
    converted.run()
    assert converted.listed() == ["a"]
    del converted.config["limit"]
    assert converted.run().converted == []
    assert converted.listed() == ["a", "b", "deep/c"]


def test_an_orphan_is_reported_and_removed_only_when_asked_for(converted: Workspace) -> None:
    shutil.rmtree(converted.source / "b")
    run = converted.run()
    assert converted.listed() == ["a", "deep/c"]
    assert converted.groups() == ["a", "b", "deep/c"]
    assert any("remove_orphans" in line for line in run.said)
    converted.run("remove_orphans")
    assert converted.groups() == ["a", "deep/c"]
    assert converted.run().nothing_to_do


def test_comments_in_scripts_library_and_rules_and_another_checkout_convert_nothing(
    converted: Workspace, tmp_path: Path
) -> None:
    checkout = tmp_path / "checkout"
    ignored = shutil.ignore_patterns(".git", ".venv", "results", ".snakemake", "tests", ".*cache")
    shutil.copytree(REPOSITORY, checkout, ignore=ignored)
    edited = [*checkout.glob("scripts/*.py"), *checkout.glob("scripts/aerozarr/*.py")]
    for file in [*edited, *checkout.glob("rules/*.smk"), checkout / "Snakefile"]:
        file.write_text(file.read_text() + "\n# a comment\n")
    converted.repository = checkout
    assert converted.run().nothing_to_do


def test_a_dry_run_says_what_would_be_done_and_touches_nothing(converted: Workspace) -> None:
    shutil.rmtree(converted.store / "a.zarr")
    write_sample(converted.source / "new", 5)
    before = digests(converted.root / "results")
    run = converted.run("--dry-run")
    assert "list_samples" in run.output
    assert "a run would convert 2 samples (1 gone from the store, 1 new)" in run.output
    assert digests(converted.root / "results") == before


def test_a_source_listed_for_the_first_time_by_a_dry_run_leaves_no_folder(
    workspace: Workspace,
) -> None:
    write_sample(workspace.source / "a", 1)
    workspace.run("--dry-run")
    assert not (workspace.root / "results").exists()


def test_a_store_that_another_work_folder_wrote_to_is_converted_again(
    converted: Workspace,
) -> None:
    expected = digests(converted.store)
    converted.run("--config", "workdir=results/other", "shuffle_seed=5", "values_dtype=float32")
    run = converted.run()
    assert run.converted == ALL
    assert "a run from another work folder wrote to results/store since the last" in run.output
    assert digests(converted.store) == expected


@pytest.mark.parametrize("name", ["statistics.json", "skipped.tsv", "checksums.tsv"])
def test_a_file_beside_the_manifest_that_is_gone_is_written_anew(
    converted: Workspace, name: str
) -> None:
    before = digests(converted.store)
    (converted.store / name).unlink()
    run = converted.run()
    assert run.converted == []
    assert f"{name} gone from" in run.output
    assert digests(converted.store) == before
    assert converted.run().nothing_to_do


def test_a_file_that_an_earlier_version_did_not_write_is_written_and_nothing_converted(
    converted: Workspace,
) -> None:
    # As such a version left it: the file is not there, and no record knows of it.
    before = digests(converted.store)
    (converted.store / "moments.jsonl").unlink()
    path = converted.work / "merged.json"
    summary, status = json.loads(path.read_text()), path.stat()
    summary["files"].remove("moments.jsonl")
    del summary["recorded"]["moments.jsonl"]
    path.write_text(json.dumps(summary))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    run = converted.run()
    assert run.converted == []
    assert "has no moments.jsonl, which earlier versions did not write" in run.output
    assert digests(converted.store) == before


def test_the_source_itself_is_refused_as_a_store(workspace: Workspace) -> None:
    write_sample(workspace.source / "a", 0)
    workspace.config["store"] = "source/../source/"
    run = workspace.run(ok=False)
    assert "store: 'source/../source' is the source itself" in run.said[-1]
    assert [path.name for path in workspace.source.iterdir()] == ["a"]


def test_one_work_folder_serves_two_stores_in_turn(converted: Workspace) -> None:
    expected = digests(converted.store)
    for times in range(2):
        run = converted.run("--config", "store=results/second", "shuffle_seed=3")
        assert run.converted == (ALL if times == 0 else [])
        assert converted.run().converted == []
    assert digests(converted.store) == expected
    assert converted.run().nothing_to_do
