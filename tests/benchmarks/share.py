"""Measures which share of a conversion its statistics take: moments and rounding error.

Converts samples in this process, with statistics and without, in turn, and prints a Markdown table
of core time; the README beside this file says what its columns mean.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from compare import DATASETS, describe_machine, make_data

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from aerozarr import casting
from aerozarr.conversion import convert_sample, loader_for
from aerozarr.listing import list_source
from aerozarr.moments import Moments
from aerozarr.project import Project
from aerozarr.rounding import Rounding
from aerozarr.samples import Sample

PAIRS = {"drivaernet": 40, "shapenet": 400}


class NoMeasuring:
    """In place of `Measuring`: measures nothing."""

    def __init__(self, n_rows: int, width: int, dtype: np.dtype[np.floating]) -> None:
        none: Any = [0] * width
        names = Moments.model_fields.keys() - {"rows"}
        self._moments = Moments(rows=n_rows, **dict.fromkeys(names, none))

    def add(self, values: object) -> None:
        """Take the next values."""

    def moments(self) -> Moments:
        """Return moments that say nothing."""
        return self._moments


class NoLook:
    """In place of what takes the rows whose rounding error is wanted."""

    def __init__(self, look: object, n_rows: int) -> None:
        pass

    def see(self, first: int, part: object) -> None:
        """Take the next block."""

    def rows(self) -> None:
        """Return nothing."""


@contextmanager
def no_statistics() -> Iterator[None]:
    """Convert without statistics."""
    with (
        mock.patch.object(casting, "Measuring", NoMeasuring),
        mock.patch.object(casting, "_Looked", NoLook),
        mock.patch.object(Rounding, "of", lambda *_: Rounding()),
    ):
        yield


def converter(kind: str, samples: int, scratch: Path) -> tuple[list[Sample], Callable[..., float]]:
    """Return samples, and what converts one and returns its core time in milliseconds."""
    dataset, _ = DATASETS[kind]
    source, store = scratch / f"data-{kind}", scratch / "store"
    make_data(kind, samples, source)
    project = Project.from_config(
        {
            "dataset": dataset,
            "source_url": str(source),
            "store": str(store),
            "workdir": str(scratch / "work"),
        }
    )
    settings = project.settings

    def convert(sample: Sample) -> float:
        shutil.rmtree(store, ignore_errors=True)
        load = loader_for(sample, settings, project.dataset, project.source, project.domains)
        start = time.process_time()
        convert_sample(sample, load, project.domains, settings, project.store)
        return (time.process_time() - start) * 1e3

    return list_source(settings, project.dataset, project.source).samples, convert


def measure(kind: str, scratch: Path) -> str:
    """Return the table's row of one kind of data."""
    samples, convert = converter(kind, 10, scratch)
    with_it, without = [], []
    for number in range(-2, PAIRS[kind]):
        sample = samples[number % len(samples)]
        # The second of a pair finds the source in the processor's cache.
        if number % 2:
            whole = convert(sample)
        with no_statistics():
            bare = convert(sample)
        if not number % 2:
            whole = convert(sample)
        if number >= 0:  # the first ones pay for what is loaded once
            with_it.append(whole)
            without.append(bare)
    whole, bare = statistics.median(with_it), statistics.median(without)
    difference = statistics.median(a - b for a, b in zip(with_it, without, strict=True))
    cells = f"{whole:.1f} | {bare:.1f} | {difference:.1f} | {difference / whole:.1%}"
    return f"| {kind} | {cells} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", choices=PAIRS, default=[*PAIRS])
    parser.add_argument("--scratch", type=Path, help="folder for the data, kept")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    scratch = (arguments.scratch or Path(tempfile.mkdtemp(prefix="share-"))).resolve()
    try:
        rows = [measure(kind, scratch) for kind in arguments.kinds]
    finally:
        if arguments.scratch is None:
            shutil.rmtree(scratch)
    print(*(f"{key}: {value}" for key, value in describe_machine().items()), sep=", ")
    print("\n| data | ms a sample | without statistics | difference | share |")
    print("|---|---:|---:|---:|---:|", *rows, sep="\n")


if __name__ == "__main__":
    main()
