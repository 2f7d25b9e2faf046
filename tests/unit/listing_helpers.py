"""Trees of small files on several file systems, and short ways to list them."""

from __future__ import annotations

import os
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsspec.implementations.memory import MemoryFileSystem

from aerozarr.config.load_settings import load_settings
from aerozarr.source.datasets import resolve_dataset
from aerozarr.source.open_source import open_source
from aerozarr.source.samples import Listing

# Two files are enough for a sample to be complete, incomplete, or not one at all.
FILEMAP = {"surface_position": "points.pt", "surface_pressure": "pressure.pt"}
FILES = tuple(FILEMAP.values())


class Tree(ABC):
    """A folder on some file system."""

    url: str

    @abstractmethod
    def put(self, path: str, content: bytes = b"content") -> None:
        """Write a file, and the folders that it lies in."""

    @abstractmethod
    def remove(self, path: str) -> None:
        """Remove a file or a folder with all below it."""

    def sample(self, sample_id: str, files: Iterable[str] = FILES) -> None:
        for file in files:
            self.put(f"{sample_id}/{file}")

    def samples(self, *sample_ids: str) -> None:
        for sample_id in sample_ids:
            self.sample(sample_id)

    def lines(self, path: str, *lines: str) -> None:
        self.put(path, "".join(f"{line}\n" for line in lines).encode())


class LocalTree(Tree):
    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = str(path)
        path.mkdir(parents=True, exist_ok=True)

    def put(self, path: str, content: bytes = b"content") -> None:
        file = os.path.join(self.url, path)
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with open(file, "wb") as stream:
            stream.write(content)

    def remove(self, path: str) -> None:
        place = self.path / path
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink()

    def link(self, path: str, target: str | Path) -> None:
        """Make a symbolic link; a relative target is looked up from the link's own folder."""
        (self.path / path).parent.mkdir(parents=True, exist_ok=True)
        (self.path / path).symlink_to(target)


class MemoryTree(Tree):
    """Objects under keys, as in an object store: any text is a key."""

    def __init__(self) -> None:
        self.root = f"/{uuid.uuid4().hex}"
        self.url = f"memory:/{self.root}"
        self.fs = MemoryFileSystem()
        self.fs.makedirs(self.root)

    def put(self, path: str, content: bytes = b"content") -> None:
        self.fs.pipe_file(f"{self.root}/{path}", content)

    def remove(self, path: str) -> None:
        self.fs.rm(f"{self.root}/{path}", recursive=True)

    def close(self) -> None:
        for key in [key for key in self.fs.store if key.startswith(f"{self.root}/")]:
            del self.fs.store[key]
        self.fs.pseudo_dirs[:] = [
            path for path in self.fs.pseudo_dirs if not f"{path}/".startswith(f"{self.root}/")
        ]


BACKENDS = ("local", "memory")


@contextmanager
def open_tree(backend: str, folder: Path) -> Iterator[Tree]:
    """Open an empty tree: in a folder, or in memory."""
    if backend == "local":
        yield LocalTree(folder)
        return
    tree = MemoryTree()
    yield tree
    tree.close()


def listing_of(**config: Any) -> Listing:
    """List the source that a configuration names, with the file map of two files by default."""
    settings = load_settings({"filemap": FILEMAP, **config})
    url = settings.source_url or settings.source_root
    assert url is not None
    return open_source(settings, resolve_dataset(settings), url).list()


def listed(tree: Tree, **config: Any) -> Listing:
    """List a tree as `source_url`."""
    return listing_of(source_url=tree.url, **config)


def ids(listing: Listing) -> list[str]:
    return [sample.id for sample in listing.samples]


def by_split(listing: Listing) -> dict[str, list[str]]:
    """Return the ids of each split, in the order of the listing."""
    found: dict[str, list[str]] = {}
    for sample in listing.samples:
        found.setdefault(sample.split, []).append(sample.id)
    return found


def skipped(listing: Listing) -> dict[str, tuple[str, str]]:
    """Return what was skipped: id to kind and files."""
    return {row.id: (row.kind, row.file) for row in listing.skipped}
