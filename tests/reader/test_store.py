"""Reading a store that the workflow wrote, wherever it is."""

from __future__ import annotations

import json
import math
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr

import aerozarr
from aerozarr import Store
from aerozarr.errors import SettingsError, StoreError
from aerozarr.filesystems.byte_ranges import ByteRange
from reader.harness import (
    CHUNK,
    SURFACE,
    VOLUME,
    Place,
    assert_aligned,
    copy_to,
    flip,
    put_json,
    recorded,
    shard,
)
from workflow.harness import REPOSITORY

ALL = {"surface": SURFACE, "volume": VOLUME}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stored(folder: Path, sample: str, array: str) -> np.ndarray:
    """What zarr-python reads."""
    return np.asarray(zarr.open_array(folder / f"{sample}.zarr" / array, mode="r")[:])


# Wherever the store is


def test_a_store_says_what_is_in_it(place: Place) -> None:
    store = place.open()
    assert store.samples == ["a", "b", "deep/c"]
    assert store.domains == ["surface", "volume"]
    assert store.fields == [
        "surface_position",
        "surface_pressure",
        "volume_position",
        "volume_velocity",
    ]
    assert store.splits == {"train": ("b", "a"), "test": ("deep/c",)}
    assert store.n_points("deep/c", "volume") == VOLUME
    assert store.statistics()["surface_pressure_count"] == 3 * SURFACE
    assert store.statistics("train")["surface_pressure_count"] == 2 * SURFACE


@pytest.mark.parametrize("whole_chunks", [False, True])
def test_the_rows_of_a_draw_belong_together(place: Place, whole_chunks: bool) -> None:
    store = place.open()
    points = {"surface": 300, "volume": 1500}
    for seed in range(10):
        draw = store.read("deep/c", points, generator=generator(seed), whole_chunks=whole_chunks)
        assert {name: values.shape for name, values in draw.items()} == {
            "surface_position": (300, 3),
            "surface_pressure": (300, 1),
            "volume_position": (1500, 3),
            "volume_velocity": (1500, 3),
        }
        assert len(draw["volume_position"][:, 0].unique()) == 1500
        assert_aligned(draw)


def test_all_points_are_read_as_they_are_stored(place: Place, original: Path) -> None:
    for draw in (place.open().read("b"), place.open().read("b", {"surface": None, "volume": None})):
        for name, values in draw.items():
            array = "/".join(name.split("_"))
            np.testing.assert_array_equal(values.numpy(), stored(original, "b", array))
            assert values.numpy().dtype == stored(original, "b", array).dtype


def test_values_go_where_the_caller_says(original: Path) -> None:
    store = Store(original)
    drawn = store.subsample("b", {"volume": 700}, ["volume_velocity"], generator(1))
    (expected,) = store.read_subsamples([drawn])
    for into in (
        torch.empty(700, 3, dtype=torch.float64),
        torch.empty(700, 3, dtype=torch.bfloat16),
        torch.empty(700, 6)[:, ::2],  # numpy could have it in a copy only, which would be lost
    ):
        (read,) = store.read_subsamples([drawn], [{"volume_velocity": into}])
        assert read["volume_velocity"] is into
        assert torch.equal(into, expected["volume_velocity"].to(into.dtype))


def test_a_generator_decides_the_draw(place: Place) -> None:
    store = place.open()
    first, again, other = (
        store.read("a", {"volume": 700}, generator=generator(seed)) for seed in (1, 1, 2)
    )
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first["volume_position"], other["volume_position"])


def test_without_a_generator_torchs_own_decides(original: Path) -> None:
    store = Store(original)
    torch.manual_seed(3)
    first = store.read("a", {"volume": 700})
    torch.manual_seed(3)
    torch.testing.assert_close(first, store.read("a", {"volume": 700}), rtol=0, atol=0)


def test_only_what_is_asked_for_is_read(place: Place) -> None:
    store = place.open()
    assert list(store.read("a", {"volume": 10})) == ["volume_position", "volume_velocity"]
    assert list(store.read("a", ALL, ["volume_velocity"])) == ["volume_velocity"]
    recorder = recorded(store)
    store.read("a", {"surface": 10}, ["surface_pressure"])
    paths = {span.path for spans in recorder.rounds for span in spans}
    shards = {"a.zarr/surface/pressure/c/0/0", "a.zarr/volume/velocity/c/0/0"}
    assert paths & shards == {"a.zarr/surface/pressure/c/0/0"}
    assert not any("position" in path or "volume" in path for path in paths)


def test_a_missing_shard_is_an_error_everywhere(
    folder: Path, place: Place, request: pytest.FixtureRequest
) -> None:
    shard(folder, "volume/velocity", 1).unlink()
    endpoint = request.getfixturevalue("s3_endpoint") if "s3" in place.name else None
    store = copy_to(folder, place.name, endpoint).open()
    with pytest.raises(StoreError, match="a, volume/velocity, shard 1: it is not there"):
        store.read("a")


