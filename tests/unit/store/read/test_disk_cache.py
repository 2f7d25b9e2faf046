"""Specification of the cache of a remote store on this machine's disk."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import fsspec
import numpy as np
import pytest
import torch

from aerozarr import SettingsError, Store, StoreError, StoreWriter
from aerozarr.errors import RemoteError
from aerozarr.filesystems.byte_ranges import ByteRange, Fetcher
from aerozarr.store.read.caching_fetcher import CachingFetcher, versions_of
from aerozarr.store.read.disk_cache import DiskCache

POINTS, CHUNK = 2000, 256
SAMPLES = ("a", "b", "deep/c")


def put_store(
    place: str, folder: Path, seed: int = 0, shift: dict[str, float] | None = None
) -> None:
    """Write a store of values that do not compress, so that chunks lie where they lay before."""
    settings = {"chunk_points": CHUNK, "shard_points": 4 * CHUNK, "shuffle_seed": seed}
    writer = StoreWriter(place, settings, workdir=folder)
    for number, sample in enumerate(SAMPLES):
        drawn = np.random.default_rng(number)
        points = drawn.random((POINTS, 3)) + (shift or {}).get(sample, 0)
        values = np.arange(POINTS) % 2048
        writer.write(sample, {"volume_position": points, "volume_pressure": values})
    writer.finish()


class Asked(Fetcher):
    """Passes on what is asked of a fetcher, and notes what of groups was asked for."""

    def __init__(self, fetcher: Fetcher) -> None:
        self.fetcher = fetcher
        self.spans: list[ByteRange] = []

    def fetch(self, spans):
        self.spans += [span for span in spans if ".zarr/" in span.path]
        return self.fetcher.fetch(spans)

    def stamp_below(self, folder):
        # As ETags do; memory:// tells times, which change where the same is written again.
        location = self.fetcher.location
        return repr({path: location.read(path) for path in sorted(location.files(folder))})


@pytest.fixture
def place(tmp_path: Path) -> str:
    place = f"memory://cache/{uuid4().hex}"
    put_store(place, tmp_path / "work")
    return place


@pytest.fixture
def opened(place: str, tmp_path: Path) -> Callable[..., tuple[Store, Asked]]:
    def open_it(**settings: object) -> tuple[Store, Asked]:
        store = Store(place, **{"cache": tmp_path / "cache", **settings})  # type: ignore[arg-type]
        caching = store._reader.fetcher
        assert isinstance(caching, CachingFetcher)
        caching.fetcher = Asked(caching.fetcher)
        return store, caching.fetcher

    return open_it


def values(store: Store, sample: str = "a") -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in store.read(sample).items()}


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    for name, expected in other.items():
        np.testing.assert_array_equal(one[name], expected, strict=True)


def test_what_was_read_once_is_not_asked_for_again(place, opened) -> None:
    plain = Store(place)
    store, asked = opened()
    assert_same(values(store), values(plain))
    # Chunks that follow each other are one range, as without a cache.
    recorder = plain._reader.fetcher = Asked(plain._reader.fetcher)
    plain._reader.layouts.drop(("a.zarr", "volume/position"))
    assert len(asked.spans) <= 10
    assert_same(values(plain), values(store))
    assert recorder.spans
    asked.spans.clear()
    again, asked_again = opened()
    # Other rows than before, and other runs of chunks.
    for seed in range(20):
        points = {"volume": 300 + seed}
        draws = [
            each.read("a", points, generator=torch.Generator().manual_seed(seed))
            for each in (plain, store, again)
        ]
        for name, expected in draws[0].items():
            assert torch.equal(draws[1][name], expected)
            assert torch.equal(draws[2][name], expected)
    assert asked.spans == asked_again.spans == []
    values(again, "b")
    assert {span.path.split("/")[0] for span in asked_again.spans} == {"b.zarr"}


def files(folder: Path, ending: str) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix == ending)


def flip(path: Path, byte: int) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 0xFF
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a byte": lambda folder: [flip(path, -1) for path in files(folder, ".data")] and None,
    "a record": lambda folder: [flip(path, 9) for path in files(folder, ".records")] and None,
    "cut": lambda folder: [os.truncate(path, 100) for path in files(folder, ".data")] and None,
    "half a record": lambda folder: (
        [os.truncate(p, 40) for p in files(folder, ".records")] and None
    ),
    "no bytes": lambda folder: [path.unlink() for path in files(folder, ".data")] and None,
    # As a process leaves it that is killed between the two.
    "no records": lambda folder: [path.unlink() for path in files(folder, ".records")] and None,
    "no count": lambda folder: [p.write_bytes(b"x") for p in folder.rglob("used")] and None,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_is_damaged_is_read_again_and_mended(place, opened, tmp_path, damage) -> None:
    values(opened()[0])
    damage(tmp_path / "cache")
    expected = values(Store(place))
    store, asked = opened()
    assert_same(values(store), expected)
    assert_same(values(store), expected)
    # Of a shard, all went; its index was at hand in memory, and is asked for by the next one.
    values(opened()[0])
    mended, asked = opened()
    assert_same(values(mended), expected)
    assert asked.spans == []


def test_a_group_that_was_converted_anew_is_not_read_from_it(place, opened, tmp_path) -> None:
    before = values(opened()[0])
    put_store(place, tmp_path / "work", seed=1)
    store, asked = opened()
    assert_same(values(store), values(Store(place)))
    assert not np.array_equal(values(store)["volume_pressure"], before["volume_pressure"])
    # Of the same shape, seed and sizes: another source.
    for sample in SAMPLES:
        values(store, sample)
    put_store(place, tmp_path / "work", seed=1, shift={"a": 1.0})
    store, asked = opened()
    for sample in SAMPLES:
        assert_same(values(store, sample), values(Store(place), sample))
    assert {span.path.split(".zarr")[0] for span in asked.spans} == {"a"}
    # And back again, under a store that is open.
    put_store(place, tmp_path / "work", seed=2)
    for _ in range(2):
        try:
            values(store, "b")
        except StoreError as error:
            assert "written anew" in str(error)
    put_store(place, tmp_path / "work", seed=1, shift={"a": 1.0})
    store, asked = opened()
    assert_same(values(store, "b"), values(Store(place), "b"))


def test_bytes_that_its_checksums_do_not_tell_are_not_read_from_it(place, tmp_path) -> None:
    # As where two groups were exchanged, and `repair` puts each in its place again; or where a copy
    # writes the files beside the groups before a group. Of one size, and as the checksums say.
    put_store(place, tmp_path / "work")
    root = place.removeprefix("memory:/")
    fs = fsspec.filesystem("memory")
    right = {path: fs.cat_file(path) for path in fs.find(f"{root}/a.zarr")}
    for path in right:
        other = fs.cat_file(path.replace("/a.zarr/", "/b.zarr/"))
        fs.pipe_file(path, other)
    cache = tmp_path / "cache"
    values(Store(place, cache=cache), "b")
    exchanged = values(Store(place, cache=cache))
    assert_same(exchanged, values(Store(place), "b"))
    for path, content in right.items():
        fs.pipe_file(path, content)
    expected = values(Store(place))
    assert not np.array_equal(expected["volume_position"], exchanged["volume_position"])
    assert_same(values(Store(place, cache=cache)), expected)


class Untold(Asked):
    """Tells nothing of objects, or only of each alone, as web servers do."""

    def __init__(self, fetcher: Fetcher, stamp: str, error: Exception | None = None) -> None:
        super().__init__(fetcher)
        self.stamp_of_each, self.error = stamp, error

    def stamp_below(self, folder):
        if self.error is not None:
            raise self.error
        return ""

    def stamp(self, path):
        return self.stamp_of_each


@pytest.mark.parametrize("error", [None, RemoteError("access is denied")])
def test_where_groups_cannot_be_listed_objects_are_asked_for(place, tmp_path, error) -> None:
    expected = values(Store(place))
    for stamp, is_kept in (("1", True), ("1", True), ("2", False)):
        store = Store(place, cache=tmp_path / "cache")
        caching = store._reader.fetcher
        asked = caching.fetcher = Untold(caching.fetcher, stamp, error)
        before = len(files(tmp_path / "cache", ".data"))
        assert_same(values(store), expected)
        assert (asked.spans == []) == (is_kept and before > 0)


def test_what_nothing_is_told_of_is_not_kept_and_that_is_said(place, tmp_path) -> None:
    for _ in range(2):
        store = Store(place, cache=tmp_path / "cache")
        caching = store._reader.fetcher
        asked = caching.fetcher = Untold(caching.fetcher, "")
        with pytest.warns(UserWarning, match="tells neither ETag nor time of a.zarr") as told:
            assert_same(values(store), values(Store(place)))
        assert len(told) == 1 and asked.spans
    assert files(tmp_path / "cache", ".data") == []


def test_a_file_of_somebody_else_in_its_folder_stays(place, opened, tmp_path) -> None:
    values(opened()[0])
    foreign = files(tmp_path / "cache", ".data")[0].parent / "results.data"
    foreign.write_bytes(bytes(200_000))
    os.utime(foreign, (1, 1))
    store, _ = opened(cache_size=100_000)
    for sample in SAMPLES:
        values(store, sample)
    assert foreign.exists()
    assert store._disk_cache.used() <= 100_000


def test_nothing_is_kept_once_the_store_is_another(place, opened, tmp_path) -> None:
    store, _ = opened()
    values(store, "a")
    put_store(place, tmp_path / "work", shift={"deep/c": 1.0})
    values(store, "b")
    _, asked = opened()
    store, asked = opened()
    values(store, "a")
    assert asked.spans == []
    values(store, "b")
    assert asked.spans != []


def test_what_is_kept_is_never_put_beside_what_was_written_since(place, opened, tmp_path) -> None:
    # Random bits as float16, and no compression: all chunks lie where they lay before.
    def put(seed: int) -> None:
        settings = {"compression": {"clevel": 0}, "shuffle_seed": seed, "chunk_points": CHUNK}
        writer = StoreWriter(place, settings | {"take_over": True}, workdir=tmp_path / "work")
        points = np.arange(3 * POINTS, dtype=float).reshape(-1, 3) % 2048
        for sample in SAMPLES:
            writer.write(sample, {"volume_position": points, "volume_pressure": points[:, 0]})
        writer.finish()

    put(0)
    store, asked = opened()
    read = values(store)
    np.testing.assert_array_equal(read["volume_position"][:, :1], read["volume_pressure"])
    # As where there was no room for it any more.
    caching = store._reader.fetcher
    for file in {span.path for span in asked.spans if "pressure/c" in span.path}:
        os.unlink(caching.cache._place(caching._versions["a.zarr"], file) + ".records")
    put(1)
    try:
        read = values(store)
    except StoreError as error:
        assert "written anew" in str(error)
    else:
        np.testing.assert_array_equal(read["volume_position"][:, :1], read["volume_pressure"])


def on_disk(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def test_it_takes_no_more_room_than_it_may(place, opened, tmp_path) -> None:
    values(opened(cache=tmp_path / "one")[0])
    limit = 5 * on_disk(tmp_path / "one") // 2  # room for two samples
    store, _ = opened(cache_size=limit)
    expected = {sample: values(Store(place), sample) for sample in SAMPLES}
    for sample in ("a", "b", "a", "deep/c"):
        assert_same(values(store, sample), expected[sample])
        assert on_disk(tmp_path / "cache") <= limit
    # What was used longest ago is gone, the latest is not.
    store, asked = opened(cache_size=limit)
    values(store, "deep/c")
    assert asked.spans == []
    values(store, "b")
    assert asked.spans != []
    tiny, _ = opened(cache_size="1 kB", cache=tmp_path / "tiny")
    assert_same(values(tiny), expected["a"])
    assert on_disk(tmp_path / "tiny") <= 4096


def write_some(folder: str, limit: int, worker: int) -> None:
    cache = DiskCache(folder, limit)
    for number in range(60):
        content = bytes([number]) * 5000
        start = 5000 * number
        group = f"{number % 7:032}"
        cache.write(group, f"x/{worker % 2}", [(ByteRange("", start, start + 5000), content)])
        (found,) = cache.read(group, f"x/{worker % 2}", [ByteRange("", start, start + 5000)])
        assert found in (None, content)


def test_processes_share_it(tmp_path: Path) -> None:
    limit = 400_000
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=write_some, args=(str(tmp_path), limit, n)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert DiskCache(str(tmp_path), limit).used() <= limit


def test_what_cannot_be_written_is_told_and_costs_nothing(place, opened, monkeypatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    store, _ = opened()
    monkeypatch.setattr("aerozarr.store.read.disk_cache.os.pwrite", full)
    with pytest.warns(UserWarning, match="cannot be written to .No space left"):
        found = values(store)
    assert_same(found, values(Store(place)))


def test_what_it_cannot_be_used_for_is_told(place, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"^cache: .* cannot be a folder"):
        Store(place, cache=tmp_path / "file")
    with pytest.raises(SettingsError, match="cache_size is 'much'"):
        Store(place, cache=tmp_path / "cache", cache_size="much")
    fsspec.filesystem("memory").rm(f"{place.removeprefix('memory:/')}/checksums.tsv")
    with pytest.raises(StoreError, match=r"holds no checksums.tsv, .* snakemake \(adopt"):
        Store(place, cache=tmp_path / "cache")
    with pytest.raises(StoreError, match=r"holds no manifest.json. Check the path"):
        Store(f"{place}-mistyped", cache=tmp_path / "cache")
    put_store(str(tmp_path / "local"), tmp_path / "local-work")
    with pytest.warns(UserWarning, match="on this machine already") as told:
        store = Store(tmp_path / "local", cache=tmp_path / "other")
    assert told[0].filename == __file__
    assert values(store) and not (tmp_path / "other").exists()


def test_versions_tell_stores_and_groups_apart() -> None:
    table = {"a.zarr/zarr.json": (1, "x"), "b.zarr/zarr.json": (1, "x"), "manifest.json": (2, "y")}
    one = versions_of("s3://one", table)
    assert set(one) == {"a.zarr", "b.zarr"}
    assert len({*one.values(), *versions_of("s3://two", table).values()}) == 4
    changed = versions_of("s3://one", {**table, "a.zarr/zarr.json": (1, "z")})
    assert changed["a.zarr"] != one["a.zarr"] and changed["b.zarr"] == one["b.zarr"]
