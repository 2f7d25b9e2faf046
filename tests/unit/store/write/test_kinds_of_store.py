"""What the file system of one kind of store alone can do: local folders, and URLs."""

import os
from collections.abc import Callable
from typing import Any

import fsspec
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

from aerozarr.errors import SettingsError
from aerozarr.store.write import open_root
from aerozarr.store.write.local import LocalRoot
from aerozarr.store.write.object_store import ObjectStoreRoot
from unit.store_helpers import files_below, url_of
from unit.write_helpers import MANIFEST, NEW, OLD, leave_half_written, write


def test_an_owner_is_known_again_by_its_place_and_not_by_its_spelling(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("work")
    for spelling in ("work", "./work", "work/", str(tmp_path / "work"), "link"):
        leave_half_written("store", spelling)
        open_root("store", {}, owner="work").clean()
        assert files_below(str(tmp_path / "store")) == {}


def test_clean_takes_the_folder_for_unfinished_groups_away_when_it_is_empty(tmp_path):
    store = open_root(str(tmp_path), {}, owner="work")
    leave_half_written(str(tmp_path), "work")
    assert os.listdir(tmp_path) == [".aerozarr-partial"]
    store.clean()
    assert os.listdir(tmp_path) == []


def test_unfinished_groups_lie_in_the_store_so_that_a_rename_is_enough(tmp_path):
    leave_half_written(str(tmp_path / "store"), "work")
    assert all(path.startswith("store/.aerozarr-partial/") for path in files_below(str(tmp_path)))


def test_a_reader_with_the_manifest_open_keeps_what_it_opened(tmp_path):
    store = open_root(str(tmp_path), {})
    store.publish(MANIFEST, b"old " * 1000)
    with (tmp_path / MANIFEST).open("rb", buffering=0) as reader:
        reader.read(10)
        store.publish(MANIFEST, b"new")
        assert reader.read() == (b"old " * 1000)[10:]


def test_a_group_behind_a_link_is_a_group(tmp_path):
    store = open_root(str(tmp_path / "store"), {})
    write(open_root(str(tmp_path / "elsewhere"), {}), "run_1", NEW)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "run_1.zarr").symlink_to(tmp_path / "elsewhere" / "run_1.zarr")
    assert store.group_ids() == {"run_1"}


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("store", LocalRoot),
        ("/tmp/store", LocalRoot),
        ("file:///tmp/store", LocalRoot),
        ("local:///tmp/store", LocalRoot),
        ("memory://store", ObjectStoreRoot),
    ],
)
def test_kind_of_store(url, kind):
    assert type(open_root(url, {})) is kind


def test_a_url_that_cannot_be_opened_is_refused():
    with pytest.raises(SettingsError, match=r"store.*nosuch"):
        open_root("nosuch://bucket", {})


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Every change of the memory file system: what, and where."""
    made: list[tuple[str, str]] = []
    fs = fsspec.filesystem("memory")

    def recorded(name: str) -> Callable[..., Any]:
        usual = getattr(fs, name)

        def call(path: str, *args: Any, **kwargs: Any) -> Any:
            made.append((name, path))
            return usual(path, *args, **kwargs)

        return call

    for name in ("pipe_file", "rm_file", "rm"):
        monkeypatch.setattr(fs, name, recorded(name))
    return made


def test_a_url_store_writes_each_file_once_and_the_root_last(calls, tmp_path):
    url = url_of("memory-url", tmp_path)
    root = url.removeprefix("memory:/")
    write(open_root(url, {}), "a/run_1", NEW)
    assert {name for name, _ in calls} == {"pipe_file"}
    written = [path for _, path in calls]
    assert sorted(written) == sorted(f"{root}/a/run_1.zarr/{path}" for path in NEW)
    assert written[-1] == f"{root}/a/run_1.zarr/zarr.json"


def test_a_url_store_removes_the_manifest_then_the_old_root_then_writes(calls, tmp_path):
    url = url_of("memory-url", tmp_path)
    root = url.removeprefix("memory:/")
    store = open_root(url, {})
    write(store, "run_1", OLD)
    store.publish(MANIFEST, b"{}")
    calls.clear()
    write(store, "run_1", NEW)
    assert calls[0] == ("rm_file", f"{root}/{MANIFEST}")
    assert calls[1] == ("rm_file", f"{root}/run_1.zarr/zarr.json")
    writes = [number for number, (name, _) in enumerate(calls) if name == "pipe_file"]
    removals = [number for number, (name, _) in enumerate(calls) if name != "pipe_file"]
    assert max(removals) < min(writes)
    assert calls[-1] == ("pipe_file", f"{root}/run_1.zarr/zarr.json")


def test_a_group_that_is_not_committed_costs_no_request(calls, tmp_path):
    with open_root(url_of("memory-url", tmp_path), {}).write_group("run_1") as group:
        group.put("volume/c/0/0", b"half")
    assert calls == []


def test_a_url_store_makes_the_folders_that_its_file_system_needs(tmp_path):
    class Plain(DirFileSystem):  # a file system that is no object store, as SFTP's
        protocol = "plain"

        def __init__(self, **options: Any) -> None:
            super().__init__(path=str(tmp_path), fs=LocalFileSystem(auto_mkdir=False), **options)

    fsspec.register_implementation("plain", Plain, clobber=True)
    store = open_root("plain://store", {})
    assert type(store) is ObjectStoreRoot
    write(store, "a/run_1", NEW)
    store.publish(MANIFEST, b"{}")
    assert store.group_ids() == {"a/run_1"}
    made = {f"a/run_1.zarr/{path}": data for path, data in NEW.items()}
    assert files_below(str(tmp_path / "store")) == {**made, MANIFEST: b"{}"}
