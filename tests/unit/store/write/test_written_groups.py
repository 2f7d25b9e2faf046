"""Specification of stores: groups, the same for a local folder and for an fsspec URL.

What a reader could see is asked of fsspec, not of the store.
"""

import hashlib
from functools import partial

import numpy as np
import pytest

from aerozarr.config.setting_types import Compression
from aerozarr.convert.encode import encode_shards
from aerozarr.store.format.layout import Grid
from aerozarr.store.write import local, open_root
from aerozarr.store.write.root import StoredFile
from unit.store_helpers import files_below, group_files, put_file
from unit.write_helpers import ALIKE, CANNOT, IDS, MANIFEST, NEW, OLD, SCHEMES, seen, write


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
