"""A store that another program wrote is taken up without converting, or left as it is."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import GzipCodec

from aerozarr import Store
from workflow.harness import Workspace, digests, write_sample


def rewrite(source: Path, target: Path, change: tuple[str, int, int] | None = None) -> None:
    """Write a group anew as another program might; `change` names a value to be another."""
    theirs, mine = zarr.create_group(target), zarr.open_group(source, mode="r")
    for name, array in mine.members(max_depth=None):
        if not isinstance(array, zarr.Array):
            continue
        values = np.asarray(array[:])
        if change is not None and change[0] == name:
            values[change[1:]] += 1
        made = theirs.create_array(
            name,
            shape=values.shape,
            dtype=values.dtype,
            chunks=array.chunks,
            shards={"shape": array.shards, "index_location": "start"},
            compressors=GzipCodec(),
        )
        made[:] = values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that consolidated metadata is no part of Zarr v3 yet
        zarr.consolidate_metadata(target)


def by_another_program(w: Workspace, **changes: tuple[str, int, int]) -> Path:
    """Make the store another program's: manifest and groups alone; return where ours is now."""
    own = w.root / "own"
    w.store.rename(own)
    for folder in (w.root / "results", w.root / ".snakemake"):
        shutil.rmtree(folder)
    w.config["workdir"] = "results/other_work"
    w.store.mkdir(parents=True)
    shutil.copy(own / "manifest.json", w.store)
    for group in (path.relative_to(own) for path in own.rglob("*.zarr")):
        sample = str(group).removesuffix(".zarr")
        rewrite(own / group, w.store / group, changes.get(sample))
    return own


def groups(store: Path) -> dict[str, str]:
    return {path: digest for path, digest in digests(store).items() if ".zarr/" in path}


def test_another_programs_store_is_adopted_and_from_then_on_as_any_other(
    converted: Workspace,
) -> None:
    w = converted
    own = by_another_program(w)
    before = digests(w.store)
    refused = w.run("--dry-run", ok=False)
    assert "run snakemake adopt, which takes its samples up" in refused.output
    w.config["shuffle_seed"] = 3
    refused = w.run("adopt", "--dry-run", ok=False)
    assert "shuffle_seed: 0 (not 3)" in refused.output
    del w.config["shuffle_seed"]
    assert digests(w.store) == before

    run = w.run("adopt")
    assert run.converted == []
    assert "3 samples of results/store adopted (33 files, " in run.output
    assert "1,740 values compared with the source" in run.output
    assert groups(w.store) == {p: d for p, d in before.items() if ".zarr/" in p}
    assert not (w.store / ".aerozarr/lease.json").exists()
    for name in ("manifest.json", "statistics.json", "skipped.tsv"):
        assert (w.store / name).read_bytes() == (own / name).read_bytes()
    assert json.loads((w.store / "provenance.json").read_bytes())["adopted"] == 3
    assert Store(w.store).statistics() == Store(own).statistics()

    assert w.run().nothing_to_do
    assert "is as it should be (3 samples, 33 files" in w.run("verify").said[-1]
    write_sample(w.source / "new", 9)
    assert w.run().converted == ["new"]
    assert w.listed() == ["a", "b", "deep/c", "new"]


def test_what_differs_from_the_source_is_told_and_left_to_a_plain_run(
    converted: Workspace,
) -> None:
    w = converted
    by_another_program(w, b=("volume/velocity", 7, 1))
    shutil.rmtree(w.source / "deep")
    write_sample(w.source / "new", 9)
    before = digests(w.store)
    assert "run snakemake adopt: if every value is the source's" in w.run("verify", ok=False).output

    run = w.run("adopt", ok=False)
    wrong = "b: volume_velocity: 1 of 210 values are not the source's, shuffled and cast"
    assert f"{wrong}: the first, row 7, component 1, is " in run.output
    assert "deep/c: manifest.json: is in the manifest, and not among the samples" in run.output
    assert "1 sample of results/store adopted" in run.output
    assert "results/store is NOT adopted as a whole: 2 samples cannot be" in run.said[-1]
    assert digests(w.store) == before
    assert (w.root / "results/other_work/adopt.tsv").read_text().count("\n") == 3
    # What is not in the source is not ours, and so remove_orphans leaves it.
    written = json.loads((w.store / ".aerozarr/written.json").read_bytes())
    assert written["groups"] == ["a", "b"]

    # What is adopted already is not compared again.
    again = w.run("adopt", "--dry-run")
    assert "a run would compare 1 sample with the source" in again.said[-1]
    assert w.run().converted == ["b", "new"]
    assert w.listed() == ["a", "b", "new"]
