"""Buckets of a real S3 server, as tests see them: behind the proxy, and straight."""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import s3fs
import torch

from remote.proxy import Proxy
from workflow.harness import Workspace, tensors

KEY = "AKIAPLEASEDONOTPRINT"
SECRET = "hunter2/do+not/print"


def options_for(url: str) -> dict[str, Any]:
    """Storage options of a server by its URL."""
    region = {"region_name": "us-east-1"}
    return {"endpoint_url": url, "key": KEY, "secret": SECRET, "client_kwargs": region}


@dataclass
class Bucket:
    """A bucket that no other test uses.

    Attributes
    ----------
    name
        The bucket's name.
    proxy
        What the library's requests go through.
    direct
        A file system that goes past the proxy.
    """

    name: str
    proxy: Proxy
    direct: s3fs.S3FileSystem

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    @property
    def storage_options(self) -> dict[str, dict[str, Any]]:
        return {"s3": options_for(self.proxy.url)}

    def put(self, path: str, content: bytes) -> None:
        self.direct.pipe_file(f"{self.name}/{path}", content)

    def put_sample(self, folder: str, seed: int, **replaced: torch.Tensor | bytes | None) -> None:
        """Upload a sample; `replaced` gives another tensor, bytes or None by the file's stem."""
        for name, tensor in tensors(seed).items():
            value = replaced.get(name.removesuffix(".pt"), tensor)
            if isinstance(value, torch.Tensor):
                stream = io.BytesIO()
                torch.save(value, stream)
                value = stream.getvalue()
            if value is not None:
                self.put(f"{folder}/{name}", value)

    def remove(self, path: str) -> None:
        self.direct.rm_file(f"{self.name}/{path}")

    def get(self, path: str) -> bytes:
        return bytes(self.direct.cat_file(f"{self.name}/{path}"))

    def objects(self, below: str = "") -> dict[str, bytes]:
        """Return every object below a prefix, by its key from there."""
        prefix = f"{self.name}/{below}".rstrip("/") + "/"
        self.direct.invalidate_cache()
        found = self.direct.find(prefix)
        return {path.removeprefix(prefix): bytes(self.direct.cat_file(path)) for path in found}


def make_bucket(proxy: Proxy) -> Bucket:
    """Make a bucket behind a proxy."""
    direct = s3fs.S3FileSystem(
        **options_for(f"http://127.0.0.1:{proxy.upstream}"), use_listings_cache=False
    )
    name = f"bucket-{uuid.uuid4().hex}"
    direct.call_s3("create_bucket", Bucket=name)
    return Bucket(name, proxy, direct)


def use(workspace: Workspace, bucket: Bucket, **urls: str) -> None:
    """Have a workspace take its source, its store or both from a bucket."""
    for key, path in urls.items():
        workspace.config[key] = f"{bucket.url}/{path}"
    workspace.config["storage_options"] = bucket.storage_options


def hashes(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of files by path, as `harness.digests` does for a folder."""
    return {
        path: hashlib.sha256(content).hexdigest()
        for path, content in files.items()
        if path != "provenance.json" and not path.startswith(".aerozarr/")
    }


def told(workspace: Workspace, output: str) -> Mapping[str, str]:
    """Return all that a run said or wrote on this machine, by place."""
    texts = {"the terminal": output}
    for path in sorted(Path(workspace.root).rglob("*")):
        # The settings are the person's own file.
        if path.is_file() and path.name != "settings.yaml" and "source" not in path.parts:
            texts[str(path)] = path.read_bytes().decode(errors="replace")
    return texts
