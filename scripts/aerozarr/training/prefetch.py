"""Reading what comes next while what came before is decoded and handed over.

A DataLoader's worker is told one index, or one batch, at a time, so it waits for a remote store's
answers each time. A sampler knows the order. `LookAhead` writes on each index which ones will
follow in the same worker; a `ChunkDataset` begins to read those at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from torch.utils.data import Sampler

from aerozarr.training.collate import Item

Batch = tuple[int, ...]
"""Indexes of items that are asked for together."""


class Index(int):
    """An index that says what follows it."""

    following: tuple[Batch, ...] = ()


class Indexes(list[int]):
    """A batch of indexes that says what follows it."""

    following: tuple[Batch, ...] = ()


class LookAhead(Sampler[Any]):
    """A sampler that tells a `ChunkDataset` what its workers will be asked for next.

    Parameters
    ----------
    sampler
        Whose order it keeps: a sampler (for a DataLoader's `sampler`), or a batch sampler (for its
        `batch_sampler`).
    num_workers
        The DataLoader's; it gives them indexes in turn.
    depth
        How many items or batches each worker reads ahead.

    Notes
    -----
    Items are the same as without. For a DataLoader that keeps its order (`in_order`, which is the
    default); otherwise workers read ahead what others are asked for.
    """

    def __init__(self, sampler: Iterable[Any], num_workers: int, depth: int = 2) -> None:
        self.sampler = sampler
        self.num_workers = num_workers
        self.depth = depth

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type] # as long as the sampler has a length

    def __iter__(self) -> Iterator[Index | Indexes]:
        stride = max(1, self.num_workers)
        known: deque[Index | Indexes] = deque()
        rest = iter(self.sampler)
        while True:
            while len(known) <= self.depth * stride:
                try:
                    indexes = next(rest)
                except StopIteration:
                    break
                known.append(Index(indexes) if isinstance(indexes, int) else Indexes(indexes))
            if not known:
                return
            following = [known[place] for place in range(stride, len(known), stride)]
            first = known.popleft()
            first.following = tuple(map(batch_of, following))
            yield first


def batch_of(indexes: int | Sequence[int]) -> Batch:
    """Return an index, or several, as a batch."""
    return (indexes,) if isinstance(indexes, int) else tuple(indexes)


class Ahead:
    """Items that are being read ahead, in threads of this process.

    Parameters
    ----------
    read
        Reads the items of a batch in an epoch.
    """

    def __init__(self, read: Callable[[Batch, int], list[Item]]) -> None:
        self._read = read
        self._threads: ThreadPoolExecutor | None = None
        self._pending: dict[tuple[Batch, int], Future[list[Item]]] = {}

    def get(self, batch: Batch, following: Sequence[Batch], epoch: int) -> list[Item]:
        """Return a batch's items, and see that those of the following are being read.

        Raises
        ------
        Exception
            What went wrong with this batch; what goes wrong with others comes in their turn.
        """
        if self._threads is None:
            self._threads = ThreadPoolExecutor(len(following) + 1, "aerozarr-ahead")
        wanted = [(each, epoch) for each in (batch, *following)]
        for key in self._pending.keys() - set(wanted):  # of an epoch that was broken off
            self._pending.pop(key).cancel()
        for key in wanted:
            if key not in self._pending:
                self._pending[key] = self._threads.submit(self._read, *key)
        return self._pending.pop(wanted[0]).result()
