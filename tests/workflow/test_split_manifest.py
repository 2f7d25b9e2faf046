"""Families of splits in one store, from their file to the statistics that training reads."""

from __future__ import annotations

import json
from pathlib import Path

from aerozarr import ChunkDataset, Normalizer, Store
from workflow.harness import Workspace, digests, write_sample


def test_families_share_the_samples_of_one_store(workspace: Workspace, tmp_path: Path) -> None:
    for number in range(1, 5):
        write_sample(workspace.source / f"run_{number}", number)
    families = {
        "baseline": {"train": [3, 1, 2], "test": [4]},
        "drag/low": {"train": ["run_1", "run_4"], "test": ["run_2"]},
    }
    file = tmp_path / "splits.json"
    file.write_text(json.dumps(families))
    workspace.config = {
        "dataset": "ahmedml",
        "filemap": workspace.config["filemap"],
        "source_root": "source",
        "split_manifest": str(file),
        "splits": ["baseline/train", "baseline/test", "drag/low/train", "drag/low/test[:1]"],
    }
    run = workspace.run()
    assert run.converted == ["run_1", "run_2", "run_3", "run_4"]
    expected = {
        "baseline/train": ["run_3", "run_1", "run_2"],
        "baseline/test": ["run_4"],
        "drag/low/train": ["run_1", "run_4"],
        "drag/low/test": ["run_2"],
    }
    assert json.loads((workspace.store / "splits.json").read_bytes()) == expected
    assert workspace.listed() == ["run_3", "run_1", "run_2", "run_4"]
    assert (workspace.store / "drag%2Flow%2Ftrain_design_ids.txt").read_text() == "run_1\nrun_4\n"
    store = Store(workspace.store)
    for split, ids in expected.items():
        assert store.statistics(split) == store.statistics(ids)
        assert ChunkDataset(store, split, points={"surface": 8}).samples == tuple(ids)
    assert (workspace.store / "statistics.baseline%2Ftrain.json").exists()
    Normalizer.of(store, "baseline/train")
    assert "is as it should be" in workspace.run("verify").output

    # Another list of the same samples: nothing is converted, and what names it is written anew.
    before = digests(workspace.store)
    families["drag/low"]["train"] = ["run_2", "run_4"]
    file.write_text(json.dumps(families))
    assert workspace.run().converted == []
    after = digests(workspace.store)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {
        "checksums.tsv",
        "splits.json",
        "statistics.drag%2Flow%2Ftrain.json",
        "drag%2Flow%2Ftrain_design_ids.txt",
    }
    assert workspace.run("--dry-run").nothing_to_do
