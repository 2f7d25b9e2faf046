"""A store in a local folder: a group is written out of sight, and renamed into place.

Power may fail at any moment, so the manifest becomes visible after all that it lists is on the
disk. Groups are synced together, just before: one by one would take as long as converting them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from aerozarr.errors import StoreError
from aerozarr.filesystems.files import sync_file_system, sync_folder
from aerozarr.filesystems.location import Location
from aerozarr.messages import printable
from aerozarr.store.format.layout import (
    GROUP_SUFFIX,
    MANIFEST,
    PARTIAL_FOLDER,
    RECORDS_FOLDER,
    ROOT_METADATA,
    group_path,
)
from aerozarr.store.write.local_files import LocalFiles, files_below
from aerozarr.store.write.root import GroupWriter, Shard, StoredFile, StoreRoot

# Folders of the root that hold no groups.
_HIDDEN = (PARTIAL_FOLDER, RECORDS_FOLDER)

# A shard of up to so many bytes is put together in memory, and written and hashed in one go.
_SMALL_BYTES = 2**20


class LocalRoot(StoreRoot):
    """A store in a local folder."""

    def __init__(self, location: Location, owner: str) -> None:
        super().__init__(location)
        self.root = Path(location.path)
        tag = hashlib.sha256(os.path.realpath(owner).encode()).hexdigest()[:12]
        self.partial = self.root / PARTIAL_FOLDER / tag

    def write_group(self, sample_id: str) -> GroupWriter:
        return _LocalGroup(self, sample_id)

    def has_group(self, sample_id: str) -> bool:
        return (self.root / group_path(sample_id) / ROOT_METADATA).is_file()

    def remove_group(self, sample_id: str) -> None:
        group = self.root / group_path(sample_id)
        if group.is_symlink():
            group.unlink()  # what it leads to is somebody's own by now
        elif group.is_dir():
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
        waiting = [("", str(self.root))]
        while waiting:
            start, path = waiting.pop()
            folders, files = _entries(path)
            if not start:
                folders.difference_update(_HIDDEN)
            elif MANIFEST in files:
                continue  # another store
            for name in folders:
                if not name.endswith(GROUP_SUFFIX):
                    if not os.path.islink(f"{path}/{name}"):
                        waiting.append((f"{start}{name}/", f"{path}/{name}"))
                elif os.path.isfile(f"{path}/{name}/{ROOT_METADATA}"):
                    found.add(f"{start}{name.removesuffix(GROUP_SUFFIX)}")
        return found

    def visible_of(self, sample_ids: Collection[str]) -> set[str]:
        # By name, also below folders that are links, which `group_ids` does not enter.
        files = LocalFiles(str(self.root))
        return {one for one in sample_ids if f"{group_path(one)}/{ROOT_METADATA}" in files}

    def files_of(self, sample_id: str) -> dict[str, int | None]:
        return files_below(str(self.root / group_path(sample_id)))

    def all_files(self) -> Mapping[str, int | None]:
        return LocalFiles(str(self.root))

    def visible_among(
        self, files: Mapping[str, int | None], sample_ids: Collection[str]
    ) -> set[str]:
        return self.visible_of(sample_ids)

    def files_among(
        self, files: Mapping[str, int | None], sample_ids: Collection[str]
    ) -> Iterator[tuple[str, str]]:
        for sample_id in sample_ids:
            for path in self.files_of(sample_id):
                yield sample_id, path

    def publish(self, name: str, content: bytes) -> None:
        place = self.root / name
        with self._no_folder(name):
            place.parent.mkdir(parents=True, exist_ok=True)
            partial = self.new_partial()
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(place)
        sync_folder(place.parent)

    def sync(self) -> None:
        if self.root.is_dir():
            sync_file_system(self.root)

    def read(self, name: str) -> bytes | None:
        try:
            with self._no_folder(name):
                return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def withdraw(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError), self._no_folder(name):
            (self.root / name).unlink()
            sync_folder((self.root / name).parent)

    @contextlib.contextmanager
    def _no_folder(self, name: str) -> Iterator[None]:
        """Say what is wrong where a folder of somebody's own is in a file's place."""
        try:
            yield
        except (IsADirectoryError, NotADirectoryError, FileExistsError, PermissionError) as error:
            place = self.root / name
            folder = "a folder" if place.is_dir() else ""
            blocking = place.parent if not place.parent.is_dir() else place
            if not folder and blocking == place:
                raise  # what it says is so
            raise StoreError(
                f"{printable(str(blocking))} is {folder or 'a file'}, where aerozarr keeps "
                f"{'a file' if folder else 'a folder'} of that name. Move it away."
            ) from error

    def clean(self) -> None:
        shutil.rmtree(self.partial, ignore_errors=True)
        with contextlib.suppress(OSError):  # another run's, or never there
            self.partial.parent.rmdir()


def _entries(path: str) -> tuple[set[str], set[str]]:
    """Return the names of the folders and of the files in a folder; none of one that is gone."""
    folders, files = set[str](), set[str]()
    try:
        with os.scandir(path) as found:
            entries = list(found)
    except OSError:
        return folders, files
    for entry in entries:
        try:
            is_folder = entry.is_dir()
        except OSError:  # a link to itself, or to where one may not look
            is_folder = False
        (folders if is_folder else files).add(entry.name)
    return folders, files


class _LocalGroup(GroupWriter):
    def __init__(self, store: LocalRoot, sample_id: str) -> None:
        super().__init__()
        self.store = store
        self.target = store.root / group_path(sample_id)
        self.partial = store.new_partial()
        # Texts, and no `Path`: a sample has some twenty folders, and a file or two in each.
        self.start = str(self.partial)
        self.made: set[str] = set()

    def put(self, path: str, content: bytes) -> None:
        with open(self._place(path), "wb") as file:
            file.write(content)
        self.stored[path] = StoredFile.of(content)

    def put_shard(self, path: str, shard: Shard) -> None:
        chunks = iter(shard.chunks())
        first: list[bytes] = []
        size = 0
        for chunk in chunks:
            first.append(chunk)
            size += len(chunk)
            if size > _SMALL_BYTES:
                break
        else:
            self.put(path, b"".join((shard.header(), *first)))
            return
        # Chunk by chunk, the header last: the compressed shard is never in memory.
        with open(self._place(path), "w+b") as file:
            file.seek(shard.header_size)
            file.writelines(first)
            first.clear()
            file.writelines(chunks)
            size = file.tell()
            file.seek(0)
            file.write(shard.header())
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256")
        self.stored[path] = StoredFile(size, digest.hexdigest())

    def keep(self, files: Mapping[str, StoredFile]) -> None:
        for path, stored in files.items():
            place = self._place(path)
            try:
                # A second name for the same bytes, which stay when the group of before goes.
                os.link(self.target / path, place)
            except OSError as error:
                if isinstance(error, FileNotFoundError):
                    raise
                shutil.copy2(self.target / path, place)  # a file system without such names
            self.stored[path] = stored

    def _place(self, path: str) -> str:
        self._make(path.rpartition("/")[0])
        return f"{self.start}/{path}"

    def _make(self, folder: str) -> None:
        if folder not in self.made:
            if folder:
                self._make(folder.rpartition("/")[0])
            os.mkdir(f"{self.start}/{folder}")
            self.made.add(folder)

    def commit(self, root_metadata: bytes) -> None:
        self.put(ROOT_METADATA, root_metadata)
        self.target.parent.mkdir(parents=True, exist_ok=True)
        if self.target.is_symlink():
            self.store.withdraw_manifest()
            self.target.unlink()  # what it leads to stays
            self.partial.rename(self.target)
        elif self.target.exists():
            self.store.withdraw_manifest()
            old = self.store.new_partial()
            self.target.rename(old)
            self.partial.rename(self.target)
            shutil.rmtree(old)
        else:
            self.partial.rename(self.target)

    def discard(self) -> None:
        shutil.rmtree(self.partial, ignore_errors=True)
