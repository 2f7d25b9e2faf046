from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from remote.servers import free_port, process


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an S3 server."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with process(command, port, tmp_path_factory.mktemp("s3") / "log"):
        yield port
