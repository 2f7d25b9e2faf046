"""Scalars of samples as tensors beside the fields of an item."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import torch

from aerozarr.errors import StoreError
from aerozarr.messages import did_you_mean, printable
from aerozarr.store.format.scalars import ScalarValue
from aerozarr.store.read.contents import field_names
from aerozarr.store.read.store import Store

Shapes = dict[str, tuple[int, ...]]
"""By name of a scalar, the shape of its tensor: () for a number, (n,) for a vector."""

# What to do about a scalar that cannot be an item's.
_REMEDY = "Leave it out of scalars, or read it with Store.scalars"


def choose_scalars(
    store: Store, sample: str, scalars: Iterable[str] | None, taken: Collection[str]
) -> Shapes:
    """Return the shapes of the scalars that a dataset is asked for, as one sample has them.

    Parameters
    ----------
    store
        The store.
    sample
        The sample that is looked at.
    scalars
        The names asked for; None for none.
    taken
        Names of an item that scalars may not have.

    Raises
    ------
    StoreError
        When the sample has no such scalar, or it is a text, or its name is taken.
    TypeError
        When they are no names.
    """
    if scalars is None:
        return {}
    names = dict.fromkeys(field_names(scalars, "scalars"))
    for name in names:
        if name in taken:
            raise StoreError(f"scalars: an item has something else named {name!r}. {_REMEDY}.")
    found = store.scalars(sample) if names else {}
    return {name: tuple(_tensor(found, name, sample).shape) for name in names}


def fill_scalars(
    item: Mapping[str, torch.Tensor],
    shapes: Shapes,
    found: Mapping[str, ScalarValue],
    sample: str,
) -> None:
    """Write a sample's scalars into an item.

    Parameters
    ----------
    item
        By name, where each goes: float32, of the shapes.
    shapes
        What `choose_scalars` returned.
    found
        The sample's scalars.
    sample
        Its id.

    Raises
    ------
    StoreError
        When the sample has no such scalar, or one of another shape, or a number that float32 does
        not hold.
    """
    for name, shape in shapes.items():
        value = _tensor(found, name, sample)
        if value.shape != shape:
            raise StoreError(
                f"scalars: {printable(name)} of {printable(sample)} has the shape "
                f"{tuple(value.shape)}, and that of the dataset's first sample {shape}. {_REMEDY}, "
                "or leave the sample out."
            )
        item[name].copy_(value)
        if not torch.equal(torch.isinf(item[name]), torch.isinf(value)):
            raise StoreError(
                f"scalars: {printable(name)} of {printable(sample)} has a number that is too large "
                f"for float32. {_REMEDY}."
            )


def _tensor(found: Mapping[str, ScalarValue], name: str, sample: str) -> torch.Tensor:
    """Return a scalar as a float64 tensor of shape () or (n,)."""
    if name not in found:
        has = ", ".join(map(printable, found)) or "none"
        raise StoreError(
            f"scalars: {printable(sample)} has no scalar {name!r}.{did_you_mean(name, found)} "
            f"It has {has}. Name those that all samples have, or leave the sample out."
        )
    value = found[name]
    if isinstance(value, str):
        raise StoreError(f"scalars: {name!r} of {printable(sample)} is a text. {_REMEDY}.")
    return torch.tensor(value, dtype=torch.float64)
