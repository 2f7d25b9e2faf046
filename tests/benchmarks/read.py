"""Times reading for training: random points of a sample, through a DataLoader with two workers.

The reader is compared with `torch.load` of the whole `.pt` files and with zarr-python's `oindex` of
random chunks, on the same data: in a local folder, and on a server (nginx) that serves the folder
as a bucket of S3 and makes every request late. And with a memory map of the same values: core time
of one process, with stores that are compressed, hardly, or not at all. Prints Markdown tables; the
README beside this file says what their columns mean.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from compare import describe_machine, make_data, workflow_command
from read_tables import CoreTime, Result, core_table, table
from slow_s3 import BUCKET, CREDENTIALS, bytes_sent, slow_s3
from ways_to_read import (
    DOMAINS,
    IDLE,
    IN_BATCHES,
    LOCAL,
    MAP,
    MAPPED,
    METHODS,
    PHYSICSNEMO,
    REMOTE,
    ZARR,
    Draws,
    Order,
    Source,
    WithMap,
    WithReader,
    make_loader,
    write_for_physicsnemo,
    write_maps,
)

# How the stores are compressed whose reading is compared with that of a memory map.
COMPRESSIONS = {"default": ("zstd", 5), "fastest": ("lz4", 1), "none": ("zstd", 0)}


def measure(
    subsamples: Draws,
    workers: int,
    epochs: int,
    count_bytes: Callable[[], int] | None,
    batch: int = 0,
) -> tuple[float, float, float | None, float | None]:
    """Read every sample once, and then `epochs` times.

    Returns
    -------
    first, later
        Samples a second.
    first_bytes, later_bytes
        Bytes a draw, or None.
    """
    order = Order([IDLE] * max(1, workers) * max(1, batch))
    loader = make_loader(subsamples, order, workers, batch)
    list(loader)
    n_samples = len(subsamples)
    shuffler = random.Random(0)

    def timed(indexes: list[int], epoch: int) -> tuple[float, float | None]:
        order[:] = indexes
        subsamples.begin_epoch(epoch)
        before = count_bytes() if count_bytes else 0
        start = time.perf_counter()
        got = sum(1 for _ in loader)
        seconds = time.perf_counter() - start
        assert got == -(-len(indexes) // max(1, batch))
        fetched = (count_bytes() - before) / len(indexes) if count_bytes else None
        return len(indexes) / seconds, fetched

    indexes = list(range(n_samples))
    first, first_bytes = timed(indexes, 0)
    # Each index to the next worker, so that all workers have seen all samples.
    for turn in range(1, workers):
        step = turn * max(1, batch)
        timed(indexes[step:] + indexes[:step], turn)
    many: list[int] = []
    for _ in range(epochs):
        shuffler.shuffle(indexes)
        many += indexes
    later, later_bytes = timed(many, workers + 1)
    return first, later, first_bytes, later_bytes


def bytes_read() -> int:
    """Return the bytes that this process has read so far, from files or the cache."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def useful_bytes(store: Path, samples: list[str], points: int) -> float:
    """Return what as many points of each domain take in the store, on average over the samples."""
    manifest = json.loads((store / "manifest.json").read_bytes())
    total = 0.0
    for sample in samples:
        for domain in DOMAINS:
            n_points = manifest["samples"][sample]["domains"][domain]["n_points"]
            for path in (store / f"{sample}.zarr" / domain).rglob("c/*/0"):
                total += path.stat().st_size * points / n_points
    return total / len(samples)


def measure_local(arguments: argparse.Namespace, pt: Path, store: Path) -> list[Result]:
    """Measure all ways of reading local folders."""
    source = Source(str(pt), str(store), {})
    samples = list(json.loads((store / "manifest.json").read_bytes())["samples"])
    results = []
    if arguments.physicsnemo:
        write_for_physicsnemo(pt, store)
    for points in arguments.points:
        for name, method in METHODS.items():
            if name not in LOCAL and not (name == PHYSICSNEMO and arguments.physicsnemo):
                continue
            epochs = 20 if "reader" in name else 2
            speeds = [
                measure(method(source, samples, points), arguments.workers, epochs, None)[:2]
                for _ in range(arguments.repeat)
            ]
            # Counted in this process. What is mapped is read without being counted.
            fetched: tuple[float | None, float | None] = None, None
            if name != MAPPED:
                fetched = measure(method(source, samples, points), 0, 5, bytes_read)[2:]
            results.append(
                Result(
                    "local",
                    0,
                    name,
                    points,
                    *(statistics.median(column) for column in zip(*speeds, strict=True)),
                    *fetched,
                    useful_bytes(store, samples, points),
                )
            )
            print(results[-1], file=sys.stderr, flush=True)
    return results


