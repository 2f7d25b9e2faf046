"""Measures the memory that converting one sample takes, beside that of the process pool.

Prints the machine's description and a Markdown table; the README beside this file says what its
columns mean.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import torch
from compare import (
    DATASETS,
    POOL,
    WORKFLOW,
    adopt_orphans,
    describe_machine,
    make_data,
    pool_command,
    run_timed,
    workflow_command,
)


def convert(kind: str, scratch: Path) -> tuple[float, float, float | None]:
    """Convert one sample; return the peak in MiB and the seconds of it, and the pool's peak.

    The pool is left out for a sample that it would not fit into memory with.
    """
    dataset, _ = DATASETS[kind]
    source, workflow, pool = (scratch / name for name in (f"data-{kind}", "workflow", "pool"))
    make_data(kind, 1, source)
    for folder in (workflow, pool):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    log = scratch / "log"
    run_timed(WORKFLOW, workflow_command(dataset, source, workflow, 1, clevel=5), log)
    (path,) = workflow.glob("work/fragments/*/*.json")
    fragment = json.loads(path.read_bytes())
    beside = None
    if kind != "drivaerml":
        run = run_timed(POOL, pool_command(dataset, source, pool, 1, clevel=5), log)
        beside = run.peak_memory_mb / 1.048576
    return fragment["peak_memory_mb"], fragment["seconds"], beside


def bound(source: Path, store: Path) -> tuple[float, float]:
    """Return, in MiB, the sample's size, and its largest field, its permutation and its group."""
    sizes = {path: path.stat().st_size for path in source.rglob("*.pt")}
    largest = max(sizes, key=lambda path: sizes[path])
    rows = len(torch.load(largest, weights_only=True, mmap=True))
    stored = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    return sum(sizes.values()) / 2**20, (sizes[largest] + 8 * rows + stored) / 2**20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", choices=DATASETS, default=["large", "drivaerml"])
    parser.add_argument("--scratch", type=Path, help="folder for the data, kept")
    arguments = parser.parse_args()
    scratch = (arguments.scratch or Path(tempfile.mkdtemp(prefix="memory-"))).resolve()
    adopt_orphans()
    rows = [
        "| data | MiB | seconds | peak | above tiny | bound | pool's peak | above tiny | ratio |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    try:
        own, _, pools_own = convert("tiny", scratch)
        for kind in arguments.kinds:
            peak, seconds, pool = convert(kind, scratch)
            size, limit = bound(scratch / f"data-{kind}", scratch / "workflow" / "store")
            beside = ("", "", "")
            if pool is not None and pools_own is not None:
                above = pool - pools_own
                beside = (f"{pool:.0f}", f"{above:.0f}", f"{(peak - own) / above:.2f}")
            cells = (
                *(kind, f"{size:.0f}", f"{seconds:.1f}", f"{peak:.0f}", f"{peak - own:.0f}"),
                *(f"{limit:.0f}", *beside),
            )
            rows.append(f"| {' | '.join(cells)} |")
    finally:
        if arguments.scratch is None:
            shutil.rmtree(scratch)
    print(*(f"{key}: {value}" for key, value in describe_machine().items()), sep=", ")
    print("", *rows, sep="\n")


if __name__ == "__main__":
    main()
