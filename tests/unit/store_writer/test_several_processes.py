"""Several processes and threads write to one store, are killed, and finish it meanwhile."""

from __future__ import annotations

import fcntl
import hashlib
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aerozarr import SettingsError, Store, StoreWriter
from aerozarr.store_writer import sample_record, writer

FORK = multiprocessing.get_context("fork")
SETTINGS = {"chunk_points": 16, "shard_points": 32, "values_dtype": "float32"}


def arrays_of(value: float, points: int = 60) -> dict[str, Any]:
    """Return a sample all of whose pressures are one value."""
    drawn = np.random.default_rng(int(value)).random((points, 3))
    return {"surface_position": drawn, "surface_pressure": np.full(points, value)}


def write(place: Path, sample_ids: list[str], values: range) -> None:
    one = StoreWriter(place, SETTINGS)
    for value in values:
        for sample_id in sample_ids:
            points = 60 + value % 3
            one.write(sample_id, arrays_of(value, points), split=f"split_{value}")


def started(do: Callable[..., None], *given: Any) -> Any:
    process = FORK.Process(target=do, args=given)
    process.start()
    return process


def check(place: Path) -> None:
    """Check that values, statistics, splits and checksums are of the same writing."""
    store = Store(place)
    lines = (place / "moments.jsonl").read_text().splitlines()
    moments = {line["id"]: line["fields"] for line in map(json.loads, lines)}
    for sample in store.samples:
        stored = store.read(sample, fields=["surface_pressure"])["surface_pressure"]
        (value,) = stored.unique().tolist()
        assert moments[sample]["surface_pressure"]["mean"] == [value]
        assert sample in store.splits[f"split_{int(value)}"]
    table = (place / "checksums.tsv").read_text()
    for sample in store.samples:
        for path in (place / f"{sample}.zarr").rglob("*"):
            if path.is_file():
                assert hashlib.sha256(path.read_bytes()).hexdigest() in table


def test_one_sample_from_several_processes_is_of_one_of_them(tmp_path: Path) -> None:
    place, ids = tmp_path / "store", ["a", "b/c"]
    writers = [started(write, place, ids, range(n, 30, 3)) for n in range(3)]
    for one in writers:
        one.join(120)
        assert one.exitcode == 0
    assert len(StoreWriter(place, SETTINGS).finish()) == 1
    assert Store(place).samples == ids
    check(place)


def test_one_sample_from_several_threads_is_of_one_of_them(tmp_path: Path) -> None:
    place, failed = tmp_path / "store", []
    one = StoreWriter(place, SETTINGS)

    def write_often(first: int) -> None:
        try:
            for value in range(first, 24, 3):
                one.write("a", arrays_of(value), split=f"split_{value}")
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=write_often, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    one.finish()
    check(place)


def test_what_is_finished_while_others_write_is_right_and_stops_nobody(tmp_path: Path) -> None:
    place = tmp_path / "store"
    write(place, ["first"], range(1))
    writers = [
        started(write, place, ["first", "a"], range(1, 30)),
        started(write, place, ["b", "c"], range(1, 30)),
    ]
    rounds = 0
    while any(one.is_alive() for one in writers):
        StoreWriter(place, SETTINGS).finish()
        rounds += 1
    assert rounds > 1
    assert [one.exitcode for one in writers] == [0, 0]
    assert len(StoreWriter(place, SETTINGS).finish()) == 1
    assert Store(place).samples == ["a", "b", "c", "first"]
    check(place)


def test_a_manifest_of_while_others_wrote_lists_what_is_there(tmp_path: Path) -> None:
    place, ids = tmp_path / "store", ["a", "b", "c"]
    write(place, ids, range(1))
    process = started(write, place, ids, range(1, 10_000))
    time.sleep(0.3)  # it is in the middle of it, wherever that is
    os.kill(process.pid, signal.SIGSTOP)
    resumed = threading.Timer(0.5, os.kill, (process.pid, signal.SIGCONT))
    resumed.start()
    finished = StoreWriter(place, SETTINGS).finish()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    resumed.join()
    if (place / "manifest.json").exists():  # else a sample was replaced after that
        assert len(finished) == 1
        check(place)


