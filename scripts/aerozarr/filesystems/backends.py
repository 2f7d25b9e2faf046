"""File systems behind URLs: the packages that they need, and how they are opened.

What a package does by default suits interactive use: s3fs asks for the size of a file before it
reads it, keeps ten connections, and tries up to 125 times when nothing answers. What is set here is
what `storage_options` does not set.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fsspec.config import conf
from fsspec.core import url_to_fs
from fsspec.spec import AbstractFileSystem
from fsspec.utils import get_protocol

from aerozarr.environment import GCSFS_ZONAL_BUCKETS

Result = TypeVar("Result")

# Requests under way at the same time, of one job.
MAX_REQUESTS = 16

_CONNECT_SECONDS = 5
_READ_SECONDS = 15


@dataclass(frozen=True)
class BackendTraits:
    """What is known of the file system behind some protocols.

    Attributes
    ----------
    package, requirements, extra
        What has to be installed, the file that pins it, and the extra that brings it.
    modules
        What a process imports before it forks: imports, but neither threads nor connections.
    defaults
        Options that hold where storage_options says nothing; mappings are merged.
    has_folders
        Whether a file can only be written where its folder is.
    finds_by_prefix
        Whether `find` takes a prefix: then nothing else is asked when there is nothing below it.
    max_requests
        Requests that may be under way at the same time.
    put_options
        Options of `pipe_file`.
    has_quoted_paths
        Whether its paths are URLs, in which a space is `%20`.
    """

    package: str = ""
    requirements: str = ""
    extra: str = ""
    modules: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    has_folders: bool = True
    finds_by_prefix: bool = False
    max_requests: int = 1
    put_options: Mapping[str, Any] = field(default_factory=dict)
    has_quoted_paths: bool = False


_S3 = BackendTraits(
    package="s3fs",
    requirements="requirements.txt",
    extra="s3",
    modules=("s3fs", "aiobotocore.session"),
    defaults={
        "max_concurrency": 1,  # or it asks for a file's size before it reads it
        "use_listings_cache": False,
        "config_kwargs": {
            "connect_timeout": _CONNECT_SECONDS,
            "read_timeout": _READ_SECONDS,
            "max_pool_connections": 2 * MAX_REQUESTS,
            "retries": {"mode": "standard", "total_max_attempts": 4},
        },
    },
    has_folders=False,
    finds_by_prefix=True,
    max_requests=MAX_REQUESTS,
    # One PUT for each object, up to the 5 GiB that S3 allows.
    put_options={"chunksize": 5 * 2**29},
)
_GCS = BackendTraits(
    package="gcsfs",
    requirements="requirements-gcs.txt",
    extra="gcs",
    modules=("gcsfs",),
    defaults={"use_listings_cache": False},
    has_folders=False,
    finds_by_prefix=True,
    max_requests=MAX_REQUESTS,
)
_AZURE = BackendTraits(
    package="adlfs",
    requirements="requirements-azure.txt",
    extra="azure",
    modules=("adlfs",),
    defaults={
        "use_listings_cache": False,
        "connection_timeout": _CONNECT_SECONDS,
        "read_timeout": _READ_SECONDS,
    },
    has_folders=False,
    max_requests=MAX_REQUESTS,
)
_OCI = BackendTraits(
    package="ocifs",
    requirements="requirements-oci.txt",
    extra="oci",
    modules=("aerozarr.filesystems.oci",),
    defaults={
        "use_listings_cache": False,
        "config_kwargs": {"timeout": (_CONNECT_SECONDS, _READ_SECONDS)},
    },
    has_folders=False,
    finds_by_prefix=True,
    max_requests=MAX_REQUESTS,
)
_KINDS = {
    **dict.fromkeys(("s3", "s3a"), _S3),
    **dict.fromkeys(("gs", "gcs"), _GCS),
    **dict.fromkeys(("az", "abfs", "abfss", "adl"), _AZURE),
    "oci": _OCI,
    "memory": BackendTraits(has_folders=False),
    **dict.fromkeys(("http", "https"), BackendTraits(has_quoted_paths=True)),
}
UNKNOWN = BackendTraits()

# These log every error at once, with its text, which may hold a secret; see `retry`.
_LOGGERS = ("s3fs", "gcsfs", "adlfs", "ocifs", "oci", "azure", "google", "asyncio", "fsspec")


def silence_loggers() -> None:
    """Keep what the backends log out of this process's output.

    For the processes of the workflow, whose errors `retry` puts into words. A user's own process is
    left as it is.
    """
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def traits_of(protocol: str) -> BackendTraits:
    """Return what is known of a protocol's file system."""
    return _KINDS.get(protocol, UNKNOWN)


