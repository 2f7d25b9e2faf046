"""The README's table "what happened, what the next run converts", line by line."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from aerozarr.store.write import open_root
from aerozarr.store.write.records import Lease, take_lease
from workflow.harness import REPOSITORY, Workspace, digests, write_sample

ALL = ["a", "b", "deep%2Fc"]


@dataclass
class Case:
    """What happens, and what the next run does.

    Attributes
    ----------
    happens
        Makes it so; returns further options of the run.
    converts
        Keys of the samples that are converted.
    lists
        Ids of the samples that the manifest lists then; None where the run is refused.
    """

    happens: Callable[[Workspace], tuple[str, ...] | None]
    converts: list[str]
    lists: list[str] | None


def _break(w: Workspace) -> None:
    os.truncate(w.source / "b" / "U.pt", 100)


def _set(**settings: object) -> Callable[[Workspace], None]:
    return lambda w: w.config.update(settings)


def _kill(w: Workspace) -> None:
    for name in ("new", "newer"):
        write_sample(w.source / name, 3)
    assert w.kill_when(lambda: any(w.work.glob("fragments/*/new*.json")), cores=1)
    left = [name for name in ("new", "newer") if not any(w.work.glob(f"fragments/*/{name}.json"))]
    assert len(left) <= 1
    shutil.rmtree(w.source / "newer")


def _change_b(w: Workspace) -> None:
    write_sample(w.source / "b", 4)


def _other_dataset(w: Workspace) -> None:
    w.config["dataset"] = "drivaerml"


def _lease(w: Workspace) -> tuple[str, ...]:
    # Of a process that lives: this one.
    store = open_root(str(w.store), {})
    take_lease(store, Lease.of_this_process("another", "/elsewhere"))
    return ("--config", "dataset_name=renamed")


EVERY = ["a", "b", "deep/c"]
CASES: dict[str, list[Case]] = {
    "nothing": [Case(lambda w: None, [], EVERY)],
    "a sample is new": [
        Case(lambda w: write_sample(w.source / "new", 4), ["new"], [*EVERY, "new"])
    ],
    "a file of a sample changed": [Case(_change_b, ["b"], EVERY)],
    "a field was added, dropped, or given another file or dtype": [
        Case(_set(values_dtype="float32"), ALL, EVERY),
    ],
    "a sample is broken now": [Case(_break, ["b"], ["a", "deep/c"])],
    "a sample is gone": [Case(lambda w: shutil.rmtree(w.source / "b"), [], ["a", "deep/c"])],
    "a setting changed that decides all stored bytes": [
        Case(_set(shuffle_seed=1), ALL, EVERY),
        Case(_set(chunk_points=16), ALL, EVERY),
        Case(_set(compression="fast"), ALL, EVERY),
    ],
    "another setting changed": [
        Case(_set(limit=2), [], ["a", "b"]),
        Case(_set(dataset_name="renamed"), [], EVERY),
    ],
    "the run was killed, or the machine lost power during it": [Case(_kill, [], [*EVERY, "new"])],
    "someone deleted a group, a file of one, or the whole store": [
        Case(lambda w: shutil.rmtree(w.store / "b.zarr"), ["b"], EVERY),
        Case(lambda w: (w.store / "b.zarr/volume/velocity/c/0/0").unlink(), ["b"], EVERY),
        Case(lambda w: shutil.rmtree(w.store), ALL, EVERY),
    ],
    "someone deleted or changed the manifest or a file beside it": [
        Case(lambda w: (w.store / "manifest.json").unlink(), [], EVERY),
        Case(lambda w: _edit_the_manifest(w), [], EVERY),
        Case(lambda w: (w.store / "statistics.json").unlink(), [], EVERY),
        Case(lambda w: _flip(w, "statistics.json"), [], EVERY),
        Case(lambda w: _flip(w, "checksums.tsv"), [], EVERY),
    ],
    "the store was put back from a copy of before": [Case(lambda w: _put_back(w), ["b"], EVERY)],
    "the work folder was lost": [Case(lambda w: shutil.rmtree(w.work), ALL, EVERY)],
    "Snakemake's own records": [
        Case(lambda w: shutil.rmtree(w.root / ".snakemake"), [], EVERY),
        Case(lambda w: _change_b(w) or ("--rerun-triggers", "mtime"), ["b"], EVERY),
    ],
    "the store holds another dataset, or a group that no run of it wrote": [
        Case(_other_dataset, [], None),
        Case(lambda w: _foreign_group(w), [], None),
    ],
    "another run, from another work folder, is at work in the store": [Case(_lease, [], None)],
}


def _edit_the_manifest(w: Workspace) -> None:
    (w.store / "manifest.json").write_text((w.store / "manifest.json").read_text() + " ")


def _flip(w: Workspace, name: str) -> None:
    """Change one byte of a file beside the manifest, which keeps its size."""
    path = w.store / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _put_back(w: Workspace) -> None:
    shutil.copytree(w.store, w.root / "copy")
    _change_b(w)
    w.run()
    shutil.rmtree(w.store)
    shutil.copytree(w.root / "copy", w.store)


def _foreign_group(w: Workspace) -> None:
    write_sample(w.source / "mine", 4)
    (w.store / "mine.zarr").mkdir()
    (w.store / "mine.zarr/zarr.json").write_text("{}")


def rows() -> list[str]:
    """Return what the rows of the README's table say happened."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    table = text.partition("what happened | what the next run converts\n---|---\n")[2]
    return [line.partition(" | ")[0] for line in table.partition("\n\n")[0].splitlines()]


def test_each_row_has_a_case_and_each_case_a_row() -> None:
    assert len(rows()) == len(CASES)
    for row, case in zip(rows(), CASES, strict=True):
        assert row.startswith(case)


@pytest.mark.parametrize(
    ("row", "number"), [(row, number) for row in CASES for number in range(len(CASES[row]))]
)
def test_the_next_run_converts_what_the_row_says(
    converted: Workspace, row: str, number: int
) -> None:
    case = CASES[row][number]
    before, source = digests(converted.store), digests(converted.source)
    config = dict(converted.config)
    options = case.happens(converted) or ()
    if case.lists is None:
        during = digests(converted.store)
        run = converted.run(*options, ok=False)
        assert "take_over: true" in run.output
        assert run.converted == case.converts
        assert digests(converted.store) == during
        return
    run = converted.run(*options)
    if row.startswith("the run was killed"):
        assert set(run.converted) <= {"new"}
    else:
        assert run.converted == case.converts
    assert converted.listed() == case.lists
    if (digests(converted.source), converted.config) == (source, config):
        assert digests(converted.store) == before
    if number == len(CASES[row]) - 1:  # as in test_rerun for the others
        assert converted.run(*options).nothing_to_do
