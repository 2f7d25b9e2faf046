"""Times the workflow against a plain process pool on the same data, and checks the two stores.

Prints the machine's description and a Markdown table; the README beside this file says what its
columns mean.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
SNAKEFILE = HERE.parents[1] / "Snakefile"

# Kind of data: the dataset preset that it is converted with, and the usual number of samples.
DATASETS = {
    "shapenet": ("shapenet_car", 60),
    "drivaernet": ("drivaernet", 12),
    "large": ("drivaernet", 1),
    "drivaerml": ("drivaerml", 1),
    "tiny": ("shapenet_car", 10),
}

WORKFLOW, POOL, RERUN = "workflow", "process pool", "workflow, nothing to do"

PACKAGES = ("snakemake", "torch", "zarr", "numcodecs", "numpy")

# Others may use this share of the cores. Seconds to wait for that before a run, and runs to try.
QUIET = 0.05
PATIENCE = 600
TRIES = 5

Command = Sequence[str | Path]


@dataclass(frozen=True)
class Run:
    """One timed run.

    Attributes
    ----------
    name
        What was run: `WORKFLOW`, `POOL` or `RERUN`.
    seconds
        From its start to its end.
    cpu_seconds
        Of all its processes, user and system.
    peak_memory_mb, first_memory_mb
        Peak resident memory in MB: of its largest process, and of the process that was started
        (for the workflow Snakemake's own) with what it waited for itself.
    others
        Share of the cores' time, from 0 to 1, that went to neither it nor idling; None where the
        system does not say.
    """

    name: str
    seconds: float
    cpu_seconds: float
    peak_memory_mb: float
    first_memory_mb: float
    others: float | None


def busy_seconds() -> float | None:
    """Return the seconds that all cores together have been busy (or stolen) since boot."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()
    except FileNotFoundError:
        return None
    user, nice, system, _idle, _iowait, *rest = map(int, fields[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def adopt_orphans() -> None:
    """Have processes that a run leaves behind become our children, so that they count too."""
    if sys.platform == "linux":
        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def run_timed(name: str, command: Command, log: Path) -> Run:
    """Run a command to its end and measure it.

    Raises
    ------
    SystemExit
        When it fails; with the end of its log.
    """
    os.sync()  # what earlier runs wrote is not written back during this one
    busy = busy_seconds()
    start = time.perf_counter()
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
    # Not process.wait(): wait4 measures this run alone, with all that it waited for itself.
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{name} failed with {process.returncode}; its last lines:\n{tail(log)}")
    cpu, first = usage.ru_utime + usage.ru_stime, usage.ru_maxrss
    peak = first
    for late in reap_orphans(10.0):
        cpu += late.ru_utime + late.ru_stime
        peak = max(peak, late.ru_maxrss)
    others = None
    busy_now = busy_seconds()
    if busy is not None and busy_now is not None:
        elapsed = time.perf_counter() - start
        others = max(0.0, (busy_now - busy - cpu) / (elapsed * (os.cpu_count() or 1)))
    in_mb = 1e-6 if sys.platform == "darwin" else 1.024e-3
    return Run(name, seconds, cpu, peak * in_mb, first * in_mb, others)


def tail(log: Path) -> str:
    """Return the end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-40:])


def reap_orphans(patience: float) -> list[resource.struct_rusage]:
    """Wait for adopted processes to end, and return what they used."""
    found: list[resource.struct_rusage] = []
    deadline = time.perf_counter() + patience
    while time.perf_counter() < deadline:
        try:
            pid, _, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid:
            found.append(usage)
        else:
            time.sleep(0.05)
    print(f"warning: a process outlived its run by {patience:g} s", file=sys.stderr)
    return found


def wait_for_quiet() -> None:
    """Wait until the cores are idle; not for ever."""
    deadline = time.perf_counter() + PATIENCE
    while time.perf_counter() < deadline:
        busy = busy_seconds()
        time.sleep(2)
        busy_now = busy_seconds()
        if busy is None or busy_now is None:
            return
        if (busy_now - busy) / (2 * (os.cpu_count() or 1)) <= QUIET:
            return
    print("warning: others use the cores; the times will be too long", file=sys.stderr)


def make_data(kind: str, samples: int, folder: Path) -> None:
    """Make the data if it is not there, and read it, so that every run finds it in the cache."""
    script: Command = [sys.executable, HERE / "make_data.py"]
    options = [f"--kind={kind}", f"--samples={samples}", f"--out={folder}"]
    subprocess.run([*script, *options], check=True)
    for path in folder.rglob("*.pt"):
        with path.open("rb") as stream:
            while stream.read(2**20):
                pass


def workflow_command(
    dataset: str, source: Path, run: Path, cores: int, clevel: int, cname: str = "zstd"
) -> Command:
    """Return the command that converts with Snakemake."""
    return [
        *(sys.executable, "-m", "snakemake", "-s", SNAKEFILE),
        *("--directory", run, "--cores", str(cores), "--config"),
        *(f"dataset={dataset}", f"source_url={source}"),
        *(f"store={run / 'store'}", f"workdir={run / 'work'}"),
        f"compression={{cname: {cname}, clevel: {clevel}}}",
    ]


def pool_command(dataset: str, source: Path, run: Path, cores: int, clevel: int) -> Command:
    """Return the command that converts with the process pool."""
    return [
        *(sys.executable, HERE / "pool.py", "--dataset", dataset, "--source", source),
        *("--store", run / "store", "--workers", str(cores), "--clevel", str(clevel)),
    ]


def stamps(store: Path) -> dict[Path, int]:
    """Return when each of a store's metadata files was written."""
    return {path: path.stat().st_mtime_ns for path in sorted(store.rglob("*.json"))}


def run_undisturbed(name: str, command: Command, log: Path, fresh: Path | None = None) -> Run:
    """Run a command; again, a few times at most, when others used the cores meanwhile.

    Parameters
    ----------
    name, command, log
        As for `run_timed`.
    fresh
        A folder to empty before each try.
    """
    for _ in range(TRIES):
        if fresh is not None:
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
        wait_for_quiet()
        run = run_timed(name, command, log)
        others = "" if run.others is None else f" (others used {run.others:.0%} of the cores)"
        print(f"{run.seconds:8.2f} s  {name}{others}", file=sys.stderr, flush=True)
        if run.others is None or run.others <= QUIET:
            break
    return run


def measure(arguments: argparse.Namespace, source: Path, scratch: Path) -> list[Run]:
    """Run everything in turn, as often as asked; compare the stores that the last turn wrote."""
    dataset, _ = DATASETS[arguments.kind]
    how = arguments.cores, arguments.clevel
    workflow, pool = scratch / "workflow", scratch / "pool"
    runs: list[Run] = []
    for _ in range(arguments.repeat):
        command = workflow_command(dataset, source, workflow, *how)
        runs.append(run_undisturbed(WORKFLOW, command, scratch / "workflow.log", workflow))
        if arguments.rerun:
            log = scratch / "rerun.log"
            before = stamps(workflow / "store")
            runs.append(run_undisturbed(RERUN, command, log))
            if stamps(workflow / "store") != before:
                sys.exit(f"the rerun wrote to the store again; its last lines:\n{tail(log)}")
        command = pool_command(dataset, source, pool, *how)
        runs.append(run_undisturbed(POOL, command, scratch / "pool.log", pool))
    check: Command = [sys.executable, HERE / "same_store.py", workflow / "store", pool / "store"]
    if subprocess.run(check).returncode != 0:
        sys.exit("the workflow's store and the pool's are not the same; see above")
    return runs


def table(runs: list[Run], samples: int) -> str:
    """Return the results as a Markdown table."""
    header = (
        "| run | median s | min–max s | s a sample | CPU s | peak memory MB | others | ratio |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    )
    by_name = {name: [run for run in runs if run.name == name] for name in (POOL, WORKFLOW, RERUN)}
    pool = statistics.median(run.seconds for run in by_name[POOL])
    rows = []
    for name, group in by_name.items():
        if not group:
            continue
        seconds = [run.seconds for run in group]
        median = statistics.median(seconds)
        others = [run.others for run in group if run.others is not None]
        cells = (
            name,
            f"{median:.2f}",
            f"{min(seconds):.2f}–{max(seconds):.2f}",
            f"{median / samples:.3f}",
            f"{statistics.median(run.cpu_seconds for run in group):.2f}",
            f"{max(run.peak_memory_mb for run in group):.0f}",
            f"{max(others):.0%}" if others else "?",
            f"{median / pool:.2f}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([*header, *rows])


def describe_machine() -> dict[str, str]:
    """Return what the times depend on: processor, memory, system and versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "CPU": cpu_model(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def cpu_model() -> str:
    """Return the processor's name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=DATASETS, default="tiny", help="the data's shape")
    parser.add_argument("--samples", type=int, help="default: by kind")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="jobs, and workers")
    parser.add_argument("--clevel", type=int, default=5, help="level of Blosc zstd, of both")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each")
    parser.add_argument("--rerun", action="store_true", help="also time a run with nothing to do")
    parser.add_argument("--scratch", type=Path, help="folder to work in, kept; default: temporary")
    parser.add_argument("--json", type=Path, help="file for every single run's figures")
    return parser.parse_args()


def main() -> None:
    """Measure, check and print."""
    arguments = parse_arguments()
    samples = arguments.samples or DATASETS[arguments.kind][1]
    scratch = (arguments.scratch or Path(tempfile.mkdtemp(prefix="benchmark-"))).resolve()
    adopt_orphans()
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # end the run under way as Ctrl-C does
    try:
        source = scratch / "data" / f"{arguments.kind}-{samples}"
        make_data(arguments.kind, samples, source)
        runs = measure(arguments, source, scratch)
    finally:
        if arguments.scratch is None:
            shutil.rmtree(scratch)
    machine = describe_machine()
    print(*(f"{key}: {value}" for key, value in machine.items()), sep=", ")
    print(
        f"\n{arguments.kind}, {samples} samples, {arguments.cores} cores, "
        f"zstd {arguments.clevel}; the stores are equal.\n"
    )
    print(table(runs, samples))
    if arguments.json:
        record = {
            "kind": arguments.kind,
            "samples": samples,
            "cores": arguments.cores,
            "machine": machine,
            "runs": [asdict(run) for run in runs],
        }
        arguments.json.write_text(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
