"""Times reading for training: random points of a sample, through a DataLoader with two workers.

The reader is compared with `torch.load` of the whole `.pt` files and with zarr-python's `oindex` of
random chunks, on the same data: in a local folder, and on an S3 server (moto) behind a proxy that
makes every request late. Prints a Markdown table; the README beside this file says what its columns
mean.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import multiprocessing
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import fsspec
import torch
import zarr
from compare import describe_machine, make_data, workflow_command
from obstore.store import S3Store
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from aerozarr import ChunkDataset, Store

BUCKET = "benchmark"
CREDENTIALS = {"key": "benchmark", "secret": "benchmark"}
DOMAINS = ("surface", "volume")

# Its item number -1 costs nothing: workers start on it, before time is taken.
IDLE = -1

Item = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Source:
    """Where the data is: the `.pt` files, the store, and how to get there."""

    pt: str
    store: str
    options: dict[str, Any]

    @property
    def is_local(self) -> bool:
        """Whether both are local folders."""
        return "://" not in self.store


class Draws(Dataset[Item]):
    """Samples, each a random draw; how is for the classes below."""

    context = "fork"

    def __init__(self, source: Source, samples: list[str], points: int) -> None:
        self.source = source
        self.samples = samples
        self.points = points

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Item:
        return {} if index == IDLE else self.draw(index)

    def draw(self, index: int) -> Item:
        """Draw points of a sample."""
        raise NotImplementedError

    def begin_epoch(self, epoch: int) -> None:
        """Get ready for an epoch."""


class WithReader(Draws):
    """The reader: one run of rows from any row on."""

    whole_chunks = False

    def __init__(self, source: Source, samples: list[str], points: int) -> None:
        super().__init__(source, samples, points)
        self.dataset = ChunkDataset(
            self.open_store(),
            samples,
            points=dict.fromkeys(DOMAINS, points),
            whole_chunks=self.whole_chunks,
        )

    def open_store(self) -> Store:
        """Open the store."""
        return Store(self.source.store, {"s3": self.source.options})

    def draw(self, index: int) -> Item:
        return self.dataset[index]

    def begin_epoch(self, epoch: int) -> None:
        self.dataset.set_epoch(epoch)


class WithWholeChunks(WithReader):
    """The reader: as few chunks as can be."""

    whole_chunks = True


class WithObstore(WithReader):
    """The reader on obstore, whose client costs less than fsspec's."""

    context = "spawn"

    def open_store(self) -> Store:
        bucket, _, prefix = self.source.store.removeprefix("s3://").partition("/")
        store = S3Store(
            bucket,
            prefix=prefix,
            endpoint=self.source.options["endpoint_url"],
            access_key_id=self.source.options["key"],
            secret_access_key=self.source.options["secret"],
            region="us-east-1",
            client_options={"allow_http": True},
        )
        return Store(store)


class WithTorchLoad(Draws):
    """`torch.load` of the whole files, of which random points are kept."""

    mmap = False

    def draw(self, index: int) -> Item:
        item: Item = {}
        rows: dict[str, torch.Tensor] = {}
        for name, file in self.files(self.samples[index]):
            tensor = torch.load(file, weights_only=True, mmap=self.mmap)
            domain = name.partition("_")[0]
            if domain not in rows:
                rows[domain] = torch.randint(len(tensor), (self.points,))
            item[name] = tensor[rows[domain]]
        return item

    def files(self, sample: str) -> Iterator[tuple[str, Any]]:
        """Yield the files of a sample by their stem."""
        if self.source.is_local:
            for path in sorted(Path(self.source.pt, sample).iterdir()):
                yield path.stem, path
            return
        fs = fsspec.filesystem("s3", **self.source.options)
        # All at once; fs.cat would ask for the size of each first.
        paths = sorted(fs.ls(f"{self.source.pt.removeprefix('s3://')}/{sample}", detail=False))
        for path, content in zip(
            paths, fs.cat_ranges(paths, 0, None, on_error="raise"), strict=True
        ):
            yield Path(path).stem, io.BytesIO(content)


class WithMappedTorchLoad(WithTorchLoad):
    """`torch.load` of mapped files, of which random points are kept."""

    mmap = True


