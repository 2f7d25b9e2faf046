"""Object stores of each provider, each a server on this machine, as URLs that any test can use."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable
from typing import Any

import fsspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from fsspec.config import conf

from remote.oci_server import FINGERPRINT, NAMESPACE, TENANCY, USER
from remote.s3 import options_for

BACKENDS = ("s3", "gcs", "azure", "oci")

# What azurite knows, as its documentation gives them.
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


def gcs_options(server: str) -> dict[str, Any]:
    """Storage options of the emulator of Google Cloud Storage."""
    return {"endpoint_url": server, "token": "anon", "run_config": "run_config"}


def azure_options(server: str) -> dict[str, Any]:
    """Storage options of the emulator of Azure Blob Storage."""
    text = (
        f"DefaultEndpointsProtocol=http;AccountName={AZURE_ACCOUNT};AccountKey={AZURE_KEY};"
        f"BlobEndpoint={server}/{AZURE_ACCOUNT};"
    )
    return {"connection_string": text, "account_name": AZURE_ACCOUNT}


@functools.cache
def oci_key() -> str:
    """A key to sign requests to OCI with."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = (serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    return key.private_bytes(serialization.Encoding.PEM, *form).decode()


def oci_options(server: str) -> dict[str, Any]:
    """Storage options of the stand-in for OCI Object Storage."""
    config = {
        "user": USER,
        "tenancy": TENANCY,
        "fingerprint": FINGERPRINT,
        "key_content": oci_key(),
        "region": "us-ashburn-1",
    }
    return {"config": config, "config_kwargs": {"service_endpoint": server}}


_OPTIONS: dict[str, tuple[str, Callable[[str], dict[str, Any]]]] = {
    "s3": ("s3", options_for),
    "gcs": ("gs", gcs_options),
    "azure": ("abfs", azure_options),
    "oci": ("oci", oci_options),
}


def server_of(name: str, request: pytest.FixtureRequest) -> str:
    """Return the URL of a backend's server, which is started if it is not yet."""
    return f"http://127.0.0.1:{request.getfixturevalue(f'{name}_server')}"


def storage_options(name: str, server: str) -> dict[str, dict[str, Any]]:
    """Return the setting `storage_options` for a backend."""
    protocol, options = _OPTIONS[name]
    return {protocol: options(server)}


def open_backend(name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of an empty folder in a new bucket of a backend.

    The options that reach its server hold for all file systems that this process opens for the
    rest of the test.
    """
    bucket = f"bucket-{uuid.uuid4().hex}{f'@{NAMESPACE}' if name == 'oci' else ''}"
    protocol, server = _OPTIONS[name][0], server_of(name, request)
    options = _OPTIONS[name][1]
    # gcsfs looks for its own name first.
    for key in {"gs": ("gs", "gcs"), "abfs": ("abfs", "az")}.get(protocol, (protocol,)):
        monkeypatch.setitem(conf, key, {**options(server), "use_listings_cache": False})
    fs = fsspec.filesystem(protocol)
    if name == "s3":
        fs.call_s3("create_bucket", Bucket=bucket)
    elif name == "oci":
        fs.mkdir(bucket, compartment_id=TENANCY)
    else:
        fs.mkdir(bucket)
    return f"{protocol}://{bucket}/store"
