"""What settings may be: kinds of values, and those that have parts.

Where a validator lets something else stand for a value, it says what, for `config.schema.json`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt

from aerozarr.config.filemap import join_patches

Dtype = Literal["float16", "float32", "float64"]
# The compressors that both Zarr v3's Blosc codec and the installed Blosc library know.
Cname = Literal["blosclz", "lz4", "lz4hc", "zlib", "zstd"]

EXPECTED_DTYPE = "Give float16, float32 or float64"


def one_or_more(value: Any) -> Any:
    """Let `--config splits=train` (or `train,test`) stand for a list."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    # Not at a comma within brackets.
    return [part.strip() for part in re.split(r",(?![^\[]*\])", text)]


def _number_as_text(value: Any) -> Any:
    """Let `--config dataset_name=2024` be a name: the command line makes a number of it."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else value


def _digits_as_number(value: Any) -> Any:
    """Read a number within a mapping, which the command line leaves a text."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


_Some = Annotated[str, Field(min_length=1)]
Text = Annotated[
    str,
    BeforeValidator(_number_as_text, json_schema_input_type=_Some | int | float),
    Field(min_length=1),
]
Texts = Annotated[
    list[Text],
    BeforeValidator(one_or_more, json_schema_input_type=list[Text] | str),
    Field(min_length=1),
]

# A value of a file map; the patches of a surface may be a list.
FileText = Annotated[Text, BeforeValidator(join_patches)]

# As Snakemake hands on `--config key=true`, which YAML would have read as a bool.
Switch = Annotated[
    StrictBool,
    BeforeValidator(
        lambda value: (
            {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value
        )
    ),
]


Count = Annotated[StrictInt, Field(ge=1)]


def _text_as_number(value: Any) -> Any:
    """Read a number within a mapping, which the command line leaves a text."""
    if not isinstance(value, str):
        return value
    try:
        return int(value) if value.isascii() and value.isdigit() else float(value)
    except ValueError:
        return value


def _checked_keep(value: Any) -> Any:
    """Check what `keep_points` says of one domain: whole points, or a share in (0, 1]."""
    value = _text_as_number(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    if not (value >= 1 if isinstance(value, int) else 0 < value <= 1):
        raise ValueError
    return value


def _checked_keep_points(value: Any) -> Any:
    """Check all of `keep_points`, so that there is one message and not one for each type."""
    if value is None:
        return None
    if not isinstance(value, dict):
        return _checked_keep(value)
    if not all(isinstance(domain, str) for domain in value):
        raise ValueError
    return {domain: _checked_keep(keep) for domain, keep in value.items()}


KeepPoints = Annotated[
    dict[str, int | float] | int | float | None, BeforeValidator(_checked_keep_points)
]
"""Points to store, as a number or a share: of each domain, or of those named."""


# A format could ask for anything: this one, for a number of up to 99 digits.
IdFormat = Annotated[str, Field(pattern=r"^[^{}]*\{(:0[0-9]{1,2}d?)?\}[^{}]*$")]


def file_alone(value: Any) -> Any:
    """Let a text stand for what has a file and nothing else."""
    return {"file": value} if isinstance(value, str) else value


def files_alone(value: Any) -> Any:
    """Let a text, or the list of a surface's patches, stand for what has a file and no more."""
    return {"file": value} if isinstance(value, str | list) else value


class Compression(BaseModel):
    """Blosc's inner compressor and its level (0 to 9)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cname: Cname = "zstd"
    clevel: Annotated[StrictInt, Field(ge=0, le=9), BeforeValidator(_digits_as_number)] = 5

    @property
    def label(self) -> str:
        """The manifest's name for it, e.g. `blosc-zstd-5`."""
        return f"blosc-{self.cname}-{self.clevel}"


# Choices with a name; tests/benchmarks/README.md shows what each was measured to give.
COMPRESSIONS = {
    "default": Compression(),
    "fast": Compression(cname="zstd", clevel=1),
    "fastest": Compression(cname="lz4", clevel=1),
}


class FieldSetting(BaseModel):
    """One entry of the setting `fields`: a field of one's own, or what is said of a known one.

    Attributes
    ----------
    file
        As a value of a file map; None for a field that the file map has.
    width
        Number of components.
    kind
        `coord` for positions, whose dtype is then `coords_dtype`; else `value`.
    domain
        Its domain, where its name does not begin with a known one.
    dtype
        Storage dtype; None for the usual one of its kind.
    unit, long_name
        What becomes the array's attributes `units` and `long_name`, after the CF conventions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: FileText | None = None
    width: Annotated[Count, Field(le=1024)] = 1
    kind: Literal["coord", "value"] = "value"
    domain: Text | None = None
    dtype: Dtype | None = None
    unit: Text | None = None
    long_name: Text | None = None


class ScalarSetting(BaseModel):
    """One entry of the setting `scalars`.

    Attributes
    ----------
    file
        File and key, as a value of a file map: `conditions.json::U_inf`, `forces.csv::Cd`. With a
        `?` at the end, a sample may lack the file.
    table
        In place of a file: a table with a row for each sample, and the column of the scalar:
        `force_mom_all.csv::Cd`. A name below the source, a path, or a URL. With a `?` at the end, a
        sample may lack a row.
    id_column
        The table's column that says which sample a row is of.
    id_format
        The id of a sample whose cell there is a whole number: `run_{}`, or `run_{:04}` for numbers
        with leading zeros.
    kind
        `number` or `text`, where anything else breaks the sample; None where both are welcome.
    unit, long_name
        What the group says of it as `units` and `long_name`, after the CF conventions.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        # One of them; see `scalars_of`.
        json_schema_extra={"oneOf": [{"required": ["file"]}, {"required": ["table"]}]},
    )

    file: Text | None = None
    table: Text | None = None
    id_column: Text | None = None
    id_format: IdFormat | None = None
    kind: Literal["number", "text"] | None = None
    unit: Text | None = None
    long_name: Text | None = None


ScalarSettings = dict[
    Text,
    Annotated[
        ScalarSetting, BeforeValidator(file_alone, json_schema_input_type=ScalarSetting | _Some)
    ],
]
"""By name, where scalars are; a text alone is the file."""


class SplitManifest(BaseModel):
    """A file that lists families of splits.

    Attributes
    ----------
    file
        A name below the dataset's root, a path, or a URL.
    id_format
        The id of a sample whose id in the file is a whole number: `run_{}`, or `run_{:04}` for
        numbers with leading zeros.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Text
    id_format: IdFormat | None = None


def named_compression(value: Any) -> Any:
    """Let a name of `COMPRESSIONS` stand for it."""
    return COMPRESSIONS.get(value, value) if isinstance(value, str) else value
