"""From a sample's `.json`, `.csv` or `.pt` file to a scalar: a number, a short vector or a text.

What is wrong with a file's content is the sample's fault (`BrokenSample`).
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch

from aerozarr.config.scalars import Scalar
from aerozarr.errors import BrokenSample, StoreError
from aerozarr.messages import did_you_mean, plural, printable
from aerozarr.source.files.csv_text import parse_csv
from aerozarr.source.files.inspect_pt import (
    SAVE_AGAIN,
    TRUNCATED,
    NotATensorError,
    inspect_values,
    is_damaged,
)
from aerozarr.source.files.pickle_tensor import at_key
from aerozarr.source.samples import Sample
from aerozarr.store.format.scalars import NUMBERS_AS_TEXT, ScalarValue

# Longer ones are fields.
MOST_NUMBERS = 4096
LONGEST_TEXT = 1024
# A file of text that is longer was never meant for a few scalars.
LARGEST_TEXT_FILE = 16 * 2**20

_ONE_VALUE = f"give a number, a text, or a list of at most {MOST_NUMBERS:,} numbers"


def load_scalar(path: Path, stream: BinaryIO, status: os.stat_result, scalar: Scalar) -> object:
    """Return what a local file holds for a scalar, not yet checked: see `as_scalar`.

    Parameters
    ----------
    path, stream, status
        The file: its path, opened, and what its `stat` says. Of a `.pt` file only what is used is
        read.
    scalar
        The scalar that it is for.

    Raises
    ------
    BrokenSample
        When the content is not what a scalar can be read from.
    OSError
        When the file cannot be reached.
    """
    if _kind_of(scalar) == "pt":
        return _pt_value(path, stream, status.st_size, scalar)
    _check_length(status.st_size, scalar)
    return _text_value(stream.read(LARGEST_TEXT_FILE), scalar)


def load_scalar_bytes(content: bytes, scalar: Scalar) -> object:
    """Return what the content of a scalar's file holds for it, as `load_scalar` does.

    Raises
    ------
    BrokenSample
        As `load_scalar` does.
    """
    if _kind_of(scalar) == "pt":
        return _pt_value(None, io.BytesIO(content), len(content), scalar)
    _check_length(len(content), scalar)
    return _text_value(content, scalar)


def as_scalar(value: object, scalar: Scalar) -> ScalarValue:
    """Return a loaded value as the store has it.

    Parameters
    ----------
    value
        A number, a text, a bool, a list of numbers, or a real tensor of shape () or (n,). The texts
        `NaN`, `Infinity` and `-Infinity` stand for those numbers.
    scalar
        The scalar that it is for.

    Returns
    -------
    float, bool, str or list of float
        Numbers are float64, with their exact value.

    Raises
    ------
    BrokenSample
        When the value is anything else, too long, or not of the scalar's kind.
    """
    made = _as_any_scalar(value, scalar)
    if scalar.kind is not None and isinstance(made, str) is not (scalar.kind == "text"):
        what = f"it holds {_noun(made)}, {printable(repr(made))[:40]}"
        raise _broken(scalar, f"{what}, where a {scalar.kind} is wanted", _of_kind(scalar))
    if scalar.kind == "number" and isinstance(made, bool):
        what = f"it holds {str(made).lower()}"
        raise _broken(scalar, f"{what}, where a number is wanted", _of_kind(scalar))
    return made


def _of_kind(scalar: Scalar) -> str:
    """Return what to do of a value that is of another kind."""
    return f"write a {scalar.kind}, or take kind out of scalars.{scalar.name}"


def _as_any_scalar(value: object, scalar: Scalar) -> ScalarValue:
    """Return a loaded value as the store has it, of whatever kind it is."""
    if isinstance(value, torch.Tensor):
        value = _of_tensor(value, scalar)
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value not in NUMBERS_AS_TEXT:
        return _checked_text(value, scalar)
    if isinstance(value, list | tuple):
        if not 0 < len(value) <= MOST_NUMBERS:
            what = f"it holds {plural(len(value), 'value')}"
            raise _broken(scalar, what, f"give 1 to {MOST_NUMBERS:,} numbers")
        return [_number(item, scalar, "a list with ") for item in value]
    return _number(value, scalar)


def _number(value: object, scalar: Scalar, within: str = "") -> float:
    if isinstance(value, str) and value in NUMBERS_AS_TEXT:
        return NUMBERS_AS_TEXT[value]
    if isinstance(value, float):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        # What no float has exactly would be another number in the store.
        if abs(value) < 2**1023 and int(float(value)) == value:
            return float(value)
        raise _broken(
            scalar,
            f"it holds {within}a whole number of {value.bit_length()} bits, which float64 does not "
            "hold exactly",
            "round it, or write it as a text",
        )
    what = "nothing (null)" if value is None else _noun(value)
    raise _broken(scalar, f"it holds {within}{what}", _ONE_VALUE)


def _noun(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _checked_text(text: str, scalar: Scalar) -> str:
    if len(text) > LONGEST_TEXT:
        raise _broken(
            scalar,
            f"it holds a text of {len(text):,} characters",
            f"give at most {LONGEST_TEXT:,}",
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise _broken(scalar, "it holds a text that is no Unicode", "write the text anew") from None
    return text


def _of_tensor(tensor: torch.Tensor, scalar: Scalar) -> object:
    if tensor.layout != torch.strided or tensor.is_nested or tensor.is_quantized or tensor.is_meta:
        cause = "it holds a sparse, nested, quantized or empty-handed tensor"
        raise _broken(scalar, cause, _ONE_VALUE)
    shape = tuple(tensor.shape)
    if tensor.ndim > 1 or not 0 < tensor.numel() <= MOST_NUMBERS:
        cause = f"it holds a tensor of shape {shape}"
        raise _broken(scalar, cause, f"save one of shape () or (n,), of at most {MOST_NUMBERS:,}")
    if tensor.is_complex():
        raise _broken(scalar, f"its values are complex ({tensor.dtype})", "save real ones")
    plain = tensor.detach().resolve_neg()
    if plain.is_floating_point():
        plain = plain.double()
    elif plain.dtype == torch.bool and plain.ndim:
        plain = plain.long()
    return plain.tolist()


# Text files


def _kind_of(scalar: Scalar) -> str:
    end = os.path.splitext(scalar.file)[1].lower()
    return {".json": "json", ".csv": "csv"}.get(end, "pt")


def _check_length(size: int, scalar: Scalar) -> None:
    if size > LARGEST_TEXT_FILE:
        raise _broken(
            scalar,
            f"it has {size:,} bytes, and is read up to {LARGEST_TEXT_FILE:,}",
            "write the scalars to a file of their own",
        )


def _text_value(content: bytes, scalar: Scalar) -> object:
    try:
        text = content.decode("utf-8-sig")  # some editors put a byte order mark first
    except UnicodeDecodeError:
        raise _broken(scalar, "it is no UTF-8 text", "save it as UTF-8") from None
    return _csv_value(text, scalar) if _kind_of(scalar) == "csv" else _json_value(text, scalar)


def _json_value(text: str, scalar: Scalar) -> object:

    def one_of_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
        content = dict(pairs)
        if len(content) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            for name in {scalar.key, *(scalar.key or "").split("/")}:
                if name is not None and counts[name] > 1:
                    cause = f"it has {printable(name)[:40]!r} {counts[name]} times"
                    raise _broken(scalar, cause, "write it once")
        return content

    try:
        content = json.loads(
            text,
            object_pairs_hook=one_of_each,
            parse_float=_float_or_text,
            parse_int=lambda number: int(number) if len(number) <= 4000 else _Beyond(number),
        )
    except (ValueError, RecursionError) as error:
        cause = f"it is damaged, or no JSON: {printable(str(error))[:100]}"
        raise _broken(scalar, cause, "write the file again") from None
    found = content if scalar.key is None else _at_key(content, scalar, dict)
    for number in found if isinstance(found, list) else [found]:
        if isinstance(number, _Beyond):
            raise _too_large(number, scalar)
    return found


class _Beyond(str):
    """A number of a JSON file that float64 does not reach: wrong only if it is asked for."""


def _float_or_text(text: str) -> float | _Beyond:
    number = float(text)
    return _Beyond(text) if math.isinf(number) else number


def _csv_value(text: str, scalar: Scalar) -> object:
    """Return the cell of the scalar's column; a sample's file has one row of values."""
    try:
        table = parse_csv(text)
    except csv.Error as error:
        cause = f"it is damaged, or no CSV: {printable(str(error))[:100]}"
        raise _broken(scalar, cause, "write the file again") from None
    header, values = table.header, [row.cells for row in table.rows]
    key = (scalar.key or "").strip()
    if header.count(key) != 1:
        if count := header.count(key):
            what = f"it has {plural(count, 'column')} {key!r}"
            raise _broken(scalar, what, "give each column a name of its own")
        raise _without(scalar, f"it has no column {key!r}; its header has", header)
    if len(values) != 1:
        raise _broken(
            scalar,
            f"it has {plural(len(values), 'row')} of values below its header",
            "write one row, that of the sample",
        )
    if len(values[0]) > len(header):
        raise _broken(
            scalar,
            f"its row has {plural(len(values[0]), 'value')}, and its header "
            f"{plural(len(header), 'column')}",
            "write numbers with a point (1.5), and a value for each column",
        )
    place = header.index(key)
    cell = values[0][place] if place < len(values[0]) else ""
    if not cell:
        raise _broken(scalar, f"its column {key!r} is empty", "write a value; nan for none")
    return _cell(cell, scalar)


_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
_WHOLE = re.compile(r"[+-]?\d{1,400}")
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)


def load_cell(sample: Sample, scalar: Scalar) -> ScalarValue:
    """Return what a table with a row for each sample has for a scalar of one.

    Raises
    ------
    BrokenSample
        When the sample has no row there, or several, or the cell holds no such scalar.
    StoreError
        When the sample's row of the listing says nothing of the table.
    """
    cell = sample.cell_of(scalar.name)
    if cell is None:
        raise StoreError(
            f"{printable(sample.id)}: {scalar.name}: the sample table says nothing of it. Run "
            "snakemake again: it lists the source."
        )
    if cell.problem:
        raise _broken(scalar, cell.problem, cell.remedy)
    try:
        return as_scalar(_cell(cell.text, scalar), scalar)
    except BrokenSample as error:
        cause = f"line {cell.line}, column {scalar.key!r}: {error.cause}"
        raise _broken(scalar, cause, error.remedy) from None


def _cell(text: str, scalar: Scalar) -> object:
    """Return a cell's number, or the text that it is."""
    if scalar.kind == "text":
        return text
    if _DECIMAL_COMMA.fullmatch(text):
        raise _broken(scalar, f"it holds {text!r}, with a comma", "write numbers with a point: 1.5")
    if text.isascii() and _WHOLE.fullmatch(text):
        return int(text)  # one that float64 does not hold exactly is refused
    # Python takes 1_000 and digits of other scripts for numbers; who writes tables does not.
    if not text.isascii() or "_" in text:
        return text
    try:
        number = float(text)
    except ValueError:
        return text
    return _checked_float(number, text, scalar)


