"""From rows to storage dtype, block by block, measured while they are in the cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from aerozarr.config.fields import Field
from aerozarr.convert.accumulate import accumulator_for
from aerozarr.convert.gather import Order, PackedRows, Rows, columns_for, rows_at
from aerozarr.convert.rounding import Rounding
from aerozarr.errors import BrokenSample
from aerozarr.source.files.blocks import Blocks
from aerozarr.source.files.rows import BLOCK, blocks_of, outline_rows, to_numpy
from aerozarr.store.format.moments import Moments


class ReusableBuffer:
    """Memory for the rows of one field after the other.

    It is asked for again only when a field needs more: touching new memory costs more than
    copying into it, and what was given back might not go back to the system.
    """

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)

    def rows(self, n_rows: int, columns: int, dtype: np.dtype[np.floating]) -> Rows:
        """Return room for one field's rows; the rows of an earlier field are lost."""
        size = n_rows * columns * dtype.itemsize
        if self._memory.nbytes < size:
            self._memory = np.empty(0, np.uint8)  # the old one goes before the new one comes
            self._memory = np.empty(size, np.uint8)
        rows: Rows = self._memory[:size].view(dtype).reshape(n_rows, columns)
        return rows


class PickedRows:
    """Some rows of a domain's fields.

    Parameters
    ----------
    places
        The rows, in ascending order.
    n_rows
        Number of rows of every field of the domain.
    """

    def __init__(self, places: Order, n_rows: int) -> None:
        self.places = places
        self._bounds = np.searchsorted(places, np.arange(0, n_rows + BLOCK, BLOCK)).tolist()

    def rows_in(self, first: int, block: torch.Tensor) -> npt.NDArray[np.generic]:
        """Return those of a block of rows, given the number of its first row.

        As the blocks pass by: of a mapped file, rows taken one by one at the end would be read once
        more, page after page.
        """
        begin, end = self._bounds[first // BLOCK : first // BLOCK + 2]
        rows, places = to_numpy(block), self.places[begin:end] - first
        # numpy copies rows that are not contiguous, all of them, before it takes some.
        return np.take(rows, places, axis=0) if rows.flags.c_contiguous else rows[places]


class RoundingSample(PickedRows):
    """Which rows of a domain's fields have their rounding error looked at."""


class KeptRows(PickedRows):
    """Which rows of a domain's fields are stored, where not all are (`keep_points`)."""

    def ranks_of(self, places: Order) -> Order:
        """Return where among the rows that are stored some of them are."""
        return np.searchsorted(self.places, places)


class _Block(NamedTuple):
    """A block of a field's rows.

    Attributes
    ----------
    first, rows
        Number of the first row in the source, and the rows.
    place, stored
        Those of them that are stored, and where among all of these the first one is.
    """

    first: int
    rows: torch.Tensor
    place: int
    stored: torch.Tensor


@dataclass(frozen=True)
class Cast:
    """A field in storage dtype.

    Attributes
    ----------
    padded
        Shape (n, columns), C-contiguous: its rows, and padding as `columns_for` says.
    width
        How many of the columns are the field's.
    moments
        Of all its values.
    rounding
        Of the rows that were to be looked at.
    """

    padded: Rows
    width: int
    moments: Moments
    rounding: Rounding

    @property
    def rows(self) -> Rows:
        """The field's rows, shape (n, width)."""
        return self.padded[:, : self.width]


def cast_field(
    value: object,
    field: Field,
    buffer: ReusableBuffer,
    rounding_sample: RoundingSample,
    kept_rows: KeptRows | None = None,
) -> Cast:
    """Cast what was loaded for a field to its storage dtype, rounding to nearest even.

    Parameters
    ----------
    value
        As `load_file` and `load_bytes` return it.
    field
        Its `dtype` is the storage dtype.
    buffer
        Where to. Rows that are in storage dtype already, and that padding does not pay for, are
        left where they are; what comes in blocks goes there a block at a time.
    rounding_sample
        The rows whose rounding error is wanted.
    kept_rows
        The rows that are stored, in the source's order: nothing else is cast, measured or checked.
        None for all.

    Raises
    ------
    BrokenSample
        When the value is no tensor of rows, or a finite value would become infinite.
    """
    rows = outline_rows(value, field)
    dtype = np.dtype(field.dtype)
    n_rows, width = rows.shape
    if kept_rows is not None:
        n_rows = len(kept_rows.places)
    columns = columns_for(n_rows, width, dtype)
    is_exact = to_numpy(rows[:1]).dtype == dtype
    is_there = is_exact and columns == width and not isinstance(value, Blocks)
    whole = _as_it_is(rows) if is_there and kept_rows is None else None
    padded = buffer.rows(n_rows, columns, dtype) if whole is None else whole
    del rows  # so that the file's pages can be given back
    packed = PackedRows(min(BLOCK, n_rows), width, columns, dtype) if columns > width else None
    measuring = accumulator_for(n_rows, width, dtype)
    before: list[npt.NDArray[np.generic]] = []
    if whole is not None:
        for first, part in blocks_of(value, field, keep_mapping=True):
            measuring.add(whole[first : first + len(part)])
    else:
        for first, part, place, stored in _stored_blocks(value, field, kept_rows):
            into = padded[place : place + len(stored)]
            block = into if packed is None else packed.rows[: len(stored)]
            _cast_into(stored, block)
            if not is_exact:
                before.append(rounding_sample.rows_in(first, part))  # while they are in the cache
            measuring.add(block)
            if packed is not None:
                packed.unpack(into)
    moments = measuring.moments()
    if not is_exact and any(moments.infinities):
        _refuse_overflow(value, padded[:, :width], field, kept_rows)
    looked_at = rounding_sample.places
    looked_at = looked_at if kept_rows is None else kept_rows.ranks_of(looked_at)
    return Cast(padded, width, moments, _rounding(before, padded, moments, looked_at))


def _stored_blocks(value: object, field: Field, kept_rows: KeptRows | None) -> Iterator[_Block]:
    """Yield the blocks of a value that have rows to be stored."""
    place = 0
    for first, rows in blocks_of(value, field):
        stored = rows if kept_rows is None else torch.from_numpy(kept_rows.rows_in(first, rows))
        if len(stored):
            yield _Block(first, rows, place, stored)
        place += len(stored)


def _rounding(
    before: list[npt.NDArray[np.generic]], padded: Rows, moments: Moments, places: Order
) -> Rounding:
    """Return the rounding error of the rows looked at; `before` is empty when there is none."""
    width = len(moments.finite)
    if not before and all(finite == moments.rows for finite in moments.finite):
        return Rounding(values=len(places) * width)
    after = rows_at(padded, width, places)
    return Rounding.of(np.concatenate(before) if before else after, after)


def _as_it_is(rows: torch.Tensor) -> Rows | None:
    """Return rows that numpy knows as they lie in memory; None when a gather would copy them."""
    array: Rows = to_numpy(rows)  # type: ignore[assignment] # floats: exact only as they are
    return array if array.flags.c_contiguous and array.flags.aligned else None


def _cast_into(part: torch.Tensor, block: Rows) -> None:
    if part.dtype == torch.float32 and block.dtype == np.float16:
        torch.from_numpy(block).copy_(part)  # some ten times faster here than numpy
        return
    # From float64, torch would round twice (by way of float32); numpy rounds once.
    with np.errstate(over="ignore", invalid="ignore"):
        np.copyto(block, to_numpy(part), casting="unsafe")


def _refuse_overflow(value: object, stored: Rows, field: Field, kept_rows: KeptRows | None) -> None:
    """Refuse finite values that became infinite.

    A maximum would not do to find them: one NaN hides every overflow.
    """
    largest = 0.0
    for _, _, place, part in _stored_blocks(value, field, kept_rows):
        infinite = torch.from_numpy(np.isinf(stored[place : place + len(part)]))
        overflow = infinite & torch.isfinite(part)
        if bool(overflow.any()):
            largest = max(largest, float(part[overflow].double().abs().max()))
    if largest:
        wider = "float32" if largest <= torch.finfo(torch.float32).max else "float64"
        raise BrokenSample(
            field=field.canonical,
            file=field.file,
            cause=f"a value of {largest:.6g} is too large for {field.dtype}",
            remedy=f"set field_dtypes: {{{field.canonical}: {wider}}}, beside those that it has",
        )
