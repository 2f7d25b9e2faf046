"""Scaling values for training by the statistics that a store carries, and back."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch

from aerozarr.errors import StoreError
from aerozarr.messages import did_you_mean
from aerozarr.store.read.contents import field_names
from aerozarr.store.read.store import Store
from aerozarr.training.float32 import is_wide, put_as_float32

_EPSILON = torch.finfo(torch.float64).eps


class Normalizer:
    """Scales fields: values to mean 0 and standard deviation 1, positions to a range.

    Parameters
    ----------
    statistics
        As `Store.statistics` returns them.
    positions
        Canonical names of the position fields. They are all scaled alike, so that distances keep
        their proportions.
    position_range
        What the smallest and the largest of all coordinates of the statistics become, e.g.
        `(0.0, 1000.0)`; None leaves positions as they are.
    logscale
        Fields that are scaled by sign(x)·log1p|x|: for values that spread over orders of magnitude,
        as vorticity does.

    Notes
    -----
    All tensors are of shape (…, components). Components that never vary (whose standard deviation
    is 0, or what float64 leaves of that) are only shifted. Values of float64 and of large whole
    numbers are scaled as float64, and float32 afterwards.

    Raises
    ------
    ValueError
        When `position_range` is not two finite numbers, the smaller one first, or when
        `logscale` names a position besides.
    TypeError
        When `logscale` is a single name.
    """

    def __init__(
        self,
        statistics: Mapping[str, Any],
        positions: Collection[str],
        *,
        position_range: tuple[float, float] | None = None,
        logscale: Collection[str] = (),
    ) -> None:
        self._statistics = statistics
        self._positions = frozenset(positions)
        self._range = None if position_range is None else _checked_range(position_range)
        self._logscale = frozenset(field_names(logscale, "logscale"))
        both = sorted(self._logscale & self._positions)
        if both and self._range is not None:
            raise ValueError(
                f"logscale: {both[0]!r} is a position, which position_range scales. Leave out one "
                "of the two."
            )
        self._scales: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    @classmethod
    def of(
        cls,
        store: Store,
        split: str | Iterable[str] | None = None,
        *,
        position_range: tuple[float, float] | None = None,
        logscale: Collection[str] = (),
    ) -> Normalizer:
        """Make the normalizer of a store.

        Parameters
        ----------
        store
            The store.
        split
            Whose statistics to use: those of a split, or of a list of sample ids. By default those
            of `train` where the store has them, so that nothing of the test samples gets into
            training; otherwise those of all samples.
        position_range, logscale
            As for the class.

        Raises
        ------
        StoreError
            When the store has no such statistics, no such sample, or no such field.
        TypeError, ValueError
            As for the class.
        """
        if split is None and store.has_statistics("train"):
            split = "train"
        for name in field_names(logscale, "logscale"):
            store.domain_of(name)
        return cls(
            store.statistics(split),
            [store.position_of(domain) for domain in store.domains],
            position_range=position_range,
            logscale=logscale,
        )

    def normalize(self, field: str, values: torch.Tensor) -> torch.Tensor:
        """Return a field's values scaled, as float32.

        Raises
        ------
        StoreError
            When there are no statistics of the field, or none of finite values; when a scaled value
            is too large for float32.
        """
        if not is_wide(values.dtype):
            return self.normalize_(field, values.to(torch.float32, copy=True))
        scaled = self.normalize_(field, values.to(torch.float64, copy=True))
        found = torch.empty_like(scaled, dtype=torch.float32)
        put_as_float32(scaled, found, field)
        return found

    def normalize_(self, field: str, values: torch.Tensor) -> torch.Tensor:
        """Scale a field's values in place, and return them.

        Parameters
        ----------
        field
            Its canonical name.
        values
            float32 or float64, of shape (…, components).

        Raises
        ------
        StoreError
            When there are no statistics of the field, or none of finite values.
        """
        if field in self._logscale:
            values.copy_(values.sign() * values.abs().log1p())
        elif field in self._positions and self._range is None:
            return values
        shift, scale = self._scale_of(field, values)
        if values.dtype == torch.float32 and _is_for_float64(shift, scale):
            return values.copy_(
                (values.double() - shift.to(values.device)) / scale.to(values.device)
            )
        kind = values.device, values.dtype
        return values.sub_(shift.to(*kind)).div_(scale.to(*kind))

    def denormalize(self, field: str, values: torch.Tensor) -> torch.Tensor:
        """Return scaled values, such as a model's, in the field's own unit, as float32.

        Raises
        ------
        StoreError
            When there are no statistics of the field, or none of finite values.
        """
        shift, scale = self._scale_of(field, values)
        is_wide_scale = _is_for_float64(shift, scale)
        kind = values.device, torch.float64 if is_wide_scale else torch.float32
        values = (values.to(*kind) * scale.to(*kind) + shift.to(*kind)).float()
        if field in self._logscale:
            values = values.sign() * values.abs().expm1()
        return values

    def _scale_of(self, field: str, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what to subtract, and then divide by: float64, a number a component."""
        if field not in self._scales:
            self._scales[field] = self._make_scale(field)
        shift, scale = self._scales[field]
        for numbers in (shift, scale):
            if numbers.shape not in ((1,), tuple(values.shape[-1:])):
                raise StoreError(
                    f"The statistics of {field!r} are of {len(numbers)} components, and the values "
                    f"have the shape {tuple(values.shape)}. Give values of that field, and the "
                    "statistics of their store."
                )
        return shift, scale

    def _make_scale(self, field: str) -> tuple[torch.Tensor, torch.Tensor]:
        if field in self._positions:
            if self._range is None:
                return torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
            low, high = self._known("raw_pos_min", field), self._known("raw_pos_max", field)
            first, last = self._range
            scale = _no_zeros((high - low) / (last - first))
            return low - first * scale, scale
        kind = "_logscale" if field in self._logscale else ""
        shift = self._known(f"{field}{kind}_mean", field)
        scale = self._known(f"{field}{kind}_std", field)
        if (scale < 0).any():
            raise _damaged(f"{field}{kind}_std", "has a number below 0")
        if scale.shape == shift.shape:
            # Of values that are all the same, float64 leaves a rest: not to be scaled up.
            scale = torch.where(scale <= 4 * _EPSILON * shift.abs(), 0.0, scale)
        return shift, _no_zeros(scale)

    def _known(self, name: str, field: str) -> torch.Tensor:
        """Return numbers of the statistics, by which values would be NaN where one is not known."""
        numbers = self._numbers(name)
        unknown = numbers.isnan().nonzero().flatten().tolist()
        if unknown:
            of = "" if len(numbers) == 1 else f" of component {', '.join(map(str, unknown))}"
            raise StoreError(
                f"{field!r} cannot be normalized: the statistics have no {name!r}{of}. No value "
                "that they are of is finite, or they are too large for float64. Take the "
                "statistics of samples that have some, or leave the field out."
            )
        return numbers

    def _numbers(self, name: str) -> torch.Tensor:
        if name not in self._statistics:
            raise StoreError(
                f"The statistics have no {name!r}.{did_you_mean(name, self._statistics)} "
                "Run snakemake with the store's settings to have them written."
            )
        found = self._statistics[name]
        if not isinstance(found, list | tuple) or not all(map(_is_number_or_none, found)):
            raise _damaged(name, "is no list of numbers")
        numbers = [math.nan if number is None else float(number) for number in found]
        return torch.tensor(numbers, dtype=torch.float64)


def _is_number_or_none(number: object) -> bool:
    if isinstance(number, bool) or not isinstance(number, int | float | None):
        return False
    return number is None or abs(number) < math.inf


def _damaged(name: str, why: str) -> StoreError:
    return StoreError(
        f"The statistics are damaged: {name!r} {why}. Run snakemake with the store's settings to "
        "have them written, or copy them again."
    )


def _checked_range(position_range: Any) -> tuple[float, float]:
    try:
        low, high = map(float, position_range)
    except (TypeError, ValueError):
        low = high = math.nan
    if not -math.inf < low < high < math.inf:
        raise ValueError(
            f"position_range is {position_range!r}; give two finite numbers, the smaller one "
            "first: (0.0, 1000.0)."
        )
    return low, high


def _is_for_float64(shift: torch.Tensor, scale: torch.Tensor) -> bool:
    """Whether float32 does not hold by what to scale, to a thousandth of the deviation."""
    as_float32 = scale.float()
    is_held = ((shift.float() - shift).abs() <= 1e-3 * scale) & (as_float32 != 0)
    return not bool((is_held & as_float32.isfinite()).all())


def _no_zeros(scale: torch.Tensor) -> torch.Tensor:
    return torch.where(scale == 0, 1.0, scale)
