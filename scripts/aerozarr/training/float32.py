"""Values that float32, in which items are, does not hold as they are stored."""

from __future__ import annotations

import torch

from aerozarr.errors import StoreError
from aerozarr.messages import printable

# Cast to float32 before they are scaled, pressures of 101,325 Pa that differ by 1 mPa would be one.
_WIDE = frozenset({"float64", "int32", "int64", "uint32", "uint64"})


def is_wide(dtype: str | torch.dtype) -> bool:
    """Whether values of a dtype are to be read and scaled as float64."""
    return str(dtype).removeprefix("torch.") in _WIDE


def room_for(place: torch.Tensor, dtype: str) -> torch.Tensor:
    """Return where to read values of a stored dtype that end in a place: it, or new float64."""
    return torch.empty(place.shape, dtype=torch.float64) if is_wide(dtype) else place


def put_as_float32(values: torch.Tensor, place: torch.Tensor, field: str, sample: str = "") -> None:
    """Cast float64 values into a place.

    Parameters
    ----------
    values, place
        Of the same shape; float64, and float32.
    field, sample
        What they are of, for messages.

    Raises
    ------
    StoreError
        When a finite value is too large for float32.
    """
    place.copy_(values)
    if not torch.equal(torch.isinf(place), torch.isinf(values)):
        of = f" of {printable(sample)}" if sample else ""
        raise StoreError(
            f"{printable(field)}{of} has a value that is too large for float32. Let it be scaled "
            "(normalize=True), leave the field out, or read it with Store.read."
        )
