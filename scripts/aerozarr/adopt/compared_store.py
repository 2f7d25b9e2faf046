"""A store that a conversion can be run into, and which stays as it is.

What a conversion asks of a store is answered by the one that is there; what would change it is
refused. The group that is written is one that compares (`compared_group`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from aerozarr.adopt.compared_group import ComparedGroup, read_only
from aerozarr.adopt.expected import Listed
from aerozarr.config.fields import Domain
from aerozarr.store.write.root import GroupWriter, StoreRoot


class ComparedStore(StoreRoot):
    """A store that a conversion can be run into, which it compares with and does not change.

    Parameters
    ----------
    store
        The store that is there.
    listed
        What its manifest lists of the sample.
    domains
        The dataset's domains.
    """

    def __init__(self, store: StoreRoot, listed: Listed, domains: tuple[Domain, ...]) -> None:
        super().__init__(store.location)
        self._store = store
        self.group = ComparedGroup(store, listed, domains)

    def write_group(self, sample_id: str) -> GroupWriter:
        """Return the one group that there is."""
        return self.group

    def has_group(self, sample_id: str) -> bool:
        """Say that there is none: that of a broken sample stays as it is."""
        return False

    def remove_group(self, sample_id: str) -> None:
        """Refuse: nothing is removed."""
        raise read_only()

    def group_ids(self) -> set[str]:
        """Return the ids of all groups."""
        return self._store.group_ids()

    def files_of(self, sample_id: str) -> dict[str, int | None]:
        """Return the files of a group."""
        return self._store.files_of(sample_id)

    def all_files(self) -> Mapping[str, int | None]:
        """Return all files."""
        return self._store.all_files()

    def visible_among(
        self, files: Mapping[str, int | None], sample_ids: Collection[str]
    ) -> set[str]:
        """Return those of some samples whose groups are visible."""
        return self._store.visible_among(files, sample_ids)

    def files_among(
        self, files: Mapping[str, int | None], sample_ids: Collection[str]
    ) -> Iterator[tuple[str, str]]:
        """Yield the files of some groups."""
        return self._store.files_among(files, sample_ids)

    def publish(self, name: str, content: bytes) -> None:
        """Refuse: nothing is written."""
        raise read_only()

    def read(self, name: str) -> bytes | None:
        """Return a file."""
        return self._store.read(name)

    def withdraw(self, name: str) -> None:
        """Refuse: nothing is removed."""
        raise read_only()