@pytest.mark.parametrize("kept", [0, 3, 100, -1])
def test_a_shard_cut_short_is_an_error_everywhere(
    folder: Path, place: Place, request: pytest.FixtureRequest, kept: int
) -> None:
    path = shard(folder, "volume/velocity", 1)
    path.write_bytes(path.read_bytes()[:kept])
    endpoint = request.getfixturevalue("s3_endpoint") if "s3" in place.name else None
    store = copy_to(folder, place.name, endpoint).open()
    with pytest.raises(StoreError, match="a, volume/velocity, shard 1: it ends before"):
        store.read("a")


def test_a_store_that_is_not_there_is_an_error_everywhere(
    tmp_path: Path, place: Place, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "empty").mkdir()
    endpoint = request.getfixturevalue("s3_endpoint") if "s3" in place.name else None
    with pytest.raises(StoreError, match=r"holds no manifest\.json"):
        copy_to(tmp_path / "empty", place.name, endpoint).open()


# How it is read


def test_a_draw_costs_metadata_and_indexes_at_once_and_then_one_range_an_array(
    original: Path,
) -> None:
    store = Store(original)
    recorder = recorded(store)
    store.read("a", {"surface": 10, "volume": 10}, generator=generator(2))
    (metadata, *indexes), chunks = recorder.rounds
    assert metadata == ByteRange("a.zarr/zarr.json")
    assert [span.start for span in indexes] == [0] * 4
    assert [span.path for span in chunks] == [span.path for span in indexes]
    recorder.rounds.clear()
    store.read("a", {"surface": 10, "volume": 10}, generator=generator(2))
    assert recorder.rounds == [chunks]


@pytest.mark.parametrize("whole_chunks", [False, True])
def test_no_byte_is_fetched_but_of_the_chunks_that_hold_the_points(
    original: Path, whole_chunks: bool
) -> None:
    store = Store(original)
    store.read("a")  # metadata and indexes are kept from here on
    recorder = recorded(store)
    rows = {row: place for place, row in enumerate(stored(original, "a", "volume/position")[:, 0])}
    for seed in range(20):
        recorder.fetched = 0
        draw = store.read(
            "a", {"volume": 600}, generator=generator(seed), whole_chunks=whole_chunks
        )
        places = {rows[row] // CHUNK for row in draw["volume_position"][:, 0].numpy()}
        expected = 0
        for array in ("volume/position", "volume/velocity"):
            for number in places:
                content = shard(original, array, number // 4).read_bytes()
                index = np.frombuffer(content[: 16 * 4], "<u8").reshape(4, 2)
                expected += int(index[number % 4, 1])
        assert recorder.fetched == expected
        # 600 points fill 3 chunks of 256 at least.
        assert len(places) <= 4


def test_what_is_kept_of_indexes_and_metadata_has_a_limit(original: Path) -> None:
    store = Store(original, cache_bytes=0)
    recorder = recorded(store)
    for sample in ("a", "b", "a"):
        assert_aligned(store.read(sample, {"volume": 2000}))
    assert store._reader.indexes.used < 1000
    fetched = [span.path for spans in recorder.rounds for span in spans]
    assert [path for path in fetched if "zarr.json" in path] == [
        f"{sample}.zarr/zarr.json" for sample in ("a", "b", "a")
    ]


@pytest.mark.parametrize("whole_chunks", [False, True])
def test_every_point_is_as_likely_as_any_other(original: Path, whole_chunks: bool) -> None:
    store = Store(original)
    chance, subsamples, count = generator(0), 3000, 300
    taken = torch.zeros(SURFACE, dtype=torch.int64)
    for _ in range(subsamples):
        drawn = store.read(
            "a", {"surface": count}, ["surface_position"], chance, whole_chunks=whole_chunks
        )
        taken[drawn["surface_position"][:, 0].long()] += 1
    share = count / SURFACE
    deviation = (subsamples * share * (1 - share)) ** 0.5
    assert (taken - subsamples * share).abs().max() < 5 * deviation


@pytest.mark.parametrize("place", ["folder", "s3", "obstore-folder", "obstore-s3"], indirect=True)
def test_a_pickled_store_opens_again_in_another_process(place: Place) -> None:
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).read('a').keys())"
    path = os.pathsep.join((str(REPOSITORY / "scripts"), str(REPOSITORY / "tests")))
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(place.open()),
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        check=False,
        cwd="/",
    )
    assert b"volume_velocity" in done.stdout, done.stderr.decode()


