"""A torch dataset over a store: a random subsample of each sample's points, anew in each epoch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from operator import index as to_int
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from aerozarr.errors import StoreError
from aerozarr.store.read.contents import Chosen, PointCount, Points, field_names
from aerozarr.store.read.store import Store
from aerozarr.store.read.subsample import Subsample
from aerozarr.training.arguments import (
    choose_normalizer,
    choose_points,
    choose_samples,
)
from aerozarr.training.collate import Item, collate, convert
from aerozarr.training.float32 import put_as_float32, room_for
from aerozarr.training.normalizer import Normalizer
from aerozarr.training.prefetch import (
    BatchIndexes,
    LookAhead,
    LookAheadBatch,
    LookAheadIndex,
    Prefetcher,
    as_batch,
)
from aerozarr.training.resumable_sampler import ResumableSampler
from aerozarr.training.resume import ResumableLoader
from aerozarr.training.scalars import choose_scalars, fill_scalars

GEOMETRY = "geometry_position"
SAMPLE_ID, INDEX = "sample_id", "index"


class ChunkDataset(Dataset[dict[str, Any]]):
    """Samples of a store, each a fresh random subsample of its points.

    What an item holds depends on `seed`, the epoch and the item's index alone: not on the number of
    workers, nor on what was read before.

    Parameters
    ----------
    store
        The store.
    split
        A split's name, or the ids of the samples, in this order; by default all samples.
    points
        How many points to take by domain: `{"surface": 4096, "volume": "all"}`. "all" or None takes
        all points of the domain, in the order they are stored in. Domains that are not named are
        not read; by default, all points of all domains are. To put items together in batches, each
        has to have as many: give numbers.
    fields
        Canonical names of the fields; by default all of those domains.
    seed
        Seed of all subsamples.
    normalize
        True scales values by the store's statistics (those of the train split where it has them,
        for `family/test` those of `family/train`, which it then has to have), positions excepted; a
        `Normalizer` says more precisely how. By default values are as stored.
    geometry_points
        How many points of `geometry_domain` to take besides, independently of `points`: their
        positions are the item's `geometry_position`. By default none.
    geometry_domain
        The domain that describes the geometry.
    whole_chunks
        As for `Store.read`: fetch fewer bytes, for less varied subsamples.
    with_id
        Let each item also have its `sample_id`, and its `index` in the dataset. A batch has a list
        of ids, and a tensor of indexes (int64).
    scalars
        Names of scalars that each item also has, as float32 tensors of shape (), or (n,) for a
        vector of n numbers, which all samples have to have; in a batch of shape (items,) or
        (items, n). They are not normalized. By default none.

    Attributes
    ----------
    store, samples
        The store, and the ids of the samples in the dataset's order.
    normalizer
        What scales the values, or None; its `denormalize` takes a model's output back.

    Raises
    ------
    StoreError
        When the store has no such split, sample, domain or field, when there are no samples, when a
        sample has fewer points than asked for, when there are no statistics to scale by, or when
        the first sample has no such scalar.
    TypeError
        When `store` is not an open store, or `points`, `seed`, `normalize` or `scalars` is of
        another type.

    Notes
    -----
    An item is a dict of float32 tensors of shape (points, components) by canonical name. As of a
    list, `dataset[i]` is an item, also for i counted from the end, and `dataset[2:5]` or
    `dataset[[0, 3]]` a list of items.

    For DataLoader workers, forked or spawned; with pinned memory: best by `loader`, which makes the
    DataLoader. With one of your own, prefer `persistent_workers=True` for a remote store, so that
    the indexes of its shards are read once and not once an epoch, and give it a `LookAhead`.
    `set_epoch` reaches workers that are running; call it before the epoch's iteration begins, since
    workers prefetch.
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
        geometry_points: PointCount = None,
        geometry_domain: str = "surface",
        whole_chunks: bool = False,
        with_id: bool = False,
        scalars: Iterable[str] | None = None,
    ) -> None:
        if not isinstance(store, Store):
            raise TypeError(f"store is no Store; open it first: Store({store!r})")
        self.store = store
        self.samples = choose_samples(store, split)
        self.normalizer = choose_normalizer(store, normalize, split)
        self._points = choose_points(store, self.samples, points)
        self._fields = None if fields is None else field_names(fields)
        if self._points == {} and geometry_points is None:
            raise StoreError("points names no domain. Name one or more, or leave it out for all.")
        for field in self._fields or ():
            store.domain_of(field)
        self._chosen: Chosen | None = None
        self._geometry: tuple[Mapping[str, int | None], str] | None = None
        if geometry_points is not None:
            asked = {geometry_domain: geometry_points}
            chosen = choose_points(store, self.samples, asked, "geometry_points")
            self._geometry = chosen or {}, store.position_of(geometry_domain)
        taken = {*store.fields, GEOMETRY, SAMPLE_ID, INDEX}
        self._scalars = choose_scalars(store, self.samples[0], scalars, taken)
        if not hasattr(seed, "__index__"):
            raise TypeError(f"seed is {seed!r}; give a whole number.")
        self._seed = to_int(seed)
        self._whole_chunks = whole_chunks
        self._with_id = with_id
        self._prefetcher: Prefetcher | None = None
        self._prefetcher_pid = 0
        # Shared memory: workers that are running see it change.
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call] # torch has no type for it

    @property
    def epoch(self) -> int:
        """The epoch whose subsamples items are, from 0 on."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: other subsamples than in any other, and always the same in this one.

        Raises
        ------
        ValueError
            When it is negative, or 2^63 or more.
        """
        number = to_int(epoch)
        if not 0 <= number < 2**63:
            raise ValueError(f"epoch is {number}; give a number from 0 on, below 2^63.")
        self._epoch.fill_(number)

    def __len__(self) -> int:
        return len(self.samples)

    def loader(
        self,
        batch_size: int | None = 1,
        *,
        shuffle: bool = False,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[list[int]] | None = None,
        num_workers: int = 0,
        drop_last: bool = False,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> ResumableLoader:
        """Make the DataLoader that suits the dataset best.

        Like `DataLoader(dataset, …)`, and gives the same; but its workers stay from epoch to epoch,
        batches are put together without copying them, what comes next of a remote store is
        prefetched (see `LookAhead`), and it can be resumed in the middle of an epoch.

        Parameters
        ----------
        batch_size
            Items in a batch; None for single ones.
        shuffle, sampler, batch_sampler, num_workers, drop_last, generator
            As for a DataLoader. Without a generator, `shuffle` makes one, whose seed is taken from
            torch's global generator now.
        **options
            Others of a DataLoader: `pin_memory=True`, `multiprocessing_context="spawn"` ….

        Returns
        -------
        ResumableLoader
            A DataLoader with `state_dict` and `load_state_dict`, and with `set_epoch`, for the
            dataset and for a DistributedSampler.

        Raises
        ------
        ValueError
            When options exclude each other, as `shuffle` and `sampler` do.
        """
        seeded = generator
        if shuffle and generator is None:
            seed = int(torch.empty((), dtype=torch.int64).random_())
            seeded = torch.Generator().manual_seed(seed)
        # Torch itself says how these go together, and which of them do not.
        plain: DataLoader[Any] = DataLoader(
            self,
            batch_size,
            shuffle=shuffle,
            sampler=sampler,
            batch_sampler=batch_sampler,
            drop_last=drop_last,
            generator=seeded,
        )
        is_batched = plain.batch_sampler is not None
        order: Any = plain.batch_sampler if is_batched else plain.sampler
        order = ResumableSampler(order, generator)
        if not self.store.is_local and options.get("in_order", True):
            order = LookAhead(order, num_workers)
        if is_batched:
            options = {"collate_fn": collate, **options, "batch_sampler": order}
        else:
            options = {"collate_fn": convert, **options, "sampler": order, "batch_size": None}
        options = {"persistent_workers": num_workers > 0, **options}
        return ResumableLoader(self, num_workers=num_workers, generator=generator, **options)

    def describe_order(self) -> dict[str, Any]:
        """Return what must be the same for items to be the same: samples and seed."""
        ids = "\n".join(self.samples).encode()
        return {
            "n_samples": len(self.samples),
            "samples_digest": hashlib.sha256(ids).hexdigest()[:16],
            "dataset_seed": self._seed,
        }

    def __getstate__(self) -> dict[str, Any]:
        # What is being read stays behind.
        return {**self.__dict__, "_prefetcher": None}

    def __getitem__(self, index: Any) -> Any:
        """Return an item; or a list of items, for a slice or several indexes.

        Raises
        ------
        IndexError
            When an index is out of range.
        TypeError
            When it is no index.
        """
        if isinstance(index, LookAheadBatch):
            return self._get(index)
        if isinstance(index, slice):
            return self._get(range(*index.indices(len(self))))
        if isinstance(index, int) or _is_scalar(index):
            return self._get(self._checked(index))[0]
        if isinstance(index, str | bytes | Mapping) or not isinstance(index, Iterable):
            raise _no_index(index)
        return self._get([self._checked(each) for each in index])

    def __getitems__(self, indexes: Sequence[int]) -> list[Item]:
        """Return several items: what a DataLoader asks for when it makes batches.

        They are read at once, so that one waits for a remote store as long as for a single item.
        """
        if isinstance(indexes, LookAheadBatch):
            return self._get(indexes)
        return self._get([self._checked(index) for index in indexes])

    def _checked(self, index: Any) -> int:
        """Return an index of whatever integer type as an int, within the dataset."""
        if isinstance(index, LookAheadIndex):
            return index
        # True and False would be 1 and 0, where a list of them is meant to choose items.
        if isinstance(index, bool) or str(getattr(index, "dtype", "")) in ("bool", "torch.bool"):
            raise _no_index(index)
        try:
            number = to_int(index)
        except TypeError:
            raise _no_index(index) from None
        return self._position(number)

    def _position(self, index: int) -> int:
        """Return an index that counts from the begin: negative ones count from the end."""
        if not -len(self.samples) <= index < len(self.samples):
            raise IndexError(
                f"Index {index} is out of range: the dataset has {len(self.samples)} samples."
            )
        return index % len(self.samples)

    def _get(self, indexes: int | Sequence[int]) -> list[Item]:
        batch, epoch = as_batch(indexes), self.epoch
        if not isinstance(indexes, LookAheadIndex | LookAheadBatch):
            return self._read(batch, epoch)
        self.store.refresh()  # once, and not in each thread
        if self._prefetcher is None or self._prefetcher_pid != os.getpid():
            self._prefetcher, self._prefetcher_pid = Prefetcher(self._read), os.getpid()
        return self._prefetcher.get(batch, indexes.upcoming, epoch)

    def _read(self, batch: BatchIndexes, epoch: int) -> list[Item]:
        positions = [self._position(index) for index in batch]
        subsampled = [self._subsample(position, epoch) for position in positions]
        items = Item.allocate_together(
            [_shapes(*of_item) | self._scalars for of_item in subsampled]
        )
        subsamples: list[Subsample] = []
        targets: list[Mapping[str, torch.Tensor]] = []
        places: list[tuple[Subsample, str, torch.Tensor, torch.Tensor]] = []
        for item, (own, geometry) in zip(items, subsampled, strict=True):
            for drawn, name in ((own, None), (geometry, GEOMETRY)):
                if drawn is None:
                    continue
                read: dict[str, torch.Tensor] = {}
                for field, rows in drawn.wanted.items():
                    place = item[name or field]
                    read[field] = room_for(place, rows.dtype)
                    places.append((drawn, field, read[field], place))
                subsamples.append(drawn)
                targets.append(read)
        self.store.read_subsamples(subsamples, targets)
        for drawn, field, values, place in places:
            if self.normalizer is not None:
                self.normalizer.normalize_(field, values)
            if values is not place:
                put_as_float32(values, place, field, drawn.sample)
        if self._scalars:
            # Of samples that were just read, so that this asks for nothing.
            ids = [self.samples[position] for position in positions]
            for item, sample, found in zip(items, ids, self.store.read_scalars(ids), strict=True):
                fill_scalars(item, self._scalars, found, sample)
        if self._with_id:
            for item, position in zip(items, positions, strict=True):
                item[SAMPLE_ID], item[INDEX] = self.samples[position], position
        return items

    def _subsample(self, position: int, epoch: int) -> tuple[Subsample, Subsample | None]:
        """Choose the points of an item, and those of its geometry."""
        sample = self.samples[position]
        generator = torch.Generator().manual_seed(_seed_of(self._seed, epoch, position))
        whole = self._whole_chunks
        if self._chosen is None:  # of no sample, so that it is the same for all
            self._chosen = self.store.choose(self._points, self._fields)
        own = self.store.subsample_of(sample, self._chosen, generator, whole_chunks=whole)
        if self._geometry is None:
            return own, None
        points, field = self._geometry
        return own, self.store.subsample(sample, points, [field], generator, whole_chunks=whole)


def _shapes(own: Subsample, geometry: Subsample | None) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an item's tensors of points."""
    shapes: dict[str, tuple[int, ...]] = dict(own.shapes)
    if geometry is not None:
        shapes |= dict.fromkeys([GEOMETRY], *geometry.shapes.values())
    return shapes


def _is_scalar(index: Any) -> bool:
    """Whether it is one number of numpy or torch, rather than an array of them."""
    return hasattr(index, "__index__") and getattr(index, "ndim", 0) == 0


def _no_index(index: Any) -> TypeError:
    return TypeError(
        f"{index!r} is no index of a dataset. Give a whole number, a slice, or several whole "
        "numbers; dataset.samples.index(…) finds that of a sample's id."
    )


def _seed_of(seed: int, epoch: int, position: int) -> int:
    """Return the seed of an item: a hash, so that neighbours have nothing in common."""
    digest = hashlib.sha256(f"{seed}:{epoch}:{position}".encode()).digest()
    return int.from_bytes(digest[:8], "little") % 2**63
