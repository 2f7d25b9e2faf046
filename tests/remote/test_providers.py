"""The same run on each provider's object store, and what is told of packages and credentials."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
import yaml
from fsspec.registry import _registry

from aerozarr.config.load_settings import load_settings
from aerozarr.errors import SettingsError
from aerozarr.filesystems.location import open_location
from remote.backends import (
    AZURE_KEY,
    BACKENDS,
    oci_key,
    open_backend,
    server_of,
    storage_options,
)
from remote.oci_server import FINGERPRINT
from remote.s3 import hashes, told
from unit.store_helpers import files_below
from workflow.harness import REPOSITORY, Workspace, digests, write_sample


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_within_a_bucket_gives_the_bytes_of_a_local_one(
    backend: str,
    workspace: Workspace,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    url = open_backend(backend, request, monkeypatch)
    fs = fsspec.filesystem(url.partition(":")[0])
    for seed, name in enumerate(("a", "deep/b")):
        folder = workspace.source / name
        write_sample(folder, seed)
        for path in folder.iterdir():
            fs.pipe_file(f"{url}/source/{name}/{path.name}", path.read_bytes())
    workspace.config.update(
        source_url=f"{url}/source",
        store=f"{url}/made",
        storage_options=storage_options(backend, server_of(backend, request)),
    )
    run = workspace.run()
    assert "lists 2 samples" in run.output
    assert workspace.run().nothing_to_do
    found = hashes(files_below(f"{url}/made"))
    workspace.config.update(source_url="source", store="results/local")
    workspace.run()
    assert found == digests(workspace.root / "results/local")
    secrets = {"azure": [AZURE_KEY], "oci": [FINGERPRINT, *oci_key().splitlines()[1:-1]]}
    for secret in secrets.get(backend, ()):
        assert secret not in "".join(told(workspace, run.output).values())


PACKAGES = {
    "s3://bucket/x": ("s3fs", "requirements.txt"),
    "gs://bucket/x": ("gcsfs", "requirements-gcs.txt"),
    "gcs://bucket/x": ("gcsfs", "requirements-gcs.txt"),
    "az://bucket/x": ("adlfs", "requirements-azure.txt"),
    "abfs://container@account.dfs.core.windows.net/x": ("adlfs", "requirements-azure.txt"),
    "oci://bucket@namespace/x": ("ocifs", "requirements-oci.txt"),
}


@pytest.mark.parametrize("url", PACKAGES)
def test_a_url_whose_package_is_missing_says_what_to_install(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, requirements = PACKAGES[url]
    protocol = url.partition(":")[0]
    monkeypatch.setitem(sys.modules, package, None)  # what import finds when it is not installed
    monkeypatch.delitem(_registry, protocol, raising=False)
    monkeypatch.setitem(sys.modules, "aiobotocore.session", None)
    monkeypatch.delitem(sys.modules, "aerozarr.filesystems.oci", raising=False)
    with pytest.raises(SettingsError) as caught:
        open_location(url, {}, key="store")
    assert f"pip install -r {requirements}" in str(caught.value)
    extra = {"s3fs": "s3", "gcsfs": "gcs", "adlfs": "azure", "ocifs": "oci"}[package]
    assert f"pip install '.[{extra}]'" in str(caught.value)
    assert f"needs {package}" in str(caught.value)
    assert f"{package}==" in (REPOSITORY / requirements).read_text()


def test_each_example_of_the_documents_page_is_a_configuration() -> None:
    page = (REPOSITORY / "docs/object-stores.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(examples) == 4
    for example in examples:
        config = yaml.safe_load(example)
        load_settings({"source_url": "x", **config})
        for protocol, options in config.get("storage_options", {}).items():
            if protocol in ("s3", "abfs"):  # the others want a file of credentials at once
                options.pop("profile", None)
                open_location(f"{protocol}://bucket/x", {protocol: options}, key="store")


@pytest.mark.parametrize(
    "url",
    ["s3://AKIA:hunter2@bucket/x", "sftp://me:hunter2@host/x", "zip://a::ftp://u:hunter2@h/x"],
)
def test_a_url_with_a_password_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_location(url, {}, key="store")
    assert "holds a password" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
@pytest.mark.parametrize("url", ["s3://b/x", "gs://b/x", "abfs://b/x", "oci://b@n/x"])
def test_what_a_process_imports_before_it_forks_starts_no_thread(url: str) -> None:
    code = (
        "import os, sys; from aerozarr.filesystems.location import import_backend_for;"
        "import_backend_for(sys.argv[1], {});"
        "imported = {'s3fs', 'gcsfs', 'adlfs', 'ocifs'} & {*sys.modules};"
        "print(len(os.listdir('/proc/self/task')), len(imported))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, url],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "scripts")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1", "1"]
