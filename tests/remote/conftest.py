from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from remote.proxy import Proxy
from remote.s3 import Bucket, make_bucket
from workflow.harness import Workspace


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
