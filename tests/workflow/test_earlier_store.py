"""A store that an earlier commit wrote is recognised: nothing in it is converted again.

`data/earlier.tar.xz` holds a working directory as commit ab799cd left it, the last before the code
was divided into packages: source, settings, store, work folder and Snakemake's own records. It was
made with this harness: three good samples, a broken one, an incomplete one, and one whose name
cannot be stored; every file of the source with the time 1,700,000,000.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
import torch
import yaml

from aerozarr import Store
from aerozarr.config.load_settings import load_settings
from aerozarr.run_config import RunConfig
from workflow.harness import Workspace, digests

DATA = Path(__file__).with_name("data") / "earlier.tar.xz"


@pytest.fixture
def earlier(tmp_path: Path) -> Workspace:
    root = tmp_path / "workspace"
    with tarfile.open(DATA) as archive:
        archive.extractall(root, filter="data")
    workspace = Workspace(root)
    workspace.config = yaml.safe_load((root / "settings.yaml").read_text())
    workspace.config["chunk_checksums"] = False  # which no store of that time has
    return workspace


# What tells an id that cannot be stored `invalid_id` now, and `refused` before.
RENAMED = {"skipped.tsv", "checksums.tsv", "provenance.json"}


def test_a_run_over_it_converts_nothing_and_changes_no_group(earlier: Workspace) -> None:
    before = digests(earlier.store)
    run = earlier.run()
    assert run.converted == []
    after = digests(earlier.store)
    assert after.keys() == before.keys() | {"moments.jsonl"}
    assert {name for name in before if after[name] != before[name]} <= RENAMED
    store = Store(earlier.store)
    assert store.statistics(store.samples) == store.statistics()
    run = earlier.run()
    assert run.nothing_to_do
    assert digests(earlier.store) == after


def test_the_dry_run_says_so(earlier: Workspace) -> None:
    assert "a run would convert 0 samples" in earlier.run("--dry-run").said[-1]


def numbers(store: Path) -> list[float]:
    """Every number of a store's statistics, in order."""
    found: list[float] = []

    def collect(text: str) -> float:
        found.append(float(text))
        return found[-1]

    json.loads((store / "statistics.json").read_text(), parse_float=collect, parse_int=collect)
    return found


def test_a_run_into_a_new_store_writes_the_same_bytes(earlier: Workspace) -> None:
    before = digests(earlier.store)
    earlier.config["store"] = "results/again"
    earlier.run()
    after = digests(earlier.root / "results" / "again")
    changed = {name for name in after if after[name] != before.get(name)}
    # Sums differ in their last bits from one kind of processor to another.
    assert changed <= RENAMED | {"moments.jsonl", "statistics.json"}
    assert numbers(earlier.root / "results/again") == pytest.approx(numbers(earlier.store), 1e-12)
    assert after.keys() == before.keys() | {"moments.jsonl"}
    old, new = (
        {
            line
            for line in (store / "checksums.tsv").read_text().splitlines()
            if not any(name in line for name in ("skipped", "moments", "statistics"))
        }
        for store in (earlier.store, earlier.root / "results" / "again")
    )
    assert old == new


def test_what_decides_reconversion_is_the_same_text(earlier: Workspace) -> None:
    # Names of dataclass fields are in it: renaming one would convert everybody's store again.
    run_config = RunConfig.of(load_settings(earlier.config))
    fragment = json.loads((earlier.root / run_config.fragments / "a.json").read_bytes())
    assert run_config.stored_as_digest == fragment["stored_as"]
    field = '{"domain": "%s", "dtype": "%s", "file": "%s", "name": "%s", "width": %d}'
    surface = ", ".join(
        (
            field % ("surface", "float32", "points.pt", "position", 3),
            field % ("surface", "float16", "p.pt", "pressure", 1),
        )
    )
    volume = ", ".join(
        (
            field % ("volume", "float32", "cells.pt", "position", 3),
            field % ("volume", "float32", "U.pt", "velocity", 3),
        )
    )
    assert run_config.stored_as == (
        '{"bytes_version": 1, "chunk_points": 16, "class": null, "compression": "blosc-zstd-5", '
        f'"domains": [{{"fields": [{surface}], "name": "surface"}}, '
        f'{{"fields": [{volume}], "name": "volume"}}], "fragment_version": 2, '
        '"shard_points": null, "shuffle_seed": 0, "store": "results/store"}'
    )


def test_with_checksums_it_is_read_on_and_converted_once(earlier: Workspace) -> None:
    before = {sample: Store(earlier.store).read(sample) for sample in earlier.listed()}
    del earlier.config["chunk_checksums"]
    assert "4 samples (4 stored with other settings)" in earlier.run("--dry-run").said[-1]
    assert len(earlier.run().converted) == 4
    store = Store(earlier.store)
    for sample, values in before.items():
        read = store.read(sample)
        assert all(torch.equal(read[name], value) for name, value in values.items())
    assert earlier.run().nothing_to_do
