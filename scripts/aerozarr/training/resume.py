"""A DataLoader that can be resumed in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

VERSION = 1
"""Of what `ResumableLoader.state_dict` returns."""


class ResumableSampler(Sampler[Any]):
    """A sampler whose order can be repeated from any place on.

    What decides the order is recorded where an iteration begins: the states of the samplers'
    generators and of torch's global one, their epochs, and the `state_dict` of those that have one.

    Parameters
    ----------
    sampler
        The sampler or batch sampler whose order it keeps.
    generator
        The DataLoader's generator.
    """

    def __init__(self, sampler: Iterable[Any], generator: torch.Generator | None = None) -> None:
        self.sampler = sampler
        self._generator = generator
        self._start: dict[str, Any] | None = None
        self._pending: tuple[dict[str, Any], int | None] | None = None

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type] # as long as the sampler has a length

    @property
    def start(self) -> dict[str, Any]:
        """What decides the order of the iteration that began last, or else of the next."""
        if self._pending is not None:
            return self._pending[0]
        return self.record() if self._start is None else self._start

    def begin_anew(self, start: dict[str, Any] | None = None) -> None:
        """Let the next iteration be a whole one; with the recorded generators, if any."""
        self._start = None
        self._pending = None if start is None else (start, None)

    def begin_at(self, start: dict[str, Any], skipped: int) -> None:
        """Let the next iteration be the recorded one without its first indexes or batches."""
        self._start = None
        self._pending = start, skipped

    def __iter__(self) -> Iterator[Any]:
        # All of this happens when the first index is asked for: after the DataLoader has taken a
        # random number of its own.
        pending, self._pending = self._pending, None
        if pending is not None and pending[1] is not None:
            self._start, skipped = pending[0], pending[1]
            # Torch's samplers use the global generator before their first index. They find it as it
            # was then; what else this process takes from it stays the same.
            with torch.random.fork_rng(devices=[]):
                torch.set_rng_state(self._start["global_generator"])
                self.restore(self._start)
                rest = iter(self.sampler)
                first = list(islice(rest, skipped + 1))[skipped:]
            yield from first
            yield from rest
            return
        if pending is not None:
            self.restore(pending[0])
        self._start = self.record()
        yield from self.sampler

    def record(self) -> dict[str, Any]:
        """Return what decides the order of an iteration that begins now."""
        return {
            "epochs": self.epochs,
            "generators": [generator.get_state() for generator in self._generators()],
            "global_generator": torch.get_rng_state(),
            "samplers": [sampler.state_dict() for sampler in self._stateful()],
        }

    def restore(self, start: Mapping[str, Any]) -> None:
        """Set generators and samplers, but for torch's global generator, to what was recorded."""
        for generator, state in zip(self._generators(), start["generators"], strict=True):
            generator.set_state(state)
        for sampler, state in zip(self._stateful(), start["samplers"], strict=True):
            sampler.load_state_dict(state)

    @property
    def epochs(self) -> list[int]:
        """The epochs of the samplers that have one, such as a DistributedSampler."""
        return [sampler.epoch for sampler in self._with_epoch()]

    @epochs.setter
    def epochs(self, epochs: Iterable[int]) -> None:
        for sampler, epoch in zip(self._with_epoch(), epochs, strict=True):
            sampler.set_epoch(epoch)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the samplers that have one."""
        for sampler in self._chain():
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)

    def describe(self) -> dict[str, Any]:
        """Return what must be the same for the order to be the same."""
        described: dict[str, Any] = {
            "n_batches": _length(self.sampler),
            "n_generators": len(self._generators()),
            "n_stateful_samplers": len(self._stateful()),
            "n_samplers_with_epoch": len(self._with_epoch()),
        }
        for sampler in self._chain():
            for name in ("batch_size", "drop_last", "num_replicas", "seed", "shuffle"):
                value = getattr(sampler, name, None)
                if isinstance(value, bool | int):
                    described[f"{type(sampler).__name__}.{name}"] = value
        return described

    def _chain(self) -> list[Any]:
        """Return the sampler, the one that it wraps, and so on."""
        chain: list[Any] = []
        sampler: Any = self.sampler
        while sampler is not None and all(sampler is not known for known in chain):
            chain.append(sampler)
            sampler = getattr(sampler, "sampler", None)
        return chain

    def _generators(self) -> list[torch.Generator]:
        candidates = [self._generator]
        candidates += [getattr(sampler, "generator", None) for sampler in self._chain()]
        found = [each for each in candidates if isinstance(each, torch.Generator)]
        return list({id(generator): generator for generator in found}.values())

    def _stateful(self) -> list[Any]:
        return [each for each in self._chain() if _has(each, "state_dict", "load_state_dict")]

    def _with_epoch(self) -> list[Any]:
        return [each for each in self._chain() if _has(each, "set_epoch", "epoch")]


def _has(sampler: Any, *names: str) -> bool:
    return all(hasattr(sampler, name) for name in names)


def _length(sampler: Any) -> int | None:
    try:
        return len(sampler)
    except TypeError:
        return None


@dataclass
class _Position:
    """How far an epoch has been read: batches (or items) that the loader has returned."""

    epoch: int
    batches: int
    is_finished: bool = False


class _Batches(Iterator[Any]):
    """A DataLoader's iterator that counts what it returns."""

    def __init__(self, batches: Any, position: _Position) -> None:
        self._batches = batches
        self._position = position

    def __len__(self) -> int:
        return len(self._batches)

    def __next__(self) -> Any:
        try:
            batch = next(self._batches)
        except StopIteration:
            self._position.is_finished = True
            raise
        self._position.batches += 1
        return batch


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
            "order": self._resumable.start if mid_epoch else self._resumable.record(),
            "loader": self._describe(),
        }

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
        differing = [name for name in {**saved, **now} if saved.get(name) != now.get(name)]
        if differing:
            differences = ", ".join(
                f"{name} was {saved.get(name)} and is {now.get(name)}" for name in differing
            )
            raise ValueError(
                f"The state is of a loader that gives other batches: {differences}. Make the "
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
        return _Batches(super().__iter__(), self._position)

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
