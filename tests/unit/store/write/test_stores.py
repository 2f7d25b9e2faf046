"""Specification of stores: the same contract for a local folder and for an fsspec URL.

What a reader could see is asked of fsspec, not of the store. The tests of one kind of store, at the
end, are about what its file system alone can do.
"""

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

from aerozarr.config.setting_types import Compression
from aerozarr.convert.encode import encode_shards
from aerozarr.errors import RemoteError, SettingsError
from aerozarr.filesystems.location import open_location
from aerozarr.store.format.layout import Grid
from aerozarr.store.write import local, open_root
from aerozarr.store.write.local import LocalRoot
from aerozarr.store.write.object_store import ObjectStoreRoot
from aerozarr.store.write.root import StoredFile, StoreRoot
from remote.backends import BACKENDS, open_backend
from unit.store_helpers import PLACES, Files, files_below, group_files, put_file, url_of

MANIFEST = "manifest.json"
OLD = {"volume/velocity/c/0/0": b"old", "volume/velocity/c/1/0": b"old too", "zarr.json": b"OLD"}
NEW = {"volume/velocity/c/0/0": b"new", "volume/zarr.json": b"{}", "zarr.json": b"NEW"}

# All of them pass `samples.refusal`.
IDS = (
    *("run_1", "run_2", "run1", "run_10", "param1/1dc58be2", "a/b/c/d", "a/b"),
    *("run[1]", "run_*", "run_?", "run_{1,2}", "{x}", "a b", " ", "'quoted'", '"', "a\nb", "a\tb"),
    *("ünï/cødé", "数据", "🚗", "%41", "a%2Fb", "a#b", "a&b=c", "a:b", "a::b", "~", "-x", "$HOME"),
    *("x.zarr", "c.zarrs/x", ".hidden", "zarr.json", "manifest.json", "!x", "..."),
)


# Ids that a server on this machine, not its provider, cannot list again.
CANNOT = {"s3": {"a\nb"}, "azure": {"a\nb", "a\tb"}}
SCHEMES = {"s3": "s3://", "azure": "abfs://"}


@pytest.fixture(params=[*PLACES, *BACKENDS])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param in BACKENDS:
        if request.node.callspec.params.get("sample_id") in CANNOT.get(request.param, ()):
            pytest.skip(f"the {request.param} server of the tests has no such names")
        yield open_backend(request.param, request, request.getfixturevalue("monkeypatch"))
        return
    url = url_of(request.param, tmp_path)
    yield url
    if url.startswith("memory://"):
        fs, root = fsspec.core.url_to_fs(url)
        if fs.exists(root):
            fs.rm(root, recursive=True)


@pytest.fixture
def store(url: str) -> StoreRoot:
    return open_root(url, {}, owner="work")


def write(store: StoreRoot, sample_id: str, files: Files) -> None:
    with store.write_group(sample_id) as group:
        for path, content in files.items():
            if path != "zarr.json":
                group.put(path, content)
        group.commit(files["zarr.json"])


def seen(url: str) -> Files:
    """What readers see: all but what lies in the folder for unfinished groups."""
    found = files_below(url).items()
    return {path: data for path, data in found if not path.startswith(".aerozarr-partial/")}


# Groups ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sample_id", IDS)
def test_a_committed_group_lies_at_its_id_with_all_its_files(store, url, sample_id):
    write(store, sample_id, NEW)
    assert seen(url) == {f"{sample_id}.zarr/{path}": data for path, data in NEW.items()}
    assert store.has_group(sample_id)
    assert store.group_ids() == {sample_id}


