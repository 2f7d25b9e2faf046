"""Which files are there: folders of a source and their `.pt` files, with sizes and stamps."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from aerozarr.config.file_patterns import Wanted, is_pattern
from aerozarr.errors import SettingsError
from aerozarr.filesystems.location import Location
from aerozarr.filesystems.nested_zip import NestedZipFileSystem
from aerozarr.filesystems.stamps import stamp_of
from aerozarr.source.samples import UNKNOWN_SIZE, FileInfo, why_invalid

Folders = dict[str, dict[str, FileInfo]]
"""Path of a folder below the source to its files of the file map."""

# Folders that systems and tools make, which hold copies of samples or nothing of the dataset.
_IGNORED = re.compile(
    r"\.snapshots?|\.zfs|\.git|\.Trash(-\d+)?|\.ipynb_checkpoints|@eaDir|#recycle|lost\+found"
    r"|__MACOSX|\$RECYCLE\.BIN|\.snakemake"
)
# What may be in a file's place.
NO_FILES = ("a folder", "a link that leads nowhere")
# What programs put behind the name of a file that is not finished, or packed.
_UNFINISHED = re.compile(
    r"(\.(part|partial|tmp|temp|crdownload|download|filepart|aria2|gz|xz|bz2|zst|zip|bak|orig|old)"
    r"|~)+$"
)


@dataclass
class Scan:
    """What a source holds.

    Attributes
    ----------
    folders
        Every folder that holds a file of the file map, or one that might be meant as one, or
        nothing at all; with its files of the file map.
    near_misses
        By folder: a file of the file map that is not there, and the file that might be meant.
    ignored
        Folders that were not looked into, because systems and tools make them.
    unreadable
        Folders that cannot be listed, and why.
    """

    folders: Folders = field(default_factory=dict)
    near_misses: dict[str, dict[str, str]] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)


def is_ignored(name: str) -> bool:
    """Whether a folder of that name is one that systems and tools make, and no sample."""
    return _IGNORED.fullmatch(name) is not None


def near_misses(names: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
    """Return the wanted files that are not among some names, each with one that might be meant.

    Such as `points.PT`, `points.pth` or `points.pt.part` for `points.pt`.
    """
    there = set(names)
    by_stem: dict[str, str] = {}
    for name in sorted(there, reverse=True):
        by_stem[_stem(name)] = name
    missing = Wanted(wanted).missing_in(there)
    found = {file: _of_stem(_stem(file), by_stem) for file in missing}
    return {file: name for file, name in found.items() if name is not None}


def _of_stem(stem: str, by_stem: Mapping[str, str]) -> str | None:
    if is_pattern(stem):
        stem = min(filter(Wanted([stem]).__contains__, by_stem), default=stem)
    return by_stem.get(stem)


def _stem(name: str) -> str:
    stem = re.sub(r"\.(pth?|pkl|torch)$", "", _UNFINISHED.sub("", name.lower()))
    return re.sub(r"\s*\(\d+\)$", "", stem)  # as browsers number a second copy


def is_there(base: Location, sample_id: str, files: Iterable[str]) -> bool:
    """Whether a source still holds every file of a sample, as far as it can be told."""
    wanted = Wanted(files)
    try:
        return not wanted.missing_in(files_of(base, sample_id, wanted))
    except PermissionError:
        return True


def files_of(base: Location, folder: str, wanted: Collection[str] | Wanted) -> dict[str, FileInfo]:
    """Return the wanted files in one folder below `base`; none when the folder is not there.

    Raises
    ------
    OSError
        When it is there and cannot be listed.
    """
    if why_invalid(folder) is not None:
        return {}
    wanted = Wanted.of(wanted)
    try:
        if base.is_local:
            with os.scandir(base.join(folder)) as found:
                return dict(_local_files(found, wanted))
        entries = base.entries(folder)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {name: _info(e, base) for name, e in entries.items() if name in wanted and _is_file(e)}


def no_files(folder: str, missing: Iterable[str]) -> dict[str, str]:
    """Return by name what is in a local folder in place of files that are missing."""
    found = {}
    for name in missing:
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            found[name] = NO_FILES[0]
        elif os.path.islink(path):
            found[name] = NO_FILES[1]
    return found


def names_in(base: Location, folder: str) -> list[str]:
    """Return the names in one local folder below `base`; none when it is not there."""
    if why_invalid(folder) is not None:
        return []
    try:
        return os.listdir(base.join(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def walk(source: Location, wanted: Collection[str] | Wanted) -> Scan:
    """Look through every folder below `source`, itself included."""
    wanted = Wanted.of(wanted)
    if isinstance(source.fs, LocalFileSystem):
        return _walk_local(source.path, wanted)
    scan = Scan()
    names: dict[str, list[str]] = {}
    ignored: dict[str, None] = {}
    for path, entry in source.files().items():
        folder, _, name = path.rpartition("/")
        parts = folder.split("/")
        place = next((n for n, part in enumerate(parts, 1) if is_ignored(part)), None)
        if place is not None:
            ignored["/".join(parts[:place])] = None
            continue
        names.setdefault(folder, []).append(name)
        if name in wanted:
            scan.folders.setdefault(folder, {})[name] = _info(entry, source)
    for folder, there in names.items():
        _note_near(scan, folder, there, wanted)
    if isinstance(source.fs, NestedZipFileSystem):
        start = f"{source.path}/".lstrip("/")
        for folder in source.fs.empty_folders():
            if folder.startswith(start):
                scan.folders.setdefault(folder.removeprefix(start), {})
    scan.ignored = list(ignored)
    _drop_within_samples(scan)
    return scan


def _note_near(scan: Scan, folder: str, names: Iterable[str], wanted: Wanted) -> None:
    near = near_misses(names, wanted.entries)
    if near:
        scan.near_misses[folder] = near
        scan.folders.setdefault(folder, {})


def _drop_within_samples(scan: Scan) -> None:
    """Forget folders without any file of the file map that lie within one that has some."""
    has_files = {folder for folder, files in scan.folders.items() if files and folder}
    for folder in [folder for folder, files in scan.folders.items() if not files]:
        parts = folder.split("/")
        if any("/".join(parts[:depth]) in has_files for depth in range(1, len(parts))):
            del scan.folders[folder]


def _walk_local(root: str, wanted: Wanted) -> Scan:
    """Walk local folders, those first that no link leads to; each is listed once."""
    scan = Scan()
    seen: set[tuple[int, int]] = set()

    def below(path: str) -> str:
        return path[len(root) :].lstrip("/")

    def unreadable(error: OSError) -> None:
        if error.filename == root:
            raise SettingsError(
                f"source_url: {root!r} cannot be listed: {error.strerror}. Give the person who "
                "runs this the right to read it."
            )
        if not isinstance(error, FileNotFoundError):  # gone since its parent was listed
            scan.unreadable[below(str(error.filename))] = error.strerror or type(error).__name__

    # Folders to look into: what links lead to comes after all else.
    waiting, linked = [root], deque[str]()
    while waiting or linked:
        path = waiting.pop() if waiting else linked.popleft()
        try:
            with os.scandir(path) as found:
                entries = list(found)
            status = os.stat(path)
        except OSError as error:
            unreadable(error)
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders = [entry for entry in entries if _is_folder(entry)]
        names = {entry.name for entry in entries}.difference(entry.name for entry in subfolders)
        folder = below(path)
        if not entries and folder:
            scan.folders[folder] = {}
        real: list[str] = []
        for entry in sorted(subfolders, key=attrgetter("name")):
            if is_ignored(entry.name):
                scan.ignored.append(below(entry.path))
            elif entry.is_symlink():
                linked.append(entry.path)
            else:
                real.append(entry.path)
        waiting += reversed(real)
        if any(name in wanted for name in names):
            scan.folders[folder] = dict(_local_files(entries, wanted))
        if wanted.missing_in(names):
            _note_near(scan, folder, names, wanted)
        if folder in scan.folders:
            odd = no_files(path, wanted.missing_in(scan.folders[folder]))
            if odd:
                scan.near_misses.setdefault(folder, {}).update(odd)
    _drop_within_samples(scan)
    return scan


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _local_files(
    entries: Iterable[os.DirEntry[str]], wanted: Wanted
) -> Iterator[tuple[str, FileInfo]]:
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
                change = f"{status.st_ctime_ns} {status.st_ino}"
                yield entry.name, FileInfo(status.st_size, str(status.st_mtime_ns), change)


def _is_file(entry: dict[str, Any]) -> bool:
    return entry.get("type") == "file"


def _info(entry: dict[str, Any], source: Location) -> FileInfo:
    """Return size and stamp of a listed object; a web server may not tell the size."""
    stamp = stamp_of(entry)
    stamp += source.archive_stamp and f" {source.archive_stamp}"
    size = entry.get("size")
    return FileInfo(UNKNOWN_SIZE if size is None else int(size), stamp)
