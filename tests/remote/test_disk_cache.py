"""The reader's cache before an S3 server: what it asks for again, and of whom."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from obstore.store import S3Store

from aerozarr import ChunkDataset, Store, StoreWriter
from remote.s3 import KEY, SECRET, Bucket
from workflow.harness import REPOSITORY

POINTS, CHUNK = 2000, 256
SAMPLES = ("a", "b", "c")
IN_ANOTHER_PROCESS = """
import pickle, sys
store = pickle.load(sys.stdin.buffer)
print(*(float(store.read(sample)["volume_pressure"].sum()) for sample in store.samples))
"""


def upload(bucket: Bucket, folder: Path) -> None:
    writer = StoreWriter(folder, {"chunk_points": CHUNK, "shard_points": 4 * CHUNK})
    for number, sample in enumerate(SAMPLES):
        points = np.random.default_rng(number).random((POINTS, 3))
        writer.write(sample, {"volume_position": points, "volume_pressure": points[:, 0]})
    writer.finish()
    for path in folder.rglob("*"):
        if path.is_file():
            bucket.put(f"store/{path.relative_to(folder).as_posix()}", path.read_bytes())


def of_groups(bucket: Bucket) -> list[str]:
    """Return the requests for what groups hold since this was last asked."""
    found = [str(request) for request in bucket.proxy.requests if ".zarr/" in request.path]
    bucket.proxy.requests.clear()
    return found


def test_the_second_epoch_asks_for_no_chunk_in_any_process(bucket: Bucket, tmp_path: Path) -> None:
    upload(bucket, tmp_path / "store")
    options = bucket.storage_options
    plain = Store(tmp_path / "store")
    store = Store(f"{bucket.url}/store", options, cache=tmp_path / "cache", cache_size="1 GB")
    dataset = ChunkDataset(store, points={"volume": "all"})
    for item, sample in zip(dataset, SAMPLES, strict=False):
        expected = plain.read(sample)["volume_pressure"].float()
        assert torch.equal(item["volume_pressure"], expected)
    # Each group is listed once in a process.
    assert len([each for each in bucket.proxy.requests if each.kind == "LIST"]) == len(SAMPLES)
    # Metadata, and of two arrays in two shards each the index and one range.
    assert len(of_groups(bucket)) == len(SAMPLES) * (1 + 2 * 2 * 2)

    again = Store(f"{bucket.url}/store", options, cache=tmp_path / "cache")
    part = ChunkDataset(again, points={"volume": 1000})
    loader = part.loader(batch_size=1, num_workers=2, shuffle=True)
    assert sum(len(batch["volume_pressure"]) for batch in loader) == len(SAMPLES)
    assert of_groups(bucket) == []

    answer = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS],
        cwd=REPOSITORY / "scripts",
        input=pickle.dumps(again),
        capture_output=True,
        check=True,
    )
    sums = [float(plain.read(sample)["volume_pressure"].sum()) for sample in SAMPLES]
    assert [float(text) for text in answer.stdout.split()] == sums
    assert of_groups(bucket) == []

    # A damaged file is noticed, and what it held is fetched again.
    for path in (tmp_path / "cache").rglob("*.data"):
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    mended = Store(f"{bucket.url}/store", options, cache=tmp_path / "cache")
    for sample in SAMPLES:
        for name, values in plain.read(sample).items():
            assert torch.equal(mended.read(sample)[name], values)
    assert of_groups(bucket) != []


@pytest.mark.parametrize("package", ["s3fs", "obstore"])
@pytest.mark.parametrize("may_list", [True, False])
def test_objects_that_were_put_since_are_not_read_from_it(
    bucket: Bucket, tmp_path: Path, package: str, may_list: bool
) -> None:
    upload(bucket, tmp_path / "store")

    def reopened() -> Store:
        if package == "s3fs":
            return Store(f"{bucket.url}/store", bucket.storage_options, cache=tmp_path / "cache")
        place = S3Store(
            bucket.name,
            prefix="store",
            endpoint=bucket.proxy.url,
            access_key_id=KEY,
            secret_access_key=SECRET,
            region="us-east-1",
            client_options={"allow_http": True},
        )
        return Store(place, cache=tmp_path / "cache")

    if not may_list:
        bucket.proxy.answer(lambda request: request.kind == "LIST", 403, "AccessDenied")
    plain = Store(tmp_path / "store")
    # Groups that changed places, as checksums do not tell; then each is where it belongs again.
    for path in (tmp_path / "store" / "a.zarr").rglob("*"):
        if path.is_file():
            name = path.relative_to(tmp_path / "store" / "a.zarr").as_posix()
            bucket.put(f"store/b.zarr/{name}", path.read_bytes())
    wrong = reopened().read("b")["volume_position"]
    assert torch.equal(wrong, plain.read("a")["volume_position"])
    of_groups(bucket)
    assert torch.equal(reopened().read("b")["volume_position"], wrong)
    assert [each for each in of_groups(bucket) if each.startswith("GET")] == []
    for path in (tmp_path / "store" / "b.zarr").rglob("*"):
        if path.is_file():
            name = path.relative_to(tmp_path / "store").as_posix()
            bucket.put(f"store/{name}", path.read_bytes())
    right = reopened().read("b")["volume_position"]
    assert torch.equal(right, plain.read("b")["volume_position"])
