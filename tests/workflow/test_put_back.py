"""A store that is put back from a copy of its own, as it was before the source was corrected."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from workflow.harness import Workspace, digests, fresh_digests, tensors

# Nothing compressed: whatever is stored has the same size.
PLAIN = {"cname": "zstd", "clevel": 0}


@pytest.mark.parametrize("hidden", [True, False], ids=["all of it", "without hidden files"])
def test_groups_of_before_are_not_taken_for_those_written_since(
    converted: Workspace, tmp_path: Path, *, hidden: bool
) -> None:
    w = converted
    w.config["compression"] = PLAIN
    w.run()
    shutil.copytree(w.store, w.root / "copy")
    torch.save(tensors(20)["p.pt"], w.source / "b/p.pt")
    w.run()
    if hidden:
        shutil.rmtree(w.store)
    ignore = None if hidden else shutil.ignore_patterns(".aerozarr")
    shutil.copytree(w.root / "copy", w.store, ignore=ignore, dirs_exist_ok=True)
    # A run that looks at one sample alone: of the others, the next one knows.
    run = w.run("--config", "limit=1")
    assert run.converted == []
    assert "was it put back from a copy?" in run.output
    assert w.run().converted == ["b"]
    assert digests(w.store) == fresh_digests(w, tmp_path / "fresh")
    assert w.run().nothing_to_do


def test_a_copy_from_between_two_runs_of_which_the_second_was_killed_is_known(
    converted: Workspace,
) -> None:
    w = converted
    w.config["compression"] = PLAIN
    w.run()
    shutil.copytree(w.store, w.root / "copy")
    torch.save(tensors(20)["p.pt"], w.source / "a/p.pt")
    assert w.kill_when(lambda: '"b"' not in _listed(w.store) and _is_converted(w, "a"))
    shutil.rmtree(w.store)
    shutil.copytree(w.root / "copy", w.store)
    assert w.run().converted == ["a"]
    assert w.run("verify").returncode == 0


def _listed(store: Path) -> str:
    manifest = store / "manifest.json"
    return manifest.read_text() if manifest.exists() else ""


def _is_converted(w: Workspace, key: str) -> bool:
    return any((w.work / "fragments").glob(f"*/{key}.json"))


def test_a_store_of_an_earlier_version_is_not_compared_and_gets_a_mark_when_it_is_written_to(
    converted: Workspace,
) -> None:
    w = converted
    record = w.store / ".aerozarr/written.json"
    said = json.loads(record.read_text())
    del said["mark"], said["arrays"]
    record.write_text(json.dumps(said))
    for mark in w.work.glob(".mark-*"):
        mark.unlink()
    assert w.run().nothing_to_do
    torch.save(tensors(20)["p.pt"], w.source / "b/p.pt")
    assert w.run().converted == ["b"]
    said = json.loads(record.read_text())
    assert said["mark"]
    assert "volume/velocity" in said["arrays"]
    record.unlink()  # as with a copy without hidden files
    assert w.run().converted == []
    assert w.run().nothing_to_do
