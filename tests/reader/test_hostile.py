"""Stores that are made to do harm, servers that do not serve, and questions that make no sense."""

from __future__ import annotations

import gzip
import json
import os
import re
import resource
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from numcodecs import blosc, zstd

from aerozarr import Normalizer, Store
from aerozarr.errors import RemoteError, SettingsError, StoreError
from aerozarr.store.format.shard_index import encode_index, index_size, new_index, with_checksum
from reader.harness import CHUNK, put_json, shard
from workflow.harness import Workspace, write_sample

VELOCITY = "a, volume/velocity"
SHARD = 4 * CHUNK  # points


def change_json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_bytes())
    change(content)
    put_json(path, content)


def set_codecs(folder: Path, codecs: list[dict[str, Any]], **changes: Any) -> None:
    """Say of the volume's velocity that its chunks are encoded otherwise."""

    def change(root: dict[str, Any]) -> None:
        array = root["consolidated_metadata"]["metadata"]["volume/velocity"]
        array["codecs"][0]["configuration"]["codecs"] = codecs
        array.update(changes)

    change_json(folder / "a.zarr/zarr.json", change)


def put_chunks(path: Path, chunk: bytes, claim: int | None = None) -> None:
    """Write a shard all of whose chunks are the same bytes; the index may claim a length."""
    index = new_index(4)
    for slot in range(4):
        index[slot] = index_size(4), len(chunk) if claim is None else claim
    path.write_bytes(encode_index(index) + chunk)


LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
BLOSC = {"name": "blosc", "configuration": {"cname": "zstd", "clevel": 5, "typesize": 2}}
CRC = {"name": "crc32c"}
BOMB = bytes(2**29)


@pytest.fixture
def little_memory() -> Iterator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 64 * 2**20


@pytest.fixture(scope="module")
def bombs() -> dict[str, bytes]:
    """Half a gigabyte of zeros, as each codec makes it small."""
    header = bytearray(blosc.compress(bytes(1000), b"zstd", 5, blosc.SHUFFLE))
    struct.pack_into("<I", header, 4, 2**29)
    return {
        "gzip": gzip.compress(BOMB, 9),
        "zstd": zstd.compress(BOMB, 9),
        "blosc": bytes(header),
        "two zstd frames": zstd.compress(bytes(CHUNK * 6)) + zstd.compress(BOMB),
    }


@pytest.mark.parametrize("kind", ["gzip", "zstd", "blosc", "two zstd frames"])
def test_a_chunk_that_holds_a_thousand_times_its_rows(
    folder: Path, bombs: dict[str, bytes], kind: str, little_memory: None
) -> None:
    codec = {"name": "zstd" if "zstd" in kind else kind, "configuration": {"level": 1}}
    set_codecs(folder, [LITTLE, BLOSC if kind == "blosc" else codec])
    put_chunks(shard(folder), bombs[kind])
    with pytest.raises(StoreError, match=f"{VELOCITY}, shard 0: (chunk 0|its index)"):
        Store(folder).read("a")


def test_a_codec_whose_memory_nothing_bounds_is_refused(folder: Path) -> None:
    set_codecs(folder, [LITTLE, {"name": "numcodecs.bz2", "configuration": {}}])
    with pytest.raises(StoreError, match=r"encoded by bytes, numcodecs\.bz2"):
        Store(folder).read("a")


@pytest.mark.parametrize("claim", [2**20, 2**40, 2**63, 2**64 - 2])
def test_an_index_that_claims_long_chunks(folder: Path, claim: int, little_memory: None) -> None:
    put_chunks(shard(folder), bytes(2**20), claim)
    with pytest.raises(StoreError, match=f"{VELOCITY}, shard 0: its index says that chunk 0"):
        Store(folder).read("a")


@pytest.mark.parametrize("place", [2**40, 2**62, 2**63, 2**64 - 2])
def test_an_index_that_points_far_away(folder: Path, place: int) -> None:
    index = new_index(4)
    index[:] = place, 100
    path = shard(folder)
    path.write_bytes(encode_index(index) + path.read_bytes()[index_size(4) :])
    with pytest.raises(StoreError, match=f"{VELOCITY}, shard 0"):
        Store(folder).read("a")


