"""A DataLoader that can be resumed in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader

from aerozarr.training.resumable_sampler import ResumableSampler, differences

VERSION = 1
"""Of what `ResumableLoader.state_dict` returns."""


@dataclass
class _Position:
    """How far an epoch has been read: batches (or items) that the loader has returned."""

    epoch: int
    batches: int
    is_finished: bool = False


class _Batches(Iterator[Any]):
    """A DataLoader's iterator that counts what it returns."""

    def __init__(self, batches: Any, position: _Position, order: ResumableSampler) -> None:
        self._batches = batches
        self._position = position
        self._order = order
        self._has_workers = bool(batches._num_workers)

    def __len__(self) -> int:
        return len(self._batches)

    def __next__(self) -> Any:
        try:
            batch = next(self._batches)
        except StopIteration:
            self._position.is_finished = True
            raise
        except Exception as error:
            self._position.batches += self._is_of_a_batch(error)
            raise
        self._position.batches += 1
        return batch

    def _is_of_a_batch(self, error: Exception) -> bool:
        """Whether a batch could not be read, after which the next one comes."""
        # So torch begins the text of what a worker raised; not of a worker that died or is late.
        return str(error).startswith("Caught ") if self._has_workers else not self._order.has_failed


_ORIGIN = "Give what state_dict() of a loader from ChunkDataset.loader returned."


