"""What a loader reads: torch's samplers, several ranks, the rest of an epoch after a restart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from aerozarr import ChunkDataset, LookAhead, Store, StoreError
from aerozarr.training.resume import ResumableLoader
from reader.harness import Place

SAMPLES = ["a", "b", "deep/c"] * 8
TESTS = Path(__file__).resolve().parents[1]


def open_dataset(store: Store, **options: Any) -> ChunkDataset:
    return ChunkDataset(store, SAMPLES, points={"surface": 20}, with_id=True, **options)


def same(first: Any, second: Any) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(values, second[name])
        if isinstance(values, torch.Tensor)
        else values == second[name]
        for name, values in first.items()
    )


def all_same(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and all(map(same, first, second))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


# Samplers


def shuffled_indexes(sampler: Any) -> list[int]:
    return [int(index) for index in sampler]


@pytest.mark.parametrize("place", ["folder", "memory"], indirect=True)
@pytest.mark.parametrize(
    "make",
    [
        lambda dataset: DistributedSampler(dataset, num_replicas=2, rank=1, shuffle=False),
        lambda dataset: SubsetRandomSampler([5, 2, 9, 4], seeded()),
        lambda dataset: SubsetRandomSampler(np.array([5, 2, 9, 4]), seeded()),
        lambda dataset: SubsetRandomSampler(torch.tensor([5, 2, 9, 4]), seeded()),
        lambda dataset: [3, 3, -1],
        lambda dataset: range(4, 9),
        lambda dataset: np.arange(3),
    ],
)
def test_a_sampler_decides_what_is_read(place: Place, make: Callable[..., Any]) -> None:
    dataset = open_dataset(place.open())
    expected = [index % 24 for index in shuffled_indexes(make(dataset))]
    single = [item["index"] for item in dataset.loader(None, sampler=make(dataset))]
    assert single == expected
    batches = [batch["index"].tolist() for batch in dataset.loader(2, sampler=make(dataset))]
    assert batches == [expected[first : first + 2] for first in range(0, len(expected), 2)]
    full = len(expected) // 2
    assert len(dataset.loader(2, sampler=make(dataset), drop_last=True)) == full


@pytest.mark.parametrize("place", ["folder", "memory"], indirect=True)
@pytest.mark.parametrize(
    "batches", [[[4, 1], [0], [7, 7, 23]], BatchSampler(SequentialSampler(range(5)), 2, True)]
)
def test_a_batch_sampler_decides_what_is_read(place: Place, batches: Any) -> None:
    dataset = open_dataset(place.open())
    for loader in (
        dataset.loader(batch_sampler=batches),
        dataset.loader(batch_sampler=batches, num_workers=2),
        dataset.loader(None, sampler=batches),  # as torch has it for datasets that make batches
    ):
        assert [batch["index"].tolist() for batch in loader] == list(batches)
        assert all(batch["surface_position"].shape[1:] == (20, 3) for batch in loader)


@pytest.mark.parametrize(
    "options",
    [
        {"shuffle": True, "sampler": [0]},
        {"shuffle": True, "batch_sampler": [[0]]},
        {"sampler": [0], "batch_sampler": [[0]]},
        {"batch_size": 2, "batch_sampler": [[0]]},
        {"drop_last": True, "batch_sampler": [[0]]},
        {"batch_size": None, "drop_last": True},
        {"batch_size": 0},
    ],
)
def test_options_that_torch_refuses_together_are_refused(
    original: Path, options: dict[str, Any]
) -> None:
    dataset = open_dataset(Store(original))
    with pytest.raises(ValueError) as torchs:
        DataLoader(dataset, **options)
    with pytest.raises(ValueError) as own:
        dataset.loader(**options)
    assert str(own.value) == str(torchs.value)


def test_shuffling_without_a_generator_follows_torchs_seed(original: Path) -> None:
    dataset = open_dataset(Store(original))

    def orders() -> list[list[int]]:
        loader = dataset.loader(None, shuffle=True)
        return [[item["index"] for item in loader] for _ in range(2)]

    torch.manual_seed(1)
    first = orders()
    assert first[0] != first[1]
    assert all(sorted(order) == list(range(24)) for order in first)
    torch.manual_seed(1)
    assert orders() == first
    assert orders() != first


# Several ranks

RANK = """
import json, os, sys
import torch.distributed
from torch.utils.data import DistributedSampler
from aerozarr import ChunkDataset, Store

