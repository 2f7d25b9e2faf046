"""What a dataset's item is: a dict of tensors that travel between processes as one.

A DataLoader's worker hands over each tensor's memory by a file descriptor of its own, which takes
longer than to read a few thousand points. So an item's tensors lie in one block of memory, and the
item is handed over as that block: where it can be, one of those of `blocks`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from math import prod
from multiprocessing.reduction import ForkingPickler
from typing import Any, Self

import torch
from torch.utils.data import default_collate

from aerozarr.training.shared_memory import Handle, receive, send, take

View = tuple[int, tuple[int, ...], tuple[int, ...], int]
"""A tensor within the blocks of an item: number of the block, shape, strides and offset."""

Packed = torch.Tensor | tuple[Handle, int]
"""A block on its way: a tensor, or where one is and how many values it holds."""


class Item(dict[str, torch.Tensor]):
    """A dict of tensors, those of one block of memory pickled together.

    Attributes
    ----------
    batch
        The batch that it is a part of; None when it was made alone.
    """

    batch: Item | None = None

    @classmethod
    def of_shapes(cls, shapes: Mapping[str, tuple[int, ...]]) -> Self:
        """Make an item of float32 tensors in one block, whose values are yet to be set."""
        sizes = [prod(shape) for shape in shapes.values()]
        block = take(sum(sizes))
        parts = torch.split(torch.empty(sum(sizes)) if block is None else block, sizes)
        return cls(
            (name, part.view(shape))
            for (name, shape), part in zip(shapes.items(), parts, strict=True)
        )

    @classmethod
    def several(cls, shapes: Sequence[Mapping[str, tuple[int, ...]]]) -> list[Self]:
        """Make items at once: as the parts of one batch, where they are all of the same shapes."""
        if len(shapes) < 2 or any(other != shapes[0] for other in shapes):
            return [cls.of_shapes(of_item) for of_item in shapes]
        batch = cls.of_shapes({name: (len(shapes), *shape) for name, shape in shapes[0].items()})
        items = []
        for number in range(len(shapes)):
            items.append(cls((name, values[number]) for name, values in batch.items()))
            items[-1].batch = batch
        return items

    def __copy__(self) -> Self:
        return type(self)(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # As what `torch.load` reads without being told to trust it.
        return OrderedDict, (), None, None, iter(self.items())

    def reduce_to_send(self) -> tuple[Any, ...]:
        """Return how the item is pickled for another process of this machine."""
        blocks: list[Packed] = []
        numbers: dict[tuple[int, torch.dtype], int] = {}
        views: dict[str, View] = {}
        for name, tensor in self.items():
            storage = tensor.untyped_storage()
            key = storage.data_ptr(), tensor.dtype
            if key not in numbers:
                numbers[key] = len(blocks)
                length = storage.nbytes() // tensor.itemsize
                blocks.append(_pack_to_send(tensor.as_strided((length,), (1,), 0)))
            offset = int(tensor.storage_offset())
            views[name] = numbers[key], tuple(tensor.shape), tensor.stride(), offset
        return _unpacked, (blocks, views)


def collate(items: list[Any]) -> Any:
    """Put items together in a batch, as torch's `default_collate` does; without copying, if it can.

    A DataLoader's `collate_fn`. The items that `ChunkDataset.__getitems__` returns together lie in
    memory as a batch already.
    """
    batch = items[0].batch if isinstance(items[0], Item) else None
    if (
        batch is not None
        and all(len(values) == len(items) for values in batch.values())
        and all(_is_part(item, batch, number) for number, item in enumerate(items))
    ):
        return batch
    return default_collate(items)


def _is_part(item: Any, batch: Item, number: int) -> bool:
    """Whether an item still is what it was made as: the part of a batch with this number."""
    if not isinstance(item, Item) or item.batch is not batch or item.keys() != batch.keys():
        return False
    return all(_is_same(item[name], values[number]) for name, values in batch.items())


def _is_same(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether two tensors are the same memory, seen alike."""
    return (
        first.data_ptr() == second.data_ptr()
        and first.dtype == second.dtype
        and first.shape == second.shape
        and first.stride() == second.stride()
    )


def _pack_to_send(block: torch.Tensor) -> Packed:
    handle = send(block.untyped_storage()) if block.dtype == torch.float32 else None
    return block if handle is None else (handle, len(block))


# To another process of this machine; whatever else is pickled takes its values with it.
ForkingPickler.register(Item, Item.reduce_to_send)


def _unpacked(packed: list[Packed], views: Mapping[str, View]) -> Item:
    blocks = [block if isinstance(block, torch.Tensor) else receive(*block) for block in packed]
    return Item(
        (name, blocks[number].as_strided(shape, stride, offset))
        for name, (number, shape, stride, offset) in views.items()
    )
