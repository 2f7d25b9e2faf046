"""What the person at the terminal reads last, whatever became of the run."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pty
import shutil
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest
import torch

from aerozarr.workflow.targets import TARGETS
from workflow.harness import Run, Workspace, write_sample


def last(run: Run, count: int = 1) -> list[str]:
    """The last lines of all that was said, which have to be ours."""
    lines = run.output.splitlines()[-count:]
    assert all(line.startswith("aerozarr: ") for line in lines), run.output
    return [line.removeprefix("aerozarr: ") for line in lines]


def processes_in(workspace: Workspace) -> list[str]:
    """Processes that work in a workspace."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == workspace.root:
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def too_large() -> torch.Tensor:
    return torch.full((70, 3), 1e9)


def test_a_run_ends_with_where_the_store_is_and_what_is_in_it(workspace: Workspace) -> None:
    write_sample(workspace.source / "a", 0)
    write_sample(workspace.source / "bad", 1, U=too_large())
    first = workspace.run()
    ends = [last(first, 5), last(workspace.run(), 5)]
    assert ends[0] == ends[1], "a run with nothing to do says the same"
    assert ends[0][0].startswith("1 skipped")
    assert "bad: volume_velocity: U.pt: a value of 1e+09 is too large" in ends[0][1]
    assert ends[0][2].endswith("results/work/report.html")
    assert ends[0][3].startswith("next: the same command with the target verify")
    assert "results/store/manifest.json lists 1 sample of " in ends[0][4]
    # Before that: how it went, and none of Snakemake's six lines a job, which its log has.
    assert "aerozarr: converting 2 samples" in first.said
    assert any(line.startswith("aerozarr: converted 2 samples in ") for line in first.said)
    assert any(line.endswith("; 1 broken") for line in first.said)
    assert "Select jobs to execute" not in first.output
    assert "Select jobs to execute" in first.log


def test_a_terminal_of_80_columns_has_one_line_that_moves(workspace: Workspace) -> None:
    write_sample(workspace.source / "a", 0)
    write_sample(workspace.source / "".join(f"long_{n}" for n in range(14)), 1, U=too_large())
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        workspace.command(),
        stdout=terminal,
        stderr=terminal,
        env={**workspace.run_environment(), "TERM": "xterm", "PYTHONUTF8": "1"},
    )
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # what reading gives when nobody writes any more
        while part := os.read(main, 65536):
            shown += part
    os.close(main)
    assert process.wait() == 0, shown.decode()
    text = shown.decode()
    drawn = [line.partition("\r")[0] for line in text.split("\r\x1b[2K")[1:]]
    assert any(line.startswith("converting ─") and line.endswith("  0/2") for line in drawn), text
    assert any(line.startswith("merging") for line in drawn)
    assert all(len(line) < 80 for line in drawn)
    kept = text.rpartition("\x1b[2K")[2].splitlines()
    assert kept[0].startswith("aerozarr: 1 skipped")
    words = [line for line in kept if "long" not in line]
    assert len(words) > 4
    assert all(len(line) <= 80 for line in words), kept


def test_a_dry_run_ends_with_what_a_run_would_convert(converted: Workspace) -> None:
    write_sample(converted.source / "new", 7)
    assert last(converted.run("--dry-run")) == ["a run would convert 1 sample (1 new)"]
    assert len(converted.run().converted) == 1
    assert last(converted.run("--dry-run")) == ["a run would convert 0 samples"]


def test_a_failed_run_ends_with_why(workspace: Workspace) -> None:
    write_sample(workspace.source / "a", 0)
    write_sample(workspace.source / "bad", 1, U=too_large())
    workspace.config["on_broken_sample"] = "fail"
    run = workspace.run(ok=False)
    head, why, advice = last(run, 3)
    # Snakemake's own words on it, whole.
    assert "Error in rule convert_sample:" in run.output
    assert "log: results/work/logs/convert_sample/bad.log (check log file(s)" in run.output
    assert "Complete log(s): " in run.output
    assert head == "1 job failed:"
    assert "convert_sample: bad: volume_velocity: U.pt: a value of 1e+09 is too large" in why
    assert "the same command goes on from here" in advice


def test_removing_orphans_ends_with_what_was_removed(converted: Workspace) -> None:
    shutil.rmtree(converted.source / "b")
    write_sample(converted.source / "bad", 1, U=too_large())
    converted.run()
    head, orphan, result = last(converted.run("remove_orphans"), 3)
    assert head == "1 group removed that the manifest does not list"
    assert orphan.strip() == "b"
    assert "lists 2 samples" in result


def test_a_dry_run_of_removing_orphans_names_them_and_removes_nothing(
    converted: Workspace,
) -> None:
    shutil.rmtree(converted.source / "b")
    converted.run()
    head, orphan = last(converted.run("remove_orphans", "--dry-run"), 2)
    assert head == "a run would remove 1 group"
    assert orphan.strip() == "b"
    assert converted.groups() == ["a", "b", "deep/c"]


