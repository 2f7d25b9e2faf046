"""Files that are replaced by others of the same size and time, and files that are merely copied."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import torch

from workflow.harness import Workspace, digests


def replace_with(file: Path, tensor: torch.Tensor, **options: bool) -> None:
    """Put another tensor in place of a file's, in the same size and with the same time."""
    status = file.stat()
    # Of the same name: it is in the file.
    other = file.parents[2] / "other" / file.name
    other.parent.mkdir(exist_ok=True)
    torch.save(tensor, other, **options)
    assert other.stat().st_size == status.st_size
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(other, file)
    assert file.stat().st_mtime_ns == status.st_mtime_ns


def test_other_content_of_the_same_size_and_time_is_converted_again(converted: Workspace) -> None:
    file = converted.source / "b" / "p.pt"
    assert torch.load(file).shape == (40,)
    replace_with(file, torch.full((40,), 2.5))
    assert "a run would convert 1 sample (1 changed)" in converted.run("--dry-run").said[-1]
    assert converted.run().converted == ["b"]
    assert converted.run().nothing_to_do
    statistics = json.loads((converted.store / "statistics.json").read_text())
    assert statistics["surface_pressure_max"][0] >= 2.5


def test_a_dataset_that_was_copied_or_moved_is_not(converted: Workspace) -> None:
    before = digests(converted.store)
    moved = converted.source.with_name("moved")
    shutil.copytree(converted.source, moved, copy_function=shutil.copy2)
    shutil.rmtree(converted.source)
    moved.rename(converted.source)
    assert converted.run().nothing_to_do
    assert digests(converted.store) == before
    # The new stamps are kept: the files need not be looked into again.
    fragment = next(converted.work.rglob("fragments/*/b.json"))
    stamp = json.loads(fragment.read_bytes())["stamp"]
    assert converted.run().nothing_to_do
    assert json.loads(fragment.read_bytes())["stamp"] == stamp
    # And a file that is replaced after that is noticed.
    replace_with(converted.source / "b" / "p.pt", torch.full((40,), 2.5))
    assert converted.run().converted == ["b"]


def test_damage_of_the_source_is_told_by_verify(converted: Workspace) -> None:
    file = converted.source / "b" / "p.pt"
    status = file.stat()
    content = bytearray(file.read_bytes())
    place = content.index(torch.load(file).numpy().tobytes())
    content[place + 1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    run = converted.run("verify", ok=False)
    assert "does not match its CRC-32" in run.output


def test_a_fragment_of_an_earlier_version_is_believed(converted: Workspace) -> None:
    for path in converted.work.rglob("fragments/*/*.json"):
        content = json.loads(path.read_bytes())
        assert content.pop("stamp")
        assert content.pop("content")
        times = path.stat()
        path.write_text(json.dumps(content))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    for path in (converted.source / "b").iterdir():
        shutil.copy2(path, path.with_name("copy"))
        os.replace(path.with_name("copy"), path)
    assert converted.run().nothing_to_do
