"""Kills, concurrency, hostile names, other working directories, other numbers of cores."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import zarr

from workflow.harness import REPOSITORY, Workspace, digests, tensors, write_sample

SAMPLES = 5


@pytest.fixture
def five(workspace: Workspace) -> Workspace:
    for seed in range(SAMPLES):
        write_sample(workspace.source / f"s{seed}", seed)
    return workspace


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The store of the five samples, from one uninterrupted run on one core."""
    workspace = Workspace(tmp_path_factory.mktemp("expected") / "workspace")
    for seed in range(SAMPLES):
        write_sample(workspace.source / f"s{seed}", seed)
    workspace.run(cores=1)
    return digests(workspace.store)


def test_one_core_and_four_give_the_same_bytes(five: Workspace, expected: dict[str, str]) -> None:
    five.run(cores=4)
    assert digests(five.store) == expected


@pytest.mark.parametrize(
    ("moment", "pattern", "count"),
    [
        ("while_listing", "results/work/.listing.json", 1),
        ("at_the_first_shard", "results/store/.aerozarr-partial/**/c/0/0", 1),
        ("at_the_first_group", "results/store/*.zarr", 1),
        ("at_the_third_fragment", "results/work/fragments/*/*.json", 3),
        ("while_merging", "results/work/logs/merge_manifest.log", 1),
        ("at_the_manifest", "results/store/manifest.json", 1),
    ],
)
def test_a_killed_run_goes_on_with_the_same_command(
    five: Workspace, expected: dict[str, str], moment: str, pattern: str, count: int
) -> None:
    def it_is_time() -> bool:
        try:
            return len(list(five.root.glob(pattern))) >= count
        except FileNotFoundError:  # a folder that was there when the search began
            return False

    assert five.kill_when(it_is_time)
    if (five.store / "manifest.json").exists():
        assert set(five.listed()) <= set(five.groups())
    run = five.run()
    assert "unlock" not in run.output
    assert digests(five.store) == expected
    assert five.run().nothing_to_do


def test_a_run_killed_again_and_again_gets_there(five: Workspace, expected: dict[str, str]) -> None:
    for wanted in range(1, SAMPLES + 1):
        five.kill_when(
            lambda wanted=wanted: len(list(five.work.glob("fragments/*/*.json"))) >= wanted
        )
    five.run()
    assert digests(five.store) == expected


def test_a_killed_reconversion_leaves_no_manifest_that_lists_what_changed(
    converted: Workspace,
) -> None:
    before = {sample: (converted.store / f"{sample}.zarr").stat().st_ino for sample in "ab"}
    converted.config["chunk_points"] = 16

    def one_is_replaced() -> bool:
        now = [converted.store / f"{sample}.zarr" for sample in "ab"]
        return any(p.exists() and p.stat().st_ino != before[p.stem] for p in now)

    assert converted.kill_when(one_is_replaced)
    assert not (converted.store / "manifest.json").exists()
    converted.run()
    grids = [
        s["domains"]["volume"]["chunk_points"] for s in converted.manifest()["samples"].values()
    ]
    assert grids == [16, 16, 16]


def test_a_second_run_in_the_same_work_folder_is_refused(five: Workspace) -> None:
    first = five.start()
    lock = five.work / ".lock"
    deadline = time.monotonic() + 60
    while not (lock.exists() and lock.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGSTOP)  # or it might be done before the second begins
    second = five.run(ok=False)
    os.killpg(first.pid, signal.SIGCONT)
    assert f"another run (process {first.pid}) is at work in results/work" in second.output
    assert first.wait(timeout=120) == 0
    assert five.listed() == [f"s{n}" for n in range(SAMPLES)]


def test_two_configurations_run_side_by_side_from_one_checkout(five: Workspace) -> None:
    def command(name: str, seed: int) -> list[str]:
        changes = [f"store=out/{name}", f"workdir=out/{name}.work", f"shuffle_seed={seed}"]
        return [*five.command(cores=1), "--config", *changes]

    runs = [subprocess.Popen(command(name, seed)) for name, seed in (("x", 1), ("y", 2))]
    assert [run.wait(timeout=300) for run in runs] == [0, 0]
    x, y = digests(five.root / "out/x"), digests(five.root / "out/y")
    assert x.keys() == y.keys()
    assert x["s0.zarr/volume/velocity/c/0/0"] != y["s0.zarr/volume/velocity/c/0/0"]


