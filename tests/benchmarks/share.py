"""Measures which share of a conversion its statistics take: moments and rounding error.

Converts samples in this process with both, without rounding errors, and without either, in turn,
and prints a Markdown table of core time; the README beside this file says what its columns mean.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from compare import DATASETS, describe_machine, make_data

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from aerozarr.convert import cast
from aerozarr.convert.rounding import Rounding
from aerozarr.convert.sample import convert
from aerozarr.run_config import RunConfig
from aerozarr.source.samples import Sample
from aerozarr.store.format.moments import Moments

ROUNDS = {"drivaernet": 42, "shapenet": 420}


class NoMeasuring:
    """In place of what `accumulator_for` returns: measures nothing."""

    def __init__(self, n_rows: int, width: int, dtype: np.dtype[np.floating]) -> None:
        none: Any = [0] * width
        names = Moments.model_fields.keys() - {"rows"}
        self._moments = Moments(rows=n_rows, **dict.fromkeys(names, none))

    def add(self, values: object) -> None:
        """Take the next values."""

    def moments(self) -> Moments:
        """Return moments that say nothing."""
        return self._moments


@contextmanager
def no_rounding() -> Iterator[None]:
    """Convert without looking at rounding errors."""
    with (
        mock.patch.object(cast.RoundingSample, "rows_in", lambda *_: None),
        mock.patch.object(cast, "_rounding", lambda *_: Rounding()),
    ):
        yield


@contextmanager
def no_statistics() -> Iterator[None]:
    """Convert without statistics."""
    with no_rounding(), mock.patch.object(cast, "accumulator_for", NoMeasuring):
        yield


def converter(kind: str, samples: int, scratch: Path) -> tuple[list[Sample], Callable[..., float]]:
    """Return samples, and what converts one and returns its core time in milliseconds."""
    dataset, _ = DATASETS[kind]
    source, store = scratch / f"data-{kind}", scratch / "store"
    make_data(kind, samples, source)
    run_config = RunConfig.from_config(
        {
            "dataset": dataset,
            "source_url": str(source),
            "store": str(store),
            "workdir": str(scratch / "work"),
        }
    )
    settings = run_config.settings

    def timed(sample: Sample) -> float:
        shutil.rmtree(store, ignore_errors=True)
        load = run_config.source.loader(sample, run_config.domains)
        start = time.process_time()
        convert(sample, load, run_config.domains, settings, run_config.store)
        return (time.process_time() - start) * 1e3

    return run_config.source.list().samples, timed


def measure(kind: str, scratch: Path) -> str:
    """Return the table's row of one kind of data."""
    samples, convert = converter(kind, 10, scratch)
    ways = (nullcontext, no_rounding, no_statistics)
    times: list[list[float]] = [[], [], []]
    for number in range(-2, ROUNDS[kind]):
        for turn in range(3):
            # Each way comes first as often: the others find the source in the processor's cache.
            way = (number + turn) % 3
            with ways[way]():
                taken = convert(samples[number % len(samples)])
            if number >= 0:  # the first ones pay for what is loaded once
                times[way].append(taken)
    whole, _, bare = (statistics.median(of_way) for of_way in times)
    rounding = statistics.median(a - b for a, b, _ in zip(*times, strict=True))
    moments = statistics.median(b - c for _, b, c in zip(*times, strict=True))
    shares = f"{moments / whole:.1%} | {rounding / whole:.1%}"
    return f"| {kind} | {whole:.1f} | {bare:.1f} | {moments:.1f} | {rounding:.1f} | {shares} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", choices=ROUNDS, default=[*ROUNDS])
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
    print("\n| data | ms a sample | without both | moments | rounding | share | share |")
    print("|---|---:|---:|---:|---:|---:|---:|", *rows, sep="\n")


if __name__ == "__main__":
    main()
