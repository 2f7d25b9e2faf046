"""The reader's cache before an S3 server: what it asks for again, and of whom."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from aerozarr import ChunkDataset, Store, StoreWriter
from remote.s3 import Bucket
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
    """Return the requests for anything in a group since this was last asked."""
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
