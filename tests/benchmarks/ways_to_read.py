"""Ways of reading random points of a sample: the reader, what it is compared with, and how.

Each is a dataset of torch, and gives the same item: a tensor for each field of a sample, all of as
many points. Those that read a layout of their own have a function that writes it.
"""

from __future__ import annotations

import io
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fsspec
import numpy as np
import torch
import zarr
from obstore.store import S3Store
from torch.utils.data import BatchSampler, DataLoader, Dataset, default_collate

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from aerozarr import ChunkDataset, LookAhead, Store
from aerozarr.training.collate import collate

DOMAINS = ("surface", "volume")

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
