"""Times adding a field to a finished store, beside converting all of it.

The store of DrivAerNet size lacks one field at first. Prints the machine's description and a
Markdown table; the README beside this file says what its columns mean.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
from pathlib import Path

import yaml
from compare import SNAKEFILE, describe_machine, make_data, run_timed, tail, workflow_command

ADDED = "volume_vorticity"


def stored(store: Path) -> dict[Path, tuple[int, int]]:
    """Return inode and size of each shard of a store."""
    shards = (path for path in store.rglob("c/*/*") if path.is_file())
    return {path: (path.stat().st_ino, path.stat().st_size) for path in shards}


def converting_seconds(work: Path) -> float:
    """Return the time from the beginning of a run's first conversion to the end of its last."""
    files = [path for path in (work / "fragments").rglob("*.json") if path.is_file()]
    ends = [path.stat().st_mtime for path in files]
    took = [json.loads(path.read_text())["seconds"] for path in files]
    return max(ends) - min(end - seconds for end, seconds in zip(ends, took, strict=True))


def main() -> None:
    """Convert without a field and with it, and add it, in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--scratch", type=Path, help="folder to work in, kept; default: temporary")
    options = parser.parse_args()
    scratch = options.scratch or Path(tempfile.mkdtemp(prefix="aerozarr-benchmark-"))
    source = scratch / f"drivaernet-{options.samples}"
    make_data("drivaernet", options.samples, source)
    preset = yaml.safe_load((SNAKEFILE.parent / "datasets/drivaernet.yaml").read_text())["filemap"]
    share = preset_share(source, preset[ADDED])
    less = f"filemap={{{', '.join(f'{k}: {v}' for k, v in preset.items() if k != ADDED)}}}"
    times: dict[str, list[float]] = {"all fields": [], "the added field": [], "nothing": []}
    converting: dict[str, list[float]] = {name: [] for name in times}
    finished: list[Path] = []
    try:
        for number in range(options.repeat):
            whole, part = scratch / f"whole-{number}", scratch / f"part-{number}"
            command = workflow_command("drivaernet", source, whole, options.cores, 5)
            times["all fields"].append(run_timed("whole", command, scratch / "whole.log").seconds)
            converting["all fields"].append(converting_seconds(whole / "work"))
            command = workflow_command("drivaernet", source, part, options.cores, 5)
            run_timed("before", [*command, less], scratch / "before.log")
            before = stored(part / "store")
            times["the added field"].append(run_timed("add", command, scratch / "add.log").seconds)
            converting["the added field"].append(converting_seconds(part / "work"))
            after = stored(part / "store")
            times["nothing"].append(run_timed("again", command, scratch / "again.log").seconds)
            written = {
                path: size
                for path, (inode, size) in after.items()
                if before.get(path, (0, 0))[0] != inode
            }
            others = [path for path in written if ADDED.partition("_")[2] not in path.parts]
            print(
                tail(scratch / "add.log").splitlines()[-1],
                f"{sum(written.values()) / 1e6:.0f} MB written, {len(others)} of other fields",
                sep="; ",
            )
            # Removed at the end: for minutes, ext4 looks through what was deleted whenever it
            # makes a file, and an added field writes few bytes for its files.
            finished += [whole, part]
    finally:
        for run in [scratch] if options.scratch is None else finished:
            shutil.rmtree(run)
    print(describe_machine())
    print(
        "| converted | median s | single runs | of all fields' time | likewise, beyond a run that "
        "does nothing | from first job to last, s | of all fields' | of all fields' source bytes |"
    )
    print("|---|---:|---|---:|---:|---:|---:|---:|")
    full, nothing = (statistics.median(times[name]) for name in ("all fields", "nothing"))
    full_jobs = statistics.median(converting["all fields"])
    for name, seconds in times.items():
        median = statistics.median(seconds)
        single = ", ".join(f"{each:.1f}" for each in seconds)
        of_bytes = {"all fields": 1.0, "the added field": share}.get(name, 0.0)
        beyond = (median - nothing) / (full - nothing)
        jobs = statistics.median(converting[name] or [0.0])
        print(
            f"| {name} | {median:.1f} | {single} | {median / full:.2f} | {beyond:.2f} "
            f"| {jobs:.1f} | {jobs / full_jobs:.2f} | {of_bytes:.2f} |"
        )


def preset_share(source: Path, file: str) -> float:
    """Return a file's share of the bytes of a source."""
    sizes = {path: path.stat().st_size for path in source.rglob("*.pt")}
    return sum(size for path, size in sizes.items() if path.name == file) / sum(sizes.values())


if __name__ == "__main__":
    main()
