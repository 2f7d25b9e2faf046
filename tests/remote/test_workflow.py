"""Whole runs from and to buckets of a real S3 server."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from aerozarr.config.load_settings import load_settings
from aerozarr.source.datasets import resolve_dataset
from aerozarr.source.open_source import open_source
from aerozarr.store.write import open_root
from remote.proxy import Proxy, of_kind
from remote.s3 import Bucket, hashes, make_bucket, use
from remote.servers import free_port, process
from workflow.harness import FILEMAP, Workspace, digests, tensors, write_sample

SAMPLES = ("a", "b", "deep/c")


@pytest.fixture(scope="session")
def local_run(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The samples, converted from folder to folder."""
    root = tmp_path_factory.mktemp("local") / "workspace"
    for seed, name in enumerate(SAMPLES):
        write_sample(root / "source" / name, seed)
    made = Workspace(root)
    made.run()
    return made


@pytest.fixture
def source(local_run: Workspace, bucket: Bucket) -> Bucket:
    """A bucket that holds the same samples, byte for byte."""
    for path in local_run.source.rglob("*.pt"):
        bucket.put(f"source/{path.relative_to(local_run.source)}", path.read_bytes())
    return bucket


def test_from_bucket_to_bucket_and_again_and_changed(
    workspace: Workspace, source: Bucket, local_run: Workspace
) -> None:
    use(workspace, source, source_url="source", store="store")
    proxy = source.proxy
    workspace.run()
    assert hashes(source.objects("store")) == digests(local_run.store)
    # Each file was read once, with one request, and nothing was asked before.
    read = [path for path in proxy.paths("GET") if "/source/" in path]
    assert sorted(read) == sorted(
        f"/{source.name}/source/{name}/{file}" for name in SAMPLES for file in tensors(0)
    )
    lease = f"/{source.name}/store/.aerozarr/lease.json"
    # s3fs asks so when it lists a store in which nothing is yet.
    assert set(proxy.paths("HEAD")) <= {f"/{source.name}/store"}
    assert proxy.paths("DELETE") == [lease]
    # Each object was written once, the root of a group after its other objects.
    written = [path for path in proxy.paths("PUT") if path != lease]
    # But for the record of the store's runs, which has another mark after the merge.
    assert written.pop() == f"/{source.name}/store/.aerozarr/written.json"
    assert len(written) == len(set(written)) == len(source.objects("store"))
    for name in SAMPLES:
        group = [path for path in written if f"/store/{name}.zarr/" in path]
        assert group[-1].endswith(f"/store/{name}.zarr/zarr.json")
    assert written[-1].endswith("/store/manifest.json")

    proxy.mend()
    again = workspace.run()
    assert again.nothing_to_do
    assert proxy.counts().keys() <= {"LIST", "GET"}
    assert len(proxy.requests) <= 6, list(map(str, proxy.requests))

    changed = tensors(0)["U.pt"] + 1  # of the same size: the ETag tells
    source.put_sample("source/a", 0, U=changed)
    source.put_sample("source/new", 9)
    run = workspace.run()
    assert run.converted == ["a", "new"]
    manifest = json.loads(source.get("store/manifest.json"))
    assert list(manifest["samples"]) == ["a", "b", "deep/c", "new"]

    source.remove("source/b/p.pt")
    run = workspace.run()
    assert run.converted == []
    assert list(json.loads(source.get("store/manifest.json"))["samples"]) == ["a", "deep/c", "new"]
    assert "b: p.pt: is not there" in run.output
    source.remove("store/a.zarr/zarr.json")
    assert workspace.run().converted == ["a"]


def test_from_bucket_to_folder(workspace: Workspace, source: Bucket, local_run: Workspace) -> None:
    use(workspace, source, source_url="source")
    workspace.run()
    assert digests(workspace.store) == digests(local_run.store)
    assert workspace.run().nothing_to_do
    # No copy of a file is staged on this machine.
    assert not list(workspace.root.rglob("*.pt"))


def visible(bucket: Bucket) -> set[str]:
    return {path for path in bucket.objects("store") if path.endswith(".zarr/zarr.json")}