def _checked_float(number: float, text: str, scalar: Scalar) -> float:
    """Refuse a number that float64 has made infinite."""
    if math.isinf(number) and not _INFINITE.fullmatch(text):
        raise _too_large(text, scalar)
    return number


def _too_large(text: str, scalar: Scalar) -> BrokenSample:
    cause = f"it holds {printable(text)[:40]}, which is beyond float64"
    return _broken(scalar, cause, "write it as a text, or in another unit")


# Files of torch.save


def _pt_value(path: Path | None, stream: BinaryIO, size: int, scalar: Scalar) -> object:
    """Return what a `.pt` file holds; inspected before it is loaded, with `weights_only=True`."""
    try:
        inspected = inspect_values(stream, size, scalar.key)
    except NotATensorError as error:
        raise _broken(scalar, error.cause, error.remedy) from None
    if inspected.record is not None and is_damaged(stream, inspected.record):
        what = f"it is damaged: the record {inspected.record.name!r} does not match its CRC-32"
        raise _broken(scalar, what, SAVE_AGAIN)
    is_mapped = path is not None and inspected.is_plain
    stream.seek(0)
    try:
        # A mapped file's fields are not read for the sake of a scalar beside them.
        source: Any = path if is_mapped else stream
        value: Any = torch.load(source, map_location="cpu", weights_only=True, mmap=is_mapped)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - torch meets hostile bytes with many kinds of error
        raise _broken(scalar, f"{TRUNCATED} ({type(error).__name__})", SAVE_AGAIN) from None
    return value if scalar.key is None else _at_key(value, scalar, Mapping)


