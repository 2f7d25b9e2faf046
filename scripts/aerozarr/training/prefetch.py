"""Prefetching: reading the items that come next while the current ones are decoded and sent.

A DataLoader's worker is asked for one index, or one batch, at a time, so it waits for a remote
store's answers each time. The sampler knows the order. `LookAhead` attaches to each index those
that will follow it in the same worker; a `ChunkDataset` prefetches these.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from operator import index as to_int
from typing import Any

from torch.utils.data import Sampler

from aerozarr.training.collate import Item

BatchIndexes = tuple[int, ...]
"""Indexes of items that are asked for together."""


class LookAheadIndex(int):
    """An index, with those that the same worker will be asked for next."""

    upcoming: tuple[BatchIndexes, ...] = ()


class LookAheadBatch(list[int]):
    """The indexes of a batch, with those that the same worker will be asked for next."""

    upcoming: tuple[BatchIndexes, ...] = ()


class LookAhead(Sampler[Any]):
    """A sampler that tells a `ChunkDataset` what its workers will be asked for next.

    Parameters
    ----------
    sampler
        The sampler whose order it keeps (for a DataLoader's `sampler`), or a batch sampler (for its
        `batch_sampler`).
    num_workers
        The DataLoader's; it hands indexes to its workers in turn.
    depth
        How many items or batches each worker prefetches.

    Notes
    -----
    Items are the same as without it. It needs a DataLoader that keeps the order (`in_order`, which
    is the default); otherwise workers prefetch what others are asked for.
    """

    def __init__(self, sampler: Iterable[Any], num_workers: int, depth: int = 2) -> None:
        self.sampler = sampler
        self.num_workers = num_workers
        self.depth = depth

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type] # as long as the sampler has a length

    def __iter__(self) -> Iterator[LookAheadIndex | LookAheadBatch]:
        stride = max(1, self.num_workers)
        window: deque[LookAheadIndex | LookAheadBatch] = deque()
        rest = iter(self.sampler)
        while True:
            while len(window) <= self.depth * stride:
                try:
                    asked = next(rest)
                except StopIteration:
                    break
                window.append(_attachable(asked))
            if not window:
                return
            upcoming = [window[place] for place in range(stride, len(window), stride)]
            first = window.popleft()
            first.upcoming = tuple(map(as_batch, upcoming))
            yield first


def _attachable(asked: Any) -> LookAheadIndex | LookAheadBatch:
    """Return an index or a batch of them, of whatever integer type, as what `upcoming` fits on."""
    if hasattr(asked, "__index__") and not getattr(asked, "ndim", 0):
        return LookAheadIndex(to_int(asked))
    return LookAheadBatch(map(to_int, asked))


def as_batch(indexes: int | Sequence[int]) -> BatchIndexes:
    """Return an index, or several, as the indexes of a batch."""
    return (indexes,) if isinstance(indexes, int) else tuple(indexes)


class Prefetcher:
    """Items that are being prefetched, in threads of this process.

    Parameters
    ----------
    read
        Reads the items of a batch in an epoch.
    """

    def __init__(self, read: Callable[[BatchIndexes, int], list[Item]]) -> None:
        self._read = read
        self._threads: ThreadPoolExecutor | None = None
        self._pending: dict[tuple[BatchIndexes, int], Future[list[Item]]] = {}

    def get(self, batch: BatchIndexes, upcoming: Sequence[BatchIndexes], epoch: int) -> list[Item]:
        """Return a batch's items, and begin to read those of the upcoming batches.

        Raises
        ------
        Exception
            What went wrong with this batch; an upcoming one's error is raised in its own turn.
        """
        if self._threads is None:
            self._threads = ThreadPoolExecutor(len(upcoming) + 1, "aerozarr-prefetch")
        wanted = [(each, epoch) for each in (batch, *upcoming)]
        for key in self._pending.keys() - set(wanted):  # of an epoch that was not read to its end
            self._pending.pop(key).cancel()
        for key in wanted:
            if key not in self._pending:
                self._pending[key] = self._threads.submit(self._read, *key)
        return self._pending.pop(wanted[0]).result()