def test_a_run_to_a_bucket_that_is_killed_leaves_nothing_half_written_and_goes_on(
    workspace: Workspace, bucket: Bucket, local_run: Workspace
) -> None:
    workspace.config["source_url"] = str(local_run.source)
    use(workspace, bucket, store="store")
    expected = digests(local_run.store)
    proxy = bucket.proxy
    proxy.latency = 0.05
    for puts in (3, 15):  # within a first sample, within a later one
        bucket.proxy.mend()
        assert workspace.kill_when(lambda puts=puts: proxy.counts()["PUT"] >= puts)
        time.sleep(0.5)  # for what was on its way
        found = hashes(bucket.objects("store"))
        assert "manifest.json" not in found
        for root in visible(bucket):
            group = root.removesuffix("zarr.json")
            whole = {path: digest for path, digest in expected.items() if path.startswith(group)}
            assert whole.items() <= found.items()
    proxy.latency = 0
    workspace.run()
    assert hashes(bucket.objects("store")) == expected


def test_other_settings_replace_every_group_and_leave_no_shard_of_the_old_grid(
    workspace: Workspace, bucket: Bucket, local_run: Workspace, tmp_path: Path
) -> None:
    workspace.config["source_url"] = str(local_run.source)
    workspace.config.update(chunk_points=8, shard_points=16)
    use(workspace, bucket, store="store")
    workspace.run()
    assert any("/c/1/0" in path for path in bucket.objects("store"))
    del workspace.config["chunk_points"], workspace.config["shard_points"]
    workspace.run()
    assert hashes(bucket.objects("store")) == digests(local_run.store)


def test_a_broken_sample_is_left_out_and_costs_no_writing(
    workspace: Workspace, source: Bucket
) -> None:
    source.put_sample("source/b", 1, U=b"not a tensor")
    source.proxy.mend()
    use(workspace, source, source_url="source", store="store")
    run = workspace.run()
    assert "b: volume_velocity: U.pt" in run.output
    assert not [path for path in source.proxy.paths("PUT") if "b.zarr" in path]
    assert list(json.loads(source.get("store/manifest.json"))["samples"]) == ["a", "deep/c"]


# Dataset roots ---------------------------------------------------------------------------------


def saved(seed: int, *shape: int) -> bytes:
    stream = io.BytesIO()
    torch.save(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), stream)
    return stream.getvalue()


def put_designs(bucket: Bucket) -> None:
    """A dataset with id lists, a blacklist and categories, as DrivAerNet has them."""
    lists = {
        "train_design_ids.txt": "E_S_2\nE_S_1\nF_S_1\nE_S_3\n",
        "val_design_ids.txt": "E_S_4\n",
        "test_design_ids.txt": "F_S_2\n",
        "blacklist.txt": "dir/E_S_3.vtk\n",
        "blacklist2.txt": "E_S_4\n",
    }
    for name, text in lists.items():
        bucket.put(f"root/{name}", text.encode())
    for seed, design in enumerate(("E_S_1", "E_S_2", "E_S_3", "E_S_4", "F_S_1", "F_S_2")):
        bucket.put_sample(f"root/{design}", seed)


def listed(bucket: Bucket, **config: object) -> list[tuple[str, str]]:
    place = {} if "source_url" in config else {"source_root": f"{bucket.url}/root"}
    options = {"storage_options": bucket.storage_options}
    settings = load_settings({**place, **options, **config})
    url = settings.source_root or settings.source_url
    assert url
    listing = open_source(settings, resolve_dataset(settings), url).list()
    return [(sample.split, sample.id) for sample in listing.samples]


def test_id_lists_blacklists_categories_and_parts_of_splits_work_in_a_bucket(
    bucket: Bucket,
) -> None:
    put_designs(bucket)
    of = {"dataset": "drivaernet", "filemap": FILEMAP}
    assert listed(bucket, **of) == [
        *(("train", design) for design in ("E_S_2", "E_S_1", "F_S_1")),
        ("test", "F_S_2"),
    ]
    assert listed(bucket, **of, splits=["train[1:]"]) == [("train", "E_S_1"), ("train", "F_S_1")]
    assert listed(bucket, **of, categories=["F_S"]) == [("train", "F_S_1"), ("test", "F_S_2")]
    bucket.put("lists/mine.txt", b"E_S_1\n")
    own = {"train": f"{bucket.url}/lists/mine.txt", "val": "val_design_ids.txt"}
    assert listed(bucket, **of, split_files=own) == [("train", "E_S_1")]