if __name__ == "__main__":
    place, out, rank = sys.argv[1], sys.argv[2], int(sys.argv[3])
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{out}.meeting", rank=rank, world_size=2
    )
    dataset = ChunkDataset(
        Store(place), ["a", "b", "deep/c"] * 8, points={"surface": 20}, with_id=True
    )

    def make():
        return dataset.loader(3, sampler=DistributedSampler(dataset, seed=5), num_workers=1)

    def everywhere(thing):
        gathered = [None, None]
        torch.distributed.all_gather_object(gathered, thing)
        return gathered

    loader, seen = make(), []
    for epoch in range(2):
        loader.set_epoch(epoch)
        seen.append(everywhere([batch["index"].tolist() for batch in loader]))
    loader.set_epoch(2)
    batches = iter(loader)
    before = [next(batches)["index"].tolist() for _ in range(2)]
    state = everywhere(loader.state_dict())[0]  # that of rank 0 alone is saved
    dataset.set_epoch(0)
    loader = make()
    loader.load_state_dict(state)
    seen.append(everywhere(before + [batch["index"].tolist() for batch in loader]))
    if rank == 0:
        with open(out, "w") as file:
            json.dump(seen, file)
    torch.distributed.destroy_process_group()
"""


def test_two_ranks_read_each_sample_once_an_epoch(original: Path, tmp_path: Path) -> None:
    script, out = tmp_path / "train.py", tmp_path / "seen.json"
    script.write_text(RANK)
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(script), str(original), str(out), str(rank)],
            env={**environment, "PYTHONPATH": str(TESTS.parent / "scripts")},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for rank in ranks:
            _, errors = rank.communicate(timeout=240)
            assert rank.returncode == 0, errors
    finally:
        for rank in ranks:
            rank.kill()
    epochs = json.loads(out.read_text())
    orders = []
    for of_ranks in epochs:
        assert [len(batches) for batches in of_ranks] == [4, 4]
        orders.append([index for batches in of_ranks for batch in batches for index in batch])
        assert sorted(orders[-1]) == list(range(24))
    assert orders[0] != orders[1] != orders[2]


# The rest of an epoch after a restart


class Counting(DistributedSampler[int]):
    """Says how far it was read, also when that was to the end: torchdata's distributed sampler."""

    yielded = 0
    next_yielded: int | None = None

    def __iter__(self) -> Iterator[int]:
        self.yielded, self.next_yielded = self.next_yielded or 0, None
        for index in islice(super().__iter__(), self.yielded, None):
            self.yielded += 1
            yield index

    def state_dict(self) -> dict[str, int]:
        return {"yielded": self.yielded}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.next_yielded = state["yielded"]


class Rotated:
    """A sampler that keeps state of its own, in a tensor that it gives away."""

    def __init__(self) -> None:
        self.turn = torch.zeros((), dtype=torch.int64)

    def __len__(self) -> int:
        return 24

    def __iter__(self) -> Iterator[int]:
        self.turn += 7
        yield from ((int(self.turn) + index) % 24 for index in range(24))

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"turn": self.turn}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.turn = state["turn"]


class LeavingOut(Rotated):
    """As the distributed one, but without an epoch."""

    def __init__(self) -> None:
        self.done = 0
        self.first = 0

    def __iter__(self) -> Iterator[int]:
        self.done, self.first = self.first, 0
        for index in range(self.done, 24):
            self.done += 1
            yield index

    def state_dict(self) -> dict[str, Any]:
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.first = state["done"]


def subset() -> SubsetRandomSampler:
    return SubsetRandomSampler(range(1, 20), seeded())


