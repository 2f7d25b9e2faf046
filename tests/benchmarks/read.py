"""Times reading for training: random points of a sample, through a DataLoader with two workers.

The reader is compared with `torch.load` of the whole `.pt` files and with zarr-python's `oindex` of
random chunks, on the same data: in a local folder, and on a server (nginx) that serves the folder
as a bucket of S3 and makes every request late. And with a memory map of the same values: core time
of one process, with stores that are compressed, hardly, or not at all. Prints Markdown tables; the
README beside this file says what their columns mean.
"""

from __future__ import annotations

import argparse
import getpass
import io
import json
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
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fsspec
import numpy as np
import torch
import zarr
from compare import describe_machine, make_data, workflow_command
from obstore.store import S3Store
from torch.utils.data import BatchSampler, DataLoader, Dataset, default_collate

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from aerozarr import ChunkDataset, LookAhead, Store
from aerozarr.training.collate import collate

BUCKET = "benchmark"
CREDENTIALS = {"key": "benchmark", "secret": "benchmark"}
DOMAINS = ("surface", "volume")

# How the stores are compressed whose reading is compared with that of a memory map.
COMPRESSIONS = {"default": ("zstd", 5), "fastest": ("lz4", 1), "none": ("zstd", 0)}

# Its item number -1 costs nothing: workers start on it, before time is taken.
IDLE = -1

Item = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Source:
    """Where the data is: the `.pt` files, the store, and how to get there.

    Attributes
    ----------
    pt, store
        The folders, or their URLs.
    options
        Of fsspec's S3 file system.
    files
        Names of the files of a sample.
    """

    pt: str
    store: str
    options: dict[str, Any]
    files: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether both are local folders."""
        return "://" not in self.store


class Draws(Dataset[Item]):
    """Samples, each a random draw; how is for the classes below.

    Attributes
    ----------
    context
        How workers are started.
    looks_ahead
        Whether workers are told what comes next.
    """

    context = "fork"
    looks_ahead = False

    def __init__(self, source: Source, samples: list[str], points: int) -> None:
        self.source = source
        self.samples = samples
        self.points = points

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Item:
        return {} if index == IDLE else self.subsample(index)

    def __getitems__(self, indexes: list[int]) -> list[Item]:
        return [{}] if IDLE in indexes else self.draw_batch(indexes)

    def subsample(self, index: int) -> Item:
        """Subsample points of a sample."""
        raise NotImplementedError

    def draw_batch(self, indexes: list[int]) -> list[Item]:
        """Subsample points of several samples."""
        return [self.subsample(index) for index in indexes]

    @staticmethod
    def collate(items: list[Item]) -> Item:
        """Make a batch."""
        return dict(default_collate(items))

    def begin_epoch(self, epoch: int) -> None:
        """Get ready for an epoch."""


class WithReader(Draws):
    """The reader: one run of rows from any row on."""

    whole_chunks = False

    def __init__(self, source: Source, samples: list[str], points: int) -> None:
        super().__init__(source, samples, points)
        self.dataset = ChunkDataset(
            self.open_root(),
            samples,
            points=dict.fromkeys(DOMAINS, points),
            whole_chunks=self.whole_chunks,
        )

    def open_root(self) -> Store:
        """Open the store."""
        return Store(self.source.store, {"s3": self.source.options})

    def subsample(self, index: int) -> Item:
        return self.dataset[index]

    def draw_batch(self, indexes: list[int]) -> list[Item]:
        return list(self.dataset.__getitems__(indexes))

    @staticmethod
    def collate(items: list[Item]) -> Item:
        return collate(items)

    def begin_epoch(self, epoch: int) -> None:
        self.dataset.set_epoch(epoch)


class WithLookAhead(WithReader):
    """The reader, which is told what comes next: as `ChunkDataset.loader` does it."""

    looks_ahead = True


class WithWholeChunks(WithReader):
    """The reader: as few chunks as can be."""

    whole_chunks = True


class WithWholeChunksAhead(WithWholeChunks):
    """The reader: as few chunks as can be, and told what comes next."""

    looks_ahead = True


class WithObstore(WithReader):
    """The reader on obstore, whose client costs less than fsspec's; told what comes next."""

    context = "spawn"
    looks_ahead = True

    def open_root(self) -> Store:
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

    def subsample(self, index: int) -> Item:
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
        # All at once, by names that are known; fs.cat would ask for the size of each first.
        root = f"{self.source.pt.removeprefix('s3://')}/{sample}"
        paths = [f"{root}/{file}" for file in self.source.files]
        for path, content in zip(
            paths, fs.cat_ranges(paths, 0, None, on_error="raise"), strict=True
        ):
            yield Path(path).stem, io.BytesIO(content)


