"""Runs the real snakemake on small sources, and looks at what came of it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
import yaml

from workflow.forked_snakemake import run_forked

REPOSITORY = Path(__file__).resolve().parents[2]
NO_CLOUDS = Path(__file__).parent / "no_clouds"

FILEMAP = {
    "surface_position": "points.pt",
    "surface_pressure": "p.pt",
    "volume_position": "cells.pt",
    "volume_velocity": "U.pt",
}


def tensors(seed: int, n_surface: int = 40, n_volume: int = 70) -> dict[str, torch.Tensor]:
    """Return one sample's tensors by file name."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "points.pt": (n_surface, 3),
        "p.pt": (n_surface,),
        "cells.pt": (n_volume, 3),
        "U.pt": (n_volume, 3),
    }
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def write_sample(folder: Path, seed: int, **replaced: torch.Tensor | None) -> None:
    """Write a sample; `replaced` gives other tensors by the file's stem, None for no file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, tensor in tensors(seed).items():
        value = replaced.get(name.removesuffix(".pt"), tensor)
        if value is not None:
            torch.save(value, folder / name)


@dataclass
class Run:
    """What a run of snakemake returned and said; and its log, which names every job."""

    returncode: int
    output: str
    log: str = ""

    @property
    def converted(self) -> list[str]:
        """Keys of the samples whose conversion was started, in ascending order."""
        return sorted(re.findall(r"Converting (\S+)$", self.log or self.output, re.MULTILINE))

    @property
    def nothing_to_do(self) -> bool:
        return "Nothing to be done" in self.output

    @property
    def said(self) -> list[str]:
        """What aerozarr itself said, line by line."""
        return [line for line in self.output.splitlines() if line.startswith("aerozarr: ")]


class Workspace:
    """A working directory with a source, a configuration, and the results of runs."""

    def __init__(self, root: Path, repository: Path = REPOSITORY) -> None:
        self.root = root
        self.repository = repository
        self.config: dict[str, object] = {"source_url": "source", "filemap": FILEMAP}

    @property
    def source(self) -> Path:
        return self.root / "source"

    @property
    def store(self) -> Path:
        return self.root / "results" / "store"

    @property
    def work(self) -> Path:
        return self.root / "results" / "work"

    def command(self, *arguments: str, cores: int = 2) -> list[str]:
        """Write the configuration, and return the command of a run."""
        configfile = self.root / "settings.yaml"
        # In the order of the test, as a person writes settings.
        configfile.write_text(yaml.safe_dump(self.config, sort_keys=False))
        return [
            *(sys.executable, "-m", "snakemake", "--snakefile", f"{self.repository}/Snakefile"),
            *arguments,  # first: --configfile would take a target for a second file
            *("--directory", str(self.root), "--cores", str(cores)),
            *("--configfile", str(configfile)),
        ]

    def run_environment(self) -> dict[str, str]:
        """Return the environment of a run.

        Snakemake imports the packages of clouds where they are installed, as they are for these
        tests and for few users: a fifth of the time of a short run. One without URLs needs none.
        """
        if "://" in str(self.config):
            return dict(os.environ)
        places = [str(NO_CLOUDS), os.environ.get("PYTHONPATH", "")]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}

    def run(
        self, *arguments: str, cores: int = 2, ok: bool | None = True, deadline: float = 300
    ) -> Run:
        """Run snakemake to its end; `ok` is what is expected of it, None for either.

        A run that has not ended after `deadline` seconds fails the test.
        """
        _, _, _, *given = self.command(*arguments, cores=cores)
        environment, cwd = self.run_environment(), str(self.root.parent)
        before = self.logs()
        run = Run(*run_forked(given, cwd, environment, deadline))
        run.log = self.text_of_logs(since=before)
        assert ok is None or (run.returncode == 0) is ok, run.output
        return run

    def logs(self) -> set[Path]:
        """Snakemake's own logs, one a run, which have all lines that are not shown."""
        return {*(self.root / ".snakemake" / "log").glob("*.log")}

    def text_of_logs(self, since: set[Path]) -> str:
        """What Snakemake logged since there were no other logs than these."""
        return "".join(path.read_text("utf-8", "replace") for path in self.logs() - since)

    def start(self, *arguments: str, cores: int = 2) -> subprocess.Popen[bytes]:
        """Start snakemake in a process group of its own."""
        with (self.root / "output.txt").open("wb") as output:
            return subprocess.Popen(
                self.command(*arguments, cores=cores),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self.run_environment(),
            )

    def kill_when(self, condition: Callable[[], bool], *, cores: int = 2) -> bool:
        """Run snakemake and SIGKILL all of it once a condition holds; whether it came to that."""
        process = self.start(cores=cores)
        deadline = time.monotonic() + 120
        while not condition():
            if process.poll() is not None:
                return False
            assert time.monotonic() < deadline, (self.root / "output.txt").read_text()
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True

    def manifest(self) -> dict[str, dict]:
        return json.loads((self.store / "manifest.json").read_bytes())

    def listed(self) -> list[str]:
        return list(self.manifest()["samples"])

    def skipped(self) -> pd.DataFrame:
        return pd.read_csv(self.store / "skipped.tsv", sep="\t", keep_default_na=False)

    def groups(self) -> list[str]:
        found = self.store.rglob("*.zarr")
        return sorted(str(path.relative_to(self.store)).removesuffix(".zarr") for path in found)

    def copy_to(self, root: Path) -> Workspace:
        """Copy everything, with its times, so that snakemake takes the copy for the original."""
        shutil.copytree(self.root, root, symlinks=True)
        copy = Workspace(root, self.repository)
        copy.config = dict(self.config)
        return copy


_FRESH: dict[str, dict[str, str]] = {}


def fresh_digests(w: Workspace, root: Path) -> dict[str, str]:
    """Return what `digests` gives for a first run over a workspace's source, with its settings."""
    config = {key: w.config[key] for key in w.config if key not in ("store", "workdir")}
    config |= {"source_url": "source"} if "source_url" in config else {}
    known = json.dumps([digests(w.source), config], sort_keys=True)
    if known not in _FRESH:
        made = Workspace(root)
        shutil.copytree(w.source, made.source)
        made.config = config
        made.run()
        _FRESH[known] = digests(made.store)
    return _FRESH[known]


def digests(store: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a store, by path.

    Not of the one that tells the time, nor of what the store records of its runs.
    """
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.rglob("*"))
        if path.is_file()
        and path.name != "provenance.json"
        and path.relative_to(store).parts[0] != ".aerozarr"
    }
