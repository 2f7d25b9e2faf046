"""Items on their way through a DataLoader: batches, prefetching, shared memory."""

from __future__ import annotations

import copy
import gc
import importlib
import multiprocessing
import pickle
import pkgutil
import warnings
import weakref
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, default_collate

from aerozarr import ChunkDataset, LookAhead, Store
from aerozarr.errors import StoreError
from aerozarr.filesystems import byte_ranges
from aerozarr.filesystems.byte_ranges import FsspecFetcher
from aerozarr.training import shared_memory
from aerozarr.training.collate import Item, collate
from reader.harness import Place, assert_aligned, recorded

POINTS = {"surface": 200, "volume": 300}
MANY = ["a", "b", "deep/c"] * 8


def same(first: Any, second: Any) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(values, second[name]) for name, values in first.items()
    )


# Batches


@pytest.mark.parametrize("whole_chunks", [False, True])
def test_items_read_together_are_those_read_one_by_one(place: Place, whole_chunks: bool) -> None:
    dataset = ChunkDataset(
        place.open(),
        points=POINTS,
        normalize=True,
        geometry_points=20,
        whole_chunks=whole_chunks,
    )
    for indexes in ([0], [2, 0, 1], [1, 1, -1]):
        together = dataset.__getitems__(indexes)
        assert len(together) == len(indexes)
        assert all(
            same(item, dataset[index]) for item, index in zip(together, indexes, strict=True)
        )


def test_items_of_different_sizes_can_be_read_together(original: Path) -> None:
    dataset = ChunkDataset(Store(original), points={"surface": None})
    assert all(
        same(item, dataset[index]) for index, item in enumerate(dataset.__getitems__([0, 1]))
    )


def test_a_batch_takes_as_many_rounds_as_an_item(original: Path) -> None:
    store = Store(original)
    dataset = ChunkDataset(store, points={"surface": 10, "volume": 10}, geometry_points=5)
    recorder = recorded(store)
    dataset.__getitems__([0, 1, 2])
    (first, chunks) = recorder.rounds
    paths = [span.path for span in first]
    assert len(set(first)) == len(first), "nothing is fetched twice"
    assert sum(path.endswith("zarr.json") for path in paths) == 3
    # A range for each of the four fields and the geometry of each; some runs cross a shard's end.
    assert 15 <= len(chunks) <= 30
    recorder.rounds.clear()
    dataset.__getitems__([0, 1, 2])
    assert recorder.rounds == [chunks]


@pytest.mark.parametrize("place", ["folder"], indirect=True)
def test_an_error_in_a_batch_names_its_sample(place: Place, folder: Path) -> None:
    (folder / "b.zarr/volume/velocity/c/0/0").unlink()
    dataset = ChunkDataset(Store(folder), points={"surface": None, "volume": None})
    with pytest.raises(StoreError, match=r"^b, volume/velocity, shard 0: it is not there"):
        dataset.__getitems__([0, 1, 2])
    assert len(dataset.__getitems__([0, 2])) == 2


@pytest.mark.parametrize("normalize", [False, True])
def test_a_batch_is_made_without_copying(original: Path, normalize: bool) -> None:
    dataset = ChunkDataset(Store(original), points=POINTS, normalize=normalize)
    items = dataset.__getitems__([2, 0])
    batch = collate(items)
    assert same(batch, default_collate([dataset[2], dataset[0]]))
    assert batch["volume_velocity"].data_ptr() == items[0]["volume_velocity"].data_ptr()


def change_order(items: list[Item]) -> list[Item]:
    return items[::-1]


def drop_an_item(items: list[Item]) -> list[Item]:
    return items[1:]


def replace_a_field(items: list[Item]) -> list[Item]:
    items[1]["surface_pressure"] = items[1]["surface_pressure"] * 2
    return items


def add_a_field(items: list[Item]) -> list[Item]:
    for item in items:
        item["more"] = torch.zeros(1)
    return items


def drop_a_field(items: list[Item]) -> list[Item]:
    for item in items:
        del item["surface_pressure"]
    return items


def copy_them(items: list[Item]) -> list[Item]:
    return [copy.copy(item) for item in items]


@pytest.mark.parametrize(
    "change",
    [change_order, drop_an_item, replace_a_field, add_a_field, drop_a_field, copy_them],
)
def test_changed_items_are_collated_as_torch_does(original: Path, change: Any) -> None:
    dataset = ChunkDataset(Store(original), points=POINTS)
    items = change(dataset.__getitems__([0, 1, 2]))
    expected = default_collate([dict(item) for item in items])
    assert same(collate(items), expected)


def test_fewer_items_than_were_read_together_make_a_smaller_batch(original: Path) -> None:
    dataset = ChunkDataset(Store(original), points=POINTS)
    items = dataset.__getitems__([0, 1, 2])[:2]
    assert same(collate(items), default_collate([dict(item) for item in items]))


# The dataset's own loader