@pytest.mark.parametrize("small_bytes", [2**20, 300, 0], ids=["small", "between", "large"])
@pytest.mark.parametrize("shard_points", [None, 30], ids=["one shard", "several shards"])
def test_a_shard_is_its_header_and_its_chunks_and_is_recorded(
    store, url, shard_points, small_bytes, monkeypatch
):
    monkeypatch.setattr(local, "_SMALL_BYTES", small_bytes)
    grid = Grid.of(70, 10, shard_points)
    rows = np.arange(210, dtype=np.float32).reshape(70, 3)
    how = partial(
        encode_shards,
        rows,
        np.random.default_rng(1).permutation(70),
        grid,
        Compression(),
        chunk_checksums=True,
    )
    expected = {"zarr.json": b"{}"}
    for shard in how():
        chunks = b"".join(shard.chunks())
        expected[f"c/{shard.number}/0"] = shard.header() + chunks
    with store.write_group("run_1") as group:
        for shard in how():
            group.put_shard(f"c/{shard.number}/0", shard)
        group.commit(b"{}")
    assert len(expected) == 1 + grid.n_shards
    assert group_files(url, "run_1") == expected
    assert {path: (file.size, file.sha256) for path, file in group.stored.items()} == {
        path: (len(content), hashlib.sha256(content).hexdigest())
        for path, content in expected.items()
    }


def test_a_group_keeps_files_of_the_one_before(store, url):
    write(store, "run_1", OLD)
    kept = {"volume/velocity/c/0/0": StoredFile.of(b"old")}
    with store.write_group("run_1") as group:
        group.keep(kept)
        group.put("volume/zarr.json", b"{}")
        group.commit(b"NEW")
    expected = {"volume/velocity/c/0/0": b"old", "volume/zarr.json": b"{}", "zarr.json": b"NEW"}
    assert group_files(url, "run_1") == expected
    assert group.stored == {path: StoredFile.of(content) for path, content in expected.items()}
    # One that is not committed takes nothing away.
    with store.write_group("run_1") as group:
        group.keep(kept)
    assert group_files(url, "run_1") == expected


def test_the_store_need_not_exist(store, url):
    assert store.group_ids() == set()
    assert not store.has_group("run_1")
    assert store.read(MANIFEST) is None
    store.remove_group("run_1")
    store.withdraw_manifest()
    store.clean()
    assert files_below(url) == {}


def test_nothing_is_seen_before_the_commit(store, url):
    with store.write_group("run_1") as group:
        assert seen(url) == {}
        for path, content in NEW.items():
            if path != "zarr.json":
                group.put(path, content)
            assert seen(url) == {}
            assert not store.has_group("run_1")
            assert store.group_ids() == set()
        group.commit(NEW["zarr.json"])
        assert store.group_ids() == {"run_1"}
    assert store.group_ids() == {"run_1"}


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, None], ids=str)
def test_a_group_that_is_not_committed_leaves_nothing(store, url, error):
    def give_up() -> None:
        with store.write_group("run_1") as group:
            group.put("volume/c/0/0", b"half")
            if error is not None:
                raise error

    if error is None:
        give_up()
    else:
        with pytest.raises(error):
            give_up()
    assert files_below(url) == {}
    assert store.group_ids() == set()


def test_discard_leaves_nothing_and_may_be_repeated(store, url):
    group = store.write_group("run_1")
    group.put("volume/c/0/0", b"half")
    group.discard()
    group.discard()
    assert files_below(url) == {}


def test_discard_after_a_commit_is_harmless(store, url):
    write(store, "run_1", NEW)
    group = store.write_group("run_1")
    group.put("volume/c/0/0", b"x")
    group.commit(b"{}")
    group.discard()
    assert group_files(url, "run_1") == {"volume/c/0/0": b"x", "zarr.json": b"{}"}


def test_discard_leaves_an_older_group_and_the_manifest_alone(store, url):
    write(store, "run_1", OLD)
    store.publish(MANIFEST, b"{}")
    before = files_below(url)
    with store.write_group("run_1") as group:
        group.put("volume/velocity/c/0/0", b"new")
    assert files_below(url) == before


def test_a_commit_replaces_an_older_group_wholly(store, url):
    write(store, "run_1", OLD)
    write(store, "run_2", OLD)
    write(store, "run_1", NEW)
    assert group_files(url, "run_1") == NEW
    assert group_files(url, "run_2") == OLD
    assert set(files_below(url)) == {f"run_1.zarr/{p}" for p in NEW} | {
        f"run_2.zarr/{p}" for p in OLD
    }


def test_a_commit_replaces_a_half_written_group_wholly(store, url):
    put_file(url, "run_1.zarr/volume/velocity/c/7/0", b"left by a killed run")
    put_file(url, "run_1.zarr/volume/zarr.json", b"left by a killed run")
    write(store, "run_1", NEW)
    assert group_files(url, "run_1") == NEW