class WithZarr(Draws):
    """zarr-python's `oindex` of random chunks; groups stay open."""

    def __init__(self, source: Source, samples: list[str], points: int) -> None:
        super().__init__(source, samples, points)
        self.groups: dict[str, zarr.Group] = {}

    def draw(self, index: int) -> Item:
        sample = self.samples[index]
        if sample not in self.groups:
            self.groups[sample] = zarr.open_consolidated(
                f"{self.source.store}/{sample}.zarr",
                mode="r",
                storage_options=None if self.source.is_local else self.source.options,
            )
        item: Item = {}
        for domain in DOMAINS:
            arrays = dict(self.groups[sample][domain].arrays())
            position = arrays["position"]
            n_points, chunk = position.shape[0], position.chunks[0]
            rows: list[int] = []
            for number in torch.randperm(-(-n_points // chunk)).tolist():
                rows.extend(range(number * chunk, min((number + 1) * chunk, n_points)))
                if len(rows) >= self.points:
                    break
            for name, array in arrays.items():
                item[f"{domain}_{name}"] = torch.from_numpy(array.oindex[rows[: self.points]])
        return item


READER, WHOLE, OBSTORE, LOAD, MAPPED, ZARR = (
    "reader",
    "reader, whole chunks",
    "reader, obstore",
    "torch.load",
    "torch.load, mapped",
    "zarr oindex",
)
METHODS: dict[str, type[Draws]] = {
    READER: WithReader,
    WHOLE: WithWholeChunks,
    OBSTORE: WithObstore,
    ZARR: WithZarr,
    MAPPED: WithMappedTorchLoad,
    LOAD: WithTorchLoad,
}
LOCAL = (READER, WHOLE, ZARR, MAPPED, LOAD)
REMOTE = (READER, WHOLE, OBSTORE, ZARR, LOAD)


@dataclass(frozen=True)
class Result:
    """What one way of reading took.

    Attributes
    ----------
    place, method, points
        Where and how, and points drawn of each domain.
    first, later
        Samples a second: when a worker sees them for the first time, and after that.
    first_bytes, later_bytes
        Bytes a draw, likewise; None where they cannot be counted.
    useful_bytes
        Bytes that as many points take in the store, compressed.
    """

    place: str
    method: str
    points: int
    first: float
    later: float
    first_bytes: float | None
    later_bytes: float | None
    useful_bytes: float


class Order(list[int]):
    """The indexes of an epoch; changed between epochs, which a DataLoader sees."""


def measure(
    draws: Draws, workers: int, epochs: int, count_bytes: Callable[[], int] | None
) -> tuple[float, float, float | None, float | None]:
    """Read every sample once, and then `epochs` times.

    Returns
    -------
    first, later
        Samples a second.
    first_bytes, later_bytes
        Bytes a draw, or None.
    """
    order = Order([IDLE] * max(1, workers))
    loader = DataLoader(
        draws,
        batch_size=None,
        sampler=order,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context=draws.context if workers else None,
    )
    list(loader)
    n_samples = len(draws)
    shuffler = random.Random(0)

    def timed(indexes: list[int], epoch: int) -> tuple[float, float | None]:
        order[:] = indexes
        draws.begin_epoch(epoch)
        before = count_bytes() if count_bytes else 0
        start = time.perf_counter()
        got = sum(1 for _ in loader)
        seconds = time.perf_counter() - start
        fetched = (count_bytes() - before) / got if count_bytes else None
        return got / seconds, fetched

    indexes = list(range(n_samples))
    first, first_bytes = timed(indexes, 0)
    # Each index to the next worker, so that all workers have seen all samples.
    for turn in range(1, workers):
        timed(indexes[turn:] + indexes[:turn], turn)
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


# The slow S3 server


async def _serve(port: int, server: int, delay: float, received: Synchronized[int]) -> None:
    """Pass connections on to the server; what a client sends goes on `delay` seconds late."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, late: bool) -> None:
        while content := await reader.read(2**18):
            if late:
                await asyncio.sleep(delay)
            else:
                received.value += len(content)
            writer.write(content)
            await writer.drain()
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up, down = await asyncio.open_connection("127.0.0.1", server)
        both = pipe(reader, down, late=True), pipe(up, writer, late=False)
        await asyncio.gather(*both, return_exceptions=True)

    async with await asyncio.start_server(connect, "127.0.0.1", port) as listener:
        await listener.serve_forever()


def _run_proxy(port: int, server: int, delay: float, received: Synchronized[int]) -> None:
    asyncio.run(_serve(port, server, delay, received))


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until something listens on a port."""
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit(f"nothing listens on port {port}")


@contextmanager
def slow_s3(delay: float, log: Path) -> Iterator[tuple[str, str, Synchronized[int]]]:
    """Run an S3 server; yield its address, that of the proxy, and the bytes that came through."""
    server, port = free_port(), free_port()
    received = multiprocessing.Value("q", 0)
    proxy = multiprocessing.get_context("fork").Process(
        target=_run_proxy, args=(port, server, delay, received), daemon=True
    )
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(server)]
    with log.open("wb") as stream:
        moto = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        proxy.start()
        try:
            wait_for(server)
            wait_for(port)
            yield f"http://127.0.0.1:{server}", f"http://127.0.0.1:{port}", received
        finally:
            proxy.terminate()
            moto.terminate()
            moto.wait()


def upload(folder: Path, endpoint: str, prefix: str) -> None:
    """Copy a folder to the server."""
    fs = fsspec.filesystem("s3", **CREDENTIALS, endpoint_url=endpoint)
    fs.mkdirs(BUCKET, exist_ok=True)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            fs.pipe_file(f"{BUCKET}/{prefix}/{path.relative_to(folder)}", path.read_bytes())


# What is compared


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
    for points in arguments.points:
        for name, method in METHODS.items():
            if name not in LOCAL:
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
                    name,
                    points,
                    *(statistics.median(column) for column in zip(*speeds, strict=True)),
                    *fetched,
                    useful_bytes(store, samples, points),
                )
            )
            print(results[-1], file=sys.stderr, flush=True)
    return results


