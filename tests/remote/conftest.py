from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote.proxy import Proxy
from remote.s3 import Bucket, make_bucket
from remote.servers import free_port, process
from workflow.harness import Workspace


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an S3 server."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with process(command, port, tmp_path_factory.mktemp("s3") / "log"):
        yield port


@pytest.fixture
def proxy(s3_server: int) -> Iterator[Proxy]:
    """A proxy before the S3 server, which neither slows nor fails anything yet."""
    with Proxy(s3_server) as made:
        yield made


@pytest.fixture
def bucket(proxy: Proxy) -> Bucket:
    """An empty bucket behind the proxy."""
    made = make_bucket(proxy)
    proxy.mend()
    return made


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with an empty source."""
    root = tmp_path / "workspace"
    (root / "source").mkdir(parents=True)
    return Workspace(root)
