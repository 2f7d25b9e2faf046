from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from aerozarr.source.datasets import load_preset
from documents.pages import REPOSITORY, Reader, blocks_of


@pytest.fixture(scope="session")
def with_example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkout in which the example is converted, and data; not to be changed.

    Where tests run in several processes, the first that comes makes it for all.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    root = shared / "with_example"
    with (shared / "with_example.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "made").exists():
            _make(root)
            (root / "made").touch()
    return root


def _make(root: Path) -> None:
    ignored = shutil.ignore_patterns(".*", "results", "tests", "site")
    shutil.copytree(REPOSITORY, root / "checkout", ignore=ignored)
    for dataset, sample in (("shapenet", "preprocessed/param1/x"), ("wind_tunnel", "run_1")):
        folder = root / "data" / dataset / sample
        folder.mkdir(parents=True)
        names = load_preset("shapenet_car").filemap.values()
        for name in (*names, "points.pt", "p.pt"):
            is_one = any(word in name for word in ("pressure", "sdf", "p.pt"))
            torch.save(torch.rand(20) if is_one else torch.rand(20, 3), folder / name)
    Reader(root).run("snakemake --cores 2")


@pytest.fixture
def reader(with_example: Path, tmp_path: Path) -> Callable[[], Reader]:
    """Makes a reader who has converted the example, and has data and the README's `mine.yaml`."""
    return lambda: copy_of(with_example, tmp_path / "reader")


@pytest.fixture(scope="module")
def place(with_example: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, for the tests of a module one after another."""
    return copy_of(with_example, tmp_path_factory.mktemp("documents") / "reader").root


def copy_of(with_example: Path, root: Path) -> Reader:
    """Return a reader with a copy of what there is."""
    shutil.copytree(with_example, root)
    made = Reader(root)
    (mine,) = (each for each in blocks_of("README.md") if each.file == "mine.yaml")
    (made.checkout / mine.file).write_text(made.place(mine.text), encoding="utf-8")
    return made
