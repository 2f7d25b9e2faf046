"""Stores: where groups and the manifest are put, so that each becomes visible whole or not at all.

What every store can do; `local` and `object_store` are the two there are.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from aerozarr.filesystems.location import Location
from aerozarr.store.format.layout import MANIFEST, Grid

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class StoredFile:
    """A file or object as it was written: its size in bytes, and its SHA-256 in hexadecimal."""

    size: int
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> StoredFile:
        """Return what is recorded of some content."""
        return cls(len(content), hashlib.sha256(content).hexdigest())


class Shard(Protocol):
    """What a writer has to know of a shard: its header comes first, and is known last."""

    number: int
    grid: Grid
    header_size: int

    def rows(self) -> Iterator[npt.NDArray[Any]]:
        """Yield the rows of each chunk, in order; for who compares and does not write."""

    def chunks(self) -> Iterator[bytes]:
        """Encode and yield the chunks, in order."""

    def header(self) -> bytes:
        """Return the header, once all chunks were taken."""


class GroupWriter(ABC):
    """Writes one group; used as a context, and leaves nothing visible unless it is committed.

    Attributes
    ----------
    stored
        What was written, by path below the group.
    """

    def __init__(self) -> None:
        self.stored: dict[str, StoredFile] = {}

    @abstractmethod
    def put(self, path: str, content: bytes) -> None:
        """Write a file at a path below the group."""

    @abstractmethod
    def put_shard(self, path: str, shard: Shard) -> None:
        """Encode and write a shard at a path below the group."""

    @abstractmethod
    def keep(self, files: Mapping[str, StoredFile]) -> None:
        """Take over files of the group that is there, without reading or writing them.

        Parameters
        ----------
        files
            What they are, by path below the group; as they were written.
        """

    @abstractmethod
    def commit(self, root_metadata: bytes) -> None:
        """Make the group visible, in place of one that is there."""

    @abstractmethod
    def discard(self) -> None:
        """Remove what was written and not committed; harmless after a commit."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


class StoreRoot(ABC):
    """A store root: a folder or URL that holds groups and `manifest.json`."""

    def __init__(self, location: Location) -> None:
        self.location = location

    @property
    def local_root(self) -> str | None:
        """The folder of a local store; None of another."""
        return self.location.path if self.location.is_local else None

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

    def visible_of(self, sample_ids: Collection[str]) -> set[str]:
        """Return those of some samples whose groups are visible."""
        return self.group_ids() & {*sample_ids}

    @abstractmethod
    def files_of(self, sample_id: str) -> dict[str, int | None]:
        """Return what lies in a group, visible or not: path below it to size, if that is told."""

    @abstractmethod
    def all_files(self) -> Mapping[str, int | None]:
        """Return what lies below the root, without records and other stores: path to size.

        Of a local store, to go through all of it takes much longer than to ask for some paths.
        """

    @abstractmethod
    def visible_among(
        self, files: Mapping[str, int | None], sample_ids: Collection[str]
    ) -> set[str]:
        """Return those of some samples whose groups are visible, by what `all_files` returned."""

    @abstractmethod
    def files_among(
        self, files: Mapping[str, int | None], sample_ids: Collection[str]
    ) -> Iterator[tuple[str, str]]:
        """Yield the files of some samples' groups, visible or not: the sample, and the path below.

        By what `all_files` returned, or as it is less work.
        """

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

    def sync(self) -> None:  # noqa: B027 - an object store has written what it has accepted
        """Have all that was written reach the disk."""

    def clean(self) -> None:  # noqa: B027 - most stores leave nothing behind
        """Remove what killed runs of the same owner left half-written."""
