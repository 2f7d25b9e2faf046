"""Places: local folders and fsspec URLs, opened with the settings' storage options."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractFileSystem
from fsspec.utils import get_protocol

from aerozarr.errors import SettingsError

StorageOptions = Mapping[str, Mapping[str, Any]]
"""Options for fsspec's file systems, by protocol."""


@dataclass(frozen=True)
class Location:
    """A folder on a file system.

    Attributes
    ----------
    fs
        The fsspec file system.
    path
        The folder's path on it, without a trailing slash; absolute when it is local.
    url
        The folder as the person wrote it, for messages.
    """

    fs: AbstractFileSystem
    path: str
    url: str

    @property
    def is_local(self) -> bool:
        """Whether it is a plain folder of this machine."""
        return isinstance(self.fs, LocalFileSystem)

    def join(self, relative: str) -> str:
        """Return the path of something below the folder."""
        return f"{self.path.rstrip('/')}/{relative}"

    def below(self, relative: str) -> Location:
        """Return a folder below this one."""
        return Location(self.fs, self.join(relative), f"{self.url.rstrip('/')}/{relative}")

    def read_text(self, relative: str) -> str | None:
        """Return the text of a UTF-8 file below the folder, or None when it is not there."""
        return _read_text(self.fs, self.join(relative))


def _read_text(fs: AbstractFileSystem, path: str) -> str | None:
    try:
        content: bytes = fs.cat_file(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
    return content.decode("utf-8-sig")  # some editors put a byte order mark first


def read_text(url: str, options: StorageOptions, *, key: str) -> str | None:
    """Return the text of a UTF-8 file by its path or URL, or None when it is not there.

    Raises
    ------
    SettingsError
        As `open_location` does.
    """
    location = open_location(url, options, key=key)
    return _read_text(location.fs, location.path)


def open_location(url: str, options: StorageOptions, *, key: str) -> Location:
    """Open a folder or URL.

    Parameters
    ----------
    url
        A path of this machine (relative to the working directory) or an fsspec URL.
    options
        The setting `storage_options`.
    key
        The setting that `url` comes from, for error messages.

    Raises
    ------
    SettingsError
        When the URL's protocol is unknown, its package is missing, or its options are wrong.
    """
    if "://" not in url:
        # Not through url_to_fs: a local name may hold '::', which is fsspec's chaining.
        path = os.path.abspath(os.path.expanduser(url))
        return Location(LocalFileSystem(), path, url.rstrip("/") or url)
    protocol = get_protocol(url.rpartition("::")[2])
    # In a chain, such as simplecache::s3://…, options are told apart by protocol.
    own = dict(options.get(protocol, {}))
    if "::" in url:
        chain = {get_protocol(part) if "://" in part else part for part in url.split("::")}
        own = {name: dict(values) for name, values in options.items() if name in chain}
    try:
        fs, path = url_to_fs(url, **own)
    except ImportError as error:
        raise SettingsError(
            f"{key}: {url!r} needs a package that is not installed ({error}). "
            f"Install the fsspec package for {protocol}://."
        ) from None
    except (ValueError, TypeError) as error:
        # Only the kind of error: its text may repeat a value of the options, such as a secret.
        raise SettingsError(
            f"{key}: {url!r} cannot be opened: {type(error).__name__}. Check its protocol and "
            f"storage_options: {{{protocol}: …}}."
        ) from None
    return Location(fs, path.rstrip("/"), url.rstrip("/"))