def test_a_dry_run_of_removing_orphans_from_no_store_says_what_is_missing(
    workspace: Workspace,
) -> None:
    write_sample(workspace.source / "a", 0)
    run = workspace.run("remove_orphans", "--dry-run")
    assert "has no manifest.json, so nothing says which groups are wanted" in last(run)[0]


def test_a_dry_run_with_nothing_to_do_says_so(converted: Workspace) -> None:
    assert last(converted.run("--dry-run")) == ["a run would convert 0 samples"]


def test_a_merge_that_fails_ends_with_its_whole_reason(workspace: Workspace) -> None:
    write_sample(workspace.source / "bad", 1, U=too_large())
    head, why, which, advice = last(workspace.run(ok=False), 4)
    assert head == "1 job failed:"
    assert "merge_manifest: every sample is broken (1)" in why
    assert "bad: volume_velocity: U.pt: a value of 1e+09 is too large" in which
    assert "once the cause is mended" in advice


def test_an_estimate_ends_with_what_is_left_to_convert(converted: Workspace) -> None:
    lines = last(converted.run("estimate"), 12)
    assert lines[0] == "all of them, from nothing:"
    assert lines[-1] == "a run would convert 0 samples"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("verfy", "there is no target 'verfy'. Did you mean verify?"),
        ("--list", "verify (compare the store with its source and its checksums)"),
    ],
)
def test_what_never_came_to_a_run_says_nothing_of_its_result(
    converted: Workspace, target: str, said: str
) -> None:
    run = converted.run(target, ok=None)
    assert said in run.output
    if target == "--list":
        listed = {line.partition(" (")[0] for line in run.output.splitlines() if " (" in line}
        assert listed == {*TARGETS, "convert_sample", "verify_sample", "adopt_sample"}
    assert not any("lists 3 samples" in line for line in run.said)


def test_no_process_is_left_of_a_run_that_has_ended(workspace: Workspace) -> None:
    write_sample(workspace.source / "a", 0)
    workspace.run()
    deadline = time.monotonic() + 5
    while left := processes_in(workspace):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)  # it is told of the end by the system, and goes then


# For programs -------------------------------------------------------------------------------------


def run_json(workspace: Workspace) -> dict[str, object]:
    content: dict[str, object] = json.loads((workspace.work / "run.json").read_text())
    return content


def test_run_json_says_what_came_of_every_run(workspace: Workspace) -> None:
    write_sample(workspace.source / "a", 0)
    write_sample(workspace.source / "bad", 1, U=too_large())
    write_sample(workspace.source / "half", 2, U=None)
    workspace.run()
    first = run_json(workspace)
    assert first["result"] == "done"
    assert first["exit_code"] == 0
    assert first["samples"] == 1
    assert first["skipped"] == {"broken": 1, "incomplete": 1}
    assert first["failed_jobs"] == []
    workspace.run()
    again = run_json(workspace)
    assert again["result"] == "nothing to do"
    assert {k: again[k] for k in ("samples", "skipped", "store")} == {
        k: first[k] for k in ("samples", "skipped", "store")
    }
    workspace.config["on_broken_sample"] = "fail"
    (workspace.root / "results/work/fragments").rename(workspace.root / "gone")
    workspace.run(ok=False)
    failed = run_json(workspace)
    assert failed["result"] == "failed"
    assert failed["exit_code"] == 1
    jobs = failed["failed_jobs"]
    assert isinstance(jobs, list)
    assert {job["sample"] for job in jobs} == {"bad"}
    assert "too large" in jobs[0]["reason"][0]


def test_a_dry_run_leaves_run_json_as_it_was(converted: Workspace) -> None:
    before = (converted.work / "run.json").read_bytes()
    converted.run("--dry-run")
    assert (converted.work / "run.json").read_bytes() == before


def test_the_worst_comes_first_and_what_is_not_there_is_a_count(workspace: Workspace) -> None:
    root = workspace.root / "dataset"
    names = [f"car_{number}" for number in range(30)]
    write_sample(root / "car_0", 0)
    write_sample(root / "car_1", 1, U=None)
    write_sample(root / "car_2", 2, U=too_large())
    root.joinpath("train.txt").write_text("\n".join(names))
    workspace.config |= {
        "source_url": None,
        "source_root": "dataset",
        "split_files": {"train": "train.txt"},
        "splits": ["train"],
    }
    said = [line.removeprefix("aerozarr: ") for line in workspace.run().said]
    first = said.index("29 skipped (all in results/store/skipped.tsv):")
    assert said[first + 1].startswith("  car_2: volume_velocity")
    assert said[first + 2].startswith("  car_1: U.pt")
    assert said[first + 3] == "  and 27 samples of which nothing is there"
    assert said[-1].endswith("; 29 skipped")
    assert run_json(workspace)["absent"] == 27