KILLED_AT = {
    "the row": (sample_record, "write_atomically", "rows"),
    "the conversion": (writer, "convert", ""),
    "the fragment": (sample_record, "write_atomically", "fragments"),
}


def killed_at(place: Path, step: str, value: int) -> None:
    module, name, part = KILLED_AT[step]
    do = getattr(module, name)

    def kill_or_do(*given: Any, **options: Any) -> Any:
        if part in str(given[0]):
            os.kill(os.getpid(), signal.SIGKILL)
        return do(*given, **options)

    setattr(module, name, kill_or_do)
    StoreWriter(place, SETTINGS).write("a", arrays_of(value), split=f"split_{value}")


@pytest.mark.parametrize("step", KILLED_AT)
def test_a_sample_whose_writer_is_killed_is_of_before_or_is_told(tmp_path: Path, step: str) -> None:
    place = tmp_path / "store"
    write(place, ["a", "b"], range(1, 2))
    StoreWriter(place, SETTINGS).finish()
    process = started(killed_at, place, step, 2)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    told = "\n".join(StoreWriter(place, SETTINGS).finish())
    is_of_before = step == "the conversion"  # the group is not changed by then
    assert Store(place).samples == (["a", "b"] if is_of_before else ["b"])
    assert ("did not end (1 sample); write it again:\n  a" in told) is not is_of_before
    check(place)
    write(place, ["a"], range(3, 4))
    assert len(StoreWriter(place, SETTINGS).finish()) == 1
    assert Store(place).splits == {"split_1": ("b",), "split_3": ("a",)}
    check(place)


def test_a_sample_killed_twice_is_not_taken_for_the_one_of_before(tmp_path: Path) -> None:
    place = tmp_path / "store"
    write(place, ["a", "b"], range(1, 2))
    process = started(killed_at, place, "the conversion", 2)
    process.join(60)
    (aside,) = place.glob(".aerozarr/writer/fragments/*/.set_aside/a.json")
    before = aside.read_bytes()
    process = started(killed_at, place, "the fragment", 3)
    process.join(60)
    aside.write_bytes(before)  # as after a kill between two renames
    told = "\n".join(StoreWriter(place, SETTINGS).finish())
    assert "did not end (1 sample); write it again:\n  a" in told
    assert Store(place).samples == ["b"]


def test_a_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(
        SettingsError, match=r"cannot be locked \(Function not implemented\)\. Give"
    ):
        write(tmp_path / "store", ["a"], range(1))


def test_two_stores_with_one_workdir_keep_their_rows_apart(tmp_path: Path) -> None:
    work = tmp_path / "work"
    first, second = (StoreWriter(tmp_path / n, SETTINGS, workdir=work) for n in ("one", "two"))
    first.write("a", arrays_of(1), split="split_1")
    second.write("a", arrays_of(2), split="split_2")
    second.write("b", arrays_of(2), split="split_2")
    for one in (first, second):
        assert len(one.finish()) == 1
    check(tmp_path / "one")
    check(tmp_path / "two")
    assert Store(tmp_path / "one").samples == ["a"]


def test_rows_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    work = tmp_path / "work"
    for name, value in (("one", 1), ("two", 2)):
        one = StoreWriter(tmp_path / name, SETTINGS, workdir=work)
        for sample in ("a", name):
            one.write(sample, arrays_of(value), split=f"split_{value}")
    rows = sorted(work.glob("rows/*/*.json"))
    assert len(rows) == 4
    for row in rows:  # as it was: one folder, whatever the store
        row.rename(work / "rows" / row.name)
    (work / "rows/begun.json").write_text('{"id": "begun", "split": ""}')
    for name, value in (("one", 1), ("two", 2)):
        one = StoreWriter(tmp_path / name, SETTINGS, workdir=work)
        told = one.finish()
        assert told[:2] == [
            "warning: not listed, because its writing did not end (1 sample); write it again:",
            "  begun",
        ]
        assert sorted(Store(tmp_path / name).samples) == ["a", name]  # one row of two was lost then
        one.write("a", arrays_of(value), split=f"split_{value}")
        one.finish()
        assert Store(tmp_path / name).splits[f"split_{value}"] == ("a", name)
