from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from reader.harness import (
    CHUNK,
    PLACES,
    Place,
    answers,
    copy_to,
    put_json,
    source_tensors,
    statistics,
)
from workflow.harness import Workspace


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as the workflow writes it, with splits besides; not to be changed."""
    workspace = Workspace(tmp_path_factory.mktemp("reader") / "workspace")
    for number, sample in enumerate(("a", "b", "deep/c")):
        folder = workspace.source / sample
        folder.mkdir(parents=True)
        for name, tensor in source_tensors(number * 0.5).items():
            torch.save(tensor, folder / name)
    workspace.config |= {"chunk_points": CHUNK, "shard_points": 4 * CHUNK}
    workspace.run()
    put_json(workspace.store / "splits.json", {"train": ["b", "a"], "test": ["deep/c"]})
    put_json(workspace.store / "statistics.train.json", statistics(workspace.store, ["a", "b"]))
    put_json(workspace.store / "statistics.drag%2Ftest.json", {"of": "drag/test"})
    return workspace.store


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy of the store, to be damaged."""
    return Path(shutil.copytree(original, tmp_path / "store"))


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3 server of this test session's own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (tmp_path_factory.mktemp("moto") / "log.txt").open("wb")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    endpoint = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while not answers(endpoint):
            assert process.poll() is None and time.monotonic() < deadline, Path(
                log.name
            ).read_text()
            time.sleep(0.05)
        yield endpoint
    finally:
        process.terminate()
        process.wait(10)
        log.close()


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, original: Path) -> Place:
    """The store, at each kind of place in turn."""
    endpoint = request.getfixturevalue("s3_endpoint") if "s3" in request.param else None
    return copy_to(original, request.param, endpoint)
