"""Which files are there: folders of a source and their `.pt` files, with sizes and stamps."""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from aerozarr.errors import SettingsError
from aerozarr.filesystems.location import Location
from aerozarr.source.samples import UNKNOWN_SIZE, FileInfo, why_invalid

Folders = dict[str, dict[str, FileInfo]]
"""Path of a folder below the source to its files of the file map."""


def is_there(base: Location, sample_id: str, files: Iterable[str]) -> bool:
    """Whether a source still holds every file of a sample."""
    wanted = set(files)
    return why_invalid(sample_id) is None and len(files_of(base, sample_id, wanted)) == len(wanted)


def files_of(base: Location, folder: str, wanted: set[str]) -> dict[str, FileInfo]:
    """Return the wanted files in one folder below `base`; none when the folder is not there."""
    if why_invalid(folder) is not None:
        return {}
    try:
        if base.is_local:
            return dict(_local_files(base.join(folder), wanted))
        entries = base.entries(folder)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {name: _info(e) for name, e in entries.items() if name in wanted and _is_file(e)}


def walk(source: Location, wanted: set[str]) -> Folders:
    """Return every folder below `source`, itself included, that holds a wanted file."""
    if isinstance(source.fs, LocalFileSystem):
        return _walk_local(source.path, wanted)
    folders: Folders = {}
    for path, entry in source.files().items():
        folder, _, name = path.rpartition("/")
        if name in wanted:
            folders.setdefault(folder, {})[name] = _info(entry)
    return folders


def _walk_local(root: str, wanted: set[str]) -> Folders:
    """Walk local folders, those first that no link leads to; each is listed once."""
    folders: Folders = {}
    seen: set[tuple[int, int]] = set()

    def unreadable(error: OSError) -> None:
        raise SettingsError(
            f"source_url: {error.filename!r} cannot be listed: {error.strerror}. Give the person "
            "who runs this the right to read it, or move it out of the source."
        )

    linked = deque([root])
    while linked:
        # os.walk names linked folders, and does not enter them.
        for path, subfolders, names in os.walk(linked.popleft(), onerror=unreadable):
            status = os.stat(path)
            if (status.st_dev, status.st_ino) in seen:
                subfolders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            subfolders.sort()
            places = (f"{path}/{name}" for name in subfolders)
            linked.extend(place for place in places if os.path.islink(place))
            if not wanted.isdisjoint(names):
                folder = os.path.relpath(path, root)
                folders["" if folder == "." else folder] = dict(_local_files(path, wanted))
    return folders


def _local_files(folder: str, wanted: set[str]) -> Iterator[tuple[str, FileInfo]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name in wanted:
                try:
                    status = entry.stat()
                except OSError as error:
                    # A link that leads nowhere, or to itself, is no file.
                    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                        continue
                    raise
                if stat.S_ISREG(status.st_mode):
                    yield entry.name, FileInfo(status.st_size, str(status.st_mtime_ns))


def _is_file(entry: dict[str, Any]) -> bool:
    return entry.get("type") == "file"


# What file systems call that which changes with an object's content, the surest first.
_STAMPS = (
    *("ETag", "etag", "md5Hash", "blob_id", "sha", "CRC"),
    *("LastModified", "last_modified", "mtime", "created"),
)


def _info(entry: dict[str, Any]) -> FileInfo:
    """Return size and stamp of a listed object; a web server may not tell the size."""
    stamp = next((str(entry[name]) for name in _STAMPS if entry.get(name) is not None), "")
    size = entry.get("size")
    return FileInfo(UNKNOWN_SIZE if size is None else int(size), stamp)