def measure_core(
    arguments: argparse.Namespace, pt: Path, stores: dict[str, Path]
) -> list[CoreTime]:
    """Measure the core time of reading each store, and of a memory map, in short series in turn."""
    samples = list(json.loads((stores["default"] / "manifest.json").read_bytes())["samples"])
    write_maps(stores["default"], samples)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a DataLoader's worker
    results = []
    for points in arguments.points:
        ways: dict[str, Draws] = {
            f"reader, {name}": WithReader(Source(str(pt), str(store), {}), samples, points)
            for name, store in stores.items()
        }
        ways[MAP] = WithMap(Source(str(pt), str(stores["default"]), {}), samples, points)
        series: dict[str, list[float]] = {name: [] for name in ways}
        for way in ways.values():
            for index in range(len(samples)):
                way[index]
        # About as long for each size, and so short that others disturb all ways alike.
        draws = max(4, 2**17 // points)
        for turn in range(arguments.turns):
            for name, way in ways.items():
                way.begin_epoch(turn + 1)
                order = random.choices(range(len(samples)), k=draws)
                start = time.process_time()
                for index in order:
                    way[index]
                series[name].append((time.process_time() - start) / draws * 1e3)
        for name, taken in series.items():
            low = statistics.quantiles(taken, n=10)[0]
            results.append(CoreTime(name, points, statistics.median(taken), low))
            print(results[-1], file=sys.stderr, flush=True)
    torch.set_num_threads(threads)
    return results


def measure_remote(arguments: argparse.Namespace, pt: Path, store: Path) -> list[Result]:
    """Measure all ways of reading from the slow server."""
    samples = list(json.loads((store / "manifest.json").read_bytes())["samples"])
    samples = samples[: arguments.remote_samples]
    results = []
    files = tuple(sorted(path.name for path in (pt / samples[0]).iterdir()))
    with slow_s3(arguments.delay / 1000, arguments.scratch, pt, store) as (endpoint, log):
        options = {**CREDENTIALS, "endpoint_url": endpoint}
        source = Source(f"s3://{BUCKET}/pt", f"s3://{BUCKET}/store", options, files)
        for batch in arguments.batches:
            for points in arguments.points:
                for name in IN_BATCHES if batch else REMOTE:
                    measured = [
                        measure(
                            METHODS[name](source, samples, points),
                            arguments.workers,
                            10 if "reader" in name else 1,
                            lambda: bytes_sent(log),
                            batch,
                        )
                        for _ in range(1 if name == ZARR else arguments.repeat)
                    ]
                    columns = zip(*measured, strict=True)
                    results.append(
                        Result(
                            f"S3, {arguments.delay:g} ms",
                            batch,
                            name,
                            points,
                            *(statistics.median(column) for column in columns),  # type: ignore[type-var]
                            useful_bytes(store, samples, points),
                        )
                    )
                    print(results[-1], file=sys.stderr, flush=True)
    return results


def convert(dataset: str, source: Path, scratch: Path, compression: str = "default") -> Path:
    """Convert with the workflow, once, by one of `COMPRESSIONS`; return the store."""
    run = scratch / ("reading" if compression == "default" else f"reading-{compression}")
    cname, clevel = COMPRESSIONS[compression]
    if not (run / "store/manifest.json").exists():
        run.mkdir(parents=True, exist_ok=True)
        cores = os.cpu_count() or 1
        with (scratch / "convert.log").open("wb") as log:
            command = workflow_command(dataset, source, run, cores, clevel, cname)
            subprocess.run(command, check=True, stdout=log, stderr=log)
    return run / "store"


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=12)
    parser.add_argument("--remote-samples", type=int, default=8, help="samples read from S3")
    parser.add_argument("--points", type=int, nargs="+", default=[4096, 16384, 32768, 65536])
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[0, 4], help="of S3; 0: samples one by one"
    )
    parser.add_argument("--workers", type=int, default=2, help="of the DataLoader")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--delay", type=float, default=20, help="milliseconds a request is late")
    parser.add_argument("--turns", type=int, default=40, help="series of each, of core times")
    parser.add_argument(
        "--places",
        nargs="+",
        choices=("local", "core", "s3"),
        default=["local", "core", "s3"],
        help="core: local too, beside a memory map, by core time of one process",
    )
    parser.add_argument(
        "--physicsnemo",
        action="store_true",
        help="also measure ZarrReader of nvidia-physicsnemo, which has to be installed",
    )
    parser.add_argument("--scratch", type=Path, help="folder to work in, kept; default: temporary")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


def main() -> None:
    """Make the data, convert, measure and print."""
    arguments = parse_arguments()
    keep = arguments.scratch is not None
    arguments.scratch = (arguments.scratch or Path(tempfile.mkdtemp(prefix="reading-"))).resolve()
    try:
        source = arguments.scratch / "data" / f"drivaernet-{arguments.samples}"
        make_data("drivaernet", arguments.samples, source)
        store = convert("drivaernet", source, arguments.scratch)
        results: list[Result] = []
        core_times: list[CoreTime] = []
        if "local" in arguments.places:
            results += measure_local(arguments, source, store)
        if "core" in arguments.places:
            stores = {
                name: convert("drivaernet", source, arguments.scratch, name)
                for name in COMPRESSIONS
            }
            core_times = measure_core(arguments, source, stores)
        if "s3" in arguments.places:
            results += measure_remote(arguments, source, store)
    finally:
        if not keep:
            shutil.rmtree(arguments.scratch)
    machine = describe_machine()
    print(*(f"{key}: {value}" for key, value in machine.items()), sep=", ")
    print(f"\n{arguments.samples} samples of DrivAerNet size, {arguments.workers} workers.\n")
    if results:
        print(table(results))
    if core_times:
        print(f"\n{core_table(core_times)}")
    if arguments.json:
        record = {
            "machine": machine,
            "results": [asdict(result) for result in results],
            "core_times": [asdict(result) for result in core_times],
        }
        arguments.json.write_text(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
