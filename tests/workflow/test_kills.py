"""Runs that are killed at random moments end, after a plain run, in an undisturbed run's store."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch

from workflow.harness import Workspace, digests, tensors, write_sample

SIGKILLS, SIGTERMS = 18, 12


def convert_a_new_sample(w: Workspace) -> tuple[str, ...]:
    write_sample(w.source / "new", 5)
    return ()


def replace_all(w: Workspace) -> tuple[str, ...]:
    w.config["shuffle_seed"] = 5
    return ()


def convert_in_part(w: Workspace) -> tuple[str, ...]:
    filemap = {n: f for n, f in dict(w.config["filemap"]).items() if n != "surface_pressure"}  # type: ignore[call-overload] # of a config
    w.config |= {"filemap": filemap, "fields": {"surface_load": {"file": "p.pt"}}}
    torch.save(tensors(9)["U.pt"], w.source / "b" / "U.pt")
    return ()


def merge(w: Workspace) -> tuple[str, ...]:
    w.config["dataset_name"] = "renamed"
    return ()


def remove(w: Workspace) -> tuple[str, ...]:
    return ("remove_orphans",)


CHANGES: list[Callable[[Workspace], tuple[str, ...]]] = [
    convert_a_new_sample,
    replace_all,
    convert_in_part,
    merge,
    remove,
]


def with_an_orphan(w: Workspace) -> None:
    shutil.rmtree(w.source / "b")
    w.run()


@pytest.fixture(scope="module")
def undisturbed(
    converted_once: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Workspace, dict[str, str], float]]:
    """For each change: what it is made to, the store it ends in, and the seconds that it takes."""
    made = {}
    for change in CHANGES:
        root = tmp_path_factory.mktemp(change.__name__)
        start = converted_once.copy_to(root / "start")
        if change is remove:
            with_an_orphan(start)
        done = start.copy_to(root / "done")
        options = change(done)
        began = time.monotonic()
        # As a command, which is what is then killed.
        assert done.start(*options).wait(timeout=120) == 0
        made[change.__name__] = (start, digests(done.store), time.monotonic() - began)
    return made


def cases() -> list[tuple[Callable[[Workspace], tuple[str, ...]], signal.Signals, float]]:
    """Return what is done, which signal ends it, and after which share of its time."""
    drawn = random.Random(20)
    signals = [signal.SIGKILL] * SIGKILLS + [signal.SIGTERM] * SIGTERMS
    changes = CHANGES * (1 + len(signals) // len(CHANGES))
    # Nothing is written while Python and Snakemake start.
    return [
        (change, kind, drawn.uniform(0.3, 1))
        for change, kind in zip(changes, signals, strict=False)
    ]


def test_after_a_power_loss_a_group_with_its_size_and_not_its_content_is_converted_again(
    converted: Workspace,
) -> None:
    write_sample(converted.source / "new", 5)
    assert converted.kill_when(lambda: any(converted.work.glob("fragments/*/new.json")))
    lease = converted.store / ".aerozarr/lease.json"
    content = json.loads(lease.read_text())
    lease.write_text(json.dumps({**content, "boot": "before"}))
    shard = converted.store / "new.zarr/volume/velocity/c/0/0"
    shard.write_bytes(bytes(shard.stat().st_size))
    assert converted.run().converted == ["new"]
    assert any(shard.read_bytes())
    assert not lease.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "kind", "share"),
    cases(),
    ids=[f"{change.__name__}-{kind.name}-{share:.3f}" for change, kind, share in cases()],
)
def test_a_run_ended_at_a_random_moment_is_made_good_by_a_plain_run(
    undisturbed: dict[str, tuple[Workspace, dict[str, str], float]],
    change: Callable[[Workspace], tuple[str, ...]],
    kind: signal.Signals,
    share: float,
    tmp_path: Path,
) -> None:
    start, expected, seconds = undisturbed[change.__name__]
    w = start.copy_to(tmp_path / "workspace")
    options = change(w)
    process = w.start(*options)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=share * seconds)
    if process.poll() is None:
        if kind is signal.SIGKILL:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)
    w.run(*options)  # for a removal: it alone, which a plain run would not do
    assert digests(w.store) == expected
    assert not list((w.store / ".aerozarr").glob("lease*"))


def finished(logs: Iterable[Path]) -> int:
    """Return how many jobs Snakemake's logs say have finished."""
    return sum(log.read_bytes().count(b"Finished jobid") for log in logs)


@pytest.mark.slow
def test_a_run_that_is_terminated_while_jobs_finish_ends_within_seconds(
    workspace: Workspace,
) -> None:
    for number in range(12):
        write_sample(workspace.source / f"run_{number}", number)
    drawn = random.Random(3)
    in_time = 0
    for number in range(SIGTERMS):
        workspace.config["shuffle_seed"] = number
        before = workspace.logs()
        process = workspace.start()
        wanted = drawn.randrange(1, 11)
        while process.poll() is None and finished(workspace.logs() - before) < wanted:
            # By chance, so that the signal comes at another moment of a job's end each time.
            time.sleep(drawn.uniform(0, 0.01))
        in_time += process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
    assert in_time > SIGTERMS / 2, "most of these runs were to be at work"
    workspace.run()
    assert len(workspace.listed()) == 12
