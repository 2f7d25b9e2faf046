"""What others put into a store of a `StoreWriter` stays, and what is gone from it is told."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from aerozarr import SettingsError, Store, StoreError, StoreWriter
from unit.store_writer_helpers import SETTINGS, arrays_of
from workflow.harness import digests


def test_a_file_in_the_place_of_a_group_is_not_replaced(tmp_path: Path) -> None:
    place = tmp_path / "store"
    (place / "folder.zarr").mkdir(parents=True)
    (place / "folder.zarr/mine.txt").write_text("mine")
    (place / "file.zarr").write_text("mine")
    before = digests(place)
    writer = StoreWriter(place, SETTINGS)
    for sample in ("folder", "file"):
        with pytest.raises(SettingsError, match="1 file that aerozarr did not write") as told:
            writer.write(sample, arrays_of(1))
        assert f"\n  {sample}.zarr" in str(told.value)
    writer.write("a", arrays_of(1))
    assert len(writer.finish()) == 1
    assert before.items() <= digests(place).items()
    # As the message says.
    (place / "folder.zarr/mine.txt").unlink()
    writer.write("folder", arrays_of(1))
    StoreWriter(place, {**SETTINGS, "take_over": True}).remove("folder")
    assert not (place / "folder.zarr").exists()


def test_a_file_in_a_group_of_ours_is_not_removed(tmp_path: Path) -> None:
    place = tmp_path / "store"
    writer = StoreWriter(place, SETTINGS)
    writer.write("a", arrays_of(1), split="train")
    writer.finish()
    (place / "a.zarr/notes.txt").write_text("mine")
    for change in (lambda: writer.write("a", arrays_of(2)), lambda: writer.remove("a")):
        with pytest.raises(SettingsError, match=r"take_over: true\.\n  a\.zarr/notes\.txt"):
            change()
    assert Store(place).splits == {"train": ("a",)}, "nothing was begun"
    StoreWriter(place, {**SETTINGS, "take_over": True}).write("a", arrays_of(2))
    assert not (place / "a.zarr/notes.txt").exists()


@pytest.mark.parametrize("name", ["skipped.tsv", "splits.json", "manifest.json"])
def test_a_file_where_one_of_the_stores_goes_is_not_replaced(tmp_path: Path, name: str) -> None:
    place = tmp_path / "store"
    place.mkdir()
    (place / name).write_text("mine")
    with pytest.raises(SettingsError, match="take_over: true"):
        StoreWriter(place, SETTINGS)
    (place / name).rename(tmp_path / "moved away")
    writer = StoreWriter(place, SETTINGS)
    writer.write("a", arrays_of(1), split="train")
    (place / name).write_text("mine")
    with pytest.raises(SettingsError, match="take_over: true"):
        writer.finish()
    assert (place / name).read_text() == "mine"
    (place / name).unlink()
    writer.finish()
    assert len(StoreWriter(place, SETTINGS).finish()) == 1, "what is there now is ours"


def test_a_list_of_ids_of_somebodys_own_is_not_replaced(tmp_path: Path) -> None:
    place = tmp_path / "store"
    writer = StoreWriter(place, SETTINGS)
    writer.write("a", arrays_of(1), split="train")
    (place / "train_design_ids.txt").write_text("mine")
    (place / "other_design_ids.txt").write_text("mine")
    with pytest.raises(SettingsError, match=r"take_over: true\.\n  train_design_ids\.txt"):
        writer.finish()
    (place / "train_design_ids.txt").unlink()
    writer.finish()
    assert (place / "other_design_ids.txt").read_text() == "mine"


def test_a_folder_where_a_file_of_the_store_goes_is_told(tmp_path: Path) -> None:
    (tmp_path / "store/splits.json").mkdir(parents=True)
    with pytest.raises(SettingsError, match=r"splits\.json is a folder, where aerozarr keeps"):
        StoreWriter(tmp_path / "store")


@pytest.mark.parametrize("is_written_again", [True, False])
def test_a_group_that_is_gone_is_written_again_or_taken_out(
    tmp_path: Path, is_written_again: bool
) -> None:
    place = tmp_path / "store"
    writer = StoreWriter(place, SETTINGS)
    for sample in "ab":
        writer.write(sample, arrays_of(1))
    writer.finish()
    shutil.rmtree(place / "b.zarr")
    with pytest.raises(StoreError, match=r"Write these samples again, .*\n  b"):
        writer.finish()
    if is_written_again:
        writer.write("b", arrays_of(1))
    else:
        writer.remove("b")
    assert len(writer.finish()) == 1
    assert Store(place).samples == (["a", "b"] if is_written_again else ["a"])


def test_a_store_that_was_put_back_is_not_described_by_later_records(tmp_path: Path) -> None:
    place, work, copy = tmp_path / "store", tmp_path / "work", tmp_path / "copy"
    writer = StoreWriter(place, SETTINGS, workdir=work)
    for sample in "ab":
        writer.write(sample, arrays_of(1))
    writer.finish()
    shutil.copytree(place, copy)
    writer.write("b", arrays_of(2))
    writer.finish()
    later = (place / "moments.jsonl").read_bytes()
    shutil.rmtree(place)
    shutil.copytree(copy, place)
    before = digests(place)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"1 group not as written.*\n  b"):
            writer.finish()
    assert digests(place) == before
    writer.write("b", arrays_of(2))  # as the message says
    assert len(writer.finish()) == 1
    assert (place / "moments.jsonl").read_bytes() == later
    assert len(writer.finish()) == 1


def test_a_record_that_is_damaged_is_told_with_its_sample(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "store", SETTINGS)
    for sample in "ab":
        writer.write(sample, arrays_of(1))
    (record,) = (tmp_path / "store").glob(".aerozarr/writer/fragments/*/b.json")
    record.write_text("{")
    told = "\n".join(writer.finish())
    assert "(1 sample); write it again:\n  b" in told
    writer.write("b", arrays_of(1))
    assert len(writer.finish()) == 1


def test_a_sample_is_taken_out_and_may_come_back(tmp_path: Path) -> None:
    place = tmp_path / "store"
    writer = StoreWriter(place, SETTINGS)
    for sample in ("a", "b/c"):
        writer.write(sample, arrays_of(1), split="train")
    writer.finish()
    StoreWriter(place, SETTINGS).remove("b/c")
    with pytest.raises(StoreError, match="holds no manifest"):
        Store(place)
    assert len(writer.finish()) == 1
    assert Store(place).splits == {"train": ("a",)}
    with pytest.raises(StoreError, match="'b/c' is no sample that was written with this workdir"):
        writer.remove("b/c")
    with pytest.raises(StoreError, match="cannot be a sample's id"):
        writer.remove("")
    writer.write("b/c", arrays_of(2))
    assert len(writer.finish()) == 1
    assert Store(place).samples == ["a", "b/c"]


def test_what_is_told_names_no_setting_that_a_writer_lacks(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "store", SETTINGS)
    with pytest.raises(SettingsError, match=r"no positions?.* Give these points, too"):
        writer.write("a", {"volume_velocity": np.ones((4, 3))})
    points = np.full((4, 6), np.nan)
    writer.write("a", {"surface_position": points})
    with pytest.raises(StoreError, match=r"of a StoreWriter until finish\(\)"):
        Store(tmp_path / "store")
    told = "\n".join(writer.finish())
    assert "values that are not finite, kept as they are, in 1 sample:\n  a: surface_pos" in told
    assert "to store others, give an array of those alone" in told
    for name in ("exclude", "filemap", "snakemake"):
        assert name not in told
    writer.write("a", {"surface_position": points[:, 3:]})  # as it says
    assert "to store others" not in "\n".join(writer.finish())


def test_a_field_more_takes_all_samples_written_again(tmp_path: Path) -> None:
    place, more = tmp_path / "store", {**SETTINGS, "fields": {"surface_T": {"unit": "K"}}}
    points = {"surface_position": np.ones((4, 3))}
    writer = StoreWriter(place, SETTINGS)
    for sample in "abc":
        writer.write(sample, points)
    writer.finish()
    writer = StoreWriter(place, more)
    told = writer.finish()
    assert told[0] == (
        "no sample has surface_T, which fields names; to add it, write all samples again"
    )
    for sample in "ac":
        writer.write(sample, {**points, "surface_T": np.ones(4)})
    with pytest.raises(StoreError, match=r"\(1 sample, named below\).*\n  b"):
        writer.finish()
    writer.write("b", {**points, "surface_T": np.ones(4)})
    assert len(writer.finish()) == 1
    assert "surface_T" in Store(place).read("b")


def test_checksums_tell_whether_a_copy_is_whole(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "my_store", SETTINGS)
    writer.write("a b", arrays_of(1), split="train")
    writer.finish()
    page = (Path(__file__).parents[3] / "docs/datasets.md").read_text(encoding="utf-8")
    (command,) = (line for line in page.splitlines() if line.startswith("cd my_store"))
    for is_whole in (True, False):
        run = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
        assert (run.returncode == 0) is is_whole, run.stdout + run.stderr
        (tmp_path / "my_store/a b.zarr/zarr.json").write_text(json.dumps({}))