def test_variables_in_places_are_expanded_and_refused_when_they_are_not_set(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sample(workspace.source / "a", 0)
    monkeypatch.setenv("PLACE_OF_TESTS", "results")
    monkeypatch.delenv("NOT_SET_ANYWHERE", raising=False)
    workspace.config |= {"store": "$PLACE_OF_TESTS/store", "workdir": "${PLACE_OF_TESTS}/work"}
    workspace.run()
    assert workspace.listed() == ["a"]
    workspace.config["store"] = "$NOT_SET_ANYWHERE/store"
    run = workspace.run(ok=False)
    assert "store: '$NOT_SET_ANYWHERE/store' names the environment variable" in run.output
    assert not (workspace.root / "$NOT_SET_ANYWHERE").exists()


def test_a_full_disk_is_told_with_the_sample(workspace: Workspace) -> None:
    write_sample(workspace.source / "a", 0)
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    # The fragment's partial file is a link to a device that is always full.
    workspace.run("--until", "list_samples")
    tag = hashlib.sha256(b"results/store").hexdigest()[:8]
    folder = workspace.work / "fragments" / tag
    folder.mkdir(parents=True)
    (folder / ".a.json.partial").symlink_to(full)
    run = workspace.run(ok=False)
    assert any("convert_sample: a: no space is left" in line for line in run.said), run.output


DYING = """
import os
import torch
from dataclasses import dataclass

@dataclass
class Files:
    surface_position: str = "points.pt"

class Dying:
    def __init__(self, root, split, filemap=Files()):
        pass

    def __len__(self):
        return 2

    def sample_info(self, i):
        return {"run_name": f"run_{i}"}

    def _load(self, i, filename):
        if i == 1 and os.path.exists("dies"):
            os.kill(os.getpid(), int(open("dies").read()))
        return torch.arange(12.0).reshape(4, 3)
"""


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (signal.SIGKILL, "most likely because memory ran out. Run fewer jobs at the same time"),
        (signal.SIGBUS, "a file of the source was cut while it was read"),
        (signal.SIGSEGV, "the process was ended by signal 11"),
    ],
)
def test_a_job_that_was_killed_is_told_by_sample_and_cause(
    workspace: Workspace, number: signal.Signals, cause: str
) -> None:
    (workspace.root / "mine.py").write_text(DYING)
    dies = workspace.root / "dies"
    dies.write_text(str(int(number)))
    workspace.config = {"dataset": "mine.Dying", "source_root": "source", "splits": ["train"]}
    run = workspace.run("--retries", "0", ok=False)
    assert any("convert_sample: run_1: " in line and cause in line for line in run.said), run.output
    (failed,) = json.loads((workspace.work / "run.json").read_bytes())["failed_jobs"]
    assert failed["sample"] == "run_1"
    dies.unlink()
    assert workspace.run().converted == ["run_1"]
    assert len(workspace.listed()) == 2


def test_a_job_without_a_log_is_told_too(workspace: Workspace) -> None:
    killed = "os.kill(os.getpid()"
    lost = "import shutil; shutil.rmtree('results/work/logs'); " + killed
    (workspace.root / "mine.py").write_text(DYING.replace(killed, lost))
    (workspace.root / "dies").write_text("9")
    workspace.config = {"dataset": "mine.Dying", "source_root": "source", "splits": ["train"]}
    run = workspace.run("--retries", "0", ok=False)
    assert any(
        "convert_sample: run_1: " in line and "it was killed, or the log not written" in line
        for line in run.said
    ), run.output


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_cannot_be_read_costs_its_sample_and_the_exit_code(
    workspace: Workspace,
) -> None:
    write_sample(workspace.source / "a", 0)
    write_sample(workspace.source / "secret", 1)
    (workspace.source / "secret/U.pt").chmod(0)
    run = workspace.run(ok=False)
    assert workspace.listed() == ["a"]
    assert "secret: volume_velocity: U.pt: it cannot be read" in run.output
    (workspace.source / "secret/U.pt").chmod(0o644)
    workspace.run()
    assert workspace.listed() == ["a", "secret"]


def test_a_signature_in_a_url_is_written_nowhere(workspace: Workspace) -> None:
    write_sample(workspace.source / "a", 0)
    write_sample(workspace.source / "bad", 1, U=torch.zeros(3, 3))
    for key, name in (("source_url", "source"), ("store", "results/store")):
        place = workspace.root / f"{name}?signature=NOBODY-SHALL-SEE"
        (workspace.root / name).rename(place) if key == "source_url" else None
        workspace.config[key] = f"file://{place}"
    run = workspace.run()
    run.output += workspace.run("verify").output
    assert "NOBODY-SHALL-SEE" not in run.output
    told = [
        path
        for path in workspace.root.rglob("*")
        if path.is_file()
        and path.name != "settings.yaml"
        and b"NOBODY-SHALL-SEE" in path.read_bytes()
    ]
    assert told == []
