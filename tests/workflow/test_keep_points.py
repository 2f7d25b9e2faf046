"""A part of the points: stored, verified, extended by a field, and converted again by another."""

from __future__ import annotations

import json

import numpy as np
import torch
import zarr

from workflow.harness import Workspace, digests, tensors

KEPT = 21  # of 70: a share of 0.3


def volume(w: Workspace, name: str, sample: str = "a") -> np.ndarray:
    return zarr.open_array(w.store / f"{sample}.zarr/volume/{name}", mode="r")[:]


def test_a_part_of_the_points_is_a_store_of_its_own(converted: Workspace) -> None:
    w, surface = converted, digests(converted.store)
    whole = {name: volume(w, name) for name in ("position", "velocity")}
    w.config["keep_points"] = {"volume": 0.3}
    said = w.run().said
    assert any("keep_points: volume: 30 % of the points (63 of 210)" in line for line in said), said
    for name, values in whole.items():
        np.testing.assert_array_equal(volume(w, name), values[:KEPT], strict=True)
    # What is not concerned stays as it was.
    now = digests(w.store)
    shards = [path for path in surface if "/surface/" in path and "/c/" in path]
    assert shards and all(now[path] == surface[path] for path in shards)
    settings = json.loads((w.store / "provenance.json").read_bytes())["settings"]
    assert settings["keep_points"] == {"volume": 0.3}
    page = (w.work / "report.html").read_text().replace("<wbr>", "")
    assert "volume: 30 % of the points" in page
    assert w.run().nothing_to_do

    # A field that is added later has the rows of the others, and is verified with them.
    for sample in ("a", "b", "deep/c"):
        torch.save(torch.arange(70.0), w.source / sample / "row.pt")
    w.config["fields"] = {"volume_row": {"file": "row.pt", "dtype": "float32"}}
    w.run()
    rows = volume(w, "row")[:, 0].astype(int)
    np.testing.assert_array_equal(tensors(0)["cells.pt"][rows], volume(w, "position"))
    assert "is as it should be (3 samples" in w.run("verify").said[-1]
    # A value that is kept is found to differ.
    cells = torch.load(w.source / "a" / "cells.pt", weights_only=True)
    cells[rows[0]] += 1
    torch.save(cells, w.source / "a" / "cells.pt")
    assert "3 of 63 values are not the source's" in w.run("verify", ok=False).output