def import_backend(protocol: str, options: Mapping[str, Any]) -> None:
    """Import what a protocol's file system needs; starts no thread, opens no connection.

    The fork server does this before it forks: each job would otherwise do it again.

    Raises
    ------
    ImportError
        When a package is not installed.
    """
    if traits_of(protocol) is _GCS:
        _plain_gcs()
    for module in traits_of(protocol).modules:
        importlib.import_module(module)
    if traits_of(protocol) is _S3:
        _session(options.get("profile"))


def with_defaults(protocol: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options to open a file system with: those given, and the defaults beside them."""
    # fsspec's own configuration too, of which fsspec would take no mapping that is given here.
    configured = _merged(traits_of(protocol).defaults, conf.get(protocol, {}))
    merged = _merged(configured, options)
    if traits_of(protocol) is _S3 and "session" not in merged:
        merged["session"] = _session(merged.pop("profile", None))
    if traits_of(protocol) is _GCS and "requests_timeout" not in merged:
        merged["requests_timeout"] = _gcs_timeout()
    if traits_of(protocol) is _OCI:
        merged["config_kwargs"] = {**_oci_patience(), **merged["config_kwargs"]}
    return merged


def open_fs(url: str, options: Mapping[str, Any]) -> tuple[AbstractFileSystem, str]:
    """Open the file system of a URL, or of a chain of them; return it and the URL's path on it.

    Raises
    ------
    ImportError
        When a package is not installed.
    """
    if "::" not in url and traits_of(get_protocol(url)) is _OCI:
        # Imported here: its package need not be installed.
        from aerozarr.filesystems.oci import OracleFileSystem

        fs = OracleFileSystem(**options)
        path = fs._strip_protocol(url)
    else:
        fs, path = url_to_fs(url, **options)
    tune(fs)
    return fs, str(path)


def tune(fs: AbstractFileSystem) -> None:
    """Set what no option of a file system does."""
    protocols = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
    if "s3" in protocols:
        # Beside botocore's own attempts, and twice around each other when a file is read.
        fs.retries = 1
    if "oci" in protocols:
        for adapter in fs.oci_client.base_client.session.adapters.values():
            adapter.init_poolmanager(MAX_REQUESTS, 2 * MAX_REQUESTS)


def _merged(defaults: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with defaults beside them, and mappings of their own.

    A library may write into a mapping that it is given. What else there is stays the same object:
    by it, fsspec knows a file system again that is open already.
    """
    merged = dict(defaults)
    for name, value in options.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = {**merged[name], **value} if both else value
    return {
        name: _merged({}, value) if isinstance(value, Mapping) else value
        for name, value in merged.items()
    }


@functools.cache
def _session(profile: str | None) -> Any:
    """Return a botocore session that has read what describes S3, which costs 100 ms and more."""
    # Imported here: only those who use S3 pay for it.
    from aiobotocore.session import AioSession

    session = AioSession(profile=profile)
    loader = session.get_component("data_loader")
    for name in ("endpoints", "partitions", "sdk-default-configuration", "_retry"):
        loader.load_data(name)
    for name in ("service-2", "endpoint-rule-set-1"):
        loader.load_service_model("s3", name)
    return session


def _plain_gcs() -> None:
    """Leave out gcsfs's support of zonal buckets, unless a person asks for it.

    It asks for each bucket's kind before it uses it, over gRPC, which does not survive a fork.
    """
    os.environ.setdefault(GCSFS_ZONAL_BUCKETS, "false")


def _gcs_timeout() -> Any:
    """Return seconds of silence, not of the whole request; gcsfs tries it six times."""
    _plain_gcs()
    # Imported here: only those who use it pay for it.
    from aiohttp import ClientTimeout

    return ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=10)


@functools.cache
def _oci_patience() -> dict[str, Any]:
    """Return how often OCI is asked again: four times, and not for ten minutes.

    Nor is there a circuit breaker, which would refuse without asking when some of the requests
    under way at the same time have failed. The same objects each time, because fsspec compares.
    """
    # Imported here: only those who use it pay for it.
    from oci.circuit_breaker import NoCircuitBreakerStrategy
    from oci.retry import RetryStrategyBuilder

    builder = RetryStrategyBuilder(max_attempts=4, total_elapsed_time_seconds=60)
    return {
        "retry_strategy": builder.get_retry_strategy(),
        "circuit_breaker_strategy": NoCircuitBreakerStrategy(),
    }


def run_concurrently(limit: int, calls: Sequence[Callable[[], Result]]) -> list[Result]:
    """Do several things at the same time, at most `limit`; return their results in order.

    Raises
    ------
    Exception
        The first that one of them raises; those not yet begun are then not done.
    """
    if limit == 1 or len(calls) < 2:
        return [call() for call in calls]
    with ThreadPoolExecutor(min(limit, len(calls)), "aerozarr-request") as pool:
        futures = [pool.submit(call) for call in calls]
        try:
            return [future.result() for future in futures]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
