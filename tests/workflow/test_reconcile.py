"""What a run converts does not depend on Snakemake's records, and tables are not believed blindly.

In each case one sample has changed and one is new, and Snakemake has no way of its own to know.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from workflow.harness import Workspace, digests, fresh_digests, write_sample

ALL = ["a", "b", "deep%2Fc"]


@pytest.fixture
def outdated(converted: Workspace) -> Workspace:
    """Three converted samples, of which `b` has changed since; `new` is not converted yet."""
    write_sample(converted.source / "b", 99)
    write_sample(converted.source / "new", 7)
    return converted


def assert_as_from_nothing(w: Workspace, tmp_path: Path) -> None:
    """Check that the store is the one that a first run gives."""
    assert digests(w.store) == fresh_digests(w, tmp_path / "from_nothing")


def delete_snakemakes_records(w: Workspace) -> tuple[str, ...]:
    shutil.rmtree(w.root / ".snakemake")
    return ()


def compare_times_only(w: Workspace) -> tuple[str, ...]:
    return ("--rerun-triggers", "mtime")


def touch(w: Workspace) -> tuple[str, ...]:
    w.run("--touch")
    return ()


@pytest.mark.parametrize(
    "disturb", [delete_snakemakes_records, compare_times_only, touch], ids=lambda f: f.__name__
)
def test_what_changed_is_converted_whatever_snakemake_recorded(
    outdated: Workspace, disturb: Callable[[Workspace], tuple[str, ...]], tmp_path: Path
) -> None:
    options = disturb(outdated)
    dry = outdated.run("--dry-run", *options)
    assert "a run would convert 2 samples (1 changed, 1 new)" in dry.output
    assert outdated.run(*options).converted == ["b", "new"]
    assert_as_from_nothing(outdated, tmp_path)
    assert outdated.run(*options).nothing_to_do


def test_what_changed_is_converted_after_a_run_that_dropped_its_metadata(
    workspace: Workspace, tmp_path: Path
) -> None:
    for seed, sample in enumerate("ab"):
        write_sample(workspace.source / sample, seed)
    workspace.run("--drop-metadata")
    write_sample(workspace.source / "b", 99)
    write_sample(workspace.source / "new", 7)
    assert workspace.run("--drop-metadata").converted == ["b", "new"]
    assert_as_from_nothing(workspace, tmp_path)


def test_what_changed_is_converted_from_another_working_directory(
    converted: Workspace, tmp_path: Path
) -> None:
    places = {"source_url": "source", "store": "results/store", "workdir": "results/work"}
    converted.config.update({key: str(converted.root / path) for key, path in places.items()})
    converted.run()
    write_sample(converted.source / "b", 99)
    write_sample(converted.source / "new", 7)
    elsewhere = Workspace(tmp_path / "elsewhere")
    elsewhere.root.mkdir()
    elsewhere.config = converted.config
    assert elsewhere.run().converted == ["b", "new"]
    assert_as_from_nothing(converted, tmp_path)


def test_another_seed_converts_all_without_snakemakes_records(
    converted: Workspace, tmp_path: Path
) -> None:
    shutil.rmtree(converted.root / ".snakemake")
    converted.config["shuffle_seed"] = 5
    dry = converted.run("--dry-run")
    assert "a run would convert 3 samples (3 stored with other settings)" in dry.output
    assert converted.run().converted == ALL
    assert_as_from_nothing(converted, tmp_path)


def empty_it(table: Path) -> None:
    table.write_bytes(b"")


def keep_its_header(table: Path) -> None:
    table.write_bytes(table.read_bytes().split(b"\n")[0] + b"\n")


def cut_it_in_half(table: Path) -> None:
    os.truncate(table, table.stat().st_size // 2)


def cut_it_after_a_row(table: Path) -> None:
    lines = table.read_bytes().splitlines(keepends=True)
    table.write_bytes(b"".join(lines[:2]))


def test_a_damaged_sample_table_costs_no_sample(converted: Workspace) -> None:
    before = digests(converted.store)
    table = converted.work / "samples.tsv"
    for damage in (empty_it, keep_its_header, cut_it_in_half, cut_it_after_a_row):
        times = table.stat()
        damage(table)
        os.utime(table, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert converted.run().converted == [], damage
        assert digests(converted.store) == before, damage
    assert converted.run().nothing_to_do


def test_a_shard_lost_while_its_sample_was_not_asked_for_is_noticed(
    converted: Workspace, tmp_path: Path
) -> None:
    converted.config["limit"] = 1
    converted.run()
    (converted.store / "b.zarr/volume/velocity/c/0/0").unlink()
    del converted.config["limit"]
    assert converted.run().converted == ["b"]
    assert_as_from_nothing(converted, tmp_path)


def test_what_remove_orphans_removed_is_converted_when_it_is_asked_for_again(
    converted: Workspace, tmp_path: Path
) -> None:
    converted.config["limit"] = 1
    converted.run()
    converted.run("remove_orphans")
    assert converted.groups() == ["a"]
    del converted.config["limit"]
    assert converted.run().converted == ["b", "deep%2Fc"]
    assert_as_from_nothing(converted, tmp_path)


@pytest.mark.parametrize(
    ("options", "forecast"),
    [
        (("--forcerun", "convert_sample"), "3 samples (3 forced)"),
        (("--forceall",), "3 samples (3 forced)"),
        (("--forcerun", "merge_manifest"), "0 samples"),
        (("--until", "list_samples"), "0 samples"),
    ],
)
def test_a_dry_run_says_what_a_run_with_the_same_options_converts(
    converted: Workspace, options: tuple[str, ...], forecast: str
) -> None:
    if "--until" in options:
        write_sample(converted.source / "new", 7)
    assert f"a run would convert {forecast}" in converted.run("--dry-run", *options).output
    assert len(converted.run(*options).converted) == int(forecast.split()[0])
