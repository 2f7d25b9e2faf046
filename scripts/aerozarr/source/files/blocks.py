"""Arrays that are only ever read a block of rows at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch


class Blocks(ABC):
    """An array whose values are only ever read a block at a time, as often as they are wanted.

    Attributes
    ----------
    n_rows, columns
        Its shape.
    dtype
        Of its values: one that torch knows, in this machine's byte order.
    """

    n_rows: int
    columns: int
    dtype: np.dtype[Any]

    @abstractmethod
    def blocks(self, rows: int) -> Iterator[npt.NDArray[Any]]:
        """Yield the values from the first row on, so many rows at a time, the last time fewer.

        Shape (rows, columns). An array that was yielded may be overwritten with the next one.

        Raises
        ------
        BrokenSample
            When they cannot be read.
        """

    @property
    def outline(self) -> torch.Tensor:
        """A tensor of its shape and dtype, that takes no memory and does not hold its values."""
        row = torch.from_numpy(np.zeros((1, self.columns), self.dtype))
        return row.expand(self.n_rows, self.columns)


class Joined(Blocks):
    """The rows of several arrays, one after the other.

    Parameters
    ----------
    parts
        `Blocks`, and tensors of a dtype that NumPy knows, of one number of columns; at least one.
    """

    def __init__(self, parts: Sequence[torch.Tensor | Blocks]) -> None:
        self._parts = parts
        outlines = [part.outline if isinstance(part, Blocks) else part for part in parts]
        self.n_rows = sum(len(outline) for outline in outlines)
        self.columns = outlines[0].shape[1]
        dtypes = [outline[:1].numpy().dtype for outline in outlines]
        self.dtype = np.result_type(*dtypes)

    def blocks(self, rows: int) -> Iterator[npt.NDArray[Any]]:
        """Yield the values, as `Blocks.blocks` does."""
        pieces = (
            block
            for part in self._parts
            for block in (part.blocks(rows) if isinstance(part, Blocks) else [part.numpy()])
        )
        return regrouped(pieces, rows, self)


def regrouped(
    pieces: Iterable[npt.NDArray[Any]], rows: int, of: Blocks
) -> Iterator[npt.NDArray[Any]]:
    """Yield rows that come in pieces of any size as `Blocks.blocks` does.

    Parameters
    ----------
    pieces
        Arrays of rows, one after the other.
    rows
        How many are wanted together.
    of
        What they are of: its columns and its dtype are theirs.
    """
    held: npt.NDArray[Any] | None = None
    filled = 0
    for piece in pieces:
        block = piece.reshape(len(piece), of.columns)
        while len(block):
            if not filled and len(block) >= rows and block.dtype == of.dtype:
                yield block[:rows]
                block = block[rows:]
                continue
            if held is None:
                held = np.empty((min(rows, of.n_rows), of.columns), of.dtype)
            taken = block[: len(held) - filled]
            held[filled : filled + len(taken)] = taken
            filled, block = filled + len(taken), block[len(taken) :]
            if filled == len(held):
                yield held
                filled = 0
    if held is not None and filled:
        yield held[:filled]