class WithMappedTorchLoad(WithTorchLoad):
    """`torch.load` of mapped files, of which random points are kept."""

    mmap = True


class WithMap(Draws):
    """A memory map of what the store holds, uncompressed: a run of rows from any row on."""

    def __init__(self, source: Source, samples: list[str], points: int) -> None:
        super().__init__(source, samples, points)
        # Opened privately, because torch warns of memory that may not be written to.
        self.maps = [
            {
                path.stem: torch.from_numpy(np.load(path, mmap_mode="c"))
                for path in sorted(map_folder(source.store, sample).iterdir())
            }
            for sample in samples
        ]
        for maps in self.maps:
            for values in maps.values():
                values.sum()  # so that all pages are mapped

    def subsample(self, index: int) -> Item:
        item: Item = {}
        starts: dict[str, int] = {}
        for name, values in self.maps[index].items():
            domain = name.partition("_")[0]
            if domain not in starts:
                starts[domain] = random.randrange(len(values) - self.points + 1)
            item[name] = values[starts[domain] : starts[domain] + self.points].clone()
        return item


def map_folder(store: str, sample: str) -> Path:
    """Return where the values of a sample are as `.npy` files, beside a store."""
    return Path(store).parent / "maps" / quote(sample, safe="")


def write_maps(store: Path, samples: list[str]) -> None:
    """Write what a store holds as `.npy` files, in its own dtypes."""
    opened = Store(str(store))
    for sample in samples:
        folder = map_folder(str(store), sample)
        if not folder.exists():
            folder.mkdir(parents=True)
            for name, values in opened.read(sample).items():
                np.save(folder / f"{name}.npy", values.numpy())


class WithZarr(Draws):
    """zarr-python's `oindex` of random chunks; groups stay open."""

    def __init__(self, source: Source, samples: list[str], points: int) -> None:
        super().__init__(source, samples, points)
        self.groups: dict[str, zarr.Group] = {}

    def subsample(self, index: int) -> Item:
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


def physicsnemo_folder(store: str) -> Path:
    """Return where the data is in PhysicsNeMo's layout, beside a store."""
    return Path(store).parent / "physicsnemo"


def write_for_physicsnemo(pt: Path, store: Path) -> None:
    """Write the `.pt` files in the layout of PhysicsNeMo's own stores: 200,000 rows, zstd 3.

    In a folder for each domain, because its reader takes the same rows of all arrays.
    """
    for file in sorted(pt.rglob("*.pt")):
        domain, _, name = file.stem.partition("_")
        sample = quote(str(file.parent.relative_to(pt)), safe="")
        values = torch.load(file, weights_only=True).float().numpy()
        values = values.reshape(len(values), -1)
        group = zarr.open_group(physicsnemo_folder(str(store)) / domain / f"{sample}.zarr")
        group.create_array(
            name,
            data=values,
            chunks=(min(200_000, len(values)), values.shape[1]),
            compressors=[zarr.codecs.ZstdCodec(level=3)],
            overwrite=True,
        )