def measure_remote(arguments: argparse.Namespace, pt: Path, store: Path) -> list[Result]:
    """Measure all ways of reading from the slow server."""
    samples = list(json.loads((store / "manifest.json").read_bytes())["samples"])
    samples = samples[: arguments.remote_samples]
    results = []
    log = Path(arguments.scratch, "moto.log")
    with slow_s3(arguments.delay / 1000, log) as (direct, slow, received):
        upload(store, direct, "store")
        for sample in samples:
            upload(pt / sample, direct, f"pt/{sample}")
        options = {**CREDENTIALS, "endpoint_url": slow}
        source = Source(f"s3://{BUCKET}/pt", f"s3://{BUCKET}/store", options)
        for points in arguments.points:
            for name, method in METHODS.items():
                if name not in REMOTE:
                    continue
                measured = [
                    measure(
                        method(source, samples, points),
                        arguments.workers,
                        10 if "reader" in name else 1,
                        lambda: received.value,
                    )
                    for _ in range(1 if name == LOAD else arguments.repeat)
                ]
                columns = zip(*measured, strict=True)
                results.append(
                    Result(
                        f"S3, {arguments.delay:g} ms",
                        name,
                        points,
                        *(statistics.median(column) for column in columns),  # type: ignore[type-var]
                        useful_bytes(store, samples, points),
                    )
                )
                print(results[-1], file=sys.stderr, flush=True)
    return results


def table(results: list[Result]) -> str:
    """Return the results as a Markdown table."""
    columns = (
        *("where", "points", "read by", "samples/s", "first time", "over torch.load"),
        *("MB a draw", "first time", "over useful"),
    )
    lines = [f"| {' | '.join(columns)} |", "|---|---:|---|---:|---:|---:|---:|---:|---:|"]
    for result in results:
        (base,) = (
            other.later
            for other in results
            if (other.place, other.method, other.points) == (result.place, LOAD, result.points)
        )
        ratio = (
            "–" if result.later_bytes is None else f"{result.later_bytes / result.useful_bytes:.2f}"
        )
        cells = (
            result.place,
            f"{result.points:,}",
            result.method,
            f"{result.later:.3g}",
            f"{result.first:.3g}",
            f"{result.later / base:.1f}",
            megabytes(result.later_bytes),
            megabytes(result.first_bytes),
            ratio,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def megabytes(count: float | None) -> str:
    """Return bytes in MB, for a table."""
    return "–" if count is None else f"{count / 1e6:.3g}"


def convert(dataset: str, source: Path, scratch: Path) -> Path:
    """Convert with the workflow, once; return the store."""
    run = scratch / "reading"
    if not (run / "store/manifest.json").exists():
        run.mkdir(parents=True, exist_ok=True)
        cores = os.cpu_count() or 1
        with (scratch / "convert.log").open("wb") as log:
            command = workflow_command(dataset, source, run, cores, clevel=5)
            subprocess.run(command, check=True, stdout=log, stderr=log)
    return run / "store"


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=12)
    parser.add_argument("--remote-samples", type=int, default=6, help="samples read from S3")
    parser.add_argument("--points", type=int, nargs="+", default=[4096, 16384, 65536])
    parser.add_argument("--workers", type=int, default=2, help="of the DataLoader")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--delay", type=float, default=20, help="milliseconds a request is late")
    parser.add_argument("--places", nargs="+", choices=("local", "s3"), default=["local", "s3"])
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
        results = []
        if "local" in arguments.places:
            results += measure_local(arguments, source, store)
        if "s3" in arguments.places:
            results += measure_remote(arguments, source, store)
    finally:
        if not keep:
            shutil.rmtree(arguments.scratch)
    machine = describe_machine()
    print(*(f"{key}: {value}" for key, value in machine.items()), sep=", ")
    print(f"\n{arguments.samples} samples of DrivAerNet size, {arguments.workers} workers.\n")
    print(table(results))
    if arguments.json:
        record = {"machine": machine, "results": [asdict(result) for result in results]}
        arguments.json.write_text(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
