"""Samples that cannot be converted: named, explained, and never at the others' cost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from aerozarr import Store
from workflow.harness import FILEMAP, Workspace, digests, write_sample

GONE = "aerozarr_test_code_ran"


class RunsCode:
    def __reduce__(self):
        return (os.mkdir, (GONE,))


# What a sample's file is replaced with, and what its row in skipped.tsv must say.
BROKEN: dict[str, tuple[str, object, str]] = {
    "complex": ("p", torch.zeros(40, dtype=torch.complex64), "complex"),
    "three_dimensions": ("U", torch.zeros(70, 3, 1), "neither (n,) nor (n, columns)"),
    "several_columns": ("p", torch.zeros(40, 4), "4 columns, and pressure is one"),
    "on_its_side": ("U", torch.zeros(3, 70), "of shape (3, 70)"),
    "lfs": ("p", b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
    "too_narrow": ("U", torch.zeros(70, 2), "too few columns"),
    "empty": ("p", torch.zeros(0), "no values"),
    "dict": ("p", {"p": torch.zeros(40)}, "a dict, not a tensor"),
    "misaligned": ("p", torch.zeros(41), "41 rows, points.pt has 40"),
    "overflow": ("U", torch.full((70, 3), 1e5), "too large for float16"),
    "overflow_with_nan": ("p", torch.tensor([1e6, float("nan")] * 20), "too large for float16"),
    "runs_code": ("p", RunsCode(), "could run code"),
    "truncated": ("cells", b"cut", "truncated"),
    "no_bytes": ("points", b"", "truncated"),
    "text": ("p", b"1.0 2.0 3.0", "no file of torch.save"),
}
FIELD = {"p": "surface_pressure", "U": "volume_velocity", "cells": "volume_position"}


def write_broken(folder: Path, stem: str, content: object) -> None:
    write_sample(folder, 1)
    file = folder / f"{stem}.pt"
    if content == b"cut":
        file.write_bytes(file.read_bytes()[:-200])
    elif isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)


def test_each_is_listed_with_field_file_cause_and_remedy_and_the_others_convert(
    workspace: Workspace,
) -> None:
    for name, (stem, content, _) in BROKEN.items():
        write_broken(workspace.source / name, stem, content)
    write_sample(workspace.source / "good", 2)
    write_sample(workspace.source / "half", 3, U=None)
    run = workspace.run()
    assert workspace.listed() == ["good"]
    assert workspace.groups() == ["good"]
    assert not list(workspace.root.rglob(GONE))
    skipped = workspace.skipped().set_index("id")
    assert set(skipped.index) == {*BROKEN, "half"}
    for name, (stem, _, cause) in BROKEN.items():
        row = skipped.loc[name]
        assert row["kind"] == "broken"
        assert row["file"] == f"{stem}.pt"
        assert row["field"] == FIELD.get(stem, "surface_position")
        assert cause in row["cause"]
        assert row["remedy"]
    assert skipped.loc["half", "kind"] == "incomplete"
    assert skipped.loc["half", "file"] == "U.pt"
    last = "\n".join(run.output.rpartition(f"{len(BROKEN) + 1} skipped (all in")[2].splitlines())
    assert "complex: surface_pressure: p.pt:" in last
    assert "set field_dtypes: {volume_velocity: float32}" in skipped.loc["overflow", "remedy"]
    assert workspace.run().nothing_to_do


def test_one_that_breaks_is_not_listed_and_one_that_is_mended_is_converted(
    converted: Workspace,
) -> None:
    write_sample(converted.source / "b", 1, U=torch.full((70, 3), 1e5))
    converted.run()
    assert converted.listed() == ["a", "deep/c"]
    # The remedy that the table names:
    converted.config["field_dtypes"] = {"volume_velocity": "float32"}
    converted.run()
    assert converted.listed() == ["a", "b", "deep/c"]
    del converted.config["field_dtypes"]
    write_sample(converted.source / "b", 1)
    converted.run()
    assert converted.listed() == ["a", "b", "deep/c"]


def test_when_all_are_broken_the_run_fails_and_there_is_no_manifest(workspace: Workspace) -> None:
    for seed in range(3):
        write_sample(workspace.source / f"s{seed}", seed, p=torch.zeros(3))
    run = workspace.run(ok=False)
    assert "every sample is broken (3)" in run.output
    assert not (workspace.store / "manifest.json").exists()
    assert workspace.groups() == []


@pytest.mark.parametrize("others", [{}, {"shuffle_seed": 7}], ids=["one field", "all fields"])
def test_a_mistake_in_the_settings_costs_no_group(
    converted: Workspace, others: dict[str, object]
) -> None:
    """Whatever of the groups would be converted anew, and whether a run before failed, too."""
    before, settings = digests(converted.store), {**converted.config}
    wrong = {**FILEMAP, "surface_pressure": "U.pt", "volume_velocity": "p.pt"}
    converted.config |= {"filemap": wrong, **others}
    for _ in range(2):
        run = converted.run(ok=False)
        assert "every sample is broken (3)" in run.output
        assert digests(converted.store) == before, "and the manifest still lists them"
    converted.config = settings
    assert converted.run().converted == []
    assert digests(converted.store) == before


def test_the_group_of_a_broken_sample_waits_for_its_file(converted: Workspace) -> None:
    place = converted.source / "b" / "p.pt"
    good, times = place.read_bytes(), place.stat()
    place.write_bytes(good[:-100])
    run = converted.run()
    assert converted.listed() == ["a", "deep/c"]
    assert converted.groups() == ["a", "b", "deep/c"]
    assert "the former group of 1 broken sample stays" in run.output
    place.write_bytes(good)
    os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))
    converted.run()
    assert converted.listed() == ["a", "b", "deep/c"]


def test_fail_stops_at_the_first(workspace: Workspace) -> None:
    for seed in range(6):
        write_sample(workspace.source / f"s{seed}", seed, p=torch.zeros(3))
    workspace.config["on_broken_sample"] = "fail"
    run = workspace.run(cores=1, ok=False)
    assert len(run.converted) == 1
    assert "on_broken_sample is fail" in run.output
    assert not (workspace.store / "manifest.json").exists()


def test_fail_refuses_what_skip_let_pass(converted: Workspace) -> None:
    write_sample(converted.source / "b", 1, p=torch.zeros(3))
    converted.run()
    before = digests(converted.store)
    converted.config["on_broken_sample"] = "fail"
    run = converted.run(ok=False)
    assert "1 broken sample, and on_broken_sample is fail" in run.said[-3]
    assert "b: surface_pressure: p.pt: it has 3 rows" in run.said[-2]
    assert digests(converted.store) == before, "what was listed is still there, and still listed"


def test_unusual_tensors_convert(workspace: Workspace) -> None:
    unusual = {
        "bfloat16": torch.randn(40).bfloat16(),
        "requires_grad": torch.randn(40, requires_grad=True),
        "parameter": torch.nn.Parameter(torch.randn(40)),
        "non_contiguous": torch.randn(80)[::2],
        "column": torch.randn(40, 1),
        "integers": torch.arange(40),
        "float64": torch.randn(40).double(),
        "infinite": torch.tensor([float("inf"), float("nan")] * 20),
    }
    for name, tensor in unusual.items():
        write_sample(workspace.source / name, 1, p=tensor)
    workspace.run()
    assert workspace.listed() == sorted(unusual)


FLAKY = """
import pathlib, torch, aerozarr

