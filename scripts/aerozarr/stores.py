"""Stores: where groups and the manifest are put, so that each becomes visible whole or not at all.

A local group is written aside and renamed into place. An object store cannot rename, so there a
group's files go in one by one, its root metadata last: without it the group does not exist.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from aerozarr.errors import StoreError
from aerozarr.groups import ROOT_METADATA, Shard
from aerozarr.locations import Location, StorageOptions, open_location
from aerozarr.samples import PARTIAL_FOLDER, printable

MANIFEST = "manifest.json"
SKIPPED = "skipped.tsv"
CHECKSUMS = "checksums.tsv"
PROVENANCE = "provenance.json"


@dataclass(frozen=True)
class Stored:
    """A file or object as it was written: its size in bytes, and its SHA-256 in hexadecimal."""

    size: int
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> Stored:
        """Return what is recorded of some content."""
        return cls(len(content), hashlib.sha256(content).hexdigest())


class GroupWriter(ABC):
    """Writes one group; used as a context, and leaves nothing visible unless it is committed.

    Attributes
    ----------
    stored
        What was written, by path below the group.
    """

    def __init__(self) -> None:
        self.stored: dict[str, Stored] = {}

    @abstractmethod
    def put(self, path: str, content: bytes) -> None:
        """Write a file at a path below the group."""

    @abstractmethod
    def put_shard(self, path: str, shard: Shard) -> None:
        """Encode and write a shard at a path below the group."""

    @abstractmethod
    def commit(self, root_metadata: bytes) -> None:
        """Make the group visible, in place of one that is there."""

    @abstractmethod
    def discard(self) -> None:
        """Remove what was written and not committed; harmless after a commit."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()