@pytest.mark.parametrize("place", ["folder", "s3"], indirect=True)
@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.parametrize("batch_size", [None, 3])
def test_the_datasets_loader_gives_what_torchs_gives(
    place: Place, context: str, batch_size: int | None
) -> None:
    dataset = ChunkDataset(place.open(), MANY[:10], points=POINTS, geometry_points=20)
    own = dataset.loader(batch_size, num_workers=2, multiprocessing_context=context)
    assert len(own) == (10 if batch_size is None else 4)
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        got = list(own)
        expected = list(DataLoader(dataset, batch_size))
        assert len(got) == len(expected)
        assert all(same(a, b) for a, b in zip(got, expected, strict=True))


def test_the_datasets_loader_shuffles_and_drops_as_torchs_does(original: Path) -> None:
    dataset = ChunkDataset(Store(original), MANY, points=POINTS)

    def chance() -> torch.Generator:
        return torch.Generator().manual_seed(4)

    options: dict[str, Any] = {"shuffle": True, "drop_last": True}
    got = list(dataset.loader(5, generator=chance(), **options))
    expected = list(DataLoader(dataset, 5, generator=chance(), **options))
    assert len(got) == len(expected) == 4
    assert all(same(a, b) for a, b in zip(got, expected, strict=True))


def test_spawned_workers_prefetch_with_obstore(s3_endpoint: str, original: Path) -> None:
    from reader.harness import copy_to

    dataset = ChunkDataset(copy_to(original, "obstore-s3", s3_endpoint).open(), MANY, points=POINTS)
    loader = dataset.loader(None, num_workers=2, multiprocessing_context="spawn")
    for index, item in enumerate(loader):
        assert same(item, dataset[index])


def test_batches_go_into_pinned_memory(original: Path) -> None:
    dataset = ChunkDataset(Store(original), MANY, points=POINTS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is nothing to pin for
        batches = list(dataset.loader(4, num_workers=2, pin_memory=True))
    assert len(batches) == 6
    assert torch.equal(batches[5]["volume_velocity"][3], dataset[23]["volume_velocity"])


@pytest.mark.parametrize("place", ["memory", "s3"], indirect=True)
def test_a_forked_process_does_not_close_its_parents_connections(place: Place) -> None:
    dataset = ChunkDataset(place.open(), ["a"], points=POINTS)
    fetcher = dataset.store._reader.fetcher
    assert isinstance(fetcher, FsspecFetcher)
    file_system = weakref.ref(fetcher.location.fs)
    del fetcher

    def release(answers: Any) -> None:
        dataset[0]  # with connections of its own
        dataset.store._reader = None  # type: ignore[assignment] # its last reference
        gc.collect()
        answers.put(file_system() is not None)

    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=release, args=(answers,))
    child.start()
    child.join(60)
    assert answers.get(), "its finalizer would have closed them"


@pytest.mark.parametrize("place", ["memory"], indirect=True)
def test_a_process_forked_while_a_thread_reads_reads_too(place: Place) -> None:
    dataset = ChunkDataset(place.open(), ["a"], points=POINTS)
    expected = dataset[0]
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=lambda: answers.put(same(dataset[0], expected)))
    with byte_ranges._ONE_AT_A_TIME:  # as a thread that prefetches holds it
        child.start()
    child.join(30)
    try:
        assert child.exitcode == 0, "it waits for a thread that it does not have"
        assert answers.get()
    finally:
        child.kill()


@pytest.mark.parametrize("package", ["filesystems", "store.read", "store.format", "training"])
def test_nothing_that_workers_use_has_a_lock_for_all_of_a_class(package: str) -> None:
    # In Python 3.11 cached_property has one, which a fork copies as it is just then.
    folder = importlib.import_module(f"aerozarr.{package}")
    for module in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}."):
        if module.name.rpartition(".")[2] == "oci":  # needs a package that may not be there
            continue
        for kind in vars(importlib.import_module(module.name)).values():
            if isinstance(kind, type):
                found = [n for n, v in vars(kind).items() if isinstance(v, cached_property)]
                assert not found or not kind.__module__.startswith("aerozarr"), (kind, found)


# Prefetching


def test_look_ahead_keeps_the_order_and_attaches_what_the_same_worker_reads_next() -> None:
    sampler = LookAhead(range(7), num_workers=2, depth=2)
    assert len(sampler) == 7
    indexes = list(sampler)
    assert indexes == list(range(7))
    followed = [[batch[0] for batch in index.upcoming] for index in indexes]
    assert followed == [[2, 4], [3, 5], [4, 6], [5], [6], [], []]
    # It is kept on the way to the worker.
    assert pickle.loads(pickle.dumps(indexes[0])).upcoming == ((2,), (4,))


def test_look_ahead_wraps_a_batch_sampler() -> None:
    sampler = LookAhead(BatchSampler(SequentialSampler(range(5)), 2, False), 1, depth=1)
    batches = list(sampler)
    assert batches == [[0, 1], [2, 3], [4]]
    assert [batch.upcoming for batch in batches] == [((2, 3),), ((4,),), ()]
    assert pickle.loads(pickle.dumps(batches[0])).upcoming == ((2, 3),)


