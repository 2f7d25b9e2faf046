"""Times the workflow on many tiny samples: what it costs a sample besides the conversion itself.

For each number of samples: a run from nothing, a run with nothing to do, a dry run, and the listing
alone. Prints the machine's description and a Markdown table; the README beside this file says what
its columns mean.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from compare import (
    SNAKEFILE,
    Run,
    adopt_orphans,
    describe_machine,
    make_data,
    run_timed,
    stamps,
    tail,
    wait_for_quiet,
    workflow_command,
)

# Lists a source as the workflow does at its start, in a process of its own.
LISTING = """
import sys, time
sys.path.insert(0, sys.argv[1])
from aerozarr.run_config import RunConfig
from aerozarr.config.load_settings import load_settings
run_config = RunConfig.of(load_settings({"dataset": "shapenet_car", "source_url": sys.argv[2]}))
start = time.perf_counter()
listing = run_config.source.list()
print(len(listing.samples), time.perf_counter() - start)
"""


@dataclass(frozen=True)
class Scale:
    """What was measured for one number of samples.

    Attributes
    ----------
    samples
        Their number.
    listing, converting
        Seconds: of listing the source, and of all conversions together, as their fragments say.
    first, again, dry
        The run from nothing, the one with nothing to do, and the dry run.
    """

    samples: int
    listing: float
    converting: float
    first: Run
    again: Run
    dry: Run


def measure(samples: int, cores: int, scratch: Path) -> Scale:
    """Make the data and measure everything once."""
    source, run = scratch / f"data-{samples}", scratch / f"run-{samples}"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True)
    make_data("tiny", samples, source)
    command = [*workflow_command("shapenet_car", source, run, cores, clevel=5)]
    wait_for_quiet()
    first = told(run_timed(f"{samples}: from nothing", command, run / "first.log"))
    before = stamps(run / "store")
    again = told(run_timed(f"{samples}: nothing to do", command, run / "again.log"))
    dry = told(run_timed(f"{samples}: dry run", [*command, "--dry-run"], run / "dry.log"))
    if stamps(run / "store") != before:
        sys.exit(f"the rerun wrote to the store again; its last lines:\n{tail(run / 'again.log')}")
    log = run / "listing.log"
    scripts = SNAKEFILE.parent / "scripts"
    run_timed(f"{samples}: listing", [sys.executable, "-c", LISTING, scripts, source], log)
    found, listing = log.read_text().split()
    fragments = [json.loads(path.read_bytes()) for path in run.glob("work/fragments/*/*.json")]
    if not len(fragments) == int(found) == samples:
        sys.exit(f"{len(fragments)} of {samples} samples were converted, {found} listed")
    converting = sum(fragment["seconds"] for fragment in fragments)
    shutil.rmtree(run)
    return Scale(samples, float(listing), converting, first, again, dry)


def told(run: Run) -> Run:
    """Say how long a run took, and return it."""
    others = "" if run.others is None else f" (others used {run.others:.0%} of the cores)"
    print(f"{run.seconds:8.2f} s  {run.name}{others}", file=sys.stderr, flush=True)
    return run


def table(scales: list[Scale], cores: int) -> str:
    """Return the results as a Markdown table."""
    rows = [
        (
            "| samples | run s | conversion ms a sample | own ms a sample | own CPU ms a sample "
            "| listing s | nothing to do s | dry run s | Snakemake's memory MB | others |"
        ),
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for scale in scales:
        first, count = scale.first, scale.samples
        own = (first.seconds - scale.converting / cores) / count
        own_cpu = (first.cpu_seconds - scale.converting) / count
        others = max(run.others or 0.0 for run in (first, scale.again, scale.dry))
        cells = (
            f"{count:,}",
            f"{first.seconds:.1f}",
            f"{scale.converting / count * 1e3:.1f}",
            f"{own * 1e3:.1f}",
            f"{own_cpu * 1e3:.1f}",
            f"{scale.listing:.2f}",
            f"{scale.again.seconds:.1f}",
            f"{scale.dry.seconds:.1f}",
            f"{first.first_memory_mb:.0f}",
            f"{others:.0%}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, nargs="+", default=[100, 1_000, 10_000, 50_000])
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="jobs at a time")
    parser.add_argument("--scratch", type=Path, help="folder for the data, kept")
    arguments = parser.parse_args()
    scratch = (arguments.scratch or Path(tempfile.mkdtemp(prefix="scale-"))).resolve()
    adopt_orphans()
    try:
        scales = [measure(samples, arguments.cores, scratch) for samples in arguments.samples]
    finally:
        if arguments.scratch is None:
            shutil.rmtree(scratch)
    print(*(f"{key}: {value}" for key, value in describe_machine().items()), sep=", ")
    print(f"\n{arguments.cores} cores\n")
    print(table(scales, arguments.cores))


if __name__ == "__main__":
    main()