class Flaky:
    FILEMAP = {"surface_position": "x"}

    def __init__(self, root, split):
        self.root = pathlib.Path(root)

    def __len__(self):
        return 4

    def _load(self, i, filename):
        if i == 1 and not (self.root / "mended").exists():
            raise OSError("the disk went away")
        if i == 2:
            raise aerozarr.SkipSample("its mesh is folded")
        return torch.full((5, 3), float(i))
"""


def test_what_a_class_cannot_load_costs_that_sample_alone(workspace: Workspace) -> None:
    (workspace.root / "flaky.py").write_text(FLAKY)
    workspace.source.mkdir(exist_ok=True)
    workspace.config = {"dataset": "flaky.Flaky", "source_root": "source", "splits": ["train"]}
    run = workspace.run()
    assert run.converted == ["0", "1", "2", "3"]
    assert workspace.listed() == workspace.groups() == ["0", "3"]
    skipped = workspace.skipped()
    assert list(skipped["kind"]) == ["broken", "broken"]
    assert "OSError: the disk went away" in skipped["cause"][0]
    assert "skips it: its mesh is folded" in skipped["cause"][1]
    # What may not have been the sample's fault is tried again; what the class skips is not.
    (workspace.source / "mended").touch()
    run = workspace.run()
    assert run.converted == ["1"]
    assert workspace.listed() == ["0", "1", "3"]
    assert workspace.run().nothing_to_do


def test_what_rounding_loses_and_what_is_not_stored_is_told_once_a_run(
    workspace: Workspace,
) -> None:
    generator = torch.Generator().manual_seed(0)
    for seed in range(3):
        pressure = 50_000 + torch.rand(40, generator=generator) * 20
        write_sample(workspace.source / f"s{seed}", seed, p=pressure, U=torch.randn(70, 5))
    run = workspace.run()
    end = "\n".join(run.said[-5:])
    assert end.count("warning: surface_pressure: as float16, errors reach") == 1
    assert "(3 of 3 samples); to keep them: field_dtypes: {surface_pressure: float32}" in end
    assert end.count("volume_velocity (U.pt): of 5 columns the first 3 are stored") == 1
    page = (workspace.work / "report.html").read_text().replace("<wbr>", "")
    assert "field_dtypes: {surface_pressure: float32}" in page
    run = workspace.run("verify")
    assert any("warning: surface_pressure: as float16" in line for line in run.said)
    # The remedy that is named:
    workspace.config["field_dtypes"] = {"surface_pressure": "float32"}
    assert "warning: surface_pressure" not in workspace.run().output


def test_a_sign_that_torch_keeps_apart_is_stored(workspace: Workspace) -> None:
    pressure = torch.randn(40)
    write_sample(workspace.source / "a", 0, p=torch._neg_view(pressure))
    workspace.run()
    stored = Store(workspace.store).read("a", {"surface": "all"})["surface_pressure"][:, 0]
    expected = (-pressure).half()
    assert torch.equal(stored.sort().values, expected.sort().values)
    workspace.run("verify")


def test_a_folder_named_like_a_file_of_the_store_costs_its_sample_alone(
    workspace: Workspace,
) -> None:
    names = ["manifest.json/x", "checksums.tsv/k", "train_design_ids.txt/k", ".aerozarr/k"]
    for seed, name in enumerate(["a", *names]):
        write_sample(workspace.source / name, seed)
    workspace.run()
    assert workspace.listed() == ["a"]
    told = {row.id: row.kind for row in workspace.skipped().itertuples()}
    assert told == dict.fromkeys(names, "invalid_id")


def test_true_and_false_of_the_command_line_are_taken(workspace: Workspace) -> None:
    write_sample(workspace.source / "a", 0)
    workspace.run("--config", "take_over=true", "chunk_checksums=false")
    assert workspace.listed() == ["a"]
