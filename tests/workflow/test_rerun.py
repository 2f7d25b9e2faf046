"""What makes a sample convert again, and what does not, for a plain `snakemake --cores N`."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from workflow.harness import REPOSITORY, Workspace, digests, tensors, write_sample

ALL = ["a", "b", "deep%2Fc"]


def rewrite_with_other_values(w: Workspace) -> None:
    write_sample(w.source / "b", 99)


def touch_a_file(w: Workspace) -> None:
    os.utime(w.source / "b" / "p.pt")


def add_a_sample(w: Workspace) -> None:
    write_sample(w.source / "aa", 7)


def complete_a_sample_left_out(w: Workspace) -> None:
    write_sample(w.source / "half", 8, p=None)
    assert w.run().converted == []
    torch.save(tensors(8)["p.pt"], w.source / "half" / "p.pt")


def remove_a_sample(w: Workspace) -> None:
    shutil.rmtree(w.source / "b")


def remove_a_sample_and_bring_it_back(w: Workspace) -> None:
    (w.source / "b").rename(w.root / "b")
    w.run()
    (w.root / "b").rename(w.source / "b")


def delete_a_group(w: Workspace) -> None:
    shutil.rmtree(w.store / "deep" / "c.zarr")


def delete_a_shard(w: Workspace) -> None:
    (w.store / "b.zarr/volume/velocity/c/0/0").unlink()


def cut_a_shard(w: Workspace) -> None:
    os.truncate(w.store / "b.zarr/volume/velocity/c/0/0", 100)


def delete_a_groups_root_metadata(w: Workspace) -> None:
    (w.store / "b.zarr" / "zarr.json").unlink()


def delete_a_fragment(w: Workspace) -> None:
    next(w.work.glob("fragments/*/a.json")).unlink()


def damage_a_fragment_of_a_lost_group(w: Workspace) -> None:
    next(w.work.glob("fragments/*/a.json")).write_text("{")
    shutil.rmtree(w.store / "a.zarr")


def delete_the_store(w: Workspace) -> None:
    shutil.rmtree(w.store)


def delete_the_manifest(w: Workspace) -> None:
    (w.store / "manifest.json").unlink()


def damage_the_manifest(w: Workspace) -> None:
    (w.store / "manifest.json").write_text("{}")


def edit_the_manifest(w: Workspace) -> None:
    manifest = {**w.manifest(), "dataset_name": "another run's"}
    (w.store / "manifest.json").write_text(json.dumps(manifest))


def settings(**changes: object):
    def change(w: Workspace) -> None:
        w.config.update(changes)

    return change


def swap_two_numbers(w: Workspace) -> None:
    w.config.update(chunk_points=16, shuffle_seed=32)
    w.run()
    w.config.update(chunk_points=32, shuffle_seed=16)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (add_a_sample, ["aa"]),
        (complete_a_sample_left_out, ["half"]),
        (rewrite_with_other_values, ["b"]),
        (touch_a_file, ["b"]),
        (remove_a_sample, []),
        (remove_a_sample_and_bring_it_back, ["b"]),
        (delete_a_group, ["deep%2Fc"]),
        (delete_a_groups_root_metadata, ["b"]),
        (delete_a_shard, ["b"]),
        (cut_a_shard, ["b"]),
        (delete_a_fragment, ["a"]),
        (damage_a_fragment_of_a_lost_group, ["a"]),
        (delete_the_store, ALL),
        (delete_the_manifest, []),
        (damage_the_manifest, []),
        (edit_the_manifest, []),
        pytest.param(settings(shuffle_seed=1), ALL, id="shuffle_seed"),
        pytest.param(settings(chunk_points=16), ALL, id="chunk_points"),
        pytest.param(settings(shard_points=4096), ALL, id="shard_points"),
        pytest.param(settings(coords_dtype="float64"), ALL, id="coords_dtype"),
        pytest.param(settings(field_dtypes={"surface_pressure": "float32"}), ALL, id="one_dtype"),
        pytest.param(settings(compression={"clevel": 1}), ALL, id="compression"),
        (swap_two_numbers, ALL),
        pytest.param(settings(limit=2), [], id="limit"),
        pytest.param(settings(dataset_name="renamed"), [], id="dataset_name"),
        pytest.param(settings(on_broken_sample="fail"), [], id="on_broken_sample"),
        pytest.param(settings(storage_options={"s3": {"anon": True}}), [], id="storage_options"),
    ],
)
def test_after_a_change_only_what_it_touches_is_converted(
    converted: Workspace, change, expected: list[str], tmp_path: Path
) -> None:
    change(converted)
    assert converted.run().converted == expected
    fresh = Workspace(tmp_path / "fresh")
    shutil.copytree(converted.source, fresh.source)
    fresh.config = converted.config
    fresh.run()
    ours = digests(converted.store)
    orphans = {path for path in ours if "b.zarr" in path or "c.zarr" in path} - set(
        digests(fresh.store)
    )
    assert {path: ours[path] for path in ours if path not in orphans} == digests(fresh.store)
    again = converted.run()
    assert again.nothing_to_do
    assert again.converted == []


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
    assert "was not written from results/work" in run.output
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