def test_a_sparse_file_of_terabytes_takes_no_memory(folder: Path, little_memory: None) -> None:
    def change(manifest: dict[str, Any]) -> None:
        for sample in manifest["samples"].values():
            sample["domains"]["volume"] = {
                "n_points": 2**40,
                "chunk_points": 1,
                "shard_points": 2**40,
                "n_chunks": 2**40,
            }

    change_json(folder / "manifest.json", change)
    os.truncate(shard(folder), 2**42)
    with pytest.raises(StoreError, match=r"this machine has|chunks|manifest says"):
        Store(folder).read("a")
    with pytest.raises(StoreError, match="manifest says"):
        Store(folder).read("a", {"volume": 10})


@pytest.mark.parametrize("points", [10**13, 2**48])
def test_a_manifest_of_more_points_than_memory(
    folder: Path, points: int, little_memory: None
) -> None:
    def change(grid: dict[str, Any]) -> None:
        grid |= {"n_points": points, "n_chunks": -(-points // CHUNK)}

    change_json(folder / "manifest.json", lambda m: change(m["samples"]["a"]["domains"]["volume"]))
    change_json(
        folder / "a.zarr/zarr.json",
        lambda root: [
            array.update(shape=[points, 3])
            for name, array in root["consolidated_metadata"]["metadata"].items()
            if name.startswith("volume/")
        ],
    )
    with pytest.raises(StoreError, match=r"points are to be read.*this machine has"):
        Store(folder).read("a", {"volume": "all"})


@pytest.mark.parametrize(
    "grid",
    [
        {"n_points": -5},
        {"n_points": 0},
        {"n_points": 10**15},
        {"n_points": "NaN"},
        {"n_points": 2500.0},
        {"chunk_points": 0},
        {"n_chunks": 11},
        {"shard_points": SHARD + 1},
    ],
)
def test_numbers_that_do_not_fit(folder: Path, grid: dict[str, Any]) -> None:
    change_json(
        folder / "manifest.json", lambda m: m["samples"]["a"]["domains"]["volume"].update(grid)
    )
    with pytest.raises(StoreError, match=r"manifest\.json of .* is damaged"):
        Store(folder)


def test_chunks_larger_than_the_manifest_says(folder: Path) -> None:
    def change(root: dict[str, Any]) -> None:
        array = root["consolidated_metadata"]["metadata"]["volume/velocity"]
        array["chunk_grid"]["configuration"]["chunk_shape"] = [1000 * SHARD, 3]
        array["codecs"][0]["configuration"]["chunk_shape"] = [1000 * CHUNK, 3]

    change_json(folder / "a.zarr/zarr.json", change)
    with pytest.raises(StoreError, match=f"its chunks have {1000 * CHUNK} points"):
        Store(folder).read("a")


@pytest.mark.parametrize("separator", ["/../../", "../", "\0", "", None, 5])
def test_keys_that_lead_elsewhere(folder: Path, separator: Any) -> None:
    set_codecs(
        folder,
        [LITTLE, BLOSC, CRC],
        chunk_key_encoding={"name": "default", "configuration": {"separator": separator}},
    )
    with pytest.raises(StoreError, match=VELOCITY):
        Store(folder).read("a")


# Symbolic links


@pytest.fixture
def linked(folder: Path, tmp_path: Path) -> Path:
    """A store one of whose arrays is a link to a folder elsewhere."""
    array = folder / "a.zarr/volume/velocity"
    array.rename(tmp_path / "elsewhere")
    array.symlink_to(tmp_path / "elsewhere")
    return folder


def test_links_of_the_store_s_owner_are_followed(linked: Path, original: Path) -> None:
    read, whole = Store(linked).read("a"), Store(original).read("a")
    assert all(torch.equal(read[name], values) for name, values in whole.items())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a link to somebody else")
@pytest.mark.parametrize("proc", [True, False], ids=["by /proc", "link by link"])
def test_links_of_others_out_of_the_store_are_not(
    linked: Path, original: Path, monkeypatch: pytest.MonkeyPatch, proc: bool
) -> None:
    if not proc:
        usual = os.readlink

        def no_proc(path: Any) -> str:
            if str(path).startswith("/proc/self/fd/"):
                raise OSError
            return usual(path)

        monkeypatch.setattr(os, "readlink", no_proc)
    os.lchown(linked / "a.zarr/volume/velocity", 12345, 12345)
    with pytest.raises(StoreError, match="symbolic link out of the store"):
        Store(linked).read("a")
    # What the message advises.
    array = linked / "a.zarr/volume/velocity"
    target = array.resolve()
    array.unlink()
    shutil.copytree(target, array)
    read, whole = Store(linked).read("a"), Store(original).read("a")
    assert all(torch.equal(read[name], values) for name, values in whole.items())


def test_a_store_that_is_moved_while_it_is_open_is_read_where_its_path_leads(
    folder: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    store = Store(link)
    expected = store.read("a")
    folder.rename(tmp_path / "moved")
    link.unlink()
    link.symlink_to(tmp_path / "moved")
    assert torch.equal(store.read("a")["volume_velocity"], expected["volume_velocity"])


# What others changed meanwhile


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "workspace")
    for seed, sample in enumerate("ab"):
        write_sample(made.source / sample, seed)
    made.run()
    return made


def test_a_store_converted_anew_is_read_anew_or_says_so(workspace: Workspace) -> None:
    store = Store(workspace.store)
    before = store.read("a")
    (workspace.store / "b.zarr/surface/pressure/c/0/0").unlink()
    with pytest.raises(StoreError, match=r"b, surface/pressure, shard 0.*snakemake verify"):
        store.read("b")
    workspace.run()
    assert set(store.read("b")) == set(before)

    workspace.config["shuffle_seed"] = 5
    workspace.run()
    try:
        after = store.read("a")
    except StoreError as error:
        assert "was written anew since it was opened" in str(error)
        after = Store(workspace.store).read("a")
    again = Store(workspace.store).read("a")
    assert all(torch.equal(after[name], values) for name, values in again.items())

    for name in ("chunk_points", "shuffle_seed"):
        store = Store(workspace.store)
        store.read("a")
        workspace.config[name] = 7
        workspace.run()
        try:
            found = store.read("a")
        except StoreError as error:
            assert "was written anew since it was opened" in str(error)
        else:
            now = Store(workspace.store).read("a")
            assert all(torch.equal(found[field], values) for field, values in now.items())


def test_no_advice_to_remove_what_may_be_sound(folder: Path) -> None:
    shard(folder).write_bytes(b"")
    with pytest.raises(StoreError) as caught:
        Store(folder).read("a")
    assert "remove" not in str(caught.value)


def test_what_verify_says_of_a_flipped_byte_mends_it(workspace: Workspace) -> None:
    path = workspace.store / "b.zarr/surface/pressure/c/0/0"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match="run `snakemake verify`"):
        Store(workspace.store).read("b")
    verdict = workspace.run("verify", ok=False)
    assert "run snakemake repair, which converts each such sample anew" in verdict.output
    assert workspace.run("repair").converted == ["b"]
    Store(workspace.store).read("b")


def test_a_shard_of_another_sample_is_for_verify_to_find(workspace: Workspace) -> None:
    # It is sound in itself: no reader of one sample can tell.
    name = "surface/pressure/c/0/0"
    shutil.copy(workspace.store / f"a.zarr/{name}", workspace.store / f"b.zarr/{name}")
    verdict = workspace.run("verify", ok=False)
    assert name in verdict.output


# Servers


@pytest.fixture
def web_server(folder: Path) -> Iterator[str]:
    """Python's own web server, which serves no byte ranges."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "--directory", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        port = re.search(rb"port (\d+)", process.stdout.readline())
        assert port is not None
        yield f"http://127.0.0.1:{int(port[1])}"
    finally:
        process.terminate()
        process.wait(10)


def test_a_server_without_byte_ranges_is_named(web_server: str) -> None:
    with pytest.raises(RemoteError, match="does not serve byte ranges"):
        Store(web_server).read("a")


@pytest.fixture
def refusing_server() -> Iterator[str]:
    """A server that lets nobody in."""

    class Refuse(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


KEYS = {"key": "wrong", "secret": "wrong-secret"}


def test_wrong_credentials_are_one_clear_line(refusing_server: str) -> None:
    options = {"s3": {**KEYS, "endpoint_url": refusing_server}}
    with pytest.raises(RemoteError, match="access is denied") as caught:
        Store("s3://bucket/store", options)
    assert "\n" not in str(caught.value)
    assert "wrong-secret" not in str(caught.value)


def test_a_wrong_endpoint_is_one_clear_line() -> None:
    options = {"s3": {**KEYS, "endpoint_url": "http://127.0.0.1:9"}}
    with pytest.raises(RemoteError, match="the connection failed") as caught:
        Store("s3://bucket/store", options)
    assert "\n" not in str(caught.value)


def test_options_of_one_protocol_need_no_protocol(refusing_server: str) -> None:
    with pytest.raises(RemoteError, match="access is denied"):
        Store("s3://bucket/store", {**KEYS, "endpoint_url": refusing_server})


@pytest.mark.parametrize("place", ["folder", "zip://x::s3://bucket/x.zip"])
def test_options_of_no_protocol_that_can_be_told_are_refused_by_name(place: str) -> None:
    with pytest.raises(SettingsError, match=r"'anon' is no protocol.*'s3': \{'anon'"):
        Store(place, {"anon": True})


# Questions


@pytest.mark.parametrize("points", [12, "all", ["surface"]])
def test_points_that_are_not_by_domain_say_what_is_wanted(original: Path, points: Any) -> None:
    with pytest.raises(TypeError, match=r"points=\{'surface': 4096, 'volume': 4096\}"):
        Store(original).read("a", points)


@pytest.mark.parametrize("count", [0.5, "many", True, [1]])
def test_a_number_of_points_that_is_none(original: Path, count: Any) -> None:
    with pytest.raises(StoreError, match="is no number of points of the surface"):
        Store(original).read("a", {"surface": count})


def test_all_points(original: Path) -> None:
    store = Store(original)
    everything = store.read("a", {"surface": "all"})
    assert torch.equal(everything["surface_pressure"], store.read("a")["surface_pressure"])
    with pytest.raises(StoreError, match=r"for all: \{'surface': 'all'\}"):
        store.read("a", {"surface": 10**6})


@pytest.mark.parametrize("found", [7, "0.5", ["0.5"], [[0.5]], {"0": 1}])
def test_statistics_that_are_no_numbers(folder: Path, found: Any) -> None:
    change_json(folder / "statistics.json", lambda s: s.update(surface_pressure_mean=found))
    (folder / "statistics.train.json").unlink()
    normalizer = Normalizer.of(Store(folder))
    with pytest.raises(StoreError, match="'surface_pressure_mean' is no list of numbers"):
        normalizer.normalize("surface_pressure", torch.zeros(3, 1))


def test_a_skipped_sample_says_why(workspace: Workspace) -> None:
    folder = workspace.source / "c"
    shutil.copytree(workspace.source / "b", folder)
    torch.save(torch.zeros(3, 3), folder / "points.pt")
    workspace.run(ok=None)
    with pytest.raises(StoreError, match=r"no sample 'c': it was skipped.*rows"):
        Store(workspace.store).read("c")
    with pytest.raises(StoreError, match=r"no sample 'd'.*Store.samples lists them"):
        Store(workspace.store).read("d")


def test_checksums_can_be_left_out(workspace: Workspace) -> None:
    with_checksums = Store(workspace.store).read("a")
    size = (workspace.store / "a.zarr/surface/pressure/c/0/0").stat().st_size
    n_chunks = json.loads((workspace.store / "manifest.json").read_bytes())["samples"]["a"][
        "domains"
    ]["surface"]["n_chunks"]
    workspace.config["chunk_checksums"] = False
    assert workspace.run().converted == ["a", "b"]
    path = workspace.store / "a.zarr/surface/pressure/c/0/0"
    assert path.stat().st_size == size - 4 * n_chunks
    without = Store(workspace.store).read("a")
    assert all(torch.equal(without[name], values) for name, values in with_checksums.items())


def test_the_checksum_of_this_test_is_the_codec_s() -> None:
    assert with_checksum(b"123456789")[-4:] == (0xE3069283).to_bytes(4, "little")
