"""A sampler whose order can be repeated from any place on."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import index as to_int
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler

from aerozarr.environment import RANK
from aerozarr.training.prefetch import LookAhead

# A state has a digest of the first indexes or batches of an epoch, up to so many: more of them
# would hardly tell more of an order.
_MOST_DIGESTED = 64


class ResumableSampler(Sampler[Any]):
    """A sampler whose order can be repeated from any place on.

    What decides the order is recorded where an iteration begins: the states of the samplers'
    generators and of torch's global one, their epochs, and the `state_dict` of those that have one
    and no epoch. (Where there is an epoch, it decides the order, and a state tells how far an epoch
    was read: at the begin of the next one it still says that it was read to its end.)

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
        self._digests: list[str] = []
        self._has_loaded = False
        self.has_failed = False

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

    @property
    def ranks(self) -> str:
        """Whose indexes they are, where several processes each read a part of the samples."""
        known = [getattr(sampler, "rank", None) for sampler in self._chain()]
        is_one_of_several = torch.distributed.is_available() and torch.distributed.is_initialized()
        own = torch.distributed.get_rank() if is_one_of_several else os.environ.get(RANK, "")
        return " ".join(str(rank) for rank in (*known, own) if rank is not None)

    def digest(self, count: int) -> str:
        """Return a digest of the first indexes or batches of the iteration that began last.

        Parameters
        ----------
        count
            How many; of many, the first ones are taken.
        """
        if self._pending is not None:
            return str(self._pending[0].get("digest", ""))
        known = self._digests[:count]
        return known[-1] if known else ""

    def __iter__(self) -> Iterator[Any]:
        # All of this happens when the first index is asked for: after the DataLoader has taken a
        # random number of its own.
        self._digests = []
        self.has_failed = False
        try:
            yield from self._indexes(self._digests)
        except Exception:
            self.has_failed = True
            raise

    def _indexes(self, digests: list[str]) -> Iterator[Any]:
        pending, self._pending = self._pending, None
        if pending is None or pending[1] is None:
            if pending is not None:
                self.restore(pending[0])
            self._start = self.record()
            yield from self._noted(iter(self.sampler), digests)
            return
        self._start, skipped = pending[0], pending[1]
        # Torch's samplers use the global generator before their first index. They find it as it was
        # then; what else this process takes from it stays the same.
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._start["global_generator"])
            self.restore(self._start)
            order = self._noted(iter(self.sampler), digests)
            n_skipped = sum(1 for _ in islice(order, skipped))
            # Earlier versions did not save a digest; and all ranks may go on from the state of one.
            is_comparable = self._start.get("ranks") == self.ranks and self._start.get("digest")
            is_other = is_comparable and self._start["digest"] != self.digest(skipped)
            if n_skipped < skipped or is_other:
                raise ValueError(
                    f"The loaded state goes on after {skipped} batches (or items), and those that "
                    "the sampler gives now are others. Make it with the same indexes, weights and "
                    "seeds as it was, or begin the epoch anew, without the state."
                )
            first = [*islice(order, 1)]
        yield from first
        yield from order

    def _noted(self, order: Iterator[Any], digests: list[str]) -> Iterator[Any]:
        """Note digests of the first indexes, and check that all come after a state was loaded."""
        known, count = hashlib.sha256(), 0
        is_loaded, self._has_loaded = self._has_loaded, False
        for count, asked in enumerate(order, start=1):
            if count <= _MOST_DIGESTED:
                known.update(_text_of(asked).encode())
                digests.append(known.hexdigest()[:16])
            yield asked
        length = _length(self.sampler)
        if is_loaded and length is not None and count < length:
            raise RuntimeError(
                f"After a state was loaded, the sampler gave {count} of {length} batches (or "
                "items): its load_state_dict makes it leave out what was read before the state was "
                "saved. Give it set_epoch and an attribute epoch, by which aerozarr then repeats "
                "its order, or begin the epoch anew, without the state."
            )

    def record(self) -> dict[str, Any]:
        """Return what decides the order of an iteration that begins now."""
        return {
            "epochs": self.epochs,
            "generators": [generator.get_state() for generator in self._generators()],
            "global_generator": torch.get_rng_state(),
            "samplers": [
                # A copy: the sampler may go on changing what it gives.
                None if _has_epoch(sampler) else copy.deepcopy(sampler.state_dict())
                for sampler in self._stateful()
            ],
        }

    def restore(self, start: Mapping[str, Any]) -> None:
        """Set generators and samplers, but for torch's global generator, to what was recorded."""
        for generator, state in zip(self._generators(), start["generators"], strict=True):
            generator.set_state(state)
        for sampler, state in zip(self._stateful(), start["samplers"], strict=True):
            if state is not None:
                sampler.load_state_dict(copy.deepcopy(state))
                self._has_loaded = True

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
            "samplers": " of ".join(map(_kind_of, self._chain())),
        }
        for sampler in self._chain():
            for name in _DECISIVE:
                value = getattr(sampler, name, None)
                if isinstance(value, int | np.integer | np.bool_):
                    plain = value if isinstance(value, int) else value.item()
                    described[f"{type(sampler).__name__}.{name}"] = plain
        return described

    def _chain(self) -> list[Any]:
        """Return the sampler, the one that it wraps, and so on."""
        chain: list[Any] = []
        sampler: Any = self.sampler
        while sampler is not None and all(sampler is not known for known in chain):
            if not isinstance(sampler, LookAhead):  # which keeps the order of what it wraps
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
        return [each for each in self._chain() if _has_epoch(each)]


_DECISIVE = (
    *("batch_size", "drop_last", "num_replicas", "seed", "shuffle"),
    *("replacement", "num_samples"),
)


def differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names of what is not as a state describes it.

    Parameters
    ----------
    saved, now
        What `describe` returned then, and does now. A state of an earlier version says less.
    """
    is_older = "samplers" not in saved
    added = ("samplers", ".replacement", ".num_samples", ".seed") if is_older else ()
    names = [name for name in {**saved, **now} if saved.get(name) != now.get(name)]
    return [name for name in names if name in saved or not name.endswith(added)]


def _kind_of(sampler: Any) -> str:
    """Return what a sampler is called; all sequences of indexes are called the same."""
    return "indexes" if _is_sequence(sampler) else type(sampler).__name__


def _is_sequence(given: Any) -> bool:
    return isinstance(given, Sequence | np.ndarray | torch.Tensor)


def _text_of(asked: Any) -> str:
    """Return an index, or those of a batch, as a text, whatever their integer type."""
    if _is_sequence(asked) and len(getattr(asked, "shape", (1,))):
        return f"{[_text_of(each) for each in asked]}"
    return f"{to_int(asked)} " if hasattr(asked, "__index__") else ""


def _has_epoch(sampler: Any) -> bool:
    return _has(sampler, "set_epoch", "epoch")


def _has(sampler: Any, *names: str) -> bool:
    return all(hasattr(sampler, name) for name in names)


def _length(sampler: Any) -> int | None:
    try:
        return len(sampler)
    except TypeError:
        return None
