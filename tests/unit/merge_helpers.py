"""Samples that are really converted, and the files that a merge then puts beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from aerozarr.config.fields import Field
from aerozarr.convert.fragment import Fragment
from aerozarr.convert.sample import convert
from aerozarr.merge.merge_manifest import merge_fragments
from aerozarr.run_config import RunConfig
from aerozarr.source.samples import Sample, Skipped
from unit.store_helpers import PLACES, files_below, sample_of, source_tensors

MANIFEST, CHECKSUMS, PROVENANCE = "manifest.json", "checksums.tsv", "provenance.json"
STATISTICS, SPLITS, SKIPPED = "statistics.json", "splits.json", "skipped.tsv"
MOMENTS = "moments.jsonl"
ALWAYS = {MANIFEST, CHECKSUMS, PROVENANCE, STATISTICS, MOMENTS, SKIPPED}
FIVE = (
    *("train_design_ids.txt", "val_design_ids.txt", "test_design_ids.txt"),
    *("blacklist.txt", "blacklist2.txt"),
)

each_place = pytest.mark.parametrize("place", PLACES)
here = pytest.mark.parametrize("place", ["folder"])


def tensors_of(sample_id: str) -> dict[str, torch.Tensor]:
    """Values and sizes that differ from sample to sample."""
    seed = int.from_bytes(hashlib.sha256(sample_id.encode("utf-8")).digest()[:2], "big")
    return source_tensors(surface=5 + seed % 7, volume=9 + seed % 11, seed=seed)


def put_fragment(run_config: RunConfig, sample: Sample, fragment: Fragment) -> Path:
    """Put a fragment where the merge finds it."""
    path = run_config.fragment(sample.key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(fragment.to_json())
    return path


def put_converted(
    run_config: RunConfig,
    sample_id: str,
    *,
    split: str = "",
    tensors: Mapping[str, Any] | None = None,
) -> Sample:
    """Convert a sample from memory, and put its fragment where the merge finds it."""
    content = tensors_of(sample_id) if tensors is None else tensors

    def load(field: Field) -> object:
        return content[field.file]

    sample = sample_of(sample_id, split=split)
    settings, store = run_config.settings, run_config.store
    put_fragment(run_config, sample, convert(sample, load, run_config.domains, settings, store))
    return sample


def merged(
    run_config: RunConfig, samples: Iterable[Sample], skipped: Iterable[Skipped] = ()
) -> dict[str, bytes]:
    """Merge, and return the files beside the groups."""
    merge_fragments(run_config, [*samples], [*skipped])
    return beside(str(run_config.settings.store))


def beside(url: str) -> dict[str, bytes]:
    return {path: data for path, data in files_below(url).items() if ".zarr/" not in path}


def split_samples(run_config: RunConfig, **splits: str) -> list[Sample]:
    """Samples by split, each split's ids in one text."""
    return [
        put_converted(run_config, sample_id, split=split)
        for split, ids in splits.items()
        for sample_id in ids.split()
    ]


def left_out_row(sample_id: str, split: str) -> Skipped:
    return Skipped(sample_id, split, "incomplete", "", "sdf.pt", "is not there", "add it")
