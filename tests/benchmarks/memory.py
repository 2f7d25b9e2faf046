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

# Two pools: one that holds a field at a time, and one that loads a whole sample first.
POOLS: tuple[tuple[str, ...], ...] = ((), ("--whole-sample",))


def convert(kind: str, scratch: Path) -> tuple[float, float, list[float]]:
    """Convert one sample; return the peak in MiB and the seconds of it, and both pools' peaks.

    The pools are left out for a sample that it would not fit into memory with.
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
    beside = []
    for options in POOLS if kind != "drivaerml" else ():
        command = [*pool_command(dataset, source, pool, 1, clevel=5), *options]
        beside.append(run_timed(POOL, command, log).peak_memory_mb / 1.048576)
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
        (
            "| data | MiB | seconds | peak | above tiny | bound "
            "| pool's peak | above tiny | ratio | whole-sample pool's | above tiny | ratio |"
        ),
        f"|---|{'---:|' * 11}",
    ]
    try:
        own, _, of_pools = convert("tiny", scratch)
        for kind in arguments.kinds:
            peak, seconds, pools = convert(kind, scratch)
            size, limit = bound(scratch / f"data-{kind}", scratch / "workflow" / "store")
            beside = [""] * (3 * len(POOLS) if not pools else 0)
            for pool, pools_own in zip(pools, of_pools, strict=False):
                above = pool - pools_own
                beside += [f"{pool:.0f}", f"{above:.0f}", f"{(peak - own) / above:.2f}"]
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
