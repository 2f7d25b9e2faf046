from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote.servers import free_port, process

HERE = Path(__file__).resolve().parent

# Whoever starts the tests in the background (nohup make test &) has their processes ignore SIGINT,
# and so would what they start, to which some of them send it. A signal that is handled here is at
# its default again in every process that is started from here.
for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGTERM, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an S3 server."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with process(command, port, tmp_path_factory.mktemp("s3") / "log"):
        yield port


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an emulator of Google Cloud Storage."""
    os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
    port = free_port()
    command = [sys.executable, str(HERE / "remote/gcs_server.py"), "start", "--in-memory"]
    address = ["--host=127.0.0.1", f"--port={port}"]
    with process([*command, *address], port, tmp_path_factory.mktemp("gcs") / "log"):
        yield port


@pytest.fixture(scope="session")
def azure_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an emulator of Azure Blob Storage."""
    azurite = HERE / "remote/node_modules/.bin/azurite-blob"
    if not azurite.exists():
        pytest.skip("azurite is not installed: tests/system.sh installs it where npm is")
    port = free_port()
    command = [str(azurite), "--silent", "--inMemoryPersistence", "--skipApiVersionCheck"]
    address = ["--disableTelemetry", "--blobHost=127.0.0.1", f"--blobPort={port}"]
    with process([*command, *address], port, tmp_path_factory.mktemp("azure") / "log"):
        yield port


@pytest.fixture(scope="session")
def oci_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a stand-in for OCI Object Storage."""
    port = free_port()
    command = [sys.executable, str(HERE / "remote/oci_server.py"), str(port)]
    with process(command, port, tmp_path_factory.mktemp("oci") / "log"):
        yield port
