"""Converting one small sample, and what the store should then hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from aerozarr.config.fields import Field
from aerozarr.convert.fragment import Fragment
from aerozarr.convert.sample import convert
from aerozarr.run_config import RunConfig
from aerozarr.source.samples import Sample
from unit.store_helpers import (
    WIDTHS,
    Array,
    bits,
    expected_order,
    group_files,
    read_arrays,
    sample_of,
    save_sample,
    source_tensors,
)

COUNTS = {"surface": 10, "surface_stl": 7, "surface_stl_resampled": 5, "volume": 23}
# With chunk_points 4 and shard_points 8: points, chunk, shard, number of chunks.
GRIDS = {
    "surface": (10, 4, 8, 3),
    "surface_stl": (7, 4, 8, 2),
    "surface_stl_resampled": (5, 4, 8, 2),
    "volume": (23, 4, 8, 6),
}

N_POINTS = 70
FIRST, LAST = "surface_position.pt", "sdf.pt"

each_place = pytest.mark.parametrize("place", ["folder", "memory-url"])
in_a_folder = pytest.mark.parametrize("place", ["folder"])


def sample_on_disk(tmp_path: Path, sample_id: str, tensors: dict[str, Any]) -> Sample:
    sizes = save_sample(tmp_path / "source" / sample_id, tensors)
    return sample_of(sample_id, sizes=sizes)


def convert_from(run_config: RunConfig, sample: Sample) -> Fragment:
    load = run_config.source.loader(sample)
    return convert(sample, load, run_config.domains, run_config.settings, run_config.store)


def convert_tensors(run_config: RunConfig, sample_id: str, tensors: dict[str, Any]) -> Fragment:
    """Convert what a dictionary of file names holds; an exception in it is raised."""

    def load(field: Field) -> object:
        if isinstance(tensors[field.file], BaseException):
            raise tensors[field.file]
        return tensors[field.file]

    sample = sample_of(sample_id)
    return convert(sample, load, run_config.domains, run_config.settings, run_config.store)


def stored_arrays(run_config: RunConfig, sample_id: str) -> dict[str, Array]:
    return read_arrays(group_files(run_config.settings.store, sample_id))


def expected_arrays(
    tensors: dict[str, Any],
    sample_id: str,
    *,
    seed: int = 0,
    coords: str = "float32",
    values: str = "float16",
    **fields: str,
) -> dict[str, Array]:
    """Row r is the source's row perm[r], cast; of `WIDTHS`' arrays."""
    expected = {}
    for name, (file, width) in WIDTHS.items():
        domain, _, short = name.partition("/")
        dtype = fields.get(f"{domain}_{short}", coords if short == "position" else values)
        rows = tensors[file].detach().double().numpy().reshape(len(tensors[file]), -1)[:, :width]
        perm = expected_order(len(rows), seed, sample_id, domain)
        expected[name] = rows[perm].astype(dtype)
    return expected


def same(read: dict[str, Array], expected: dict[str, Array]) -> bool:
    return {n: bits(a) for n, a in read.items()} == {n: bits(a) for n, a in expected.items()}


def changed(file: str, change: Callable[[torch.Tensor], object]) -> dict[str, Any]:
    tensors = source_tensors()
    return {**tensors, file: change(tensors[file])}


def shaped(**shapes: tuple[int, ...]) -> dict[str, Any]:
    """The file map's tensors, all of as many points, some of other shapes."""
    usual = {
        file: (N_POINTS,) if width == 1 else (N_POINTS, width) for file, width in WIDTHS.values()
    }
    wanted = usual | {f"{name}.pt": shape for name, shape in shapes.items()}
    return {file: torch.ones(shape) for file, shape in wanted.items()}
