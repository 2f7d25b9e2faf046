"""Places: local folders and fsspec URLs, opened with the settings' storage options."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from fsspec import available_protocols
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractFileSystem
from fsspec.utils import get_protocol

from aerozarr.errors import RemoteError, SettingsError
from aerozarr.filesystems.backends import (
    UNKNOWN,
    BackendTraits,
    import_backend,
    open_fs,
    run_concurrently,
    traits_of,
    with_defaults,
)
from aerozarr.filesystems.nested_zip import with_inner_archives
from aerozarr.filesystems.retry import retrying, to_user_error
from aerozarr.messages import how_to_install, redacted

StorageOptions = Mapping[str, Mapping[str, Any]]
"""Options for fsspec's file systems, by protocol."""

# user:password@host. Azure's container@account and OCI's bucket@namespace are no secret.
_PASSWORD = re.compile(r"://[^/@]*:[^/@]*@")

# The settings that name a source; a store is never an archive of archives.
_SOURCES = ("source_url", "source_root")
# And those of what may be kept on this machine (`place`: the store that a reader opens).
_STAMPED = (*_SOURCES, "place")


@dataclass(frozen=True)
class Location:
    """A folder on a file system.

    What is done on one behind a URL is tried again where that helps, and fails with a message of
    ours (see `retry`).

    Attributes
    ----------
    fs
        The fsspec file system.
    path
        The folder's path on it, without a trailing slash; absolute when it is local.
    url
        The folder as the person wrote it, for messages.
    key
        The setting that it comes from, for messages.
    traits
        What is known of its file system.
    archive_stamp
        What changes with the archive that it lies in, where that has to be known; else empty.
    """

    fs: AbstractFileSystem
    path: str
    url: str
    key: str = ""
    traits: BackendTraits = UNKNOWN
    archive_stamp: str = ""

    @property
    def is_local(self) -> bool:
        """Whether it is a plain folder of this machine."""
        return isinstance(self.fs, LocalFileSystem)

    def join(self, relative: str) -> str:
        """Return the path of something below the folder."""
        return f"{self.path.rstrip('/')}/{self._quoted(relative)}"

    def _quoted(self, relative: str) -> str:
        return quote(relative) if self.traits.has_quoted_paths else relative

    def _unquoted(self, path: str) -> str:
        return unquote(path) if self.traits.has_quoted_paths else path

    def below(self, relative: str) -> Location:
        """Return a folder below this one."""
        url = f"{self.url.rstrip('/')}/{relative}"
        return replace(self, path=self.join(relative), url=url)

    def read(self, relative: str) -> bytes:
        """Return the content of a file below the folder.

        Raises
        ------
        FileNotFoundError
            When it is not there.
        RemoteError
            When it cannot be reached.
        """
        path = self.join(relative) if relative else self.path
        return bytes(self._do(relative, lambda: self.fs.cat_file(path)))

    def fetch(self, relative: str, path: Path) -> None:
        """Copy a file below the folder to a local one, without holding all of it in memory.

        Raises
        ------
        FileNotFoundError
            When it is not there.
        RemoteError
            When it cannot be reached.
        """
        source = self.join(relative)
        self._do(relative, lambda: self.fs.get_file(source, str(path)))

    def read_text(self, relative: str) -> str | None:
        """Return the text of a UTF-8 file below the folder, or None when it is not there."""
        try:
            content = self.read(relative)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        return content.decode("utf-8-sig")  # some editors put a byte order mark first

    def write(self, relative: str, content: bytes) -> None:
        """Write a file below the folder, in one piece, in place of one that is there.

        Raises
        ------
        RemoteError
            When it cannot be written.
        """
        path = self.join(relative)

        def put() -> None:
            if self.traits.has_folders:
                self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self.fs.pipe_file(path, content, **self.traits.put_options)

        try:
            self._do(relative, put)
        except FileNotFoundError:
            raise RemoteError(
                f"{self._named(relative)}: it cannot be written, because its bucket or folder is "
                "not there. Check the name, or make it."
            ) from None

    def write_all(self, files: Mapping[str, bytes]) -> None:
        """Write several files at the same time, as `write` does."""
        calls = [partial(self.write, name, content) for name, content in files.items()]
        run_concurrently(self.traits.max_requests, calls)

    def remove(self, *relatives: str) -> None:
        """Remove files below the folder, at the same time; harmless where one is not there."""
        run_concurrently(
            self.traits.max_requests, [partial(self._remove, relative) for relative in relatives]
        )

    def _remove(self, relative: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._do(relative, lambda: self.fs.rm_file(self.join(relative)))

    def files(self, relative: str = "") -> dict[str, dict[str, Any]]:
        """Return all files below the folder, or one below it, by their path below this one.

        Returns
        -------
        dict
            To what the file system says of each: its size, and perhaps ETag and times.
        """
        start = f"{self._quoted(relative)}/" if relative else ""
        options: dict[str, Any] = {"detail": True}
        if start and self.traits.finds_by_prefix:
            folder, options["prefix"] = self.path, start
        else:
            folder = self.join(relative) if relative else self.path
        prefix = self.join("").lstrip("/")
        try:
            found = self._do(relative, lambda: self.fs.find(folder, **options))
        except FileNotFoundError:
            return {}
        paths = {str(path).lstrip("/"): entry for path, entry in found.items()}
        return {
            self._unquoted(path.removeprefix(prefix)): entry
            for path, entry in paths.items()
            if path.startswith(prefix + start)
            and entry.get("type") == "file"
            and not path.endswith("/")  # a console's marker of an empty folder
        }

    def entries(self, relative: str = "") -> dict[str, dict[str, Any]]:
        """Return files and folders directly below the folder, or one below it, by name.

        Raises
        ------
        FileNotFoundError
            When that folder is not there, and its file system has such a thing.
        """
        folder = self.join(relative) if relative else self.path
        found = self._do(relative, lambda: self.fs.ls(folder, detail=True))
        names = [str(entry["name"]).rstrip("/").rsplit("/", 1)[-1] for entry in found]
        return {self._unquoted(name): entry for name, entry in zip(names, found, strict=True)}

    def is_folder(self, relative: str = "") -> bool:
        """Whether the folder, or something below it, is there and a folder."""
        path = self.join(relative) if relative else self.path
        if not self.traits.finds_by_prefix:
            return bool(self._do(relative, lambda: self.fs.isdir(path)))
        # Their isdir lists all that is in it.
        try:
            return bool(self._do(relative, lambda: self.fs.info(path))["type"] == "directory")
        except FileNotFoundError:
            return False

    def has_file(self, relative: str) -> bool:
        """Whether there is a file or folder of that name below the folder."""
        return bool(self._do(relative, lambda: self.fs.exists(self.join(relative))))

    def _do(self, relative: str, call: Callable[[], Any]) -> Any:
        return call() if self.is_local else retrying(self._named(relative), call)

    def _named(self, relative: str) -> str:
        url = f"{self.url.rstrip('/')}/{relative}" if relative else self.url
        url = redacted(url)
        return f"{self.key}: {url!r}" if self.key else repr(url)


def is_url(place: str) -> bool:
    """Whether a place is behind a URL, and not a folder of this machine."""
    return "://" in place and get_protocol(place.rpartition("::")[2]) not in ("file", "local")


def options_by_protocol(place: object, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return storage options by protocol; options alone are those of the URL's own.

    Parameters
    ----------
    place
        The URL that they are for.
    options
        By protocol, or those of one protocol.

    Raises
    ------
    SettingsError
        When it cannot be told which protocol they are for.
    TypeError
        When they are no options.
    """
    if not isinstance(options, Mapping):
        raise TypeError(
            "storage_options takes options by protocol, e.g. {'s3': {'endpoint_url': …}}, and not "
            f"{type(options).__name__}."
        )
    alone = [name for name, own in options.items() if not isinstance(own, Mapping)]
    if not alone:
        return {name: dict(own) for name, own in options.items()}
    if alone[0] in available_protocols():
        raise SettingsError(
            f"storage_options: the options of {alone[0]!r} are no mapping. Give each by its name, "
            f"e.g. {{{alone[0]!r}: {{'endpoint_url': …}}}}."
        )
    if not isinstance(place, str) or "://" not in place or "::" in place:
        raise SettingsError(
            f"storage_options: {alone[0]!r} is no protocol. Give the options by protocol, e.g. "
            f"{{'s3': {{{alone[0]!r}: …}}}}."
        )
    return {get_protocol(place): dict(options)}


def import_backend_for(url: str, options: StorageOptions) -> None:
    """Import what a URL needs, before a process forks; see `backends.import_backend`.

    A package that is missing is for `open_location` to tell.
    """
    if is_url(url):
        protocol = get_protocol(url.rpartition("::")[2])
        with contextlib.suppress(ImportError):
            import_backend(protocol, options.get(protocol, {}))


def read_text(url: str, options: StorageOptions, *, key: str) -> str | None:
    """Return the text of a UTF-8 file by its path or URL, or None when it is not there.

    Raises
    ------
    SettingsError
        As `open_location` does.
    """
    return open_location(url, options, key=key).read_text("")


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
    RemoteError
        When there are no such credentials.
    """
    if "://" not in url:
        # Not through url_to_fs: a local name may hold '::', which is fsspec's chaining.
        path = os.path.abspath(os.path.expanduser(url))
        return Location(LocalFileSystem(), path, url.rstrip("/") or url, key)
    protocol = get_protocol(url.rpartition("::")[2])
    if _PASSWORD.search(url):
        raise SettingsError(
            f"{key}: its URL holds a password, which would be recorded in logs and tables. Put it "
            f"in storage_options: {{{protocol}: …}} or in the provider's environment variables."
        )
    traits = traits_of(protocol)
    shown = redacted(url)
    try:
        if "::" not in url:
            own = with_defaults(protocol, options.get(protocol, {}))
        else:
            # In a chain, such as simplecache::s3://…, options are told apart by protocol.
            chain = {get_protocol(part) if "://" in part else part for part in url.split("::")}
            given = {name: options.get(name, {}) for name in chain}
            own = {name: with_defaults(name, values) for name, values in given.items()}
            traits = BackendTraits(has_folders=traits.has_folders)
        fs, path = open_fs(url, own)
    except ImportError as error:
        hint = f"the fsspec package for {protocol}:// ({error})"
        if traits.package:
            hint = f"it ({how_to_install(traits.requirements, traits.extra)})"
        raise SettingsError(
            f"{key}: {shown!r} needs {traits.package or 'a package'}, which is not installed. "
            f"Install {hint}."
        ) from None
    except (ValueError, TypeError) as error:
        # Only the kind of error: its text may repeat a value of the options, such as a secret.
        raise SettingsError(
            f"{key}: {shown!r} cannot be opened: {type(error).__name__}. Check its protocol and "
            f"storage_options: {{{protocol}: …}}."
        ) from None
    except Exception as error:  # noqa: BLE001 - of a foreign package, such as a missing profile
        raise to_user_error(f"{key}: {shown!r}", error) from None
    archive_stamp = _stamp_of_archive(fs) if fs.protocol == "tar" and key in _STAMPED else ""
    if fs.protocol == "zip" and key in _SOURCES:
        try:
            fs = with_inner_archives(fs)
        except RemoteError as error:
            raise RemoteError(f"{key}: {shown!r}: {error}") from None
    if fs.protocol == "tar" and not path.strip("/") and fs.isdir("."):
        path = "."  # as `tar cf x.tar .` names everything
    return Location(fs, path.rstrip("/"), url.rstrip("/"), key, traits, archive_stamp)


def _stamp_of_archive(fs: AbstractFileSystem) -> str:
    """Return what changes when an archive is written anew; empty where that is not told.

    A tar archive says of its members no more than size and time, and programs that make the same
    archive of the same files give all of them one time.
    """
    try:
        info = fs.fo.fs.info(fs.fo.path)
    except (AttributeError, OSError):
        return ""
    told = (info.get(name) for name in ("size", "ETag", "etag", "mtime", "LastModified", "ino"))
    return " ".join(str(each) for each in told if each is not None)