class Store(ABC):
    """A store root: a folder or URL that holds groups and `manifest.json`."""

    def __init__(self, location: Location) -> None:
        self.location = location

    @abstractmethod
    def write_group(self, sample_id: str) -> GroupWriter:
        """Begin a sample's group."""

    @abstractmethod
    def has_group(self, sample_id: str) -> bool:
        """Whether a sample's group is visible."""

    @abstractmethod
    def remove_group(self, sample_id: str) -> None:
        """Remove a sample's group, if it is there."""

    @abstractmethod
    def group_ids(self) -> set[str]:
        """Return the ids of all groups that are visible."""

    @abstractmethod
    def files_of(self, sample_id: str) -> dict[str, int | None]:
        """Return what lies in a group, visible or not: path below it to size, if that is told."""

    @abstractmethod
    def all_files(self) -> dict[str, int | None]:
        """Return what lies below the root, but for what is being written aside: path to size."""

    @abstractmethod
    def publish(self, name: str, content: bytes) -> None:
        """Put a file beside the groups, in one step, in place of one that is there."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """Return a file by its path below the root, or None when it is not there."""

    @abstractmethod
    def withdraw(self, name: str) -> None:
        """Remove a file beside the groups, if it is there."""

    def withdraw_manifest(self) -> None:
        """Remove the manifest, if it is there: a group that it lists is about to change."""
        self.withdraw(MANIFEST)

    def check(self) -> None:  # noqa: B027 - a folder can be made, and `check_writable` looks at it
        """Check that the store can be reached.

        Raises
        ------
        RemoteError
            When it cannot.
        """

    def clean(self) -> None:  # noqa: B027 - most stores leave nothing behind
        """Remove what killed runs of the same owner left half-written."""


def open_store(url: str, options: StorageOptions, *, owner: str = "") -> Store:
    """Open a store root, which need not exist yet.

    Parameters
    ----------
    url, options
        The settings `store` and `storage_options`.
    owner
        The run's work folder; tells apart what different runs leave half-written.

    Raises
    ------
    SettingsError
        When the URL cannot be opened.
    """
    location = open_location(url, options, key="store")
    return LocalStore(location, owner) if location.is_local else UrlStore(location)


def _relpath(sample_id: str) -> str:
    return f"{sample_id}.zarr"


class LocalStore(Store):
    """A store in a local folder."""

    def __init__(self, location: Location, owner: str) -> None:
        super().__init__(location)
        self.root = Path(location.path)
        tag = hashlib.sha256(os.path.realpath(owner).encode()).hexdigest()[:12]
        self.partial = self.root / PARTIAL_FOLDER / tag

    def write_group(self, sample_id: str) -> GroupWriter:
        return _LocalGroup(self, sample_id)

    def has_group(self, sample_id: str) -> bool:
        return (self.root / _relpath(sample_id) / ROOT_METADATA).is_file()

    def remove_group(self, sample_id: str) -> None:
        group = self.root / _relpath(sample_id)
        if group.is_dir():
            # Renamed first, so that it goes at once and not file by file.
            gone = self.new_partial()
            group.rename(gone)
            shutil.rmtree(gone)

    def new_partial(self) -> Path:
        """Return a new place on the store's own file system, out of every reader's sight."""
        self.partial.mkdir(parents=True, exist_ok=True)
        return self.partial / uuid.uuid4().hex

    def group_ids(self) -> set[str]:
        found = set()
        for path, folders, _ in os.walk(self.root):
            if path == str(self.root) and PARTIAL_FOLDER in folders:
                folders.remove(PARTIAL_FOLDER)
            groups = [name for name in folders if name.endswith(".zarr")]
            for name in groups:
                group = os.path.join(path, name)
                if os.path.isfile(os.path.join(group, ROOT_METADATA)):
                    found.add(os.path.relpath(group, self.root).removesuffix(".zarr"))
            folders[:] = sorted(set(folders) - set(groups))
        return found

    def files_of(self, sample_id: str) -> dict[str, int | None]:
        return _files_below(self.root / _relpath(sample_id))

    def all_files(self) -> dict[str, int | None]:
        found = _files_below(self.root)
        return {p: size for p, size in found.items() if p.partition("/")[0] != PARTIAL_FOLDER}

    def publish(self, name: str, content: bytes) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        aside = self.new_partial()
        aside.write_bytes(content)
        aside.replace(self.root / name)

    def read(self, name: str) -> bytes | None:
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def withdraw(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    def clean(self) -> None:
        shutil.rmtree(self.partial, ignore_errors=True)
        with contextlib.suppress(OSError):  # another run's, or never there
            self.partial.parent.rmdir()


def _files_below(folder: Path) -> dict[str, int | None]:
    """Return the files below a folder, if it is there: path from it to size."""
    found: dict[str, int | None] = {}
    waiting = [("", str(folder))]
    while waiting:
        start, path = waiting.pop()
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            os.scandir(path) as entries,
        ):
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((f"{start}{entry.name}/", entry.path))
                else:
                    found[start + entry.name] = entry.stat(follow_symlinks=False).st_size
    return found


class _LocalGroup(GroupWriter):
    def __init__(self, store: LocalStore, sample_id: str) -> None:
        super().__init__()
        self.store = store
        self.target = store.root / _relpath(sample_id)
        self.aside = store.new_partial()
        self.made = {self.aside.parent}

    def put(self, path: str, content: bytes) -> None:
        self._place(path).write_bytes(content)
        self.stored[path] = Stored.of(content)

    def put_shard(self, path: str, shard: Shard) -> None:
        # Chunk by chunk, the header last: the compressed shard is never in memory.
        with self._place(path).open("w+b") as file:
            file.seek(shard.header_size)
            file.writelines(shard.chunks())
            size = file.tell()
            file.seek(0)
            file.write(shard.header())
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256")
        self.stored[path] = Stored(size, digest.hexdigest())

    def _place(self, path: str) -> Path:
        file = self.aside / path
        self._make(file.parent)
        return file

    def _make(self, folder: Path) -> None:
        # A sample has some twenty folders, and a file or two in each.
        if folder not in self.made:
            self._make(folder.parent)
            folder.mkdir()
            self.made.add(folder)

    def commit(self, root_metadata: bytes) -> None:
        self.put(ROOT_METADATA, root_metadata)
        self.target.parent.mkdir(parents=True, exist_ok=True)
        if self.target.exists():
            self.store.withdraw_manifest()
            old = self.store.new_partial()
            self.target.rename(old)
            self.aside.rename(self.target)
            shutil.rmtree(old)
        else:
            self.aside.rename(self.target)

    def discard(self) -> None:
        shutil.rmtree(self.aside, ignore_errors=True)


class UrlStore(Store):
    """A store behind an fsspec URL."""

    def write_group(self, sample_id: str) -> GroupWriter:
        return _UrlGroup(self, sample_id)

    def has_group(self, sample_id: str) -> bool:
        return self.location.has_file(f"{_relpath(sample_id)}/{ROOT_METADATA}")

    def remove_group(self, sample_id: str) -> None:
        self.remove_files(sample_id, self.files_of(sample_id))

    def files_of(self, sample_id: str) -> dict[str, int | None]:
        start = f"{_relpath(sample_id)}/"
        found = self.location.files(_relpath(sample_id))
        return {path.removeprefix(start): entry.get("size") for path, entry in found.items()}

    def remove_files(self, sample_id: str, paths: Iterable[str]) -> None:
        """Remove files of a group; its root metadata goes first, so that all of it does."""
        group, rest = _relpath(sample_id), set(paths)
        if ROOT_METADATA in rest:
            rest.remove(ROOT_METADATA)
            self.location.remove(f"{group}/{ROOT_METADATA}")
        self.location.remove(*(f"{group}/{path}" for path in sorted(rest)))

    def check(self) -> None:
        self.read(MANIFEST)

    def group_ids(self) -> set[str]:
        # One request for every thousand objects. Asking for folders alone would take fewer, but
        # they do not tell a group from what is left of one.
        suffix = f".zarr/{ROOT_METADATA}"
        found = self.location.files()
        return {path.removesuffix(suffix) for path in found if _is_root(path, suffix)}

    def all_files(self) -> dict[str, int | None]:
        return {path: entry.get("size") for path, entry in self.location.files().items()}

    def publish(self, name: str, content: bytes) -> None:
        self.location.write(name, content)

    def read(self, name: str) -> bytes | None:
        try:
            return self.location.read(name)
        except FileNotFoundError:
            return None

    def withdraw(self, name: str) -> None:
        self.location.remove(name)


def _is_root(path: str, suffix: str) -> bool:
    """Whether a path is a sample group's root metadata, and not some inner group's."""
    return path.endswith(suffix) and ".zarr/" not in path.removesuffix(suffix)


class _UrlGroup(GroupWriter):
    """Holds the compressed sample until it is whole: a broken sample then costs no request."""

    def __init__(self, store: UrlStore, sample_id: str) -> None:
        super().__init__()
        self.store = store
        self.sample_id = sample_id
        self.files: dict[str, bytes] = {}

    def put(self, path: str, content: bytes) -> None:
        self.files[path] = content
        self.stored[path] = Stored.of(content)

    def put_shard(self, path: str, shard: Shard) -> None:
        chunks = [*shard.chunks()]
        self.put(path, b"".join([shard.header(), *chunks]))

    def commit(self, root_metadata: bytes) -> None:
        store, group = self.store, _relpath(self.sample_id)
        there = store.files_of(self.sample_id)
        if ROOT_METADATA in there:
            store.withdraw_manifest()
        # What will not be overwritten: an older group's root, and shards of another grid.
        store.remove_files(self.sample_id, there.keys() - self.files.keys())
        store.location.write_all(
            {f"{group}/{path}": content for path, content in self.files.items()}
        )
        store.location.write(f"{group}/{ROOT_METADATA}", root_metadata)
        self.stored[ROOT_METADATA] = Stored.of(root_metadata)
        self._check()

    def _check(self) -> None:
        """Compare what the store lists with what was written.

        A shard that is missing reads as zeros, and so would not be noticed later.
        """
        found = self.store.files_of(self.sample_id)
        wrong = [
            path
            for path in sorted(found.keys() | self.stored.keys())
            if path not in found
            or path not in self.stored
            or found[path] not in (None, self.stored[path].size)
        ]
        if wrong:
            group = printable(f"{self.store.location.url}/{_relpath(self.sample_id)}")
            raise StoreError(
                f"{group} does not hold what was written: {wrong[0]!r} is missing, too many, or of "
                f"another size ({len(wrong)} of {len(self.stored)} files). "
                "Run snakemake again: it converts the sample again. "
                "No two runs may write to one store at the same time."
            )

    def discard(self) -> None:
        self.files.clear()