def check_state(state: Any) -> None:
    """Check that a state has the parts of one, each of its kind.

    Raises
    ------
    ValueError
        When it is of another version, or damaged.
    TypeError
        When it is no mapping.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"The state is of type {type(state).__name__}, and no mapping. {_ORIGIN}")
    if state.get("version") != VERSION:
        raise ValueError(
            f"The state has version {state.get('version')!r}; this aerozarr reads version "
            f"{VERSION}. {_ORIGIN}"
        )
    loader, order = state.get("loader"), state.get("order")
    loader = loader if isinstance(loader, Mapping) else {}
    order = order if isinstance(order, Mapping) else {}
    most = loader.get("n_batches")
    n_generators = loader.get("n_generators")
    is_right = {
        "loader": bool(loader),
        "epoch": _is_count(state.get("epoch"), 2**63 - 1),
        "batches": _is_count(state.get("batches"), most if isinstance(most, int) else 2**63 - 1),
        "mid_epoch": isinstance(state.get("mid_epoch"), bool),
        "order: epochs": _is_list(order.get("epochs"), int, loader.get("n_samplers_with_epoch")),
        "order: generators": _is_list(order.get("generators"), torch.Tensor, n_generators),
        "order: global_generator": isinstance(order.get("global_generator"), torch.Tensor),
        "order: digest": isinstance(order.get("digest", ""), str),
        "order: samplers": _is_list(
            order.get("samplers"), object, loader.get("n_stateful_samplers")
        ),
    }
    wrong = [name for name, right in is_right.items() if not right]
    if wrong:
        raise ValueError(f"The state is damaged: {wrong[0]!r} is not what it was. {_ORIGIN}")


def _is_count(number: object, most: int) -> bool:
    return type(number) is int and 0 <= number <= most


def _is_list(found: object, kind: type, length: object) -> bool:
    if not isinstance(found, list | tuple) or len(found) != length:
        return False
    return all(isinstance(each, kind) for each in found)


class ResumableLoader(DataLoader[Any]):
    """A DataLoader over a `ChunkDataset` with `state_dict` and `load_state_dict`.

    Made by `ChunkDataset.loader`. A state speaks of the iteration that began last, and a loaded one
    decides how the next one begins, as with torchdata's `StatefulDataLoader`.
    """

    _position: _Position | None = None
    _loaded: dict[str, Any] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: of the dataset, and of samplers that have one (DistributedSampler)."""
        self._dataset.set_epoch(epoch)
        self._resumable.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return how far the epoch has been read, for `load_state_dict` in another process.

        Returns
        -------
        dict
            Of plain values and small tensors, which `torch.load` reads with `weights_only=True`.
            `epoch` is the epoch that goes on, or, after the end of one, the next; `batches` how
            many of its batches were returned.

        Raises
        ------
        RuntimeError
            With `in_order=False`, where the batches that were returned need not be the first ones.
        """
        if self.num_workers and not self.in_order:
            raise RuntimeError(
                "A loader with in_order=False cannot say how far it has come. Leave that out."
            )
        if self._loaded is not None:
            return self._loaded
        position = self._position
        mid_epoch = position is not None and not position.is_finished
        epoch, batches = self._dataset.epoch, 0
        if position is not None:
            epoch = position.epoch if mid_epoch else position.epoch + 1
            batches = position.batches if mid_epoch else 0
        return {
            "version": VERSION,
            "epoch": epoch,
            "batches": batches,
            "mid_epoch": mid_epoch,
            "order": self._order(batches) if mid_epoch else self._resumable.record(),
            "loader": self._describe(),
        }

    def _order(self, batches: int) -> dict[str, Any]:
        order = self._resumable
        return {**order.start, "digest": order.digest(batches), "ranks": order.ranks}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on where the state was saved.

        After a state from the middle of an epoch, it gives the batches that were still to come, and
        the epoch is set to the state's. After one from between two epochs, it is a whole epoch.

        Parameters
        ----------
        state
            What `state_dict` returned.

        Raises
        ------
        ValueError
            When the state is of another format, damaged, or of a loader that gives other batches.
        TypeError
            When it is no mapping.
        """
        check_state(state)
        saved, now = state["loader"], self._describe()
        differing = differences(saved, now)
        if differing:
            told = ", ".join(f"{n} was {saved.get(n)} and is {now.get(n)}" for n in differing)
            raise ValueError(
                f"The state is of a loader that gives other batches: {told}. Make the "
                "loader as it was, or begin the epoch anew, without the state."
            )
        self._loaded = dict(state)
        if state["mid_epoch"]:
            self._dataset.set_epoch(state["epoch"])
            self._resumable.epochs = state["order"]["epochs"]

    def __iter__(self) -> Any:
        loaded = self._loaded
        batches = 0
        if loaded is None:
            self._resumable.begin_anew()
        elif loaded["mid_epoch"]:
            self._check_epoch(loaded)
            batches = loaded["batches"]
            self._resumable.begin_at(loaded["order"], batches)
        elif self.persistent_workers:
            # Between two epochs with the same workers the DataLoader takes no random number, but it
            # takes one now that it starts them. So the generators are set after that.
            self._resumable.begin_anew(loaded["order"])
        else:
            self._resumable.begin_anew()
            self._resumable.restore(loaded["order"])
        self._loaded = None
        self._position = _Position(self._dataset.epoch, batches)
        return _Batches(super().__iter__(), self._position, self._resumable)

    def _check_epoch(self, loaded: Mapping[str, Any]) -> None:
        saved = loaded["epoch"], loaded["order"]["epochs"]
        now = self._dataset.epoch, self._resumable.epochs
        if saved != now:
            raise ValueError(
                f"The loaded state goes on in epoch {saved[0]} (samplers: {saved[1]}), but the "
                f"epoch has been set to {now[0]} (samplers: {now[1]}). Begin the loop over epochs "
                "at state['epoch'], and set each by loader.set_epoch."
            )

    def _describe(self) -> dict[str, Any]:
        return {**self._dataset.describe_order(), **self._resumable.describe()}

    @property
    def _dataset(self) -> Any:
        return self.dataset

    @property
    def _resumable(self) -> ResumableSampler:
        sampler: Any = self.sampler if self.batch_sampler is None else self.batch_sampler
        while not isinstance(sampler, ResumableSampler):
            if not hasattr(sampler, "sampler"):
                raise TypeError("This loader was not made by ChunkDataset.loader.")
            sampler = sampler.sampler
        return sampler