def test_items_prefetched_in_an_unfinished_epoch_do_not_reach_the_next(original: Path) -> None:
    dataset = ChunkDataset(Store(original), MANY, points=POINTS)
    loader = DataLoader(dataset, batch_size=None, sampler=LookAhead(range(24), 0))
    next(iter(loader))
    dataset.set_epoch(1)
    assert all(same(item, dataset[index]) for index, item in enumerate(loader))


def test_an_error_while_prefetching_is_raised_in_its_own_turn(folder: Path) -> None:
    (folder / "b.zarr/volume/velocity/c/0/0").unlink()
    dataset = ChunkDataset(Store(folder), points={"volume": None})
    loader = iter(
        DataLoader(dataset, batch_size=None, sampler=LookAhead(range(3), 1), num_workers=1)
    )
    assert_aligned(next(loader))
    with pytest.raises(StoreError, match="b, volume/velocity, shard 0: it is not there"):
        next(loader)


# Shared memory


@pytest.fixture(params=["fork", "spawn"])
def workers(request: pytest.FixtureRequest, original: Path) -> Iterator[DataLoader[Item]]:
    """A worker that stays."""
    dataset = ChunkDataset(Store(original), MANY, points=POINTS)
    yield dataset.loader(None, num_workers=1, multiprocessing_context=request.param)


def dataset_of(loader: DataLoader[Item]) -> ChunkDataset:
    assert isinstance(loader.dataset, ChunkDataset)
    return loader.dataset


def test_a_block_is_used_again_once_its_item_is_released(workers: DataLoader[Item]) -> None:
    places = {item["volume_velocity"].data_ptr() for _ in range(3) for item in workers}
    assert len(places) <= shared_memory.MAX_BLOCKS


def test_items_that_are_kept_are_not_overwritten(workers: DataLoader[Item]) -> None:
    dataset = dataset_of(workers)
    kept = {}
    for epoch in range(3):
        dataset.set_epoch(epoch)
        kept[epoch] = list(workers)  # more than there are blocks
    for epoch, items in kept.items():
        dataset.set_epoch(epoch)
        assert all(same(item, dataset[index]) for index, item in enumerate(items))


def test_a_view_of_an_item_keeps_its_block(workers: DataLoader[Item]) -> None:
    dataset = dataset_of(workers)
    kept = [item["volume_velocity"][3:5].numpy() for item in workers]
    list(workers)
    for index, rows in enumerate(kept):
        assert (rows == dataset[index]["volume_velocity"][3:5].numpy()).all()


def test_an_item_shared_with_a_fork_is_not_overwritten(workers: DataLoader[Item]) -> None:
    dataset = dataset_of(workers)
    item = next(iter(workers))
    ready, gone = multiprocessing.Pipe()

    def look(item: Item) -> None:
        gone.recv()
        gone.send(same(item, dataset[0]))

    child = multiprocessing.get_context("fork").Process(target=look, args=(item,))
    child.start()
    del item
    for epoch in (1, 2):
        dataset.set_epoch(epoch)
        list(workers)
    dataset.set_epoch(0)
    ready.send(None)
    assert ready.recv()
    child.join()
    # The block that was shared with it has been replaced.
    places = {item["volume_velocity"].data_ptr() for _ in range(3) for item in workers}
    assert len(places) <= shared_memory.MAX_BLOCKS


def test_an_item_can_be_pickled_and_sent_on(workers: DataLoader[Item]) -> None:
    dataset = dataset_of(workers)
    again = [pickle.loads(pickle.dumps(item)) for item in workers]
    queue = torch.multiprocessing.get_context("fork").SimpleQueue()
    sent = []
    for item in workers:
        queue.put(item)
        sent.append(queue.get())
    deep = [copy.deepcopy(item) for item in workers]
    for items in (again, sent, deep):
        assert all(same(item, dataset[index]) for index, item in enumerate(items))


def test_a_saved_item_is_loaded_with_weights_only(
    workers: DataLoader[Item], tmp_path: Path
) -> None:
    for number, item in enumerate(workers):
        torch.save(item, tmp_path / f"{number}.pt")
        again = torch.load(tmp_path / f"{number}.pt", weights_only=True)
        assert again.keys() == item.keys()
        assert all(torch.equal(again[name], values) for name, values in item.items())


def test_without_blocks_items_are_sent_as_torch_does(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory, "_can_share", lambda: False)
    dataset = ChunkDataset(Store(original), MANY, points=POINTS)
    loader = dataset.loader(None, num_workers=1, multiprocessing_context="fork")
    assert all(same(item, dataset[index]) for index, item in enumerate(loader))


def test_blocks_of_ended_workers_are_unmapped(original: Path) -> None:
    dataset = ChunkDataset(Store(original), MANY, points=POINTS)
    for _ in range(4):
        for _ in dataset.loader(None, num_workers=2, persistent_workers=False):
            pass
    assert len(shared_memory._mappings) <= 2 * 2 * shared_memory.MAX_BLOCKS


def test_outside_a_worker_there_are_no_blocks() -> None:
    assert shared_memory.acquire(10) is None
