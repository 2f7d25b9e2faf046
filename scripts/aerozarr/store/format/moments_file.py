"""The file `moments.jsonl`: the moments of every sample, so that any list of them can be merged.

One line a sample, in JSON. Floats are written with as many digits as it takes to read the same
number again.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated

import msgspec
from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError

from aerozarr.messages import printable
from aerozarr.store.format.moments import Moments

# More than any field has values; beyond it, sums over all samples would not fit 64 bits.
_Count = Annotated[StrictInt, Field(ge=0, le=2**48)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Squares = Annotated[float, Field(allow_inf_nan=False, ge=0)]


class _Line(BaseModel):
    """A part of a line. Keys that are not known here are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class _Field(_Line):
    """The moments of one field: see `Moments`; None stands for what float64 cannot hold."""

    rows: _Count
    finite: list[_Count]
    nans: list[_Count] | None = None
    infinities: list[_Count] | None = None
    mean: list[_Finite | None]
    m2: list[_Squares | None]
    low: list[_Finite | None]
    high: list[_Finite | None]
    log_mean: list[_Finite | None]
    log_m2: list[_Squares | None]

    def moments(self, width: int) -> Moments:
        """Return the moments of a field of `width` components; ValueError where they are not."""
        none = [0] * width
        nans, infinities = self.nans or none, self.infinities or none
        finite, low, high = self.finite, self.low, self.high
        floats = [self.mean, self.m2, self.log_mean, self.log_m2]
        lists: list[Sequence[object]] = [finite, nans, infinities, low, high, *floats]
        if any(len(of) != width for of in lists):
            raise ValueError(f"its lists are not of {width} numbers, one a component")
        for component, count in enumerate(finite):
            if count + nans[component] + infinities[component] != self.rows:
                raise ValueError("its values are not as many as its rows")
            if (low[component] is None or high[component] is None) is (count > 0):
                raise ValueError("low and high are not there just where there are finite values")
        mean, m2, log_mean, log_m2 = (
            [math.nan if value is None else value for value in of] for of in floats
        )
        return Moments(
            rows=self.rows,
            finite=finite,
            nans=nans,
            infinities=infinities,
            mean=mean,
            m2=m2,
            low=low,
            high=high,
            log_mean=log_mean,
            log_m2=log_m2,
        )


class _Sample(_Line):
    """A line."""

    id: str
    fields: dict[str, _Field]

    def moments(self, field: str, width: int) -> Moments:
        """Return those of a field of `width` components; ValueError where they are not."""
        if field not in self.fields:
            raise ValueError(f"{field}: it is missing")
        try:
            return self.fields[field].moments(width)
        except ValueError as error:
            raise ValueError(f"{field}: {error}") from None


def moments_lines(samples: Iterable[tuple[str, Mapping[str, Moments]]]) -> bytes:
    """Return the content of `moments.jsonl`.

    Parameters
    ----------
    samples
        The id of each sample, and the moments of its fields by canonical name.
    """
    lines = [
        {"id": sample_id, "fields": {name: _told(of) for name, of in fields.items()}}
        for sample_id, fields in samples
    ]
    # It writes null for what is not finite.
    return _ENCODER.encode_lines(lines)


_ENCODER = msgspec.json.Encoder()


def _told(moments: Moments) -> dict[str, object]:
    content: dict[str, object] = {"rows": moments.rows, "finite": moments.finite}
    # Left out where a field has none.
    if any(moments.nans):
        content["nans"] = moments.nans
    if any(moments.infinities):
        content["infinities"] = moments.infinities
    return content | {
        "low": moments.low,
        "high": moments.high,
        "mean": moments.mean,
        "m2": moments.m2,
        "log_mean": moments.log_mean,
        "log_m2": moments.log_m2,
    }


def read_moments(
    content: bytes, wanted: Collection[str], widths: Mapping[str, int]
) -> dict[str, dict[str, Moments]]:
    """Return the moments of some samples.

    Parameters
    ----------
    content
        The content of `moments.jsonl`.
    wanted
        Ids of the samples. One that the file does not have is not among those returned.
    widths
        The fields to read, by canonical name, with their numbers of components.

    Returns
    -------
    dict
        By sample id and canonical name.

    Raises
    ------
    ValueError
        With what is wrong, when the file is damaged.
    """
    found: dict[str, dict[str, Moments]] = {}
    *lines, rest = content.split(b"\n")
    if rest:
        raise ValueError("its last line is cut short")
    for number, line in enumerate(lines, start=1):
        try:
            sample = _Sample.model_validate_json(line)
        except ValidationError as error:
            raise ValueError(f"line {number}: {_first_of(error)}") from None
        if sample.id not in wanted:
            continue
        if sample.id in found:
            raise ValueError(f"line {number}: {printable(sample.id)} has another line already")
        try:
            found[sample.id] = {name: sample.moments(name, width) for name, width in widths.items()}
        except ValueError as error:
            raise ValueError(f"line {number}, {printable(sample.id)}, {error}") from None
    return found


def _first_of(error: ValidationError) -> str:
    detail = error.errors(include_url=False, include_input=False)[0]
    return printable(": ".join([*map(str, detail["loc"]), detail["msg"]]))
