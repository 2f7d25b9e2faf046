"""A dataset's items and batches: dicts of tensors that travel between processes as one.

A DataLoader's worker hands over each tensor's memory by a file descriptor of its own, which takes
longer than to read a few thousand points. So an item's tensors lie in one block of memory, and the
item is handed over as that block: where possible, one of those of `shared_memory`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from math import prod
from multiprocessing.reduction import ForkingPickler
from typing import Any, Self

import torch
from torch.utils.data import default_collate, default_convert

from aerozarr.training.shared_memory import Handle, acquire, receive, send

View = tuple[int, tuple[int, ...], tuple[int, ...], int]
"""A tensor within the blocks of an item: number of the block, shape, strides and offset."""

SentBlock = torch.Tensor | tuple[Handle, int]
"""A block on its way: a tensor, or a block of shared memory and how many values it holds."""


class Item(dict[str, Any]):
    """A dict of tensors, pickled together where they lie in one block of memory.

    It may hold other things too, such as the sample's id.

    Attributes
    ----------
    batch
        The batch whose memory its tensors are a part of; None when it was made alone.
    """

    batch: Item | None = None

    @classmethod
    def allocate(cls, shapes: Mapping[str, tuple[int, ...]]) -> Self:
        """Make an item of uninitialized float32 tensors in one block."""
        sizes = [prod(shape) for shape in shapes.values()]
        block = acquire(sum(sizes))
        parts = torch.split(torch.empty(sum(sizes)) if block is None else block, sizes)
        return cls(
            (name, part.view(shape))
            for (name, shape), part in zip(shapes.items(), parts, strict=True)
        )

    @classmethod
    def allocate_together(cls, shapes: Sequence[Mapping[str, tuple[int, ...]]]) -> list[Self]:
        """Make several items: as the parts of one batch, where all have the same shapes."""
        if len(shapes) < 2 or any(other != shapes[0] for other in shapes):
            return [cls.allocate(of_item) for of_item in shapes]
        batch = cls.allocate({name: (len(shapes), *shape) for name, shape in shapes[0].items()})
        items = []
        for number in range(len(shapes)):
            items.append(cls((name, values[number]) for name, values in batch.items()))
            items[-1].batch = batch
        return items

    def __copy__(self) -> Self:
        return type(self)(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # As a type that `torch.load` reads with `weights_only=True`.
        return OrderedDict, (), None, None, iter(self.items())

    def reduce_to_send(self) -> tuple[Any, ...]:
        """Return how the item is pickled for another process of this machine."""
        blocks: list[SentBlock] = []
        numbers: dict[tuple[int, torch.dtype], int] = {}
        views: dict[str, View] = {}
        others: dict[str, Any] = {}
        for name, tensor in self.items():
            if not isinstance(tensor, torch.Tensor):
                others[name] = tensor
                continue
            storage = tensor.untyped_storage()
            key = storage.data_ptr(), tensor.dtype
            if key not in numbers:
                numbers[key] = len(blocks)
                length = storage.nbytes() // tensor.itemsize
                blocks.append(_send_block(tensor.as_strided((length,), (1,), 0)))
            offset = int(tensor.storage_offset())
            views[name] = numbers[key], tuple(tensor.shape), tensor.stride(), offset
        return _rebuild, (blocks, views, others)


def collate(items: list[Any]) -> Any:
    """Put items together in a batch, as torch's `default_collate` does; without copying if it can.

    A DataLoader's `collate_fn`. The tensors of items that `ChunkDataset.__getitems__` returns
    together already lie in memory as a batch.

    Raises
    ------
    ValueError
        When there are no items.
    """
    if not items:
        raise ValueError("A batch has no items. Give a batch sampler whose batches have some.")
    batch = items[0].batch if isinstance(items[0], Item) else None
    if (
        batch is None
        or any(len(values) != len(items) for values in batch.values())
        or not all(_is_part(item, batch, number) for number, item in enumerate(items))
    ):
        return default_collate(items)
    others = items[0].keys() - batch.keys()
    if not others:
        return batch
    if any(item.keys() != items[0].keys() for item in items):
        return default_collate(items)
    rest = default_collate([{name: item[name] for name in others} for item in items])
    return Item((name, batch[name] if name in batch else rest[name]) for name in items[0])


def convert(read: Any) -> Any:
    """Return what a dataset gave for one index; as a batch, if that was a list of indexes.

    The `collate_fn` of a DataLoader that does not make batches itself: its sampler may.
    """
    return collate(read) if isinstance(read, list) else default_convert(read)  # type: ignore[no-untyped-call]


def _is_part(item: Any, batch: Item, number: int) -> bool:
    """Whether an item's tensors still are what they were made as: part `number` of a batch."""
    if not isinstance(item, Item) or item.batch is not batch or not batch.keys() <= item.keys():
        return False
    return all(_is_same_memory(item[name], values[number]) for name, values in batch.items())


def _is_same_memory(first: Any, second: torch.Tensor) -> bool:
    """Whether two tensors are views of the same memory with the same layout."""
    return (
        isinstance(first, torch.Tensor)
        and first.data_ptr() == second.data_ptr()
        and first.dtype == second.dtype
        and first.shape == second.shape
        and first.stride() == second.stride()
    )


def _send_block(block: torch.Tensor) -> SentBlock:
    handle = send(block.untyped_storage()) if block.dtype == torch.float32 else None
    return block if handle is None else (handle, len(block))


# Only for processes of this machine: pickled for anything else, an item takes its values with it.
ForkingPickler.register(Item, Item.reduce_to_send)


def _rebuild(sent: list[SentBlock], views: Mapping[str, View], others: Mapping[str, Any]) -> Item:
    blocks = [block if isinstance(block, torch.Tensor) else receive(*block) for block in sent]
    item = Item(
        (name, blocks[number].as_strided(shape, stride, offset))
        for name, (number, shape, stride, offset) in views.items()
    )
    item.update(others)
    return item
