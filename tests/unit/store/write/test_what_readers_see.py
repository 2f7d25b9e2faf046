"""Specification of stores: what a reader sees while groups and files are replaced."""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from aerozarr.errors import RemoteError
from aerozarr.filesystems.location import open_location
from unit.store_helpers import Files
from unit.write_helpers import MANIFEST, NEW, OLD, seen, write


class Watch:
    """Looks at the store as a reader, before and after everything that changes files."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.url = url
        self.moments: list[Files] = []
        self.looks = True
        self.steps = 0
        self.fail_at: int | None = None
        self.lock = threading.RLock()  # some stores write several files at the same time
        fs = open_location(url, {}, key="store").fs
        if not isinstance(fs, LocalFileSystem):
            for name in ("pipe_file", "rm_file", "rm"):
                monkeypatch.setattr(fs, name, self.watched(getattr(fs, name)))
        else:
            for name in ("rename", "replace", "unlink", "write_bytes"):
                monkeypatch.setattr(Path, name, self.watched(getattr(Path, name)))
            for name in ("remove", "rmdir", "unlink"):
                monkeypatch.setattr(os, name, self.watched(getattr(os, name)))
            monkeypatch.setattr(shutil, "rmtree", self.watched(shutil.rmtree))

    def watched(self, usual: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            with self.lock:
                return look(*args, **kwargs)

        def look(*args: Any, **kwargs: Any) -> Any:
            if self.fail_at == self.steps:
                raise OSError("the disk or the network is gone")
            self.steps += 1
            if not self.looks:
                return usual(*args, **kwargs)
            self.moments.append(seen(self.url))
            result = usual(*args, **kwargs)
            self.moments.append(seen(self.url))
            return result

        return step


def group_in(files: Files) -> Files | None:
    """The group run_1 among the files that a reader sees; None when its root is not there."""
    start = "run_1.zarr/"
    found = {path.removeprefix(start): d for path, d in files.items() if path.startswith(start)}
    return found if "zarr.json" in found else None


def test_a_fresh_group_is_seen_whole_or_not_at_all(store, url, monkeypatch):
    watch = Watch(url, monkeypatch)
    write(store, "run_1", NEW)
    states = [group_in(files) for files in watch.moments]
    assert all(state in (None, NEW) for state in states)
    assert states[0] is None
    assert states[-1] == NEW


def test_a_replaced_group_is_seen_old_or_new_or_not_at_all(store, url, monkeypatch):
    write(store, "run_1", OLD)
    store.publish(MANIFEST, b"{}")
    watch = Watch(url, monkeypatch)
    write(store, "run_1", NEW)
    states = [group_in(files) for files in watch.moments]
    assert all(state in (None, OLD, NEW) for state in states)
    assert states[0] == OLD
    assert states[-1] == NEW
    # The manifest lists the old grid: it goes before anything else changes.
    for files, state in zip(watch.moments, states, strict=True):
        assert MANIFEST not in files or state == OLD


def test_a_removed_group_is_seen_whole_or_not_at_all(store, url, monkeypatch):
    write(store, "run_1", OLD)
    watch = Watch(url, monkeypatch)
    store.remove_group("run_1")
    states = [group_in(files) for files in watch.moments]
    assert all(state in (None, OLD) for state in states)
    assert states[0] == OLD
    assert states[-1] is None


def test_publish_is_one_step(store, url, monkeypatch):
    store.publish(MANIFEST, b"old")
    watch = Watch(url, monkeypatch)
    store.publish(MANIFEST, b"new")
    contents = [files[MANIFEST] for files in watch.moments]
    assert set(contents) == {b"old", b"new"}
    assert contents == sorted(contents, reverse=True)


def test_a_commit_that_breaks_off_leaves_a_whole_group_or_none(store, url, monkeypatch):
    """Fail at the first change, then at the second, and so on until the commit goes through."""
    watch = Watch(url, monkeypatch)
    watch.looks = False
    for fail_at in range(100):
        watch.fail_at = None
        write(store, "run_1", OLD)
        store.publish(MANIFEST, b"{}")
        watch.steps, watch.fail_at = 0, fail_at
        try:
            write(store, "run_1", NEW)
        except (OSError, RemoteError):
            state = group_in(seen(url))
            assert state in (None, OLD, NEW)
            assert store.has_group("run_1") == (state is not None)
            if state != OLD:
                assert MANIFEST not in seen(url)
        else:
            break
    else:
        pytest.fail("the commit never went through")
    assert fail_at > 2
    watch.fail_at = None
    write(store, "run_1", OLD)  # and a new run mends it
    assert group_in(seen(url)) == OLD


def test_a_publish_that_breaks_off_leaves_the_old_file(store, url, monkeypatch):
    store.publish(MANIFEST, b"old")
    watch = Watch(url, monkeypatch)
    watch.fail_at = 0
    with pytest.raises((OSError, RemoteError)):
        store.publish(MANIFEST, b"new")
    assert store.read(MANIFEST) == b"old"