class WithPhysicsNeMo(Draws):
    """`ZarrReader` of NVIDIA PhysicsNeMo: a run of rows from any row on, of its own layout."""

    def __init__(self, source: Source, samples: list[str], points: int) -> None:
        super().__init__(source, samples, points)
        self.readers: dict[str, tuple[Any, list[str]]] = {}

    def subsample(self, index: int) -> Item:
        item: Item = {}
        for domain in DOMAINS:
            if domain not in self.readers:  # in the worker: zarr's threads do not survive a fork
                self.readers[domain] = self.open_domain(domain)
            reader, names = self.readers[domain]
            data, _ = reader[names.index(f"{quote(self.samples[index], safe='')}.zarr")]
            item |= {f"{domain}_{name}": data[name] for name in data.keys()}  # noqa: SIM118 - no dict
        return item

    def open_domain(self, domain: str) -> tuple[Any, list[str]]:
        """Return a reader of all samples, and their names in its order."""
        from physicsnemo.datapipes.readers.zarr import ZarrReader

        folder = physicsnemo_folder(self.source.store) / domain
        groups = sorted(folder.glob("*.zarr"))
        arrays = [path.name for path in groups[0].iterdir() if path.is_dir()]
        sampling = {"n_points": self.points, "target_keys": arrays}
        reader = ZarrReader(folder, coordinated_subsampling=sampling)
        return reader, [path.name for path in groups]


READER, AHEAD, WHOLE, WHOLE_AHEAD, OBSTORE, LOAD, MAPPED, ZARR, PHYSICSNEMO = (
    "reader",
    "reader, ahead",
    "reader, whole chunks",
    "reader, ahead, whole chunks",
    "reader, ahead, obstore",
    "torch.load",
    "torch.load, mapped",
    "zarr oindex",
    "PhysicsNeMo",
)
METHODS: dict[str, type[Draws]] = {
    READER: WithReader,
    AHEAD: WithLookAhead,
    WHOLE: WithWholeChunks,
    WHOLE_AHEAD: WithWholeChunksAhead,
    OBSTORE: WithObstore,
    ZARR: WithZarr,
    PHYSICSNEMO: WithPhysicsNeMo,
    MAPPED: WithMappedTorchLoad,
    LOAD: WithTorchLoad,
}
LOCAL = (READER, WHOLE, ZARR, MAPPED, LOAD)
REMOTE = (READER, AHEAD, WHOLE_AHEAD, OBSTORE, ZARR, LOAD)
IN_BATCHES = (AHEAD, OBSTORE, LOAD)

# Not among the above, because it is measured by core time.
MAP = "memory map"


@dataclass(frozen=True)
class Result:
    """What one way of reading took.

    Attributes
    ----------
    place, batch, method, points
        Where, in batches of how many (0: one by one), how, and points drawn of each domain.
    first, later
        Samples a second: when a worker sees them for the first time, and after that.
    first_bytes, later_bytes
        Bytes a draw, likewise; None where they cannot be counted.
    useful_bytes
        Bytes that as many points take in the store, compressed.
    """

    place: str
    batch: int
    method: str
    points: int
    first: float
    later: float
    first_bytes: float | None
    later_bytes: float | None
    useful_bytes: float


@dataclass(frozen=True)
class CoreTime:
    """What a draw takes of a core, read in one process.

    Attributes
    ----------
    method, points
        How, and points drawn of each domain.
    median_ms, low_ms
        User and system time of a draw: the median of the series, and what a tenth of them are
        below.
    """

    method: str
    points: int
    median_ms: float
    low_ms: float


class Order(list[int]):
    """The indexes of an epoch; changed between epochs, which a DataLoader sees."""


def make_loader(subsamples: Draws, order: Order, workers: int, batch: int) -> DataLoader[Item]:
    """Make the DataLoader; 0 for batches of none, but samples one by one."""
    sampler: Any = BatchSampler(order, batch, drop_last=False) if batch else order
    if subsamples.looks_ahead:
        sampler = LookAhead(sampler, workers)
    options: dict[str, Any] = {"batch_size": None, "sampler": sampler}
    if batch:
        options = {"batch_sampler": sampler, "collate_fn": subsamples.collate}
    return DataLoader(
        subsamples,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context=subsamples.context if workers else None,
        **options,
    )


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


