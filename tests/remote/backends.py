"""Object stores of each provider, each a server on this machine, as URLs that any test can use."""

from __future__ import annotations

import uuid
from typing import Any

import fsspec
import pytest
from fsspec.config import conf

from remote.s3 import options_for

BACKENDS = ("s3",)


def open_backend(name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of an empty folder in a new bucket of a backend.

    The options that reach its server hold for all file systems that this process opens for the
    rest of the test.
    """
    bucket = f"bucket-{uuid.uuid4().hex}"
    server = f"http://127.0.0.1:{request.getfixturevalue(f'{name}_server')}"
    protocol, options = {"s3": ("s3", options_for)}[name]
    own: dict[str, Any] = {**options(server), "use_listings_cache": False}
    monkeypatch.setitem(conf, protocol, own)
    fs = fsspec.filesystem(protocol)
    if name == "s3":
        fs.call_s3("create_bucket", Bucket=bucket)
    else:
        fs.mkdir(bucket)
    return f"{protocol}://{bucket}/store"
