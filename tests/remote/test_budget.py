"""What a sample costs in requests, counted by a proxy between the workflow and an S3 server."""

from __future__ import annotations

from pathlib import Path

import torch

from aerozarr.source.datasets import load_preset
from remote.s3 import Bucket, use
from workflow.harness import Workspace

SHAPENET = load_preset("shapenet_car").filemap


def write_shapenet(folder: Path) -> None:
    folder.mkdir(parents=True)
    for attribute, file in SHAPENET.items():
        width = 1 if attribute.endswith(("pressure", "surface")) else 3
        points = 36 if attribute.startswith("surface") else 285
        torch.save(torch.rand(points, width), folder / file)


def test_a_sample_of_seven_fields_takes_at_most_20_requests(
    workspace: Workspace, bucket: Bucket
) -> None:
    assert len(SHAPENET) == 7
    for name in ("a", "b", "c"):
        write_shapenet(workspace.source / name)
    workspace.config = {"dataset": "shapenet_car", "source_url": "source"}
    use(workspace, bucket, store="store")
    workspace.run()
    made = bucket.proxy.requests
    # What the merge reads of a few samples, for the report, comes after the first file beside them.
    merge = next(
        number
        for number, request in enumerate(made)
        if request.kind == "PUT"
        and ".zarr/" not in request.path
        and "/.aerozarr/" not in request.path
    )
    for name in ("a", "b", "c"):
        mine = [r for r in made[:merge] if f"{name}.zarr" in r.target]
        assert len(mine) <= 20, list(map(str, mine))
        assert {r.kind for r in mine} == {"PUT", "LIST"}
    lease = [r for r in made[:merge] if r.kind == "GET" and r.target.endswith("/lease.json")]
    # One a sample; when the run begins; and when the merge does.
    assert len(lease) <= 3 + 4, list(map(str, lease))