def test_a_relative_path_holds_in_any_working_directory(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(original.parent)
    store = Store(original.name)
    monkeypatch.chdir(tmp_path)
    assert store.read("a", {"surface": 1}).keys() == {"surface_position", "surface_pressure"}
    assert pickle.loads(pickle.dumps(store)).samples == store.samples


def test_credentials_are_not_shown(place: Place) -> None:
    assert "not-a-secret" not in repr(place.open())


def test_the_package_imports_next_to_nothing_until_the_reader_is_used() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY / 'scripts')!r}); import aerozarr;"
        "print(sorted({'torch', 'numpy', 'zarr', 'typing', 'collections'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sample": "deep/d"}, "no sample 'deep/d'. Did you mean deep/c?"),
        ({"points": {"volumes": 1}}, "no domain 'volumes'. Did you mean volume?"),
        ({"fields": ["volume_speed"]}, "no field 'volume_speed'. Did you mean volume_velocity?"),
        (
            {"points": {"surface": 1}, "fields": ["volume_velocity"]},
            "volume_velocity is of the domain volume, of which no points are asked for",
        ),
        ({"points": {"surface": SURFACE + 1}}, f"{SURFACE + 1} points of the surface of a were"),
        (
            {"points": {"surface": 0}},
            f"0 points of the surface of a were asked for; it has {SURFACE}",
        ),
    ],
    ids=["sample", "domain", "field", "field without points", "too many points", "no points"],
)
def test_what_a_store_does_not_have_is_refused_by_name(
    original: Path, arguments: dict, message: str
) -> None:
    with pytest.raises(StoreError, match=re.escape(message)):
        Store(original).read(**{"sample": "a", **arguments})


def test_another_format_version_is_refused_with_both_numbers(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    put_json(folder / "manifest.json", manifest | {"format_version": 7})
    with pytest.raises(StoreError, match="format version 7, this aerozarr reads version 1"):
        Store(folder)


def test_a_damaged_manifest_is_refused(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"format_version": 1')
    with pytest.raises(StoreError, match=r"manifest\.json of .* is damaged"):
        Store(folder)


def test_a_url_that_cannot_be_opened_is_refused() -> None:
    with pytest.raises(SettingsError, match="nosuch"):
        Store("nosuch://x")


def test_statistics_that_are_not_there_are_refused_by_name(folder: Path) -> None:
    with pytest.raises(StoreError, match=r"holds no statistics\.test\.json.*snakemake adopt"):
        Store(folder).statistics("test")


def test_statistics_of_a_familys_split_have_a_name_of_their_own(place: Place) -> None:
    assert place.open().statistics("drag/test") == {"of": "drag/test"}


def test_statistics_are_of_any_samples(place: Place) -> None:
    store = place.open()
    assert store.statistics(store.samples) == store.statistics()
    ids = ["deep/c", "a"]
    found, alone = store.statistics(ids), store.statistics(["a"])
    assert found["surface_position_count"] == 2 * SURFACE
    assert alone["surface_position_count"] == SURFACE
    assert alone["surface_position_mean"] != found["surface_position_mean"]
    values = torch.cat([store.read(sample)["surface_position"] for sample in ids]).double()
    assert found["surface_position_mean"] == pytest.approx(values.mean(0).tolist(), rel=1e-9)
    assert found["surface_position_std"] == pytest.approx(values.std(0).tolist(), rel=1e-9)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "is empty"),
        (["a", "dep/c"], r"no sample 'dep/c'\. Did you mean deep/c\?"),
        (["a", "b", "a"], "names 'a' twice"),
        ([3], "no sample 3"),
    ],
)
def test_statistics_are_refused_of(folder: Path, samples: list[str], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        Store(folder).statistics(samples)


def test_statistics_of_samples_need_their_moments(folder: Path) -> None:
    (folder / "moments.jsonl").unlink()
    store = Store(folder)
    with pytest.raises(StoreError, match=r"holds no moments\.jsonl.*run snakemake"):
        store.statistics(["a"])
    assert store.statistics()["surface_pressure_count"] == 3 * SURFACE


def changed_line(number: int, **changes: object) -> Callable[[list[Any]], object]:
    """Change what a line says of the pressure."""
    return lambda lines: lines[number]["fields"]["surface_pressure"].update(changes)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: lines.pop(1), "it lacks b, which manifest.json lists"),
        (lambda lines: lines.append(lines[0]), "line 4: a has another line already"),
        (lambda lines: lines[0].pop("id"), "line 1: id: Field required"),
        (lambda lines: lines[1]["fields"].pop("surface_pressure"), "line 2, b, surface_pressure"),
        (changed_line(0, mean=[0.0, 0.0]), "line 1, a, surface_pressure: .* 1 numbers"),
        (changed_line(0, rows=3), "line 1, a, surface_pressure: .*not as many as its rows"),
        (changed_line(0, rows=2**70), "line 1: fields: surface_pressure: rows"),
        (changed_line(0, low=[None]), "line 1, a, surface_pressure: low and high"),
        (changed_line(0, m2=[-1.0]), "line 1: fields: surface_pressure: m2: 0"),
        (changed_line(0, mean=["1"]), "line 1: fields: surface_pressure: mean: 0"),
        (changed_line(0, mean=[math.inf]), "line 1: fields: surface_pressure: mean: 0"),
        (changed_line(0, finite=[True]), "line 1: fields: surface_pressure: finite: 0"),
    ],
)
def test_moments_that_are_damaged(
    folder: Path, damage: Callable[[list[Any]], object], message: str
) -> None:
    path = folder / "moments.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    damage(lines)
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    store = Store(folder)
    with pytest.raises(StoreError, match=rf"moments\.jsonl of .* is damaged: {message}"):
        store.statistics(store.samples)