Make = Callable[[ChunkDataset], ResumableLoader]
CASES: dict[str, Make] = {
    "in order": lambda d: d.loader(5),
    "single items": lambda d: d.loader(None, num_workers=1),
    "shuffled with a generator": lambda d: d.loader(5, shuffle=True, generator=seeded()),
    "shuffled without": lambda d: d.loader(5, shuffle=True),
    "workers": lambda d: d.loader(5, shuffle=True, generator=seeded(), num_workers=2),
    "workers of one epoch": lambda d: d.loader(
        5, shuffle=True, generator=seeded(), num_workers=2, persistent_workers=False
    ),
    "spawned workers": lambda d: d.loader(
        5, shuffle=True, num_workers=1, multiprocessing_context="spawn"
    ),
    "prefetching": lambda d: d.loader(None, sampler=LookAhead(subset(), 2), num_workers=2),
    "batch sampler": lambda d: d.loader(batch_sampler=BatchSampler(subset(), 4, False)),
    "distributed": lambda d: d.loader(
        2, sampler=DistributedSampler(d, num_replicas=2, rank=1, seed=8), num_workers=1
    ),
    "distributed with a state": lambda d: d.loader(2, sampler=Counting(d, 2, 1), num_workers=1),
    "sampler with a state": lambda d: d.loader(5, sampler=Rotated()),
}
"""Loaders whose epochs go on as if nothing had happened."""

GLOBAL_CHANCE: dict[str, Make] = {
    "weighted": lambda d: d.loader(3, sampler=WeightedRandomSampler([1.0] * 24, 24)),
    "subset": lambda d: d.loader(3, sampler=SubsetRandomSampler(range(24)), num_workers=1),
}
"""Loaders whose next epochs depend on torch's global generator."""

BROKEN_OFF = 2


def read_epoch(loader: ResumableLoader, epoch: int) -> list[Any]:
    loader.set_epoch(epoch)
    return list(loader)


def resume_all(store: str, saved: str) -> None:
    """In another process: write what is still to come of each case's epochs."""
    torch.manual_seed(1000)
    found = {}
    for name, state in torch.load(saved, weights_only=True).items():
        dataset = open_dataset(Store(store))
        loader = (CASES | GLOBAL_CHANCE)[name](dataset)
        loader.load_state_dict(state)
        rest = [list(loader)]
        assert dataset.epoch == 3
        if name in CASES:
            rest.append(read_epoch(loader, 4))
        found[name] = rest
    torch.save(found, saved)


@pytest.fixture(scope="module")
def resumed(
    original: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[list[Any], list[Any]]]:
    """What was still to come of each case, and what another process read then."""
    saved = tmp_path_factory.mktemp("resume") / "states.pt"
    states, expected = {}, {}
    for name, make in (CASES | GLOBAL_CHANCE).items():
        epochs = []
        for is_broken_off in (False, True):
            torch.manual_seed(0)
            loader = make(open_dataset(Store(original)))
            read_epoch(loader, 2)
            if not is_broken_off:
                epochs = [read_epoch(loader, epoch) for epoch in (3, 4)]
                continue
            loader.set_epoch(3)
            batches = iter(loader)
            for _ in range(BROKEN_OFF):
                next(batches)
            states[name] = loader.state_dict()
        expected[name] = [epochs[0][BROKEN_OFF:], epochs[1]]
    torch.save(states, saved)
    code = "import sys; from reader.test_samplers import resume_all; resume_all(*sys.argv[1:])"
    path = os.pathsep.join([str(TESTS), str(TESTS.parent / "scripts")])
    subprocess.run(
        [sys.executable, "-c", code, str(original), str(saved)],
        env={**os.environ, "PYTHONPATH": path},
        check=True,
        timeout=300,
    )
    found = torch.load(saved, weights_only=True)
    return {name: (found[name], expected[name]) for name in expected}


@pytest.mark.parametrize("case", CASES)
def test_another_process_reads_the_rest_of_the_epoch_and_the_next(
    resumed: dict[str, tuple[list[Any], list[Any]]], case: str
) -> None:
    (rest, following), (expected, expected_following) = resumed[case]
    assert rest
    assert all_same(rest, expected)
    assert all_same(following, expected_following)


@pytest.mark.parametrize("case", GLOBAL_CHANCE)
def test_a_sampler_without_a_generator_still_gives_the_rest_of_the_epoch(
    resumed: dict[str, tuple[list[Any], list[Any]]], case: str
) -> None:
    (rest,), (expected, _) = resumed[case]
    assert rest
    assert all_same(rest, expected)


