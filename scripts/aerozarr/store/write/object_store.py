"""A store behind an fsspec URL.

An object store cannot rename, so a group's files go in one by one, its root metadata last: without
it the group does not exist.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from aerozarr.errors import StoreError
from aerozarr.messages import printable
from aerozarr.store.format.layout import (
    MANIFEST,
    ROOT_METADATA,
    group_path,
    groups_in,
    split_path,
    without_nested,
)
from aerozarr.store.write.root import GroupWriter, Shard, StoredFile, StoreRoot


class ObjectStoreRoot(StoreRoot):
    """A store behind an fsspec URL."""

    def write_group(self, sample_id: str) -> GroupWriter:
        return _UrlGroup(self, sample_id)

    def has_group(self, sample_id: str) -> bool:
        return self.location.has_file(f"{group_path(sample_id)}/{ROOT_METADATA}")

    def remove_group(self, sample_id: str) -> None:
        self.remove_files(sample_id, self.files_of(sample_id))

    def files_of(self, sample_id: str) -> dict[str, int | None]:
        start = f"{group_path(sample_id)}/"
        found = self.location.files(group_path(sample_id))
        return {path.removeprefix(start): entry.get("size") for path, entry in found.items()}

    def remove_files(self, sample_id: str, paths: Iterable[str]) -> None:
        """Remove files of a group; its root metadata goes first, so that all of it does."""
        group, rest = group_path(sample_id), set(paths)
        if ROOT_METADATA in rest:
            rest.remove(ROOT_METADATA)
            self.location.remove(f"{group}/{ROOT_METADATA}")
        self.location.remove(*(f"{group}/{path}" for path in sorted(rest)))

    def check(self) -> None:
        self.read(MANIFEST)

    def group_ids(self) -> set[str]:
        # One request for every thousand objects. Asking for folders alone would take fewer, but
        # they do not tell a group from what is left of one.
        return groups_in(without_nested(self.location.files()))

    def all_files(self) -> Mapping[str, int | None]:
        files = self.location.files()
        return {path: files[path].get("size") for path in without_nested(files)}

    def visible_among(
        self, files: Mapping[str, int | None], sample_ids: Collection[str]
    ) -> set[str]:
        return groups_in(files) & {*sample_ids}

    def files_among(
        self, files: Mapping[str, int | None], sample_ids: Collection[str]
    ) -> Iterator[tuple[str, str]]:
        for place in map(split_path, files):
            if place is not None and place[0] in sample_ids:
                yield place

    def publish(self, name: str, content: bytes) -> None:
        self.location.write(name, content)

    def read(self, name: str) -> bytes | None:
        try:
            return self.location.read(name)
        except FileNotFoundError:
            return None

    def withdraw(self, name: str) -> None:
        self.location.remove(name)


class _UrlGroup(GroupWriter):
    """Holds the compressed sample until it is whole: a broken sample then costs no request."""

    def __init__(self, store: ObjectStoreRoot, sample_id: str) -> None:
        super().__init__()
        self.store = store
        self.sample_id = sample_id
        self.files: dict[str, bytes] = {}
        self.kept: set[str] = set()

    def put(self, path: str, content: bytes) -> None:
        self.files[path] = content
        self.stored[path] = StoredFile.of(content)

    def put_shard(self, path: str, shard: Shard) -> None:
        chunks = [*shard.chunks()]
        self.put(path, b"".join([shard.header(), *chunks]))

    def keep(self, files: Mapping[str, StoredFile]) -> None:
        self.kept |= files.keys()
        self.stored |= files

    def commit(self, root_metadata: bytes) -> None:
        store, group = self.store, group_path(self.sample_id)
        there = store.files_of(self.sample_id)
        if ROOT_METADATA in there:
            store.withdraw_manifest()
        # What will not be overwritten: an older group's root, and shards of another grid.
        store.remove_files(self.sample_id, there.keys() - self.files.keys() - self.kept)
        store.location.write_all(
            {f"{group}/{path}": content for path, content in self.files.items()}
        )
        store.location.write(f"{group}/{ROOT_METADATA}", root_metadata)
        self.stored[ROOT_METADATA] = StoredFile.of(root_metadata)
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
            group = printable(f"{self.store.location.url}/{group_path(self.sample_id)}")
            raise StoreError(
                f"{group} does not hold what was written: {wrong[0]!r} is missing, too many, or of "
                f"another size ({len(wrong)} of {len(self.stored)} files). "
                "Run snakemake again, which converts the sample again; a StoreWriter has to write "
                "it again. "
                "No two runs may write to one store at the same time."
            )

    def discard(self) -> None:
        self.files.clear()