def test_a_root_is_listed_as_a_whole_and_not_sample_by_sample(bucket: Bucket) -> None:
    for number in range(1, 31):
        bucket.put_sample(f"root/run_{number}", number)
    bucket.proxy.mend()
    found = listed(bucket, dataset="drivaerml", filemap=FILEMAP)
    assert {sample for _, sample in found} == {f"run_{number}" for number in range(1, 31)}
    assert len(bucket.proxy.requests) <= 5, list(map(str, bucket.proxy.requests))


def test_a_preset_with_folders_is_converted_from_a_bucket(
    workspace: Workspace, bucket: Bucket
) -> None:
    filemap = resolve_dataset(
        load_settings({"dataset": "shapenet_car", "source_root": "x"})
    ).filemap
    for number, sample in enumerate(("param0/x", "param1/y", "param1/z")):
        for attribute, file in filemap.items():
            points = 30 if attribute.startswith("surface") else 50
            width = 1 if attribute.endswith(("pressure", "surface_area", "to_surface")) else 3
            bucket.put(f"root/preprocessed/{sample}/{file}", saved(number, points, width))
    workspace.config = {"dataset": "shapenet_car", "splits": ["train", "test"]}
    use(workspace, bucket, source_root="root", store="store")
    workspace.run()
    manifest = json.loads(bucket.get("store/manifest.json"))
    assert list(manifest["samples"]) == ["param1/y", "param1/z", "param0/x"]


# Paging ----------------------------------------------------------------------------------------


@pytest.fixture
def paged(tmp_path: Path) -> Iterator[Bucket]:
    """A bucket of a server that lists three objects at a time."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    pages = {"MOTO_S3_DEFAULT_MAX_KEYS": "3"}
    with process(command, port, tmp_path / "log", env=pages), Proxy(port) as proxy:
        yield make_bucket(proxy)


def test_listings_of_many_pages_are_read_to_their_end(paged: Bucket) -> None:
    for number in range(5):
        paged.put_sample(f"root/run_{number + 1}", number)
        for path in ("zarr.json", "volume/zarr.json", "volume/velocity/c/0/0"):
            paged.put(f"store/run_{number}.zarr/{path}", b"{}")
    paged.proxy.mend()
    found = listed(paged, source_url=f"{paged.url}/root", filemap=FILEMAP)
    assert len(found) == 5
    assert paged.proxy.counts() == {"LIST": 7}  # 20 objects
    store = open_root(f"{paged.url}/store", paged.storage_options)
    assert store.group_ids() == {f"run_{number}" for number in range(5)}
    store.remove_group("run_1")
    assert store.group_ids() == {"run_0", "run_2", "run_3", "run_4"}
    # A fault on a later page is ridden out, and does not cut the listing short.
    paged.proxy.mend()
    paged.proxy.answer(
        lambda r: of_kind("LIST")(r) and "continuation-token" in r.query, 503, "SlowDown", times=2
    )
    assert len(store.group_ids()) == 4


def test_markers_of_folders_are_no_files_of_a_store(workspace: Workspace, bucket: Bucket) -> None:
    write_sample(workspace.source / "a", 0)
    use(workspace, bucket, store="store")
    workspace.run()
    for folder in ("store/", "store/a.zarr/", "store/a.zarr/volume/", "store/other/"):
        bucket.put(folder, b"")  # as consoles do for a folder that somebody makes
    workspace.run("verify")
    assert workspace.run().nothing_to_do


def test_a_run_that_failed_does_not_keep_others_from_the_bucket(
    workspace: Workspace, bucket: Bucket
) -> None:
    write_sample(workspace.source / "a", 0, U=torch.zeros(3, 3))
    use(workspace, bucket, store="store")
    workspace.run(ok=False)
    lease = "store/.aerozarr/lease.json"
    assert any(f"/{lease}" in path for path in bucket.proxy.paths("PUT"))
    assert lease not in bucket.objects("")
