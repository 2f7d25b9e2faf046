"""Measures size and speed of the compression choices on one sample, gathered as a conversion does.

Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from compare import DATASETS, describe_machine, make_data

from aerozarr.config.fields import domains_of
from aerozarr.config.load_settings import load_settings
from aerozarr.config.setting_types import COMPRESSIONS, Compression
from aerozarr.convert.cast import ReusableBuffer, RoundingSample, cast_field
from aerozarr.convert.encode import encode_shards
from aerozarr.run_config import RunConfig
from aerozarr.source.files.rows import as_rows
from aerozarr.store.format.layout import Grid


def measure(how: Compression, run_config: RunConfig, sample: Path) -> tuple[int, int, float]:
    """Return bytes before and after, and core-seconds of gathering and compressing."""
    before = after = 0
    seconds = 0.0
    for domain in domains_of(run_config.dataset.filemap, run_config.settings):
        perm = None
        for field in domain.fields:
            loaded = as_rows(torch.load(sample / field.file), field)
            nowhere = RoundingSample(np.empty(0, np.int64), len(loaded))
            made = cast_field(loaded, field, ReusableBuffer(), nowhere)
            rows = np.ascontiguousarray(made.rows)
            if perm is None:
                perm = torch.randperm(len(rows)).numpy()
            grid = Grid.of(len(rows), run_config.settings.chunk_points, None)
            start = time.process_time()
            for shard in encode_shards(rows, perm, grid, how, chunk_checksums=False):
                after += sum(map(len, shard.chunks()))
            seconds += time.process_time() - start
            before += rows.nbytes
    return before, after, seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=DATASETS, default="drivaernet", help="the data's shape")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(*(f"{key}: {value}" for key, value in describe_machine().items()), sep=", ")
    print("\n| choice | MB stored | ratio | MB/s of one core |\n|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "data"
        make_data(arguments.kind, 1, source)
        sample = next(source.rglob("*.pt")).parent
        dataset, _ = DATASETS[arguments.kind]
        run_config = RunConfig.of(load_settings({"dataset": dataset, "source_url": str(source)}))
        for name, how in COMPRESSIONS.items():
            runs = [measure(how, run_config, sample) for _ in range(3)]
            before, after, seconds = min(runs, key=lambda run: run[2])
            cells = f"{after / 1e6:.1f} | {before / after:.3f} | {before / 1e6 / seconds:.0f}"
            print(f"| `{name}` ({how.label}) | {cells} |")


if __name__ == "__main__":
    main()
