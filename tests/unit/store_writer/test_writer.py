"""`StoreWriter`: a store from arrays in memory, the same as the workflow's, whole or not at all."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aerozarr import (
    BrokenSample,
    ChunkDataset,
    SettingsError,
    Store,
    StoreError,
    StoreWriter,
)
from aerozarr.filesystems.files import write_atomically
from aerozarr.store_writer import sample_record
from unit.store_writer_helpers import SETTINGS, arrays_of
from workflow.harness import REPOSITORY, Workspace, digests, write_sample

# As the workflow reads them from files, and as a StoreWriter is given them.
SCALARS: dict[str, dict[str, str]] = {
    "drag": {"file": "forces.csv::Cd", "unit": "N", "long_name": "drag"},
    "params": {"file": "design.pt::params"},
    "case": {"file": "forces.csv::case", "kind": "text"},
    "moves": {"file": "conditions.json"},
}
OWN_SCALARS = {
    name: {key: text for key, text in said.items() if key != "file"}
    for name, said in SCALARS.items()
}


def scalars_of(seed: int) -> dict[str, Any]:
    drag = np.float32(0.1) if seed else np.nan
    params = np.array([seed, 0.1], dtype=np.float32)
    return {"moves": np.bool_(seed % 2), "case": f"00{seed}", "params": params, "drag": drag}


def write_scalars(folder: Path, seed: int) -> None:
    given = scalars_of(seed)
    (folder / "forces.csv").write_text(f"Cd,case\n{float(given['drag'])!r},{given['case']}\n")
    torch.save({"params": torch.from_numpy(given["params"])}, folder / "design.pt")
    (folder / "conditions.json").write_text(json.dumps(bool(given["moves"])))


def write_some(place: str, seeds: list[int]) -> None:
    writer = StoreWriter(place, {**SETTINGS, "scalars": OWN_SCALARS})
    for seed in seeds:
        writer.write(f"run_{seed}", arrays_of(seed), scalars=scalars_of(seed))


def test_four_processes_write_the_bytes_of_the_workflow(tmp_path: Path) -> None:
    w = Workspace(tmp_path / "workspace")
    for seed in range(8):
        write_sample(w.source / f"run_{seed}", seed)
        write_scalars(w.source / f"run_{seed}", seed)
    w.config |= SETTINGS
    w.config["scalars"] = SCALARS
    w.run()
    place = str(tmp_path / "store")
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=write_some, args=(place, [n, n + 4])) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    lines = StoreWriter(place, {**SETTINGS, "scalars": OWN_SCALARS}).finish()
    assert "manifest.json lists 8 samples of custom" in lines[-1]
    ours, theirs = digests(Path(place)), digests(w.store)
    assert ours == theirs
    expected = {"drag": float(np.float32(0.1)), "params": [3.0, float(np.float32(0.1))]}
    assert Store(place).scalars("run_3") == {**expected, "case": "003", "moves": True}


def test_the_example_of_the_documents_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (REPOSITORY / "docs/datasets.md").read_text(encoding="utf-8")
    (code,) = (
        part for part in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "finish" in part
    )
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "datasets.md", "exec"), {})
    assert "my_store/manifest.json lists 3 samples of my_runs" in capsys.readouterr().out
    assert Store("my_store").splits == {"train": ("run_1", "run_2"), "test": ("run_0",)}


def test_arrays_of_numpy_fields_of_ones_own_and_splits(tmp_path: Path) -> None:
    settings = {
        "dataset_name": "wind tunnel",
        "fields": {
            "surface_temperature": {"unit": "K", "dtype": "float32"},
            "wake_position": {"kind": "coord", "width": 3},
            "wake_stress": {"width": 6},
            "surface_position": {"unit": "m"},
        },
    }
    writer = StoreWriter(tmp_path / "store", settings)
    drawn = np.random.default_rng(0)
    for number in range(4):
        writer.write(
            f"run {number}",
            {
                "surface_position": np.asfortranarray(drawn.normal(size=(20, 3))),
                "surface_temperature": drawn.normal(size=20)[::-1],
                "wake_position": drawn.normal(size=(30, 3)).astype(">f4"),
                "wake_stress": drawn.normal(size=(30, 6)),
            },
            split="test" if number == 1 else "train",
        )
    writer.finish()
    store = Store(tmp_path / "store")
    assert store.dataset_name == "wind tunnel"
    assert store.splits == {"train": ("run 0", "run 2", "run 3"), "test": ("run 1",)}
    assert ChunkDataset(store, "train", normalize=True)[0]["wake_stress"].shape == (30, 6)


def test_a_finished_store_can_be_extended_and_samples_replaced(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "store", SETTINGS)
    writer.write("b", arrays_of(1))
    writer.finish()
    writer = StoreWriter(tmp_path / "store", SETTINGS)
    writer.write("a", arrays_of(2))
    assert Store(tmp_path / "store").samples == ["b"]
    writer.finish()
    assert Store(tmp_path / "store").samples == ["a", "b"]
    before = Store(tmp_path / "store").read("b")["surface_pressure"]
    writer.write("b", arrays_of(3))
    writer.finish()
    assert not torch.equal(Store(tmp_path / "store").read("b")["surface_pressure"], before)


def killed_while_writing(place: str) -> None:
    writer = StoreWriter(place, SETTINGS)
    writer.write("a", arrays_of(1))
    while True:
        writer.write("b", arrays_of(2))


def test_a_writer_that_is_killed_leaves_nothing_half_written(tmp_path: Path) -> None:
    place = tmp_path / "store"
    spawn = multiprocessing.get_context("spawn")
    worker = spawn.Process(target=killed_while_writing, args=(str(place),))
    worker.start()
    deadline = time.monotonic() + 60
    while not list(place.glob(".aerozarr/writer/fragments/*/b.json")):
        assert time.monotonic() < deadline
        time.sleep(0.01)  # another process is writing, and tells nobody
    os.kill(worker.pid or 0, signal.SIGKILL)
    worker.join()
    writer = StoreWriter(place, SETTINGS)
    writer.write("b", arrays_of(2))
    writer.finish()
    store = Store(place)
    assert store.samples == ["a", "b"]
    for sample in store.samples:
        store.read(sample)


def test_what_was_not_written_to_its_end_is_told_and_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = StoreWriter(tmp_path / "store", SETTINGS)
    for sample in "ab":
        writer.write(sample, arrays_of(1))
    writer.finish()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:  # the group is there, and its record is not
        patched.setattr(sample_record, "write_atomically", killed_at_the_second(killed))
        with pytest.raises(KeyboardInterrupt):
            writer.write("b", arrays_of(2))
    told = "\n".join(writer.finish())
    assert Store(tmp_path / "store").samples == ["a"]
    assert "its writing did not end (1 sample); write it again:\n  b" in told
    writer.write("b", arrays_of(2))
    assert "did not end" not in "\n".join(writer.finish())
    assert Store(tmp_path / "store").samples == ["a", "b"]


def test_when_no_file_can_be_written_the_sample_of_before_stays_in_its_split(
    tmp_path: Path,
) -> None:
    writer = StoreWriter(tmp_path / "store", SETTINGS)
    writer.write("a", arrays_of(1), split="train")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limit[1]))  # rows fit, shards do not
    try:
        with pytest.raises(OSError, match="File too large"):
            writer.write("a", arrays_of(2), split="test")
        with pytest.raises(OSError, match="File too large"):
            writer.write("new", arrays_of(2), split="test")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    told = "\n".join(writer.finish())
    assert "its writing did not end (1 sample); write it again:\n  new" in told
    store = Store(tmp_path / "store")
    assert store.splits == {"train": ("a",)}
    stored = store.read("a", fields=["surface_pressure"])["surface_pressure"]
    assert sorted(stored[:, 0].tolist()) == sorted(
        arrays_of(1)["surface_pressure"].to(torch.float16).flatten().tolist()
    )


def killed_at_the_second(killed: Any) -> Any:
    """What writes the sample's row, and is killed before its fragment."""
    calls: list[object] = []

    def write(*given: Any, **options: Any) -> None:
        calls.append(given)
        (killed if len(calls) > 1 else write_atomically)(*given, **options)

    return write


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"surface_pressure": torch.ones(41)}, "it has 41 rows"),
        ({"surface_pressure": torch.full((40,), 1e9)}, "too large for float16"),
        ({"surface_pressure": np.array(["a"] * 40)}, "of no number type"),
        ({"surface_pressure": np.zeros(40, np.longdouble)}, "of no number type"),
        ({"surface_pressure": np.array([object()] * 40)}, "of no number type"),
        ({"surface_pressure": [1.0] * 40}, "it holds a list"),
        ({"surface_pressure": torch.ones(40, 2)}, "has 2 columns"),
        ({"surface_position": torch.ones(0, 3)}, "holds no values"),
    ],
)
def test_a_broken_sample_is_an_error_and_what_was_written_before_stays(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    writer = StoreWriter(tmp_path / "store")
    writer.write("good", arrays_of(1), split="train")
    for sample in ("bad", "good"):
        with pytest.raises(BrokenSample, match=message):
            writer.write(sample, arrays_of(2) | changes, split="test")
    assert not (tmp_path / "store/bad.zarr").exists()
    writer.finish()
    store = Store(tmp_path / "store")
    assert store.splits == {"train": ("good",)}
    stored = store.read("good", fields=["surface_pressure"])["surface_pressure"]
    assert sorted(stored[:, 0].tolist()) == sorted(
        torch.as_tensor(arrays_of(1)["surface_pressure"]).half().flatten().tolist()
    )


def test_samples_with_other_fields_or_settings_are_refused(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "store")
    writer.write("a", arrays_of(1))
    fewer = {name: array for name, array in arrays_of(2).items() if name != "surface_pressure"}
    writer.write("b", fewer)
    with pytest.raises(StoreError, match="b was written with other fields or settings than a"):
        writer.finish()
    writer.write("b", arrays_of(2))
    writer.finish()
    other = StoreWriter(tmp_path / "store", {"keep_points": 0.5})
    with pytest.raises(StoreError, match="a was written with other settings than those of this"):
        other.finish()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source_url": "x"}, "source_url is no setting of a StoreWriter"),
        ({"split_manifest": "x.json"}, "split_manifest is no setting of a StoreWriter"),
        ({"scalars": {"drag": "f.csv::Cd"}}, r"scalars: drag: 'f\.csv::Cd' names a file"),
        ({"scalars": {"drag": {"table": "f.csv::Cd"}}}, "takes scalars from its caller"),
        ({"scalars": {"drag": {"units": "N"}}}, "Did you mean unit"),
        ({"scalars": {"drag": None}}, r"scalars\.drag: None cannot be used"),
        ({"scalars": ["drag"]}, r"scalars: \['drag'\] cannot be used"),
        ({"scalars": {"surface_pressure": {}}}, "surface_pressure is the name of a field"),
        ({"chunk_pionts": 3}, "Did you mean chunk_points"),
        ({"fields": {"surface_T": {"width": 0}}}, "width"),
    ],
)
def test_settings_that_cannot_be_used(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        StoreWriter(tmp_path / "store", settings)


def test_names_that_are_no_field_or_id(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "store")
    with pytest.raises(SettingsError, match=r"'surface_presure' is no field\. Did you mean"):
        writer.write("a", {**arrays_of(1), "surface_presure": torch.ones(40)})
    with pytest.raises(SettingsError, match="has volume_velocity but no position"):
        writer.write("a", {"volume_velocity": torch.ones(40, 3)})
    doubled = {"volume_sdf": torch.ones(40), "volume_distance_to_surface": torch.zeros(40)}
    with pytest.raises(SettingsError, match="are two names of one field"):
        writer.write("a", {**arrays_of(1), **doubled})
    for sample_id in ("../a", "", "a.zarr/b", "/etc/passwd"):
        with pytest.raises(StoreError, match="cannot be a sample's id"):
            writer.write(sample_id, arrays_of(1))
    with pytest.raises(StoreError, match="no sample was written"):
        writer.finish()


POINTS = {"surface_position": np.ones((4, 3))}


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ((5, POINTS), StoreError, "5 cannot be a sample's id: it is of type int, and ids are te"),
        ((None, POINTS), StoreError, "None cannot be a sample's id"),
        (("", POINTS), StoreError, "'' cannot be a sample's id: it is empty"),
        (("a", None), SettingsError, "a: its arrays are given as NoneType. Give a dict"),
        (("a", [POINTS]), SettingsError, "a: its arrays are given as list"),
        (("a", {5: np.ones(4)}), SettingsError, "a: its arrays are given as dict. Give a dict fro"),
        (("a", {}), SettingsError, "a: no array is given"),
        (("a", POINTS, 5), SettingsError, "a: split is 5, which is no name"),
        (("a", POINTS, ["train", "small"]), SettingsError, "A sample is in one split, or in none"),
        (("a", POINTS, "\udcff"), SettingsError, "which is no name"),
    ],
)
def test_what_is_no_sample_is_refused_before_anything_is_written(
    tmp_path: Path, given: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    writer = StoreWriter(tmp_path / "store")
    sample_id, arrays, split = (*given, None)[:3]
    with pytest.raises(error, match=re.escape(message)):
        writer.write(sample_id, arrays, split=split)
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_what_is_masked_is_told_and_can_be_stored_as_the_message_says(
    tmp_path: Path, dtype: type
) -> None:
    writer = StoreWriter(tmp_path / "store")
    masked = np.ma.masked_greater(np.arange(4, dtype=dtype), 2)
    with pytest.raises(BrokenSample, match="1 of its values are masked, and no mask is stored"):
        writer.write("a", {**POINTS, "surface_pressure": masked})
    writer.write("a", {**POINTS, "surface_pressure": masked.astype(float).filled(np.nan)})
    nothing = np.ma.masked_greater(np.arange(4, dtype=dtype), 5)
    writer.write("b", {**POINTS, "surface_pressure": nothing})
    writer.finish()
    stored = Store(tmp_path / "store").read("a")["surface_pressure"].flatten()
    assert sorted(stored[~stored.isnan()].tolist()) == [0, 1, 2]


@pytest.mark.parametrize(
    ("scalars", "error", "message"),
    [
        ({"drag": 1.0, "lift": 1.0}, SettingsError, "'lift' is no scalar"),
        ({"Drag": 1.0}, SettingsError, r"'Drag' is no scalar\. Did you mean drag\? Name it in"),
        ({}, SettingsError, "the scalar drag is not given, and every sample has to have it"),
        (None, SettingsError, "the scalar drag is not given"),
        ({"drag": "much"}, BrokenSample, r"drag \(b\): it holds a str, 'much', where a number"),
        ({"drag": None}, BrokenSample, r"it holds nothing \(null\)"),
        ({"drag": {"x": 1.0}}, BrokenSample, "it holds a dict"),
        ({"drag": np.ones((2, 2))}, BrokenSample, "it holds a list with a list"),
        ({"drag": torch.ones(2, 2)}, BrokenSample, r"it holds a tensor of shape \(2, 2\)"),
        ({"drag": np.array(1j)}, BrokenSample, "it holds a complex"),
        ({"drag": [2**60 + 1]}, BrokenSample, "a whole number of 61 bits"),
        ({"drag": []}, BrokenSample, "it holds 0 values"),
        ({"drag": np.ones(5000)}, BrokenSample, "it holds 5000 values"),
    ],
)
def test_scalars_that_cannot_be_stored(
    tmp_path: Path, scalars: Any, error: type[Exception], message: str
) -> None:
    writer = StoreWriter(tmp_path / "store", {"scalars": {"drag": {"kind": "number"}}})
    writer.write("a", arrays_of(1), scalars={"drag": np.float16(0.5)})
    writer.write("b", arrays_of(2), scalars={"drag": [np.int64(1), 2.5, True + 1]})
    with pytest.raises(error, match=message):
        writer.write("b", arrays_of(2), scalars=scalars)
    writer.finish()
    store = Store(tmp_path / "store")
    assert store.scalars("a") == {"drag": 0.5}
    assert store.scalars("b") == {"drag": [1.0, 2.5, 2.0]}, "as it was written before"
    with pytest.raises(StoreError, match="a was written with other settings"):
        StoreWriter(tmp_path / "store", {"scalars": {"drag": {"unit": "N"}}}).finish()


def test_a_writer_with_another_workdir_drops_nothing(tmp_path: Path) -> None:
    place = tmp_path / "store"
    first = StoreWriter(place, SETTINGS, workdir=tmp_path / "one")
    second = StoreWriter(place, SETTINGS, workdir=tmp_path / "two")
    first.write("a", arrays_of(1))
    second.write("b", arrays_of(2))
    first.finish()
    before = digests(place)
    with pytest.raises(SettingsError, match=r"workdir: .*two' is not the one that .*store'"):
        second.finish()
    with pytest.raises(SettingsError, match="set take_over: true"):
        second.write("a", arrays_of(3))
    with pytest.raises(SettingsError, match="take out of the manifest what it does not know"):
        StoreWriter(place, SETTINGS)
    assert digests(place) == before
    # As the message says: the records of one workdir are good in the other.
    shutil.copytree(tmp_path / "two", tmp_path / "one", dirs_exist_ok=True)
    StoreWriter(place, SETTINGS, workdir=tmp_path / "one").finish()
    assert Store(place).samples == ["a", "b"]
    lines = StoreWriter(place, {**SETTINGS, "take_over": True}, workdir=tmp_path / "two").finish()
    assert Store(place).samples == ["b"]
    assert "1 group in the store that the manifest does not list" in lines[0]
    with pytest.raises(SettingsError, match="is not the one"):
        first.finish()


def test_a_store_of_an_earlier_version_is_extended_where_all_of_it_is_known(
    tmp_path: Path,
) -> None:
    place, record = tmp_path / "store", tmp_path / "store/.aerozarr/written.json"
    StoreWriter(place, SETTINGS).write("a", arrays_of(1))
    StoreWriter(place, SETTINGS).finish()
    record.write_text(json.dumps({**json.loads(record.read_text()), "writer": "StoreWriter"}))
    with pytest.raises(SettingsError, match="is not the one"):
        StoreWriter(place, SETTINGS, workdir=tmp_path / "other")
    writer = StoreWriter(place, SETTINGS)
    writer.write("b", arrays_of(2))
    writer.finish()
    assert Store(place).samples == ["a", "b"]
    assert json.loads(record.read_text())["writer"] not in ("", "StoreWriter")


def test_splits_are_listed_in_the_order_of_the_setting_and_then_by_name(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "store", {**SETTINGS, "splits": ["train", "test"]})
    for number, split in enumerate(("wild", "test", "extra", "train", "test")):
        writer.write(f"run_{9 - number}", arrays_of(number), split=split)
    writer.finish()
    splits = json.loads((tmp_path / "store/splits.json").read_text())
    assert list(splits) == ["train", "test", "extra", "wild"]
    assert splits["test"] == ["run_5", "run_8"]


def test_what_no_writer_wrote_is_neither_replaced_nor_listed(tmp_path: Path) -> None:
    w = Workspace(tmp_path / "workspace")
    write_sample(w.source / "a", 1)
    w.run()
    before = digests(w.store)
    with pytest.raises(SettingsError, match="take_over: true"):
        StoreWriter(w.store)
    group = tmp_path / "mine" / "a.zarr"
    group.mkdir(parents=True)
    (group / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group"}))
    writer = StoreWriter(tmp_path / "mine")
    with pytest.raises(StoreError, match="holds a group of a that no StoreWriter wrote"):
        writer.write("a", arrays_of(1))
    assert digests(w.store) == before
    # And the other way round: a workflow run does not take a writer's store for its own.
    writer.write("b", arrays_of(1))
    writer.finish()
    w.config["store"] = str(tmp_path / "mine")
    assert "take_over: true" in w.run(ok=False).output
