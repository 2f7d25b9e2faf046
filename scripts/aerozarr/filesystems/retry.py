"""Errors behind a URL: the call is retried where that helps, and the error put into plain words.

Each file system raises what its provider's package does. No text of such an error is repeated: it
may hold a key, a signed request or a token. A message names the kind of error, and the
provider's code for it.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from aerozarr.errors import RemoteError, SettingsError

Result = TypeVar("Result")

# The file systems try again themselves when a request fails, but not when the content breaks off.
ATTEMPTS = 4
# No further attempt is begun after this: one alone may take a minute when nothing answers.
PATIENCE_SECONDS = 30.0

# Names, because the packages are imported only where they are needed.
_PASSING = {
    *("builtins.ConnectionError", "builtins.TimeoutError", "fsspec.exceptions.FSTimeoutError"),
    *("botocore.exceptions.HTTPClientError", "botocore.exceptions.ConnectionError"),
    *("botocore.exceptions.IncompleteReadError", "aiohttp.client_exceptions.ClientError"),
    *("urllib3.exceptions.HTTPError", "requests.exceptions.RequestException"),
    *("http.client.HTTPException", "gcsfs.retry.ChecksumError"),
    "azure.core.exceptions.ServiceRequestError",
    "azure.core.exceptions.ServiceResponseError",
    "oci.exceptions.RequestException",
    "oci._vendor.requests.exceptions.RequestException",
}
_DENIED = {
    *("builtins.PermissionError", "botocore.exceptions.NoCredentialsError"),
    *("botocore.exceptions.PartialCredentialsError", "botocore.exceptions.TokenRetrievalError"),
    *("botocore.exceptions.CredentialRetrievalError", "botocore.exceptions.ProfileNotFound"),
    *("google.auth.exceptions.GoogleAuthError", "azure.core.exceptions.ClientAuthenticationError"),
    *("oci.exceptions.InvalidConfig", "oci.exceptions.ConfigFileNotFound"),
    *("obstore.exceptions.PermissionDeniedError", "obstore.exceptions.UnauthenticatedError"),
}
_BUSY = {408, 429, 500, 502, 503, 504}
_BUSY_CODES = {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "ServerBusy"}
_NO_BUCKET = {
    *("NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"),
    *("BucketNotFound", "NamespaceNotFound"),
}
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9._-]{1,60}")


def retrying(where: str, call: Callable[[], Result]) -> Result:
    """Do something on a file system behind a URL; once more where the fault may pass.

    Parameters
    ----------
    where
        The setting and its URL, for error messages.
    call
        What to do. It may be done more than once.

    Raises
    ------
    FileNotFoundError
        When the file or folder is not there, though its bucket is.
    RemoteError
        When the file system cannot be reached, or refuses.
    SettingsError
        When it was opened with options that it cannot use.
    """
    begun = time.monotonic()
    attempt = 0
    while True:
        attempt += 1
        try:
            return call()
        except (RemoteError, SettingsError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - of a foreign package, which has its own kinds
            waited = time.monotonic() - begun
            last = attempt == ATTEMPTS or waited > PATIENCE_SECONDS
            if last or not _may_pass(error):
                raise to_user_error(where, error) from None
        # Longer each time, for a server that is busy; by chance, so that jobs that failed together
        # do not come back together.
        time.sleep(2 ** (attempt - 1) * random.uniform(0.5, 1))


def to_user_error(where: str, error: Exception) -> Exception:
    """Return the error of ours that stands for one of a file system's; see `retrying`."""
    code, status = _code_of(error)
    kind = f"{type(error).__name__}{f', {code}' if code else ''}"
    if _is(error, _DENIED) or status in (401, 403):
        return RemoteError(
            f"{where}: access is denied ({kind}). Check that the credentials are there and not "
            "expired, in the provider's environment variables or in storage_options, and what "
            "they allow."
        )
    if code in _NO_BUCKET:
        return RemoteError(f"{where}: there is no such bucket ({kind}). Check its name.")
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return FileNotFoundError(f"{where}: it is not there")
    if code in _BUSY_CODES or status in _BUSY:
        return RemoteError(
            f"{where}: the server is busy or out of order ({kind}), also when tried again. Run "
            "snakemake again later, or with fewer --cores."
        )
    if _is(error, {"builtins.TimeoutError"}) or "Timeout" in type(error).__name__:
        return RemoteError(
            f"{where}: no answer in time ({kind}), also when tried again. Check the network and "
            "the endpoint; the timeouts are in storage_options."
        )
    if isinstance(error, ValueError | TypeError) and not _is(error, _PASSING):
        # Some file systems look at their options only when they are first used.
        return SettingsError(f"{where} cannot be opened: {kind}. Check storage_options.")
    if _is(error, _PASSING):
        return RemoteError(
            f"{where}: the connection failed ({kind}), also when tried again. Check the network "
            "and the endpoint."
        )
    return RemoteError(
        f"{where}: the file system failed ({kind}). Run snakemake again; if it fails again, check "
        "the URL and storage_options."
    )


def _may_pass(error: Exception) -> bool:
    code, status = _code_of(error)
    if code or status:
        return code in _BUSY_CODES or status in _BUSY
    return _is(error, _PASSING)


def _is(error: BaseException, names: set[str]) -> bool:
    """Whether an error, or what it was made of, is of a class with one of the names."""
    return any(
        f"{kind.__module__}.{kind.__qualname__}" in names
        for link in _chain(error)
        for kind in type(link).__mro__
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__


def _code_of(error: BaseException) -> tuple[str, int]:
    """Return the provider's code for an error, and the HTTP status; empty and 0 if not known.

    Each package keeps them in other attributes, and none need be installed.
    """
    code, status = "", 0
    for link in _chain(error):
        if type(link).__module__ == "aiohttp.http_exceptions":
            continue  # of an answer that broke off; its code is not the server's
        response = getattr(link, "response", None)
        if isinstance(response, dict):  # botocore
            code = code or str(response.get("Error", {}).get("Code", ""))
            status = status or int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            continue
        for name in ("error_code", "code"):  # Azure; OCI and Google
            value = getattr(link, name, None)
            if isinstance(value, str) and not value.isdigit():
                code = code or str(value)
            elif isinstance(value, str | int) and str(value).isdigit():
                status = status or int(value)
        for name in ("status_code", "status"):  # Azure; OCI and aiohttp
            value = getattr(link, name, None)
            if isinstance(value, int):
                status = status or value
    if code.isdigit():  # S3 answers a HEAD without a body: then the status is all there is
        status = status or int(code)
    return (code if _CODE.fullmatch(code) else ""), status
