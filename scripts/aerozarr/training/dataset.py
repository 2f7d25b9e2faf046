"""A torch dataset over a store: a draw of points of each sample, anew in each epoch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
)

from aerozarr.errors import StoreError
from aerozarr.messages import did_you_mean
from aerozarr.store.read.contents import Points
from aerozarr.store.read.store import Store
from aerozarr.store.read.subsample import Subsample
from aerozarr.training.collate import Item, collate
from aerozarr.training.normalizer import Normalizer
from aerozarr.training.prefetch import Ahead, Batch, Index, Indexes, LookAhead, batch_of

GEOMETRY = "geometry_position"


class ChunkDataset(Dataset[dict[str, torch.Tensor]]):
    """Samples of a store, each a fresh draw of its points.

    What an item holds depends on `seed`, the epoch and the item's index alone: not on the number of
    workers, nor on what was read before.

    Parameters
    ----------
    store
        The store.
    split
        A split's name, or the ids of the samples, in this order; by default all samples.
    points
        How many points to draw by domain, as for `Store.read`; by default all points. To put items
        together in batches, each has to have as many: give numbers.
    fields
        Canonical names of the fields; by default all of those domains.
    seed
        Seed of all subsamples.
    normalize
        True scales values by the store's statistics (those of the train split where it has them),
        positions excepted; a `Normalizer` says more precisely how. By default values are as stored.
    geometry_points
        How many points of `geometry_domain` to draw besides, independently of `points`: their
        positions are the item's `geometry_position`. By default none.
    geometry_domain
        The domain that describes the geometry.
    whole_chunks
        As for `Store.read`: fetch fewer bytes, for less varied subsamples.

    Attributes
    ----------
    store, samples
        The store, and the ids of the samples in the dataset's order.
    normalizer
        What scales the values, or None; its `denormalize` takes a model's output back.

    Raises
    ------
    StoreError
        When the store has no such split, sample, domain or field, when a sample has fewer points
        than asked for, or when there are no statistics to scale by.
    TypeError
        When `store` is not an open store.

    Notes
    -----
    An item is a dict of float32 tensors of shape (points, components) by canonical name.

    For DataLoader workers, forked or spawned; with pinned memory: best by `loader`, which makes the
    DataLoader. With one of your own, prefer `persistent_workers=True` for a remote store, so that
    the indexes of its shards are read once and not once an epoch, and give it a `LookAhead`.
    `set_epoch` reaches workers that are running; call it before the epoch's iteration begins, since
    workers read ahead.
    """

    def __init__(
        self,
        store: Store,
        split: str | Iterable[str] | None = None,
        *,
        points: Points | None = None,
        fields: Iterable[str] | None = None,
        seed: int = 0,
        normalize: bool | Normalizer = False,
        geometry_points: int | None = None,
        geometry_domain: str = "surface",
        whole_chunks: bool = False,
    ) -> None:
        if not isinstance(store, Store):
            raise TypeError(f"store is no Store; open it first: Store({store!r})")
        self.store = store
        self.samples = _samples(store, split)
        self.normalizer: Normalizer | None
        if isinstance(normalize, Normalizer):
            self.normalizer = normalize
        else:
            self.normalizer = Normalizer.of(store) if normalize else None
        self._points = points
        self._fields = None if fields is None else tuple(fields)
        if points is not None and not points and geometry_points is None:
            raise StoreError("points names no domain. Name one or more, or leave it out for all.")
        for domain in points or ():
            store.position_of(domain)
        for field in self._fields or ():
            store.domain_of(field)
        self._geometry = None
        if geometry_points is not None:
            self._geometry = geometry_domain, store.position_of(geometry_domain), geometry_points
            _check_points(
                store, self.samples, {geometry_domain: geometry_points}, "geometry_points"
            )
        _check_points(store, self.samples, points or {}, "points")
        self._seed = seed
        self._whole_chunks = whole_chunks
        self._ahead: Ahead | None = None
        self._ahead_pid = 0
        # Shared memory: workers that are running see it change.
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call] # torch has no type for it

    @property
    def epoch(self) -> int:
        """The epoch whose draws items are, from 0 on."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: other draws than in any other, and the same as ever in this one."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.samples)

    def loader(
        self,
        batch_size: int | None = 1,
        *,
        shuffle: bool = False,
        num_workers: int = 0,
        drop_last: bool = False,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> DataLoader[Any]:
        """Make the DataLoader that suits the dataset best.

        Like `DataLoader(dataset, …)`, and gives the same; but its workers stay from epoch to epoch,
        batches are put together without copying them, and of a remote store what comes next is read
        ahead (see `LookAhead`).

        Parameters
        ----------
        batch_size
            Items in a batch; None for single ones.
        shuffle, num_workers, drop_last, generator
            As for a DataLoader.
        **options
            Others of a DataLoader: `pin_memory=True`, `multiprocessing_context="spawn"` ….
        """
        sampler: Any = SequentialSampler(self)
        if shuffle:
            sampler = RandomSampler(self, generator=generator)
        options = {"persistent_workers": num_workers > 0, **options}
        which = "sampler"
        if batch_size is not None:
            which, sampler = "batch_sampler", BatchSampler(sampler, batch_size, drop_last)
            options = {"collate_fn": collate, **options}
        else:
            options["batch_size"] = None
        if not self.store.is_local:
            sampler = LookAhead(sampler, num_workers)
        options[which] = sampler
        return DataLoader(self, num_workers=num_workers, generator=generator, **options)

    def __getstate__(self) -> dict[str, Any]:
        # What is being read stays behind.
        return {**self.__dict__, "_ahead": None}

    def __getitem__(self, index: int) -> Item:
        return self._get(index)[0]

    def __getitems__(self, indexes: Sequence[int]) -> list[Item]:
        """Return several items: what a DataLoader asks for when it makes batches.

        They are read at once, so that one waits for a remote store as long as for a single item.
        """
        return self._get(indexes)

    def _get(self, indexes: int | Sequence[int]) -> list[Item]:
        batch, epoch = batch_of(indexes), self.epoch
        if not isinstance(indexes, Index | Indexes):
            return self._read(batch, epoch)
        self.store.refresh()  # once, and not in each thread
        if self._ahead is None or self._ahead_pid != os.getpid():
            self._ahead, self._ahead_pid = Ahead(self._read), os.getpid()
        return self._ahead.get(batch, indexes.following, epoch)

    def _read(self, indexes: Batch, epoch: int) -> list[Item]:
        drawn = [self._draw(index, epoch) for index in indexes]
        items = Item.several([_shapes(*of_item) for of_item in drawn])
        subsamples: list[Subsample] = []
        targets: list[Mapping[str, torch.Tensor]] = []
        for item, (own, geometry) in zip(items, drawn, strict=True):
            subsamples.append(own)
            targets.append(item)
            if geometry is not None:
                subsamples.append(geometry)
                targets.append(dict.fromkeys(geometry.wanted, item[GEOMETRY]))
        self.store.read_subsamples(subsamples, targets)
        if self.normalizer is not None:
            for item in items:
                for name, values in item.items():
                    field = self._geometry[1] if self._geometry and name == GEOMETRY else name
                    self.normalizer.normalize_(field, values)
        return items

    def _draw(self, index: int, epoch: int) -> tuple[Subsample, Subsample | None]:
        """Choose the points of an item, and those of its geometry."""
        # Negative indexes count from the end, and must not give other draws than positive ones.
        index = range(len(self.samples))[index]
        sample = self.samples[index]
        generator = torch.Generator().manual_seed(_seed_of(self._seed, epoch, index))
        whole = self._whole_chunks
        drawn = self.store.subsample(
            sample, self._points, self._fields, generator, whole_chunks=whole
        )
        if self._geometry is None:
            return drawn, None
        domain, position, count = self._geometry
        geometry = self.store.subsample(
            sample, {domain: count}, [position], generator, whole_chunks=whole
        )
        return drawn, geometry


def _shapes(own: Subsample, geometry: Subsample | None) -> dict[str, tuple[int, int]]:
    """Return the shapes of an item's tensors."""
    shapes = dict(own.shapes)
    if geometry is not None:
        shapes |= dict.fromkeys([GEOMETRY], *geometry.shapes.values())
    return shapes


def _check_points(store: Store, samples: Iterable[str], points: Points, argument: str) -> None:
    """Refuse now what would otherwise be an error in some worker, late in an epoch."""
    for domain, count in points.items():
        if count is not None and not isinstance(count, int):
            raise StoreError(f"{argument}: {count!r} is no number of points of the {domain}.")
        for sample in samples:
            n_points = store.n_points(sample, domain)
            if count is not None and not 0 < count <= n_points:
                everything = f", or take all: {{{domain!r}: None}}" if argument == "points" else ""
                raise StoreError(
                    f"{argument}: {count} points of the {domain} were asked for; {sample} has "
                    f"{n_points}. Ask for 1 to {n_points}, or leave the sample out{everything}."
                )


def _samples(store: Store, split: str | Iterable[str] | None) -> tuple[str, ...]:
    known = store.samples
    if split is None:
        return tuple(known)
    if isinstance(split, str):
        if split not in store.splits:
            raise StoreError(
                f"The store has no split {split!r}.{did_you_mean(split, store.splits)} "
                + (
                    f"Its splits are {', '.join(store.splits)}."
                    if store.splits
                    else "It has no splits: give the ids of samples, or nothing for all of them."
                )
            )
        return store.splits[split]
    samples = tuple(split)
    unknown = set(samples) - set(known)
    if unknown:
        name = min(unknown)
        raise StoreError(
            f"The store has no sample {name!r}.{did_you_mean(name, known)} "
            "Store.samples lists them."
        )
    return samples


def _seed_of(seed: int, epoch: int, index: int) -> int:
    """Return the seed of an item: a hash, so that neighbours have nothing in common."""
    digest = hashlib.sha256(f"{seed}:{epoch}:{index}".encode()).digest()
    return int.from_bytes(digest[:8], "little") % 2**63
