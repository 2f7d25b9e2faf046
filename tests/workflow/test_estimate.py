"""`snakemake estimate`: what a run would take, without running it."""

from __future__ import annotations

import re

import pytest
import torch

from workflow.harness import Workspace, write_sample


def estimated(w: Workspace) -> dict[str, str]:
    """The table that an estimate shows, as the log has it."""
    run = w.run("estimate")
    assert run.converted == []
    log = (w.work / "logs/estimate.log").read_text()
    return {name: value for name, _, value in (line.partition(" ") for line in log.splitlines())}


@pytest.fixture
def seven(workspace: Workspace) -> Workspace:
    for seed in range(7):
        write_sample(workspace.source / f"s{seed}", seed)
    return workspace


def megabytes(text: str) -> float:
    number, unit = re.fullmatch(r"\s*([\d.]+) (\w+)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"B": 1e-6, "kB": 1e-3, "MB": 1.0}[unit]


def test_it_tells_samples_bytes_memory_and_time_and_leaves_nothing(seven: Workspace) -> None:
    write_sample(seven.source / "half", 9, p=None)
    table = estimated(seven)
    assert table["samples"].strip() == "7, 1 skipped"
    assert re.search(r"\d+ s on 2 cores \(measured on 5 samples\)", table["time"])
    assert "MiB for a job" in table["memory"]
    assert not seven.store.exists()
    assert not (seven.work / "estimate").exists()
    seven.run()
    stored = sum(path.stat().st_size for path in seven.store.glob("*.zarr/**/*") if path.is_file())
    source = sum(path.stat().st_size for path in seven.source.glob("s*/*"))
    # `to read …` and `to write …`, one below the other.
    log = (seven.work / "logs/estimate.log").read_text()
    read, write = re.findall(r"^to \w+ +(.*)$", log, re.MULTILINE)
    assert megabytes(read) == pytest.approx(source / 1e6, rel=0.01)
    assert megabytes(write) == pytest.approx(stored / 1e6, rel=0.02)
    # And how the named compressions do on the same samples.
    row = r"^  (as set|fast|fastest) \(blosc-\w+-\d\) +(\d.*); to convert ([\d.]+), to read (\S+)$"
    found = re.findall(row, log, re.MULTILINE)
    assert [name for name, *_ in found] == ["as set", "fast", "fastest"]
    assert found[0][2:] == ("1.00", "1.00")
    assert "tried on 5 samples" in log


def test_it_says_how_many_are_converted_already(seven: Workspace) -> None:
    seven.config["limit"] = 4
    seven.run()
    del seven.config["limit"]
    estimated(seven)
    assert "a run would convert 3 samples (3 new)" in (seven.work / "logs/estimate.log").read_text()


def test_broken_samples_among_those_tried_do_not_matter(seven: Workspace) -> None:
    write_sample(seven.source / "s0", 0, U=torch.full((70, 3), 1e9))
    table = estimated(seven)
    assert table["samples"].strip() == "7"
    assert "measured on 4 samples; 1 more of those tried are broken" in table["time"]


def test_when_all_that_were_tried_are_broken_it_says_so(workspace: Workspace) -> None:
    write_sample(workspace.source / "s", 0, U=torch.full((70, 3), 1e9))
    run = workspace.run("estimate", ok=False)
    assert "all 1 samples that were tried are broken" in run.output
    assert "a value of 1e+09 is too large for float16" in run.output


def test_a_run_after_an_estimate_converts_everything(seven: Workspace) -> None:
    estimated(seven)
    assert len(seven.run().converted) == 7


def test_with_other_settings_it_leaves_what_is_converted(seven: Workspace) -> None:
    seven.run()
    seven.config["chunk_points"] = 16
    estimated(seven)
    seven.run("remove_orphans")
    del seven.config["chunk_points"]
    assert seven.run().nothing_to_do
