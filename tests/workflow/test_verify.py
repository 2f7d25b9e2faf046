"""`snakemake verify`: what is not as the source and the conversion left it is caught and named."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

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


def shard(w: Workspace, sample: str = "b") -> Path:
    return w.store / f"{sample}.zarr/{SHARD}"


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def flip_a_byte_of_a_chunk(w: Workspace, sample: str = "b") -> None:
    flip(shard(w, sample), -5)


def flip_a_byte_of_a_shards_index(w: Workspace, sample: str) -> None:
    flip(shard(w, sample), 1)


def remove_a_shard(w: Workspace, sample: str = "b") -> None:
    shard(w, sample).unlink()


def cut_a_shard(w: Workspace, sample: str = "b") -> None:
    os.truncate(shard(w, sample), shard(w, sample).stat().st_size - 1)


def swap_two_groups(w: Workspace, first: str, second: str) -> None:
    (w.store / f"{first}.zarr").rename(w.root / "aside")
    (w.store / f"{second}.zarr").rename(w.store / f"{first}.zarr")
    (w.root / "aside").rename(w.store / f"{second}.zarr")


def remove_a_groups_root_metadata(w: Workspace, sample: str) -> None:
    (w.store / f"{sample}.zarr/zarr.json").unlink()


def remove_a_group(w: Workspace, sample: str = "b") -> None:
    shutil.rmtree(w.store / f"{sample}.zarr")


def put_a_file_into_a_group(w: Workspace, sample: str) -> None:
    (w.store / f"{sample}.zarr/volume/notes.txt").write_text("mine")


def put_a_shard_into_a_group(w: Workspace, sample: str) -> None:
    shutil.copy(shard(w, sample), shard(w, sample).parent / "7")
    (w.store / f"{sample}.zarr/volume/velocity/c/7").mkdir()
    (shard(w, sample).parent / "7").rename(w.store / f"{sample}.zarr/volume/velocity/c/7/0")


def put_another_group_into_the_store(w: Workspace, place: str) -> None:
    shutil.copytree(w.store / "b.zarr", w.store / f"{place}.zarr")


def put_half_a_group_into_the_store(w: Workspace, place: str) -> None:
    put_another_group_into_the_store(w, place)
    (w.store / f"{place}.zarr/zarr.json").unlink()


def put_an_older_manifest_back(w: Workspace) -> None:
    older = (w.store / "manifest.json").read_bytes()
    write_sample(w.source / "new", 9)
    w.run()
    (w.store / "manifest.json").write_bytes(older)


def change_a_value_of_the_source(w: Workspace, sample: str = "b") -> None:
    values = torch.load(w.source / sample / "U.pt", weights_only=True)
    values[17, 2] += 1
    torch.save(values, w.source / sample / "U.pt")


def change_in_its_place(w: Workspace, sample: str) -> None:
    # Its size and time stay: a run looks into the files of which only other signs differ.
    path = w.source / sample / "U.pt"
    status = path.stat()
    change_a_value_of_the_source(w, sample)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def add_a_sample_to_the_source(w: Workspace, sample: str = "new") -> None:
    write_sample(w.source / sample, 9)


def remove_a_sample_of_the_source(w: Workspace, sample: str) -> None:
    shutil.rmtree(w.source / sample)


def change_a_setting(w: Workspace) -> None:
    w.config["shuffle_seed"] = 1


def edit_the_statistics(w: Workspace) -> None:
    path = w.store / "statistics.json"
    path.write_bytes(path.read_bytes().replace(b"mean", b"mEan"))


def delete_the_checksums(w: Workspace) -> None:
    (w.store / "checksums.tsv").unlink()


BYTES = "its bytes are not those that were written"

# All of them at once: by sample, what is done to it, and the place and problem that are named.
DAMAGE: dict[str, tuple[Callable[[Workspace, str], None], str, str]] = {
    "chunk": (flip_a_byte_of_a_chunk, SHARD, BYTES),
    "index": (flip_a_byte_of_a_shards_index, "volume_velocity", "cannot be decoded"),
    "shard": (remove_a_shard, SHARD, "is missing, and Zarr would read it as zeros"),
    "cut": (cut_a_shard, SHARD, "were written"),
    "root": (remove_a_groups_root_metadata, "zarr.json", "is missing"),
    "group": (remove_a_group, "zarr.json", "is missing"),
    "file": (put_a_file_into_a_group, "volume/notes.txt", "is not a file that was written"),
    "more": (put_a_shard_into_a_group, "volume/velocity/c/7/0", "is not a file that was written"),
    "value": (
        change_a_value_of_the_source,
        "volume_velocity",
        "1 of 210 values are not the source's, shuffled and cast",
    ),
    "same": (change_in_its_place, "volume_velocity", "so the source has changed"),
    "gone": (remove_a_sample_of_the_source, "manifest.json", "is not among the samples"),
}


def follow(w: Workspace, found: pd.DataFrame) -> None:
    """Do what the remedies say, word by word."""
    for row in found.itertuples():
        group = w.store / f"{row.sample}.zarr"
        place = (group if row.sample else w.store) / row.place
        if row.remedy.startswith(("remove it", "remove what")):
            shutil.rmtree(place)
        elif row.remedy.startswith(("move it away", "move away")):
            if place.exists():  # not yet gone with its group
                place.rename(w.root / f"moved-{row.Index}")
        else:
            assert "run snakemake" in row.remedy or "or run snakemake" in row.remedy
    repairs = [row for row in found.itertuples() if row.remedy.startswith("run snakemake repair")]
    if repairs and not any(row.remedy.startswith("verify with") for row in found.itertuples()):
        # Not all of it is mended where there are others, which its exit code says.
        run = w.run("repair", ok=len(repairs) == len(found) or None)
        assert not {*run.converted} - {quote(row.sample, safe="") for row in repairs} - {"new"}
    else:
        w.run()
    if any("snakemake remove_orphans" in remedy for remedy in found["remedy"]):
        w.run("remove_orphans")


def is_named(found: pd.DataFrame, sample: str, place: str, problem: str) -> bool:
    return any(
        row.sample == sample and row.place == place and problem in row.problem
        for row in found.itertuples()
    )


def test_what_is_not_as_it_should_be_is_named_and_mended_as_it_says(converted: Workspace) -> None:
    w = converted
    for seed, sample in enumerate([*DAMAGE, "one", "two", "old"]):
        write_sample(w.source / sample, seed)
    w.run()
    shutil.rmtree(w.source / "old")
    w.run()
    # One that a run of this store wrote, whose root is gone, and one that none wrote.
    (w.store / "old.zarr/zarr.json").unlink()
    put_another_group_into_the_store(w, "x/stray")
    put_half_a_group_into_the_store(w, "x/half")
    (w.store / "notes.txt").write_text("mine")
    edit_the_statistics(w)
    swap_two_groups(w, "one", "two")
    add_a_sample_to_the_source(w)
    for sample, (damage, _, _) in DAMAGE.items():
        damage(w, sample)
    before = digests(w.store)
    run = verify(w, ok=False)
    found = problems(w)
    expected = [(sample, place, problem) for sample, (_, place, problem) in DAMAGE.items()]
    expected += [
        ("one", SHARD, BYTES),
        ("two", "volume_velocity", "210 of 210 values"),
        ("", "x/stray.zarr", "does not list"),
        ("", "x/half.zarr", "does not list"),
        ("", "old.zarr", "does not list"),
        ("", "notes.txt", "is not a file of the store"),
        ("", "statistics.json", "is not what was written last"),
        ("", "new", "is in the source and not in manifest.json"),
    ]
    missed = [each for each in expected if not is_named(found, *each)]
    assert not missed, found.to_string()
    assert {"a", "b", "c"}.isdisjoint(found["sample"]), "sound ones are not named"
    assert "is NOT as it should be" in run.said[-1]
    for remedy in set(found["remedy"]):
        assert remedy in run.output
    assert digests(w.store) == before, "a verification mends nothing"

    follow(w, found)
    verify(w)
    assert len([*w.root.glob("moved-*")]) >= 4, "what is somebody's own is still there"


@pytest.mark.parametrize(
    ("damage", "place", "problem"),
    [
        (put_an_older_manifest_back, "manifest.json", "is not what was written last"),
        (change_a_setting, "manifest.json", "shuffle_seed is 0, and the settings say 1"),
        (delete_the_checksums, "checksums.tsv", "is not there"),
    ],
)
def test_what_is_wrong_with_all_of_a_store_is_named_and_mended_as_it_says(
    converted: Workspace, damage: Callable[[Workspace], None], place: str, problem: str
) -> None:
    damage(converted)
    verify(converted, ok=False)
    found = problems(converted)
    assert is_named(found, "", place, problem), found.to_string()
    follow(converted, found)
    verify(converted)


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


def test_what_the_next_run_mends_is_as_it_should_be_after_it(converted: Workspace) -> None:
    write_sample(converted.source / "d", 3)
    converted.run()
    remove_a_shard(converted, "a")
    cut_a_shard(converted, "b")
    remove_a_group(converted, "deep/c")
    change_a_value_of_the_source(converted, "d")
    add_a_sample_to_the_source(converted)
    assert converted.run().converted == ["a", "b", "d", "deep%2Fc", "new"]
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
        assert run.said[-1].endswith("; snakemake repair mends it")
        assert converted.run("repair").converted == []
    assert converted.run().converted == []
    verify(converted)


@pytest.mark.parametrize(
    ("there", "instead"),
    [(b'"shuffle_seed": 0', b'"shuffle_seed": 1'), (b"{", b"z")],
    ids=["another seed", "no JSON"],
)
def test_a_damaged_manifest_is_mended_as_the_verdict_says(
    converted: Workspace, there: bytes, instead: bytes
) -> None:
    path = converted.store / "manifest.json"
    written = path.read_bytes()
    path.write_bytes(written.replace(there, instead, 1))
    run = verify(converted, ok=False)
    assert [*problems(converted)["problem"]] == ["is not what was written last"]
    assert run.said[-1].endswith("; snakemake repair mends it")
    assert converted.run("repair").converted == []
    assert path.read_bytes() == written
    verify(converted)


def test_a_missing_shard_is_one_problem(converted: Workspace) -> None:
    remove_a_shard(converted)
    verify(converted, ok=False)
    assert len(problems(converted)) == 1


# Repair -------------------------------------------------------------------------------------------


def files_of(w: Workspace, sample: str) -> dict[str, tuple[int, int]]:
    """Inode and time of a group's files, which differ when it is written again."""
    group = w.store / f"{sample}.zarr"
    files = [path for path in group.rglob("*") if path.is_file()]
    return {str(p.relative_to(group)): (p.stat().st_ino, p.stat().st_mtime_ns) for p in files}