def test_a_commit_over_an_older_group_withdraws_the_manifest(store, url):
    write(store, "run_1", OLD)
    store.publish(MANIFEST, b"{}")
    store.publish("skipped.tsv", b"")
    write(store, "run_1", NEW)
    assert MANIFEST not in seen(url)
    assert "skipped.tsv" in seen(url)


def test_a_fresh_group_does_not_withdraw_the_manifest(store):
    write(store, "run_1", OLD)
    store.publish(MANIFEST, b"{}")
    write(store, "run_2", NEW)
    assert store.read(MANIFEST) == b"{}"


def test_a_parent_of_an_id_may_be_an_id_itself(store, url):
    for sample_id in ("a/b", "a", "a/b/c"):
        write(store, sample_id, NEW)
    assert store.group_ids() == {"a", "a/b", "a/b/c"}
    store.remove_group("a/b")
    assert store.group_ids() == {"a", "a/b/c"}
    assert group_files(url, "a") == group_files(url, "a/b/c") == NEW


# Which groups there are ------------------------------------------------------------------------


def test_group_ids_tells_all_ids_apart(store, request):
    ids = set(IDS) - CANNOT.get(request.node.callspec.params["url"], set())
    for sample_id in ids:
        write(store, sample_id, NEW)
    assert store.group_ids() == ids
    assert all(store.has_group(sample_id) for sample_id in ids)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("run_2.zarr/volume/velocity/c/0/0", id="a-group-without-metadata"),
        pytest.param("run_2.zarr/volume/zarr.json", id="a-group-without-its-root"),
        pytest.param("run_1.zarr/inner.zarr/zarr.json", id="an-inner-group"),
        pytest.param("run_1.zarr/a/inner.zarr/zarr.json", id="a-deeper-inner-group"),
        pytest.param("run_2.zarr/inner.zarr/zarr.json", id="an-inner-group-without-its-root"),
        pytest.param("run_2/zarr.json", id="a-folder-of-another-name"),
        pytest.param("zarr.json", id="metadata-of-the-store-itself"),
        pytest.param("run_2.zarr", id="a-file-of-that-name"),
        pytest.param("run_2.zarr/zarr.json.old", id="another-file"),
        pytest.param("run_2.zarr/x.zarr.json", id="another-ending"),
        pytest.param("manifest.json", id="the-manifest"),
    ],
)
def test_group_ids_ignores_what_is_no_sample(store, url, path):
    write(store, "run_1", NEW)
    put_file(url, path, b"{}")
    assert store.group_ids() == {"run_1"}
    assert not store.has_group("run_2")


def test_group_ids_ignores_groups_that_are_being_written(store, url):
    other = open_root(url, {}, owner="other work")
    with store.write_group("run_1") as first, other.write_group("run_2") as second:
        for group in (first, second):
            group.put("zarr.json", b"{}")
            group.put("x.zarr/zarr.json", b"{}")
        assert store.group_ids() == set()


# Removing --------------------------------------------------------------------------------------


# What an id that is taken for a pattern or a prefix would hit.
ALIKE = ("run_1", "run_2", "run1", "run_10", "run_?", "run_*", "run[1]", "run_{1,2}", "a", "a/b/c")


def test_remove_group_removes_that_group_and_no_other(store, url):
    cannot = next((CANNOT[kind] for kind in CANNOT if url.startswith(SCHEMES[kind])), set())
    left = list(dict.fromkeys([*(each for each in IDS if each not in cannot), *ALIKE]))
    for sample_id in left:
        write(store, sample_id, NEW)
    store.publish("statistics.json", b"{}")
    while left:
        sample_id = left.pop(0)
        store.remove_group(sample_id)
        assert not store.has_group(sample_id)
        files = {f"{other}.zarr/{path}" for other in left for path in NEW}
        assert {*store.all_files()} == files | {"statistics.json"}, sample_id
        if len(left) == 5:
            assert all(group_files(url, other) == NEW for other in left)
    assert seen(url) == {"statistics.json": b"{}"}