@pytest.mark.parametrize("content", [b"\n", b"[" * 10_000 + b"\n", b"\xff\n", b"null\n", b"{}"])
def test_moments_that_are_no_moments(folder: Path, content: bytes) -> None:
    (folder / "moments.jsonl").write_bytes(content)
    with pytest.raises(StoreError, match=r"moments\.jsonl of .* is damaged: "):
        Store(folder).statistics(["a"])


def test_a_store_without_splits_has_none(folder: Path) -> None:
    (folder / "splits.json").unlink()
    assert Store(folder).splits == {}


def damage_group(folder: Path) -> None:
    shutil.rmtree(folder / "a.zarr")


def damage_metadata(folder: Path) -> None:
    (folder / "a.zarr/zarr.json").write_text("{")


def damage_index(folder: Path) -> None:
    flip(shard(folder), 20)


def damage_chunk(folder: Path) -> None:
    flip(shard(folder), 16 * 4 + 4 + 5)  # the size in the first chunk's Blosc header


def swap_shards(folder: Path) -> None:
    shutil.copy(shard(folder, "volume/position"), shard(folder))


def other_points(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["samples"]["a"]["domains"]["volume"] |= {"n_points": 2000, "n_chunks": 8}
    put_json(folder / "manifest.json", manifest)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_group, "a, zarr.json: it is not there"),
        (damage_metadata, "a, zarr.json: it is no JSON"),
        (damage_index, "a, volume/velocity, shard 0: it has a damaged index"),
        (
            damage_chunk,
            "a, volume/velocity, shard 0: chunk 0 is damaged: its checksum does not fit",
        ),
        (swap_shards, "a, volume/velocity, shard 0: chunk 0 cannot be decoded"),
        (other_points, "its shape is (2500, 3), the manifest says (2000, 3)"),
    ],
)
def test_what_is_damaged_is_an_error_that_says_where(folder: Path, damage, message: str) -> None:
    damage(folder)
    with pytest.raises(StoreError, match=re.escape(message)):
        Store(folder).read("a")


def test_damage_to_one_sample_leaves_the_others_readable(folder: Path) -> None:
    damage_group(folder)
    assert_aligned(Store(folder).read("b"))


def test_fill_missing_reads_what_is_missing_as_zarr_does(folder: Path) -> None:
    shard(folder, "volume/velocity", 1).unlink()
    velocity = Store(folder, fill_missing=True).read("a")["volume_velocity"].numpy()
    np.testing.assert_array_equal(velocity, stored(folder, "a", "volume/velocity"))
    assert not velocity[4 * CHUNK : 8 * CHUNK].any()


def test_another_dtype_than_the_manifests_is_an_error(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    for domain in manifest["domains"].values():
        for array in domain["arrays"].values():
            array["dtype"] = "float64"
    put_json(folder / "manifest.json", manifest)
    with pytest.raises(StoreError, match=r"it holds float\d\d, the manifest says float64"):
        Store(folder).read("a")


def test_a_pipe_in_place_of_a_shard_is_missing_and_hangs_nobody(folder: Path) -> None:
    shard = folder / "a.zarr/volume/velocity/c/0/0"
    shard.unlink()
    os.mkfifo(shard)
    with pytest.raises(StoreError, match="it is not there"):
        Store(folder).read("a")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_is_read_by_several_threads(folder: Path, tmp_path: Path, kind: str) -> None:
    archive = shutil.make_archive(str(tmp_path / "store"), kind, folder)
    expected = Store(folder).read("a")
    store = Store(f"{kind}://::file://{archive}")
    with ThreadPoolExecutor(8) as threads:
        for read in threads.map(lambda _: store.read("a"), range(40)):
            assert all(torch.equal(read[name], values) for name, values in expected.items())


def test_public_names_are_shown_and_there() -> None:
    assert {"Store", "StoreError", "SettingsError", "RemoteError", "SkipSample"} <= {*dir(aerozarr)}
    assert all(hasattr(aerozarr, name) for name in dir(aerozarr))