@pytest.mark.parametrize("place", ["s3"], indirect=True)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_rest_of_an_epoch_of_a_remote_store(place: Place, num_workers: int) -> None:
    def make() -> ResumableLoader:
        dataset = open_dataset(place.open())
        return dataset.loader(3, shuffle=True, generator=seeded(), num_workers=num_workers)

    expected = list(make())
    loader = make()
    batches = iter(loader)
    for _ in range(3):
        next(batches)
    other = make()
    other.load_state_dict(loader.state_dict())
    assert all_same(list(other), expected[3:])


def test_the_number_of_workers_may_change(original: Path) -> None:
    expected = list(CASES["workers"](open_dataset(Store(original))))
    loader = CASES["workers"](open_dataset(Store(original)))
    next(iter(loader))
    other = CASES["shuffled with a generator"](open_dataset(Store(original)))
    other.load_state_dict(loader.state_dict())
    assert all_same(list(other), expected[1:])


@pytest.mark.parametrize(
    "case",
    ["shuffled with a generator", "workers", "shuffled without", "distributed with a state"],
)
def test_after_the_end_of_an_epoch_the_next_is_whole(original: Path, case: str) -> None:
    torch.manual_seed(0)
    loader = CASES[case](open_dataset(Store(original)))
    read_epoch(loader, 0)
    state = loader.state_dict()
    assert (state["epoch"], state["batches"]) == (1, 0)
    expected = read_epoch(loader, 1)
    other = CASES[case](open_dataset(Store(original)))
    other.load_state_dict(state)
    assert all_same(read_epoch(other, state["epoch"]), expected)


def test_after_the_last_batch_nothing_is_left_of_the_epoch(original: Path) -> None:
    loader = CASES["in order"](open_dataset(Store(original)))
    for _ in loader:
        state = loader.state_dict()  # in the loop, where the epoch has not ended yet
    other = CASES["in order"](open_dataset(Store(original)))
    other.load_state_dict(state)
    assert other.state_dict() is not None
    assert list(other) == []
    assert len(list(other)) == 5


def test_resuming_leaves_torchs_global_generator_as_it_is(original: Path) -> None:
    loader = GLOBAL_CHANCE["weighted"](open_dataset(Store(original)))
    next(iter(loader))
    other = GLOBAL_CHANCE["weighted"](open_dataset(Store(original)))
    other.load_state_dict(loader.state_dict())
    batches = iter(other)  # a DataLoader takes one number here
    before = torch.get_rng_state()
    next(batches)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda d: d.loader(4), "BatchSampler.batch_size was 5 and is 4"),
        (lambda d: d.loader(5, shuffle=True), "n_generators was 0 and is 1"),
        (
            lambda d: d.loader(5, sampler=RandomSampler(d)),
            "samplers was BatchSampler of SequentialSampler and is BatchSampler of RandomSampler",
        ),
        (lambda d: d.loader(5, sampler=range(12)), "n_batches was 5 and is 3"),
        (
            lambda d: ChunkDataset(d.store, SAMPLES, points={"surface": 20}, seed=1).loader(5),
            "dataset_seed was 0 and is 1",
        ),
        (
            lambda d: ChunkDataset(d.store, SAMPLES[::-1], points={"surface": 20}).loader(5),
            "samples_digest was",
        ),
    ],
)
def test_the_state_of_a_loader_that_gives_other_batches_is_refused(
    original: Path, make: Make, what: str
) -> None:
    dataset = open_dataset(Store(original))
    state = CASES["in order"](dataset).state_dict()
    with pytest.raises(ValueError) as error:
        make(dataset).load_state_dict(state)
    assert what in str(error.value)