def _at_key(value: Any, scalar: Scalar, mapping: type) -> object:
    key = scalar.key or ""
    if not isinstance(value, mapping):
        what = f"it holds {_noun(value)}, not a dict with {key!r}"
        raise _broken(scalar, what, f"take ::{key} out of scalars, or write a dict")
    found = at_key(value, key, mapping)
    if found is None and key in value:  # type: ignore[operator] # a mapping
        raise _broken(scalar, "it holds nothing (null)", _ONE_VALUE)
    if found is None:
        raise _without(scalar, f"it has no value {key!r}; it has", [*map(str, value)])  # type: ignore[call-overload] # a mapping
    return found


def _without(scalar: Scalar, what: str, names: Sequence[str]) -> BrokenSample:
    """Return the error of a file that lacks the scalar's key, and has some others."""
    shown = ", ".join(printable(name)[:80] for name in names[:10]) or "nothing"
    more = " …" if len(names) > 10 else ""
    near = did_you_mean(scalar.key, names)
    remedy = f"name what it has in scalars.{near}".removesuffix(".")
    return _broken(scalar, f"{what} {shown}{more}", remedy)


def _broken(scalar: Scalar, cause: str, remedy: str) -> BrokenSample:
    return BrokenSample(field=scalar.name, file=scalar.file, cause=cause, remedy=remedy)
