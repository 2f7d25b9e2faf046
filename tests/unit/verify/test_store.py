"""What a verification says of a store beside its samples: those that it lacks, order and splits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aerozarr.convert.sample import convert_from_source
from aerozarr.errors import StoreError
from aerozarr.filesystems.files import write_atomically
from aerozarr.merge.merge_manifest import merge_fragments
from aerozarr.run_config import RunConfig
from aerozarr.source.sample_table import table_of
from aerozarr.source.samples import Sample, Skipped
from aerozarr.verify.expected import ListedSource, Problem, read_recorded
from aerozarr.verify.manifest import manifest_as_written, read_manifest
from aerozarr.verify.store import check_store
from unit.store_helpers import project_of, save_sample

FILEMAP = {"surface_position": "x.pt"}
SPLITS = {"a": "train", "b": "train", "c": "test"}

Check = Callable[[ListedSource], list[Problem]]


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Three samples, of which `b` is broken."""
    for sample in SPLITS:
        save_sample(
            tmp_path / "source" / sample, {"x.pt": torch.ones(5, 2 if sample == "b" else 3)}
        )
    listed = run_config_of(tmp_path).source.list().samples
    return [replace(sample, split=SPLITS[sample.id]) for sample in listed]


def run_config_of(tmp_path: Path) -> RunConfig:
    return project_of(tmp_path / "store", tmp_path / "work", filemap=FILEMAP)


@pytest.fixture
def check(tmp_path: Path, samples: list[Sample]) -> Check:
    """Says what is wrong with a store of these samples, by what the source is said to hold."""
    run_config = run_config_of(tmp_path)
    for sample in samples:
        path = run_config.fragment(sample.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(convert_from_source(run_config, sample, run_config.store).to_json())
    late = Skipped("late", "train", "incomplete", "", "x.pt", "is not there", "add it")
    merge_fragments(run_config, samples, [late])
    manifest = read_manifest(run_config.store)
    return lambda source: [*check_store(run_config, manifest, source)]


def test_skipped_samples_are_no_problem_while_they_are_as_they_were(
    check: Check, samples: list[Sample]
) -> None:
    assert check(ListedSource.of(samples)) == []


@pytest.mark.parametrize(
    ("sample", "what"),
    [
        ("new", "is in the source and not in manifest.json"),
        ("late", "is complete in the source, and skipped.tsv says that it was skipped"),
        ("b", "was broken, as skipped.tsv says, and its files have changed since"),
    ],
)
def test_a_sample_that_could_be_converted_by_now_is_named(
    check: Check, samples: list[Sample], sample: str, what: str
) -> None:
    source = ListedSource.of(samples)
    prints = {**source.fingerprints, sample: "another"}
    (problem,) = check(source.model_copy(update={"fingerprints": prints}))
    assert (problem.place, problem.what) == (sample, what)
    assert problem.remedy.startswith("run snakemake again")


def test_samples_in_another_order_are_named(check: Check, samples: list[Sample]) -> None:
    (problem,) = check(ListedSource.of([*reversed(samples)]))
    assert "its samples are not in the order of the source" in problem.what


def test_splits_that_have_changed_are_named(check: Check, samples: list[Sample]) -> None:
    moved = [replace(sample, split="val" if sample.id == "c" else "train") for sample in samples]
    problems = check(ListedSource.of(moved))
    assert [problem.place for problem in problems] == ["splits.json", "splits.json"]
    assert [problem.what for problem in problems] == [
        f"the split {split!r} is not that of source and settings" for split in ("val", "test")
    ]


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        (b'"dataset_name": "', b'"dataset_name": "x'),
        (b'"shuffle_seed": 0', b'"shuffle_seed": 1'),
        (b'"n_points": 5', b'"n_points": 6'),
        (b'"float32"', b'"float16"'),
        (b'"a"', b'"b"'),
        (b"{", b"z"),
        (b'"format_version": 1', b'"format_version": 9'),
    ],
)
def test_a_damaged_manifest_is_known_by_the_table_of_checksums(
    tmp_path: Path, samples: list[Sample], check: Check, there: bytes, instead: bytes
) -> None:
    run_config = run_config_of(tmp_path)
    write_atomically(run_config.place("samples.tsv"), table_of(samples))
    path = tmp_path / "store/manifest.json"
    written = path.read_bytes()
    recorded = read_recorded(run_config.store)
    assert manifest_as_written(run_config, recorded).to_bytes() == written
    assert there in written
    path.write_bytes(written.replace(there, instead, 1))
    assert manifest_as_written(run_config, recorded).to_bytes() == written
    # With other settings, or without the fragments, it cannot be known.
    other = project_of(tmp_path / "store", tmp_path / "work", filemap=FILEMAP, shuffle_seed=3)
    with contextlib.suppress(StoreError):
        assert manifest_as_written(other, recorded) == read_manifest(other.store)
    run_config.fragment("a").unlink()
    with contextlib.suppress(StoreError):
        assert manifest_as_written(run_config, recorded) == read_manifest(run_config.store)