def weighted(low: float) -> WeightedRandomSampler:
    return WeightedRandomSampler([low] * 12 + [1.0] * 12, 24, generator=seeded())


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize(
    ("make", "other"),
    [
        (lambda: range(24), lambda: range(23, -1, -1)),
        (lambda: weighted(1.0), lambda: weighted(0.0)),
        (lambda: [*range(24)], lambda: np.arange(24)[::-1]),
    ],
)
def test_an_order_that_is_another_one_is_refused(
    original: Path, make: Callable[[], Any], other: Callable[[], Any], num_workers: int
) -> None:
    dataset = open_dataset(Store(original))
    loader = dataset.loader(5, sampler=make())
    next(iter(loader))
    state = loader.state_dict()
    # The state of another rank tells nothing of this one's indexes.
    foreign = {**state, "order": {**state["order"], "ranks": "7"}}
    for loaded, is_refused in ((state, True), (foreign, False)):
        resumed = dataset.loader(5, sampler=other(), num_workers=num_workers)
        resumed.load_state_dict(loaded)
        if is_refused:
            with pytest.raises(ValueError, match="those that the sampler gives now are others"):
                list(resumed)
        else:
            assert len(list(resumed)) == 4
    same_again = dataset.loader(5, sampler=make(), num_workers=num_workers)
    same_again.load_state_dict(state)
    assert len(list(same_again)) == 4


def test_a_sampler_that_leaves_out_what_was_read_is_told(original: Path) -> None:
    loader = open_dataset(Store(original)).loader(5, sampler=LeavingOut())
    assert len(list(loader)) == 5
    for _ in range(2):
        other = open_dataset(Store(original)).loader(5, sampler=LeavingOut())
        other.load_state_dict(loader.state_dict())
        with pytest.raises(RuntimeError, match="gave 0 of 5 batches"):
            list(other)


def test_a_state_of_an_earlier_version_is_read(original: Path) -> None:
    for case in CASES:
        torch.manual_seed(0)
        loader = CASES[case](open_dataset(Store(original)))
        loader.set_epoch(1)
        batches = iter(loader)
        next(batches)
        state = loader.state_dict()
        expected = [*batches]
        del state["order"]["digest"], state["order"]["ranks"]
        for name in [*state["loader"]]:
            if name.endswith(("samplers", ".replacement", ".num_samples")) and "n_" not in name[:2]:
                del state["loader"][name]
        if case == "distributed with a state":
            state["order"]["samplers"] = [{"yielded": 0}]
        other = CASES[case](open_dataset(Store(original)))
        other.load_state_dict(state)
        assert all_same(list(other), expected), case


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_batch_that_cannot_be_read_counts_as_well(folder: Path, num_workers: int) -> None:
    def make() -> ResumableLoader:
        dataset = ChunkDataset(Store(folder), ["a", "b", "a", "deep/c", "a"], with_id=True)
        return dataset.loader(1, num_workers=num_workers)

    for path in (folder / "b.zarr").rglob("c/0/0"):
        os.truncate(path, 10)
    loader = make()
    batches, seen = iter(loader), []
    for _ in range(3):
        try:
            seen += next(batches)["index"].tolist()
        except StoreError as error:
            assert "b" in str(error)
    assert seen == [0, 2]
    assert loader.state_dict()["batches"] == 3
    other = make()
    other.load_state_dict(loader.state_dict())
    assert [batch["index"].tolist() for batch in other] == [[3], [4]]


def test_another_epoch_than_the_states_is_refused(original: Path) -> None:
    for case in ("in order", "distributed"):
        loader = CASES[case](open_dataset(Store(original)))
        loader.set_epoch(3)
        next(iter(loader))
        loader.load_state_dict(loader.state_dict())
        loader.set_epoch(0)
        with pytest.raises(ValueError, match=r"goes on in epoch 3.*has been set to 0"):
            iter(loader)
        loader.set_epoch(3)
        assert next(iter(loader))["index"].tolist() == read_epoch(loader, 3)[1]["index"].tolist()


def test_what_is_no_state_is_refused(original: Path) -> None:
    loader = CASES["in order"](open_dataset(Store(original)))
    with pytest.raises(ValueError, match="version None"):
        loader.load_state_dict({})


def test_a_loader_that_does_not_keep_the_order_has_no_state(original: Path) -> None:
    loader = open_dataset(Store(original)).loader(2, num_workers=2, in_order=False)
    with pytest.raises(RuntimeError, match="in_order=False"):
        loader.state_dict()
