"""What a dataset's item is: a dict of tensors that travel between processes as one.

A DataLoader's worker hands over each tensor's memory by a file descriptor of its own, which takes
longer than to read a few thousand points. So an item's tensors lie in one block of memory, and the
item is handed over as that block.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, Self

import torch

View = tuple[int, tuple[int, ...], tuple[int, ...], int]
"""A tensor within the blocks of an item: number of the block, shape, strides and offset."""


class Item(dict[str, torch.Tensor]):
    """A dict of tensors, those of one block of memory pickled together."""

    @classmethod
    def of_shapes(cls, shapes: Mapping[str, tuple[int, ...]]) -> Self:
        """Make an item of float32 tensors in one block, whose values are yet to be set."""
        sizes = [prod(shape) for shape in shapes.values()]
        parts = torch.split(torch.empty(sum(sizes)), sizes)
        return cls(
            (name, part.view(shape))
            for (name, shape), part in zip(shapes.items(), parts, strict=True)
        )

    def __copy__(self) -> Self:
        return type(self)(self)

    def __reduce__(self) -> tuple[Any, ...]:
        blocks: list[torch.Tensor] = []
        numbers: dict[tuple[int, torch.dtype], int] = {}
        views: dict[str, View] = {}
        for name, tensor in self.items():
            storage = tensor.untyped_storage()
            key = storage.data_ptr(), tensor.dtype
            if key not in numbers:
                numbers[key] = len(blocks)
                length = storage.nbytes() // tensor.itemsize
                blocks.append(tensor.as_strided((length,), (1,), 0))
            offset = int(tensor.storage_offset())
            views[name] = numbers[key], tuple(tensor.shape), tensor.stride(), offset
        return _unpacked, (blocks, views)


def _unpacked(blocks: list[torch.Tensor], views: Mapping[str, View]) -> Item:
    return Item(
        (name, blocks[number].as_strided(shape, stride, offset))
        for name, (number, shape, stride, offset) in views.items()
    )