def test_repair_mends_what_verify_found_and_nothing_else(converted: Workspace) -> None:
    w = converted
    write_sample(w.source / "stale", 5)
    w.run()
    before = digests(w.store)
    flip_a_byte_of_a_chunk(w, "a")
    remove_a_shard(w, "b")
    sound = files_of(w, "deep/c")
    change_in_its_place(w, "stale")
    run = verify(w, ok=False)
    assert "; snakemake repair mends them" in run.said[-1]
    dry = w.run("repair", "--dry-run")
    assert dry.said[-1] == "aerozarr: a run would convert 3 samples (3 damaged)"

    run = w.run("repair")
    assert run.converted == ["a", "b", "stale"]
    assert "aerozarr: 3 samples converted anew" in run.said
    assert any("next: the same command with the target verify" in line for line in run.said)
    assert files_of(w, "deep/c") == sound
    verify(w)
    stale = {name for name in before if name.startswith("stale.zarr/volume/velocity/")}
    after = digests(w.store)
    same = [name for name in before if "/" in name and name not in stale and "stale" not in name]
    assert {name: after[name] for name in same} == {name: before[name] for name in same}


def test_what_repair_cannot_mend_is_told_the_worst_first(converted: Workspace) -> None:
    w = converted
    flip_a_byte_of_a_chunk(w, "a")
    flip_a_byte_of_a_chunk(w, "b")
    put_another_group_into_the_store(w, "stray")
    shutil.rmtree(w.source / "deep/c")
    verify(w, ok=False)
    os.truncate(w.source / "b/U.pt", 100)
    write_sample(w.source / "new", 7)
    run = w.run("repair", ok=False)
    assert run.converted == ["a", "b", "new"]
    said = [line.removeprefix("aerozarr: ").strip() for line in run.said]
    first = said.index("1 sample converted anew")
    assert said[first + 1] == "3 problems not mended (all in results/work/repair.tsv):"
    assert said[first + 2].startswith("b: volume_velocity: ")
    assert said[first + 3].startswith("stray.zarr: ")
    assert said[first + 4].startswith("deep/c.zarr: a group that manifest.json does not list")
    left = pd.read_csv(w.work / "repair.tsv", sep="\t", keep_default_na=False)
    assert [*left["sample"]] == ["b", "", ""]
    assert w.listed() == ["a", "new"]
    # Nothing is converted again, and what is left stays said, until the next verification.
    again = w.run("repair", ok=False)
    assert again.converted == []
    assert "3 problems not mended" in again.output
    w.run("remove_orphans")
    assert "2 problems not mended" in w.run("repair", ok=False).output


def test_a_sample_of_which_the_source_alone_is_damaged_is_left_as_it_is(
    converted: Workspace,
) -> None:
    w = converted
    flip_a_byte_of_a_chunk(w, "a")
    whole = (w.source / "b/U.pt").read_bytes()
    os.truncate(w.source / "b/U.pt", 100)
    sound = files_of(w, "b")
    verify(w, ok=False)
    run = w.run("repair", ok=False)
    assert run.converted == ["a"]
    assert "1 problem not mended" in run.output
    assert (files_of(w, "b"), w.listed()) == (sound, ["a", "b", "deep/c"])
    assert w.run().converted == ["b"], "a plain run looks at the file that changed"
    (w.source / "b/U.pt").write_bytes(whole)
    w.run()
    verify(w)


def test_a_sample_that_is_listed_again_is_no_orphan_any_more(converted: Workspace) -> None:
    w = converted
    fragment = next((w.work / "fragments").glob("*/b.json"))
    w.config["exclude"] = ["b"]
    w.run()
    assert fragment.exists()
    del w.config["exclude"]
    run = verify(w, ok=False)
    assert "remove_orphans" in run.output
    assert w.run("repair").returncode == 0
    assert w.listed() == ["a", "b", "deep/c"]
