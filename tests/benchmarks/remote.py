"""Measures conversions from and to an object store: seconds, requests and bytes for each sample.

A local S3 server (moto) stands behind a proxy that counts requests and makes each of them slower by
`--latency` milliseconds. Server, proxy and workflow share the machine's cores.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from make_data import KINDS, write_data  # noqa: E402

from remote.proxy import Proxy, Request  # noqa: E402
from remote.s3 import Bucket, make_bucket  # noqa: E402
from remote.servers import free_port, process  # noqa: E402

SNAKEFILE = HERE.parents[1] / "Snakefile"
ROUTES = {"S3 to S3": (True, True), "S3 to local": (True, False), "local to S3": (False, True)}


@dataclass
class Run:
    """One run of the workflow: its wall time, and the requests that it made."""

    seconds: float
    requests: list[Request]


def upload(bucket: Bucket, source: Path) -> None:
    """Put a local source into a bucket, below `source`."""
    for path in sorted(source.rglob("*.pt")):
        bucket.put(f"source/{path.relative_to(source)}", path.read_bytes())


def convert(
    bucket: Bucket, source: Path, route: str, latency: float, cores: int, folder: Path
) -> Run:
    """Run the workflow from nothing to the manifest.

    Raises
    ------
    SystemExit
        When it fails; with the end of what it said.
    """
    from_s3, to_s3 = ROUTES[route]
    config = {
        "dataset": "shapenet_car",
        "source_url": f"{bucket.url}/source" if from_s3 else str(source),
        "store": f"{bucket.url}/{folder.name}" if to_s3 else str(folder / "store"),
        "workdir": str(folder / "work"),
        "storage_options": bucket.storage_options,
    }
    folder.mkdir()
    (folder / "settings.yaml").write_text(yaml.safe_dump(config))
    bucket.proxy.mend()
    bucket.proxy.latency = latency
    command = [
        *(sys.executable, "-m", "snakemake", "-s", SNAKEFILE, "--directory", folder),
        *("--cores", str(cores), "--configfile", folder / "settings.yaml"),
    ]
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    if done.returncode != 0:
        sys.exit(done.stdout[-3000:] + done.stderr[-3000:])
    return Run(seconds, list(bucket.proxy.requests))


def row(route: str, latency: float, run: Run, samples: int, base: float) -> str:
    """Return a line of the table."""
    kinds = dict.fromkeys(("GET", "PUT", "LIST", "HEAD", "DELETE"), 0)
    for request in run.requests:
        kinds[request.kind] += 1
    read = sum(request.received for request in run.requests if request.kind == "GET")
    written = sum(request.sent for request in run.requests if request.kind == "PUT")
    counts = ", ".join(f"{n / samples:.2f} {kind}" for kind, n in kinds.items() if n)
    return (
        f"| {route} | {1000 * latency:.0f} ms | {run.seconds:.1f} s | {run.seconds / base:.2f} "
        f"| {len(run.requests) / samples:.1f} | {counts} "
        f"| {read / samples / 1e6:.2f} MB | {written / samples / 1e6:.2f} MB |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--latency", type=float, default=20, help="milliseconds a request")
    parser.add_argument("--routes", nargs="+", choices=ROUTES, default=list(ROUTES))
    parser.add_argument("--repeat", type=int, default=1, help="runs, of which the median counts")
    arguments = parser.parse_args()
    print("| route | added | time | ratio | requests a sample | of which | read | written |")
    print("|---|---:|---:|---:|---:|---|---:|---:|")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = free_port()
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        stack.enter_context(process(command, port, folder / "log"))
        bucket = make_bucket(stack.enter_context(Proxy(port)))
        source = folder / "source"
        write_data(KINDS["shapenet"], arguments.samples, source)
        upload(bucket, source)
        for route in arguments.routes:
            base = 0.0
            for latency in (0.0, arguments.latency / 1000):
                runs = []
                for number in range(arguments.repeat):
                    name = f"{route.replace(' ', '-')}-{latency}-{number}"
                    place = folder / name
                    runs.append(convert(bucket, source, route, latency, arguments.cores, place))
                run = sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]
                base = base or run.seconds
                print(row(route, latency, run, arguments.samples, base), flush=True)


if __name__ == "__main__":
    main()
