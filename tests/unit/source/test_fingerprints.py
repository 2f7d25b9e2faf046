"""Specification of what a listing notices: fingerprints of samples, and its digest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractFileSystem

from unit.listing_helpers import FILES, LocalTree, MemoryTree, Tree, listed, listing_of

MTIME = (1_700_000_000, 1_700_000_000)


@pytest.fixture
def three(local: LocalTree) -> LocalTree:
    local.samples("a", "b", "c")
    local.put("part/points.pt")
    for path in local.path.rglob("*.pt"):
        os.utime(path, MTIME)
    return local


def touch(tree: LocalTree, nanoseconds: int) -> None:
    seconds = 1_700_000_000 * 10**9 + nanoseconds
    os.utime(tree.path / "b/points.pt", ns=(seconds, seconds))


def rewrite(tree: LocalTree, content: bytes) -> None:
    tree.put("b/points.pt", content)
    os.utime(tree.path / "b/points.pt", MTIME)


FILE_CHANGES: dict[str, Callable[[LocalTree], object]] = {
    "a second": lambda tree: touch(tree, 10**9),
    "a microsecond": lambda tree: touch(tree, 1000),
    "a second back": lambda tree: touch(tree, -(10**9)),
    "a byte more at the same time": lambda tree: rewrite(tree, b"contents"),
    "a byte less at the same time": lambda tree: rewrite(tree, b"conten"),
}
NO_FILE_CHANGES: dict[str, Callable[[LocalTree], object]] = {
    "nothing": lambda tree: None,
    "a file is read": lambda tree: (tree.path / "b/points.pt").read_bytes(),
    "the time of its reading": lambda tree: os.utime(tree.path / "b/points.pt", (1, 1_700_000_000)),
    "its mode": lambda tree: (tree.path / "b/points.pt").chmod(0o600),
    "a file that is not in the file map": lambda tree: tree.put("b/notes.txt"),
    "a folder within it": lambda tree: (tree.path / "b/plots").mkdir(),
    "the time of its folder": lambda tree: os.utime(tree.path / "b", (1, 1)),
    "a folder without samples": lambda tree: tree.put("docs/readme.txt"),
}


def fingerprints(tree: Tree) -> dict[str, str]:
    return {sample.id: sample.fingerprint for sample in listed(tree).samples}


@pytest.mark.parametrize("change", list(FILE_CHANGES.values()), ids=list(FILE_CHANGES))
def test_the_fingerprint_of_a_sample_changes_with(
    change: Callable[[LocalTree], object], three: LocalTree
) -> None:
    before, digest = fingerprints(three), listed(three).digest()
    change(three)
    after = fingerprints(three)
    assert after["b"] != before["b"]
    assert (after["a"], after["c"]) == (before["a"], before["c"])
    assert listed(three).digest() != digest


@pytest.mark.parametrize("change", list(NO_FILE_CHANGES.values()), ids=list(NO_FILE_CHANGES))
def test_neither_fingerprint_nor_digest_changes_with(
    change: Callable[[LocalTree], object], three: LocalTree
) -> None:
    before, digest = fingerprints(three), listed(three).digest()
    change(three)
    assert fingerprints(three) == before
    assert listed(three).digest() == digest


def test_a_source_that_moves_as_a_whole_keeps_its_fingerprints(
    three: LocalTree, tmp_path: Path
) -> None:
    before = fingerprints(three)
    three.path.rename(tmp_path / "moved")
    assert fingerprints(LocalTree(tmp_path / "moved")) == before


DIGEST_CHANGES: dict[str, Callable[[Tree], object]] = {
    "new": lambda tree: tree.sample("d"),
    "gone": lambda tree: tree.remove("b"),
    "written anew": lambda tree: tree.put("b/points.pt", b"other content"),
    "no longer whole": lambda tree: tree.remove("b/points.pt"),
    "at last whole": lambda tree: tree.put("part/pressure.pt"),
    "new and incomplete": lambda tree: tree.put("d/points.pt"),
}


@pytest.mark.parametrize("change", list(DIGEST_CHANGES.values()), ids=list(DIGEST_CHANGES))
def test_the_digest_changes_when_a_sample_is(change: Callable[[Tree], object], tree: Tree) -> None:
    tree.samples("a", "b", "c")
    tree.put("part/points.pt")
    before = listed(tree).digest()
    change(tree)
    assert listed(tree).digest() != before


def test_the_digest_does_not_change_by_listing_again(tree: Tree) -> None:
    tree.samples("a", "b/c")
    tree.put("part/points.pt")
    assert listed(tree).digest() == listed(tree).digest()


def test_an_object_that_is_written_anew_with_the_same_size_is_noticed(memory: MemoryTree) -> None:
    memory.samples("a", "b")
    before = fingerprints(memory)
    memory.put("b/points.pt", b"another")
    assert len(b"another") == len(b"content")
    after = fingerprints(memory)
    assert after["a"] == before["a"]
    assert after["b"] != before["b"]


class Stamped(MemoryFileSystem):  # type: ignore[misc] # fsspec has no types
    """A store that names what changes with an object in a way of its own."""

    protocol = "stamped"
    cachable = False
    store: dict[str, Any] = {}  # noqa: RUF012 - MemoryFileSystem keeps its files in the class
    pseudo_dirs = [""]  # noqa: RUF012 - likewise

    def __init__(self, name: str, value: str, **options: Any) -> None:
        super().__init__(**options)
        self.stamp = {name: value}

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("stamped://", "memory://")))

    find = AbstractFileSystem.find  # which asks ls

    def _stamped(self, entry: dict[str, Any]) -> dict[str, Any]:
        plain = {key: entry[key] for key in ("name", "size", "type")}
        return plain | (self.stamp if entry["name"].endswith("points.pt") else {})

    def info(self, path: str, **options: Any) -> Any:
        return self._stamped(super().info(path, **options))

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        entries = [self._stamped(entry) for entry in super().ls(path, detail=True, **options)]
        return entries if detail else [entry["name"] for entry in entries]


@pytest.fixture
def stamped() -> Iterator[None]:
    fsspec.register_implementation("stamped", Stamped, clobber=True)
    store = Stamped("none", "none")
    for file in FILES:
        store.pipe_file(f"/cars/run_1/{file}", b"content")
    store.pipe_file("/cars/ids.txt", b"run_1\n")
    yield
    Stamped.store.clear()


ROOT = {
    "source_root": "stamped://cars",
    "dataset": "emmi_wing",
    "split_files": {"train": "ids.txt"},
    "splits": ["train"],
}

STAMPS = ["ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime", "created"]
STAMPS += ["blob_id", "CRC", "sha"]  # of Hugging Face, of zip files, of GitHub


@pytest.mark.parametrize("name", STAMPS)
@pytest.mark.parametrize("source", [{"source_url": "stamped://cars"}, ROOT], ids=["url", "root"])
def test_a_change_is_noticed_where_a_store_calls_it(
    name: str, source: dict[str, Any], stamped: None
) -> None:
    def stamps(value: str) -> list[str]:
        options = {"stamped": {"name": name, "value": value}}
        listing = listing_of(**source, storage_options=options)
        return [sample.fingerprint for sample in listing.samples]

    assert len(stamps("one")) == 1
    assert stamps("one") == stamps("one") != stamps("other")