# The slow S3 server


# Signatures are sent, and not checked. What is not there is answered as S3 does, and so is the
# question what there is, which only zarr-python asks, of what is not there.
NGINX = """\
load_module {echo};
user {user};
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  log_format bytes '$bytes_sent';
  access_log {folder}/bytes.log bytes;
  sendfile on;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  default_type application/octet-stream;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{ echo_sleep {delay}; echo_exec @files; }}
    location @files {{
      root {folder}/files;
      if ($args ~ list-type=2) {{
        return 200 '<?xml version="1.0"?><ListBucketResult/>';
      }}
      error_page 404 = @missing;
    }}
    location @missing {{
      default_type application/xml;
      return 404 '<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>';
    }}
  }}
}}
"""
ECHO = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")


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
def slow_s3(delay: float, scratch: Path, pt: Path, store: Path) -> Iterator[tuple[str, Path]]:
    """Serve two folders as `pt` and `store` of a bucket; yield the address, and a log of bytes."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if program is None or not ECHO.exists():
        sys.exit(
            "Reading from S3 is measured with nginx and its module echo. On Debian: "
            "apt-get install nginx-light libnginx-mod-http-echo; or leave it out: --places local."
        )
    folder = scratch / "nginx"
    shutil.rmtree(folder, ignore_errors=True)
    bucket = folder / "files" / BUCKET
    bucket.mkdir(parents=True)
    (bucket / "pt").symlink_to(pt)
    (bucket / "store").symlink_to(store)
    port = free_port()
    settings = NGINX.format(
        echo=ECHO, user=getpass.getuser(), folder=folder, port=port, delay=f"{delay:.3f}"
    )
    (folder / "nginx.conf").write_text(settings)
    with (folder / "output.log").open("wb") as stream:
        command = [program, "-p", folder, "-c", folder / "nginx.conf"]
        server = subprocess.Popen(command, stdout=stream, stderr=stream)
        try:
            wait_for(port)
            yield f"http://127.0.0.1:{port}", folder / "bytes.log"
        finally:
            server.terminate()
            server.wait()


def bytes_sent(log: Path) -> int:
    """Return the bytes that the server has sent so far."""
    time.sleep(0.2)  # a request is written down after its last byte was sent
    return sum(map(int, log.read_text().split()))


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


def table(results: list[Result]) -> str:
    """Return the results as a Markdown table."""
    columns = (
        *("where", "batch", "points", "read by", "samples/s", "first time", "over torch.load"),
        *("MB a draw", "first time", "over useful"),
    )
    lines = [f"| {' | '.join(columns)} |", "|---|---:|---:|---|---:|---:|---:|---:|---:|---:|"]
    for result in results:
        (base,) = (
            other.later
            for other in results
            if other.method == LOAD
            and (other.place, other.batch, other.points)
            == (result.place, result.batch, result.points)
        )
        ratio = (
            "–" if result.later_bytes is None else f"{result.later_bytes / result.useful_bytes:.2f}"
        )
        cells = (
            result.place,
            str(result.batch or "–"),
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


def core_table(results: list[CoreTime]) -> str:
    """Return core times as a Markdown table."""
    lines = [
        "| points | read by | ms a draw | over the map | lowest tenth, ms | over the map |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    maps = {result.points: result for result in results if result.method == MAP}
    for result in results:
        base = maps[result.points]
        cells = (
            f"{result.points:,}",
            result.method,
            f"{result.median_ms:.3g}",
            f"{result.median_ms / base.median_ms:.1f}",
            f"{result.low_ms:.3g}",
            f"{result.low_ms / base.low_ms:.1f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def megabytes(count: float | None) -> str:
    """Return bytes in MB, for a table."""
    return "–" if count is None else f"{count / 1e6:.3g}"


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
