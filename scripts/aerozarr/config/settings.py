"""The settings: one model, which says of each what it is by default, means, and expects.

`load_settings` checks what a person gave against it; `settings_documents` makes config.yaml, its
schema and the README's table of it.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt

from aerozarr.config.setting_types import (
    EXPECTED_DTYPE,
    Compression,
    Count,
    Dtype,
    FieldSetting,
    FileText,
    KeepPoints,
    ScalarSettings,
    SplitManifest,
    Switch,
    Text,
    Texts,
    file_alone,
    files_alone,
    named_compression,
    one_or_more,
)

EXAMPLE = "example"


# Of which many datasets lack one.
DEFAULT_SPLITS = ["train", "test", "val"]


def _setting(default: Any, means: str, expects: str) -> Any:
    """Declare a setting: what it means (documentation) and what it expects (error messages)."""
    return Field(default=default, description=means, json_schema_extra={"expects": expects})


class Settings(BaseModel):
    """Every setting of config.yaml, checked. See `load_settings`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: Text = _setting(
        EXAMPLE,
        "What is converted: a preset's name (a file of `datasets/`), or the dotted path of a class "
        "that carries a file map (`package.module.Class`). `example` makes its own small source.",
        "Give a preset's name or a dotted class path",
    )
    filemap: dict[str, FileText] | None = _setting(
        None,
        "A file map of your own instead of the preset's: which file of a sample holds which field "
        "(`surface_position: points.pt`). The README lists the attributes.",
        "Give a mapping of attribute to file name, e.g. {surface_position: points.pt}",
    )
    fields: dict[
        Text,
        Annotated[
            FieldSetting, BeforeValidator(files_alone, json_schema_input_type=FieldSetting | str)
        ],
    ] = _setting(
        {},
        "Fields of your own, besides those of the file map: `surface_temperature: T.pt`, or with "
        "more to say `{file: T.pt, width: 3, kind: value, dtype: float32, unit: K, long_name: …}`. "
        "Also units of known fields: `surface_pressure: {unit: Pa}`.",
        "Give a mapping of field to file, e.g. {surface_temperature: {file: T.pt, unit: K}}",
    )
    scalars: ScalarSettings = _setting(
        {},
        "Numbers, short vectors and texts that a sample has once, and where they are in a `.json`, "
        "`.csv` or `.pt` file of it: `drag: forces.csv::Cd`, or with more to say `inflow_velocity: "
        "{file: conditions.json::U_inf, unit: m/s, long_name: …}`. Of one table for all samples: "
        "`{table: force_mom_all.csv::Cd, id_column: run, id_format: 'run_{}'}`.",
        "Give a mapping of scalar to file and key, e.g. {drag: forces.csv::Cd}",
    )
    dataset_args: dict[str, Any] = _setting(
        {},
        "Arguments for a dataset class with `source_root`, besides the root and the split: of its "
        "`__init__`, or of the configuration object that it takes.",
        "Give a mapping of argument to value, e.g. {normalize: false}",
    )
    source_url: Text | None = _setting(
        None,
        "Where the samples are: a folder or any fsspec URL. Every folder below it that holds all "
        "files of the file map is a sample.",
        "Give a folder or a URL",
    )
    source_root: Text | None = _setting(
        None,
        "Where the dataset is, in its authors' folder layout; it is converted split by split. "
        "Set this or `source_url`, not both (the example needs neither).",
        "Give the dataset's folder",
    )
    splits: Texts = _setting(
        DEFAULT_SPLITS,
        "For `source_root`: the splits to convert, in this order; a part of one is written like a "
        "Python slice, in quotes: `'train[:50]'`, `'test[3]'`, `'train[10:90:2]'`. Splits of "
        "`split_manifest` are `baseline/train`. By default those of these three that there are, or "
        "all of `split_files`; others that are not there are an error.",
        "Give a list such as [train, test]",
    )
    split_files: dict[str, Text] = _setting(
        {},
        "For `source_root`: split name to id list (one id a line; a path, a URL, or a name below "
        "the root), for datasets whose preset has no split rule, or to replace it.",
        "Give a mapping of split name to file, e.g. {train: train_ids.txt}",
    )
    split_manifest: Annotated[
        SplitManifest | None,
        BeforeValidator(file_alone, json_schema_input_type=SplitManifest | str | None),
    ] = _setting(
        None,
        "For `source_root`: a file that lists families of splits, JSON or CSV (a path, a URL, or a "
        "name below the root). `splits` then takes `baseline/train` too, besides the dataset's "
        "own. Where its ids are numbers: `{file: splits.json, id_format: 'run_{}'}`.",
        "Give a file, or {file: splits.json, id_format: 'run_{}'} where ids in it are numbers",
    )
    categories: Texts | None = _setting(
        None,
        "For `source_root`, DrivAerNet: the design categories to keep, e.g. [E_S_WWC_WM].",
        "Give a list of categories",
    )
    store: Text = _setting(
        "results/store",
        "Where the store goes: a folder or an fsspec URL.",
        "Give a folder or a URL",
    )
    take_over: Switch = _setting(
        False,
        "Whether this run may replace what another dataset's run wrote to the store, and go on "
        "where another run is said to be at work. Only for the one run that needs it.",
        "Give true or false",
    )
    workdir: Text = _setting(
        "results/work",
        "Where the sample table, the fragments and the logs go: a local folder. Runs with "
        "different `store` and `workdir` do not touch each other.",
        "Give a local folder whose name has no braces, quotes or line breaks",
    )
    dataset_name: Text | None = _setting(
        None,
        "The name that the manifest carries; by default the preset's.",
        "Give a name",
    )
    chunk_points: Count = _setting(
        4096,
        "Points in one chunk, the smallest piece that a reader fetches.",
        "Give a whole number, 1 or more",
    )
    shard_points: Count | None = _setting(
        None,
        "Points in one shard (one file or object), rounded down to whole chunks, at least one; by "
        "default each array is one shard.",
        "Give a whole number, 1 or more, or null",
    )
    shuffle_seed: StrictInt = _setting(
        0,
        "Seed of the points' shuffle. The same seed gives the same store.",
        "Give a whole number",
    )
    keep_points: KeepPoints = _setting(
        None,
        "Store only some points of each sample, chosen at random by `shuffle_seed`, the same for "
        "all fields of a domain: a share (`{volume: 0.1}`) or at most so many points "
        "(`{volume: 1000000}`) of the domains named, or one value for all domains; by default "
        "all points.",
        "Give a share above 0 and up to 1.0, or a whole number of points, for all domains or by "
        "domain, e.g. {volume: 0.1}",
    )
    coords_dtype: Dtype = _setting("float32", "Storage dtype of position fields.", EXPECTED_DTYPE)
    values_dtype: Dtype = _setting("float16", "Storage dtype of all other fields.", EXPECTED_DTYPE)
    field_dtypes: dict[str, Dtype] = _setting(
        {},
        "Storage dtype of single fields by canonical name, e.g. {volume_vorticity: float32}.",
        "Give a mapping of canonical field name to float16, float32 or float64",
    )
    compression: Annotated[
        Compression,
        BeforeValidator(
            named_compression,
            json_schema_input_type=Compression | Literal["default", "fast", "fastest"],
        ),
    ] = _setting(
        Compression(),
        "Blosc compressor (blosclz, lz4, lz4hc, zlib or zstd) and level (0 to 9), or a measured "
        "choice by name: `default`, `fast` (zstd 1) or `fastest` (lz4 1).",
        "Give default, fast or fastest, or {cname: blosclz, lz4, lz4hc, zlib or zstd, clevel: "
        "0 to 9}",
    )
    chunk_checksums: Switch = _setting(
        True,
        "Whether each chunk carries a checksum (Zarr's codec crc32c, four bytes), which every "
        "reader checks: without it, most damaged chunks are read as other values.",
        "Give true or false",
    )
    limit: Count | None = _setting(
        None,
        "Convert at most so many samples: of the listing, or of each split.",
        "Give a whole number, 1 or more, or null",
    )
    exclude: Annotated[
        list[Text], BeforeValidator(one_or_more, json_schema_input_type=list[Text] | str)
    ] = _setting(
        [],
        "Samples to skip: their ids, or patterns in which `*` stands for any text and `?` for one "
        "character, in quotes: `[run_12, 'old/*']`. They are listed in `skipped.tsv`.",
        "Give a list of ids or patterns, e.g. [run_12, 'old/*']",
    )
    on_broken_sample: Literal["skip", "fail"] = _setting(
        "skip",
        "What a broken sample (one whose files cannot be converted) does: with `skip` the others "
        "go on and it is listed, `fail` stops the run. Incomplete samples are skipped in any case.",
        "Give skip or fail",
    )
    verify: Literal["full", "quick"] = _setting(
        "full",
        "What the target `verify` compares: `full`, every value with the source and every file "
        "with its checksum; `quick`, files and checksums alone, without the source.",
        "Give full or quick",
    )
    storage_options: dict[str, dict[str, Any]] = _setting(
        {},
        "Options for fsspec file systems by protocol, e.g. "
        "{s3: {endpoint_url: https://minio.example}}. Prefer the provider's own environment "
        "variables for credentials.",
        "Give a mapping of protocol to a mapping of options",
    )


def expectation_of(key: str) -> str:
    """Return what a setting expects, a sentence without a final stop."""
    extra = Settings.model_fields[key].json_schema_extra
    return str(extra["expects"]) if isinstance(extra, dict) else ""


def default_of(key: str) -> str:
    """Return a setting's default as it is written in one line of YAML."""
    value = Settings.model_fields[key].default
    if isinstance(value, BaseModel):
        value = value.model_dump()
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000)
    return text.removesuffix("\n").removesuffix("\n...")


def settings_to_json(settings: Settings) -> str:
    """Return the settings as one line of JSON, for `settings_from_json` in another process."""
    # Not sorted: the order of fields and scalars is that of the store.
    return json.dumps(settings.model_dump(mode="json"))


def settings_from_json(text: str) -> Settings:
    """Return the settings that `settings_to_json` wrote."""
    return Settings.model_validate_json(text)
