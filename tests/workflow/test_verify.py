"""`snakemake verify`: what is not as the source and the conversion left it is caught and named."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from workflow.harness import Run, Workspace, digests, tensors, write_sample

SHARD = "volume/velocity/c/0/0"


def problems(w: Workspace) -> pd.DataFrame:
    return pd.read_csv(w.work / "verify.tsv", sep="\t", keep_default_na=False)


def verify(w: Workspace, *, ok: bool = True) -> Run:
    run = w.run("verify", ok=ok)
    assert run.converted == []
    return run


def flip_a_byte_of_a_chunk(w: Workspace) -> None:
    shard = w.store / f"b.zarr/{SHARD}"
    content = bytearray(shard.read_bytes())
    content[-5] ^= 1
    shard.write_bytes(content)


def flip_a_byte_of_a_shards_index(w: Workspace) -> None:
    shard = w.store / f"b.zarr/{SHARD}"
    content = bytearray(shard.read_bytes())
    content[1] ^= 1
    shard.write_bytes(content)


def remove_a_shard(w: Workspace) -> None:
    (w.store / f"b.zarr/{SHARD}").unlink()


def cut_a_shard(w: Workspace) -> None:
    shard = w.store / f"b.zarr/{SHARD}"
    os.truncate(shard, shard.stat().st_size - 1)


def swap_two_groups(w: Workspace) -> None:
    (w.store / "a.zarr").rename(w.root / "aside")
    (w.store / "b.zarr").rename(w.store / "a.zarr")
    (w.root / "aside").rename(w.store / "b.zarr")


def remove_a_groups_root_metadata(w: Workspace) -> None:
    (w.store / "b.zarr/zarr.json").unlink()


def remove_a_group(w: Workspace) -> None:
    shutil.rmtree(w.store / "b.zarr")


def put_a_file_into_a_group(w: Workspace) -> None:
    (w.store / "b.zarr/volume/notes.txt").write_text("mine")


def put_another_group_into_the_store(w: Workspace) -> None:
    shutil.copytree(w.store / "b.zarr", w.store / "x/stray.zarr")


def put_half_a_group_into_the_store(w: Workspace) -> None:
    put_another_group_into_the_store(w)
    (w.store / "x/stray.zarr/zarr.json").unlink()


def put_an_older_manifest_back(w: Workspace) -> None:
    older = (w.store / "manifest.json").read_bytes()
    write_sample(w.source / "new", 9)
    w.run()
    (w.store / "manifest.json").write_bytes(older)


def change_a_value_of_the_source(w: Workspace) -> None:
    values = tensors(1)["U.pt"]
    values[17, 2] += 1
    torch.save(values, w.source / "b" / "U.pt")


def add_a_sample_to_the_source(w: Workspace) -> None:
    write_sample(w.source / "new", 9)


def remove_a_sample_of_the_source(w: Workspace) -> None:
    shutil.rmtree(w.source / "b")


def change_a_setting(w: Workspace) -> None:
    w.config["shuffle_seed"] = 1


def edit_the_statistics(w: Workspace) -> None:
    path = w.store / "statistics.json"
    path.write_bytes(path.read_bytes().replace(b"mean", b"mEan"))


def delete_the_checksums(w: Workspace) -> None:
    (w.store / "checksums.tsv").unlink()


BYTES = "its bytes are not those that were written"
VALUES = "of 210 values are not the source's"


@pytest.mark.parametrize(
    ("damage", "sample", "place", "problem"),
    [
        (flip_a_byte_of_a_chunk, "b", SHARD, BYTES),
        (flip_a_byte_of_a_shards_index, "b", "volume_velocity", "cannot be decoded"),
        (remove_a_shard, "b", SHARD, "is missing"),
        (remove_a_shard, "b", SHARD, "would read it as zeros"),
        (cut_a_shard, "b", SHARD, "were written"),
        (swap_two_groups, "a", SHARD, BYTES),
        (swap_two_groups, "b", "volume_velocity", "210 of 210 values"),
        (remove_a_groups_root_metadata, "b", "zarr.json", "is missing"),
        (remove_a_group, "b", "zarr.json", "is missing"),
        (put_a_file_into_a_group, "b", "volume/notes.txt", "is not a file that was written"),
        (put_another_group_into_the_store, "", "x/stray.zarr", "does not list"),
        (put_half_a_group_into_the_store, "", "x/stray.zarr", "does not list"),
        (put_an_older_manifest_back, "", "manifest.json", "is not what was written last"),
        (put_an_older_manifest_back, "", "new", "is in the source and not in manifest.json"),
        (change_a_value_of_the_source, "b", "volume_velocity", f"1 {VALUES}"),
        (add_a_sample_to_the_source, "", "new", "is in the source and not in manifest.json"),
        (remove_a_sample_of_the_source, "b", "manifest.json", "is not among the samples"),
        (change_a_setting, "", "manifest.json", "shuffle_seed is 0, and the settings say 1"),
        (edit_the_statistics, "", "statistics.json", "is not what was written last"),
        (delete_the_checksums, "", "checksums.tsv", "is not there"),
        (change_a_value_of_the_source, "b", "volume_velocity", "so the source has changed"),
    ],
)
def test_what_is_not_as_it_should_be_is_named(
    converted: Workspace, damage: Callable[[Workspace], None], sample: str, place: str, problem: str
) -> None:
    damage(converted)
    before = digests(converted.store)
    run = verify(converted, ok=False)
    found = problems(converted)
    assert any(
        row.sample == sample and row.place == place and problem in row.problem
        for row in found.itertuples()
    ), found.to_string()
    assert "is NOT as it should be" in run.said[-1]
    assert digests(converted.store) == before, "a verification mends nothing"


def test_only_the_damaged_sample_is_named(converted: Workspace) -> None:
    flip_a_byte_of_a_chunk(converted)
    verify(converted, ok=False)
    assert set(problems(converted)["sample"]) == {"b"}


def test_a_store_as_it_was_converted_is_as_it_should_be(converted: Workspace) -> None:
    run = verify(converted)
    assert problems(converted).empty
    assert "is as it should be (3 samples, 33 files" in run.said[-1]
    # 40 surface and 70 volume points: 40 * (3 + 1) + 70 * (3 + 3), three times.
    assert "1,740 values compared with the source" in run.said[-1]


def test_the_rounding_error_is_that_of_the_cast(converted: Workspace) -> None:
    verify(converted)
    verdict = json.loads((converted.work / "verification/verdict.json").read_bytes())
    source = torch.cat([tensors(seed)["U.pt"] for seed in range(3)]).double().numpy()
    error = abs(source.astype("float16").astype("float64") - source)
    rounding = verdict["rounding"]["volume_velocity"]
    assert rounding["max_absolute"] == error.max()
    assert rounding["max_relative"] == (error / abs(source)).max()
    assert rounding["values"] == source.size
    assert verdict["rounding"]["volume_position"]["max_absolute"] == 0


def test_values_that_the_cast_makes_zero_are_counted(workspace: Workspace) -> None:
    values = tensors(0)["U.pt"]
    values[:5] = 1e-9
    write_sample(workspace.source / "a", 0, U=values)
    workspace.run()
    verify(workspace)
    verdict = json.loads((workspace.work / "verification/verdict.json").read_bytes())
    assert verdict["rounding"]["volume_velocity"]["flushed"] == 15


def test_a_skipped_sample_is_no_problem(converted: Workspace) -> None:
    write_sample(converted.source / "bad", 9, U=torch.full((70, 3), 1e9))
    converted.run()
    assert "1 sample skipped, see skipped.tsv" in verify(converted).said[-1]


def test_a_store_is_verified_anew_each_time(converted: Workspace) -> None:
    verify(converted)
    flip_a_byte_of_a_chunk(converted)
    verify(converted, ok=False)


@pytest.mark.parametrize(
    ("damage", "sample"),
    [
        (flip_a_byte_of_a_chunk, "b"),
        (remove_a_shard, "b"),
        (swap_two_groups, "a"),
        (put_an_older_manifest_back, ""),
    ],
)
def test_the_quick_mode_needs_no_source(
    converted: Workspace, damage: Callable[[Workspace], None], sample: str
) -> None:
    converted.config["verify"] = "quick"
    moved = converted.root / "elsewhere"
    converted.source.rename(moved)
    assert "is as it should be (3 samples" in verify(converted).said[-1]
    moved.rename(converted.source)
    damage(converted)
    converted.source.rename(moved)
    verify(converted, ok=False)
    assert sample in set(problems(converted)["sample"])


def test_without_a_manifest_there_is_nothing_to_verify(converted: Workspace) -> None:
    (converted.store / "manifest.json").unlink()
    run = verify(converted, ok=False)
    assert "manifest.json is not there. Run snakemake first." in run.said[-1]


def test_a_dry_run_writes_nothing(converted: Workspace) -> None:
    before = digests(converted.root / "results")
    run = converted.run("verify", "--dry-run")
    assert "verify_sample" in run.output
    assert digests(converted.root / "results") == before


def test_verifying_leaves_the_next_run_nothing_to_do(converted: Workspace, tmp_path: Path) -> None:
    verify(converted)
    assert converted.run().nothing_to_do


def test_values_that_are_not_the_sources_are_no_rounding_error(converted: Workspace) -> None:
    remove_a_shard(converted)
    verify(converted, ok=False)
    verdict = json.loads((converted.work / "verification/verdict.json").read_bytes())
    assert verdict["rounding"]["volume_velocity"]["max_relative"] < 1e-3


@pytest.mark.parametrize(
    ("damage", "again"),
    [
        (remove_a_shard, ["b"]),
        (cut_a_shard, ["b"]),
        (remove_a_group, ["b"]),
        (change_a_value_of_the_source, ["b"]),
        (put_an_older_manifest_back, []),
        (add_a_sample_to_the_source, ["new"]),
    ],
)
def test_what_the_next_run_mends_is_as_it_should_be_after_it(
    converted: Workspace, damage: Callable[[Workspace], None], again: list[str]
) -> None:
    damage(converted)
    assert converted.run().converted == again
    verify(converted)


@pytest.mark.parametrize("name", ["statistics.json", "checksums.tsv", "skipped.tsv"])
def test_a_damaged_file_beside_the_groups_is_mended_as_the_verdict_says(
    converted: Workspace, name: str
) -> None:
    (converted.store / name).write_text("damaged")
    run = verify(converted, ok=False)
    if name == "checksums.tsv":  # by which everything else is verified
        assert "Run snakemake again, which writes it again" in run.output
    else:
        assert "remove manifest.json and run snakemake again" in run.output
        (converted.store / "manifest.json").unlink()
    assert converted.run().converted == []
    verify(converted)


def test_a_flipped_byte_is_mended_once_its_group_is_removed(converted: Workspace) -> None:
    flip_a_byte_of_a_chunk(converted)
    verify(converted, ok=False)
    remove_a_group(converted)
    assert converted.run().converted == ["b"]
    verify(converted)


def test_a_missing_shard_is_one_problem(converted: Workspace) -> None:
    remove_a_shard(converted)
    verify(converted, ok=False)
    assert len(problems(converted)) == 1