def test_a_commit_over_an_id_like_a_pattern_touches_no_other_group(store, url):
    patterns = ("run_*", "run_?", "run[1]", "run_{1,2}")
    for other in ALIKE:
        write(store, other, OLD)
    for sample_id in patterns:
        write(store, sample_id, NEW)
        assert store.group_ids() == set(ALIKE)
    for other in ALIKE:
        assert group_files(url, other) == (NEW if other in patterns else OLD)


def test_remove_group_removes_a_half_written_group(store, url):
    put_file(url, "run_1.zarr/volume/zarr.json", b"{}")
    store.remove_group("run_1")
    assert files_below(url) == {}


# Files beside the groups -----------------------------------------------------------------------


def test_publish_puts_a_file_in_place_and_read_returns_it(store, url):
    assert store.read(MANIFEST) is None
    store.publish(MANIFEST, "ü".encode())
    assert store.read(MANIFEST) == "ü".encode()
    assert files_below(url) == {MANIFEST: "ü".encode()}


@pytest.mark.parametrize("content", [b"", b"short", b"longer than what was there"])
def test_publish_replaces_a_file_wholly(store, url, content):
    store.publish(MANIFEST, b"what was there")
    store.publish(MANIFEST, content)
    assert store.read(MANIFEST) == content
    assert files_below(url) == {MANIFEST: content}


def test_publish_leaves_other_files_and_groups_alone(store, url):
    write(store, "run_1", NEW)
    store.publish("skipped.tsv", b"x")
    store.publish(MANIFEST, b"{}")
    expected = {f"run_1.zarr/{path}": data for path, data in NEW.items()}
    assert seen(url) == expected | {"skipped.tsv": b"x", MANIFEST: b"{}"}


def test_withdraw_manifest_removes_it_alone_and_may_be_repeated(store, url):
    store.publish("skipped.tsv", b"x")
    store.publish(MANIFEST, b"{}")
    store.withdraw_manifest()
    store.withdraw_manifest()
    assert store.read(MANIFEST) is None
    assert files_below(url) == {"skipped.tsv": b"x"}


def test_another_process_sees_what_was_written(store, url):
    write(store, "run_1", NEW)
    store.publish(MANIFEST, b"{}")
    other = open_root(url, {}, owner="other work")
    assert other.group_ids() == {"run_1"}
    assert other.read(MANIFEST) == b"{}"
    other.remove_group("run_1")
    assert store.group_ids() == set()


@pytest.mark.parametrize("end", ["", "/", "//"], ids=["plain", "slash", "two-slashes"])
def test_a_slash_at_the_end_of_the_url_changes_nothing(url, end):
    write(open_root(url + end, {}), "a/run_1", NEW)
    assert seen(url) == {f"a/run_1.zarr/{path}": data for path, data in NEW.items()}
    assert open_root(url + end, {}).group_ids() == {"a/run_1"}


# What readers see meanwhile --------------------------------------------------------------------


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


# Leftovers -------------------------------------------------------------------------------------


def leave_half_written(url: str, owner: str) -> None:
    """What a run of that owner leaves when it is killed."""
    group = open_root(url, {}, owner=owner).write_group("run_9")
    group.put("volume/c/0/0", owner.encode())


def test_clean_removes_what_killed_runs_left(store, url):
    leave_half_written(url, "work")
    leave_half_written(url, "work")
    store.clean()
    assert files_below(url) == {}


def test_clean_leaves_what_other_owners_are_writing(store, url):
    other = open_root(url, {}, owner="other work")
    with other.write_group("run_2") as group:
        group.put("volume/c/0/0", b"theirs")
        leave_half_written(url, "work")
        store.clean()
        group.commit(b"{}")
    assert files_below(url) == {"run_2.zarr/volume/c/0/0": b"theirs", "run_2.zarr/zarr.json": b"{}"}


def test_clean_leaves_groups_and_files(store, url):
    write(store, "run_1", NEW)
    store.publish(MANIFEST, b"{}")
    before = seen(url)
    store.clean()
    store.clean()
    assert files_below(url) == before
    write(store, "run_2", NEW)  # and the store is still good for writing
    assert store.group_ids() == {"run_1", "run_2"}


# Local folders alone ---------------------------------------------------------------------------


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


# URLs alone ------------------------------------------------------------------------------------


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