def test_an_interrupted_run_ends_its_jobs_and_says_how_to_go_on(five: Workspace) -> None:
    process = five.start()
    deadline = time.monotonic() + 60
    while not list(five.work.glob("fragments/*/*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    code = process.wait(timeout=60)
    ended = json.loads((five.work / "run.json").read_bytes())
    assert ended["result"] == "interrupted"
    assert ended["exit_code"] == code != 0
    assert "the same command goes on from here" in (five.root / "output.txt").read_text()
    five.run()
    assert five.listed() == [f"s{n}" for n in range(SAMPLES)]


HOSTILE = [
    "with space",
    "it's",
    'say "hi"',
    "100%",
    "{braces}",
    "{0}",
    "ünï/cödé",
    "-leading-dash",
    "--help",
    "deeply/nested/folder",
    "$(touch pwned)",
    "a;touch pwned",
    "`touch pwned`",
    "new\nline",
    "carriage\rreturn",
    "tab\there",
    "star*",
    "question?",
    "NA",
    "007",
    "l" * 200,
    "run_" + "0" * 20,
    "deep/" + "ab" * 20,
    "trailing ",
    ".hidden",
    "x.json",
    "back|pipe&",
]


def test_hostile_ids_are_converted_under_their_own_names(workspace: Workspace) -> None:
    for seed, sample in enumerate(HOSTILE):
        write_sample(workspace.source / sample, seed)
    write_sample(workspace.source / "group.zarr" / "inside", 1)
    workspace.run()
    assert workspace.listed() == sorted(HOSTILE)
    assert not list(workspace.root.rglob("pwned"))
    skipped = workspace.skipped()
    assert list(skipped["id"]) == ["group.zarr/inside"]
    assert list(skipped["kind"]) == ["invalid_id"]
    sample = workspace.store / workspace.manifest()["samples"]["{0}"]["relpath"]
    stored = zarr.open_group(sample, mode="r")["surface/pressure"][:]
    source = tensors(HOSTILE.index("{0}"))["p.pt"].half()
    assert sorted(stored[:, 0].tolist()) == sorted(source.tolist())
    assert workspace.run().nothing_to_do


def test_a_tree_is_converted_from_any_working_directory_with_absolute_paths(
    tmp_path: Path,
) -> None:
    stems = {
        "surface_points": (30, 3),
        "surface_pressure": (30,),
        "surface_normals": (30, 3),
        "volume_points": (50, 3),
        "volume_velocity": (50, 3),
        "volume_sdf": (50,),
        "volume_normals": (50, 3),
    }
    source = tmp_path / "cars" / "param1" / "abc"
    source.mkdir(parents=True)
    for stem, shape in stems.items():
        torch.save(torch.randn(shape), source / f"{stem}.pt")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    store = tmp_path / "my store"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "-s", f"{REPOSITORY}/Snakefile", "--cores", "2"),
            *("--config", f"source_url={tmp_path}/cars", f"store={store}", "dataset=shapenet_car"),
        ],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    group = zarr.open_group(store / "param1" / "abc.zarr", mode="r")
    assert group["volume/velocity"].shape == (50, 3)
    assert f"{store}/manifest.json lists 1 sample of shapenet_car" in done.stderr


def test_a_class_of_the_persons_own_brings_its_samples(workspace: Workspace) -> None:
    (workspace.root / "mine.py").write_text(
        """
import torch
from dataclasses import dataclass

@dataclass
class Files:
    surface_position: str = "points.pt"
    surface_pressure: str = "p.pt"

class Base:
    def __init__(self, root, split, filemap=Files()):
        self.split = split

class Cars(Base):
    def __len__(self):
        return {"train": 3, "test": 1}[self.split]

    def sample_info(self, i):
        return {"run_name": f"{self.split}/run {i}"}

    def _load(self, i, filename):
        rows = torch.arange(12.0).reshape(4, 3) + 100 * i
        return rows if filename == "points.pt" else rows[:, 0]
"""
    )
    workspace.config = {
        "dataset": "mine.Cars",
        "source_root": "source",
        "splits": ["test", "train[1:]", "val"],
    }
    run = workspace.run(ok=False)
    assert "cannot be built for the split 'val': KeyError: 'val'" in run.output
    workspace.config["splits"] = ["test", "train[1:]"]
    workspace.run()
    assert workspace.listed() == ["test/run 0", "train/run 1", "train/run 2"]
    group = zarr.open_group(workspace.store / "train/run 2.zarr", mode="r")
    assert sorted(group["surface/pressure"][:, 0].tolist()) == [200.0, 203.0, 206.0, 209.0]
    assert workspace.manifest()["dataset_name"] == "Cars"
    assert workspace.run().nothing_to_do
    # The same class's file map serves for a folder of files, too.
    write_sample(workspace.source / "a", 1)
    workspace.config = {"dataset": "mine.Cars", "source_url": "source", "store": "other"}
    workspace.run()
    assert (workspace.root / "other" / "a.zarr" / "surface" / "pressure").is_dir()


def server_of(owner: int) -> int | None:
    """Return the process id of the fork server that a parent's jobs started, if it runs."""
    found = subprocess.run(["pgrep", "-f", "convert_sample.py --serve"], capture_output=True)
    for process in map(int, found.stdout.split()):
        with contextlib.suppress(OSError):  # it may end meanwhile
            environment = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
            # Its children look the same, but lead no session.
            mine = f"AEROZARR_FORKSERVER_PARENT={owner}".encode() in environment
            if mine and os.getsid(process) == process:
                return process
    return None


def test_a_fork_server_that_is_killed_costs_no_sample(
    five: Workspace, expected: dict[str, str]
) -> None:
    process = five.start(cores=1)
    deadline = time.monotonic() + 60
    while not list(five.work.glob("fragments/*/*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    server = server_of(process.pid)
    assert server is not None
    os.kill(server, signal.SIGKILL)
    assert process.wait(timeout=120) == 0
    assert digests(five.store) == expected


def test_no_fork_server_outlives_its_run(five: Workspace) -> None:
    process = five.start()
    deadline = time.monotonic() + 60
    while (server := server_of(process.pid)) is None:
        assert time.monotonic() < deadline
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    while Path(f"/proc/{server}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_without_a_fork_server_samples_convert_in_plain_processes_and_the_logs_say_so(
    five: Workspace, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A temporary folder whose name is too long for a socket: no worker can be had.
    long = five.root / ("x" * 120)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    five.run()
    assert digests(five.store) == expected
    logs = list((five.work / "logs/convert_sample").glob("*.log"))
    assert len(logs) == SAMPLES
    assert all("done in a plain process" in log.read_text() for log in logs)
