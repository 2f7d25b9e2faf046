"""Specification of the settings: names, defaults, refusals, and that secrets stay secret."""

from __future__ import annotations

import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
import yaml

from aerozarr.config.load_settings import load_settings
from aerozarr.config.settings import Settings, settings_from_json, settings_to_json
from aerozarr.config.settings_documents import settings_table, settings_yaml
from aerozarr.errors import AerozarrError, BrokenSample, SettingsError, StoreError
from aerozarr.messages import did_you_mean

REPOSITORY = Path(__file__).parents[3]
SECRET = "hunter2-do-not-print"

# The names and defaults that people's scripts depend on.
DEFAULTS: dict[str, Any] = {
    "dataset": "example",
    "filemap": None,
    "source_url": None,
    "source_root": None,
    "splits": ["train", "test", "val"],
    "split_files": {},
    "categories": None,
    "store": "results/store",
    "workdir": "results/work",
    "dataset_name": None,
    "chunk_points": 4096,
    "shard_points": None,
    "shuffle_seed": 0,
    "coords_dtype": "float32",
    "values_dtype": "float16",
    "field_dtypes": {},
    "compression": {"cname": "zstd", "clevel": 5},
    "limit": None,
    "on_broken_sample": "skip",
    "storage_options": {},
}


def refusal_of(config: dict[Any, Any]) -> str:
    """Return the message of the why_invalid, and check that nothing but the message is shown."""
    with pytest.raises(SettingsError) as caught:
        load_settings(config)
    shown = "".join(traceback.format_exception(caught.value))
    assert "pydantic" not in shown
    assert "ValidationError" not in shown
    return str(caught.value)


def table(rows: dict[str, Any]) -> pytest.MarkDecorator:
    """Parametrise by a table whose keys are the names of the cases."""
    return pytest.mark.parametrize("case", list(rows.values()), ids=list(rows))


# Defaults and documentation


@pytest.mark.parametrize(("key", "default"), DEFAULTS.items(), ids=list(DEFAULTS))
def test_every_setting_has_its_default(key: str, default: Any) -> None:
    assert load_settings({}).model_dump()[key] == default


def test_config_yaml_is_made_from_the_settings() -> None:
    assert (REPOSITORY / "config.yaml").read_text(encoding="utf-8") == settings_yaml()


def test_config_yaml_sets_every_setting_to_its_default() -> None:
    written = yaml.safe_load((REPOSITORY / "config.yaml").read_text(encoding="utf-8"))
    assert {key: written[key] for key in DEFAULTS} == DEFAULTS
    assert set(written) == set(Settings.model_fields)
    assert load_settings(written) == load_settings({})


@pytest.mark.parametrize("key", DEFAULTS)
def test_config_yaml_explains_every_setting(key: str) -> None:
    lines = settings_yaml().splitlines()
    [place] = [number for number, line in enumerate(lines) if line.startswith(f"{key}:")]
    assert lines[place - 1].startswith("# ")
    assert max(map(len, lines)) <= 100


def test_the_table_of_the_readme_is_made_from_the_settings() -> None:
    assert settings_table() in (REPOSITORY / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("key", DEFAULTS)
def test_the_table_of_settings_has_a_row_of_three_cells_for_every_setting(key: str) -> None:
    [row] = [row for row in settings_table().splitlines() if row.startswith(f"| `{key}` |")]
    assert row.count("|") == 4
    assert all(cell.strip() for cell in row.split("|")[1:4])


def test_yaml_and_table_are_printed_on_demand() -> None:
    command = [sys.executable, "-m", "aerozarr.config.settings_documents", "yaml"]
    printed = subprocess.run(
        command,
        capture_output=True,
        check=True,
        text=True,
        env={"PYTHONPATH": str(REPOSITORY / "scripts")},
    )
    assert printed.stdout == settings_yaml()


# Spellings that are understood


@table(
    {
        "a few keys keep the other defaults": (
            {"source_url": "/data", "chunk_points": 64},
            {**DEFAULTS, "source_url": "/data", "chunk_points": 64},
        ),
        "one split from the command line is a list of one": (
            {"splits": "train[:50]"},
            {"splits": ["train[:50]"]},
        ),
        "splits from the command line are divided at commas": (
            {"splits": "train[10:90:2], test"},
            {"splits": ["train[10:90:2]", "test"]},
        ),
        "categories from the command line likewise": (
            {"categories": "E_S_WWC_WM,F_D_WM_WW", "source_root": "/data"},
            {"categories": ["E_S_WWC_WM", "F_D_WM_WW"]},
        ),
        "a name that the command line took for a number": (
            {"dataset_name": 2024, "store": 7},
            {"dataset_name": "2024", "store": "7"},
        ),
        "half of the compression keeps the other half": (
            {"compression": {"clevel": 1}},
            {"compression": {"cname": "zstd", "clevel": 1}},
        ),
        "compression by name: default": (
            {"compression": "default"},
            {"compression": {"cname": "zstd", "clevel": 5}},
        ),
        "compression by name: fast": (
            {"compression": "fast"},
            {"compression": {"cname": "zstd", "clevel": 1}},
        ),
        "compression by name: fastest": (
            {"compression": "fastest"},
            {"compression": {"cname": "lz4", "clevel": 1}},
        ),
        "no compression effort at all": (
            {"compression": {"clevel": 0}},
            {"compression": {"cname": "zstd", "clevel": 0}},
        ),
        "one point a chunk, one sample": (
            {"chunk_points": 1, "shard_points": 1, "limit": 1},
            {"chunk_points": 1, "shard_points": 1, "limit": 1},
        ),
        "a negative seed": ({"shuffle_seed": -1}, {"shuffle_seed": -1}),
        "the example with a source of one's own": (
            {"source_url": "memory://cars"},
            {"dataset": "example", "source_url": "memory://cars"},
        ),
        "any options below storage_options": (
            {"storage_options": {"s3": {"anon": True, "client_kwargs": {"verify": False}}}},
            {"storage_options": {"s3": {"anon": True, "client_kwargs": {"verify": False}}}},
        ),
    }
)
def test_settings_are_read(case: tuple[dict[str, Any], dict[str, Any]]) -> None:
    config, expected = case
    read = load_settings(config).model_dump()
    assert {key: read[key] for key in expected} == expected


@pytest.mark.parametrize("cname", ["blosclz", "lz4", "lz4hc", "zlib", "zstd"])
def test_the_compressor_is_named_as_in_the_manifest(cname: str) -> None:
    settings = load_settings({"compression": {"cname": cname, "clevel": 3}})
    assert settings.compression.label == f"blosc-{cname}-3"


def test_the_manifest_names_the_default_compressor_blosc_zstd_5() -> None:
    assert load_settings({}).compression.label == "blosc-zstd-5"


@table(
    {
        "all defaults": {},
        "text that YAML, JSON and shells find hard": {
            "source_url": "memory://ü \"quoted\" 'x' {y} %41 \\ $HOME",
            "dataset_name": "a\tb\nc",
        },
        "every kind of value": {
            "source_root": "/data",
            "splits": ["test[3]"],
            "split_files": {"test": "memory://lists/test.txt"},
            "split_manifest": {"file": "memory://splits.json", "id_format": "run_{:03d}"},
            "categories": ["E_S_WWC_WM"],
            "shard_points": 1 << 40,
            "field_dtypes": {"volume_vorticity": "float64"},
            "compression": {"cname": "lz4", "clevel": 9},
            "storage_options": {"s3": {"anon": False, "retries": 3, "x": None, "y": [1.5]}},
        },
    }
)
def test_settings_reach_another_process_unchanged(case: dict[str, Any]) -> None:
    settings = load_settings(case)
    text = settings_to_json(settings)
    assert "\n" not in text
    assert settings_from_json(text) == settings


# Refusals: key, value and remedy in one message


@table(
    {
        "chunk_points: 0": ({"chunk_points": 0}, "chunk_points: 0", "1 or more"),
        "chunk_points below zero": ({"chunk_points": -4}, "chunk_points: -4", "1 or more"),
        "chunk_points with a fraction": ({"chunk_points": 1.5}, "chunk_points: 1.5", "whole"),
        "chunk_points as text": ({"chunk_points": "many"}, "chunk_points: 'many'", "whole number"),
        "chunk_points as truth": ({"chunk_points": True}, "chunk_points: True", "whole number"),
        "chunk_points: null": ({"chunk_points": None}, "chunk_points: None", "4096"),
        "shard_points: 0": ({"shard_points": 0}, "shard_points: 0", "or null"),
        "limit: 0": ({"limit": 0}, "limit: 0", "or null"),
        "shuffle_seed as text": ({"shuffle_seed": "abc"}, "shuffle_seed: 'abc'", "whole number"),
        "unknown coords_dtype": ({"coords_dtype": "double"}, "coords_dtype: 'double'", "float64"),
        "integer values_dtype": ({"values_dtype": "int8"}, "values_dtype: 'int8'", "float16"),
        "values_dtype that zarr lacks": (
            {"values_dtype": "bfloat16"},
            "values_dtype: 'bfloat16'",
            "float16, float32 or float64",
        ),
        "unknown dtype of one field": (
            {"field_dtypes": {"volume_sdf": "half"}},
            "field_dtypes.volume_sdf: 'half'",
            "float16, float32 or float64",
        ),
        "field_dtypes as a list": (
            {"field_dtypes": ["volume_sdf"]},
            "field_dtypes: ['volume_sdf']",
            "mapping",
        ),
        "unknown compressor": (
            {"compression": {"cname": "gzip"}},
            "compression.cname: 'gzip'",
            "zstd",
        ),
        "compression level above 9": (
            {"compression": {"clevel": 10}},
            "compression.clevel: 10",
            "0 to 9",
        ),
        "compression level below 0": (
            {"compression": {"clevel": -1}},
            "compression.clevel: -1",
            "0 to 9",
        ),
        "a compression of no known name": (
            {"compression": "zstd"},
            "compression: 'zstd'",
            "default, fast or fastest, or {cname",
        ),
        "splits: []": ({"splits": []}, "splits: []", "[train, test]"),
        "splits as a number": ({"splits": 3}, "splits: 3", "[train, test]"),
        "splits as a mapping": ({"splits": {"train": 1}}, "splits: {'train': 1}", "list"),
        "split_files as a list": ({"split_files": ["a.txt"]}, "split_files: ['a.txt']", "mapping"),
        "filemap as a list": ({"filemap": ["a.pt"]}, "filemap: ['a.pt']", "attribute"),
        "an empty source_url": ({"source_url": ""}, "source_url: ''", "folder or a URL"),
        "source_root as a list": ({"source_root": ["/a"]}, "source_root: ['/a']", "folder"),
        "an empty store": ({"store": ""}, "store: ''", "folder or a URL"),
        "store: null": ({"store": None}, "store: None", "results/store"),
        "an empty dataset": ({"dataset": ""}, "dataset: ''", "preset"),
        "dataset_name as a list": ({"dataset_name": ["x"]}, "dataset_name: ['x']", "name"),
        "unknown on_broken_sample": (
            {"on_broken_sample": "ignore"},
            "on_broken_sample: 'ignore'",
            "skip or fail",
        ),
        "a workdir that is a URL": (
            {"workdir": "s3://bucket/work"},
            "workdir: 's3://bucket/work'",
            "local folder",
        ),
        "a workdir with braces": ({"workdir": "work/{x}"}, "workdir: 'work/{x}'", "braces"),
        "a workdir with a quote": ({"workdir": "it's"}, '''workdir: "it's"''', "quotes"),
        "a workdir with a line break": ({"workdir": "a\nb"}, "workdir: 'a\\nb'", "line breaks"),
        "both sources": (
            {"source_url": "/a", "source_root": "/b"},
            "source_url: '/a' and source_root: '/b'",
            "Set one",
        ),
        "neither source, for a preset": (
            {"dataset": "drivaerml"},
            "source_url: null and source_root: null",
            "Set source_root",
        ),
        "neither source, for a class": (
            {"dataset": "cars.Cars"},
            "source_url: null and source_root: null",
            "'cars.Cars'",
        ),
        "neither source, for a file map": (
            {"filemap": {"surface_position": "p.pt"}},
            "source_url: null and source_root: null",
            "Set source_root",
        ),
        "split_files without a root": (
            {"split_files": {"train": "t.txt"}, "source_url": "/a"},
            "split_files: {'train': 't.txt'}",
            "source_root",
        ),
        "split_manifest without a root": (
            {"split_manifest": {"file": "s.json"}, "source_url": "/a"},
            "split_manifest: 's.json'",
            "source_root",
        ),
        "split_manifest as a list": (
            {"split_manifest": ["a.json"]},
            "split_manifest: ['a.json']",
            "{file: ",
        ),
        "split_manifest without a file": (
            {"split_manifest": {"id_format": "run_{}"}},
            "split_manifest.file: ",
            "{file: ",
        ),
        **{
            f"id_format {text}": (
                {"split_manifest": {"file": "s.json", "id_format": text}},
                f"split_manifest.id_format: {text!r}",
                "'run_{}'",
            )
            for text in (
                *("run", "", "{}{}", "{0}", "{x}", "{:>9}", "{:0999}", "{!r}", "{{}}"),
                *("{.__class__}", "{[0]}", "run_{", "run_{}}", "{:0}", "{:5}"),
            )
        },
        "categories without a root": (
            {"categories": ["E"], "source_url": "/a"},
            "categories: ['E']",
            "source_root",
        ),
    }
)
def test_refused(case: tuple[dict[str, Any], str, str]) -> None:
    config, key_and_value, remedy = case
    message = refusal_of(config)
    assert key_and_value in message
    assert remedy in message.replace(key_and_value, "")


@table(
    {
        "one letter missing": ({"chunk_point": 1}, "chunk_point", "chunk_points"),
        "two letters changed": ({"sourse_rout": "/a"}, "sourse_rout", "source_root"),
        "a dash for an underscore": ({"source-url": "/a"}, "source-url", "source_url"),
        "singular for plural": ({"split": "train"}, "split", "splits"),
        "in capitals at the start": ({"Storage_Options": {}}, "Storage_Options", "storage_options"),
        "within compression": ({"compression": {"level": 3}}, "compression.level", "clevel"),
        "within split_manifest": (
            {"split_manifest": {"file": "s.json", "idformat": "run_{}"}},
            "split_manifest.idformat",
            "id_format",
        ),
    }
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(
    case: tuple[dict[str, Any], str, str],
) -> None:
    config, key, nearest = case
    message = refusal_of(config)
    assert f"  {key}: " in message
    assert f"Did you mean {nearest}?" in message


@table(
    {
        "an unknown key that resembles none": {"zzzzzz": 1},
        "a number": {1: 2},
        "a truth value, as YAML 1.1 reads on and yes": {True: 1},
        "null": {None: 3},
    }
)
def test_a_key_that_is_no_setting_is_refused(case: dict[Any, Any]) -> None:
    message = refusal_of(case)
    assert f"{next(iter(case))}" in message
    assert "Did you mean" not in message


def test_all_problems_are_listed_at_once() -> None:
    message = refusal_of({"chunk_points": 0, "limit": 0, "chnk": 1, "values_dtype": "x"})
    for key in ("chunk_points: 0", "limit: 0", "chnk:", "values_dtype: 'x'"):
        assert sum(line.strip().startswith(key) for line in message.splitlines()) == 1


# Secrets


@table(
    {
        "as a text": {"storage_options": SECRET},
        "as a list": {"storage_options": [SECRET]},
        "without a protocol": {"storage_options": {"secret": SECRET}},
        "as a list of options": {"storage_options": {"s3": [SECRET]}},
        "below a key that is no text": {"storage_options": {"s3": {7: SECRET}}},
        "below a misspelt key": {"storage_option": {"s3": {"secret": SECRET}}},
        "one level too high": {"s3": {"secret": SECRET}},
        "right, beside a wrong setting": {
            "storage_options": {"s3": {"secret": SECRET}},
            "chunk_points": 0,
        },
        "right, beside contradicting settings": {
            "storage_options": {"s3": {"secret": SECRET}},
            "source_url": "/a",
            "source_root": "/b",
        },
    }
)
def test_a_message_never_repeats_what_stands_below_storage_options(case: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(case)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_wrong_storage_option_is_named_without_its_value() -> None:
    message = refusal_of({"storage_options": {"s3": SECRET}})
    assert "storage_options.s3" in message
    assert "mapping of protocol" in message


# Errors


@pytest.mark.parametrize("kind", [SettingsError, StoreError, BrokenSample])
def test_every_error_of_ours_is_caught_as_one_kind(kind: type) -> None:
    assert issubclass(kind, AerozarrError)


def test_the_three_kinds_of_errors_are_told_apart() -> None:
    kinds = (SettingsError, StoreError, BrokenSample)
    assert not any(issubclass(a, b) for a in kinds for b in kinds if a is not b)


def test_a_broken_sample_says_field_file_cause_and_remedy() -> None:
    error = BrokenSample(field="volume_sdf", file="sdf.pt", cause="has 3 rows", remedy="mend it")
    assert str(error) == "volume_sdf (sdf.pt): has 3 rows; mend it"
    assert (error.field, error.file, error.cause, error.remedy) == (
        "volume_sdf",
        "sdf.pt",
        "has 3 rows",
        "mend it",
    )


@table(
    {
        "the nearest of several": ("tran", ["test", "train", "val"], " Did you mean train?"),
        "nothing near": ("zebra", ["test", "train"], ""),
        "nothing known": ("train", [], ""),
        "not a text": (5, ["train"], ""),
    }
)
def test_did_you_mean(case: tuple[object, list[str], str]) -> None:
    name, known, expected = case
    assert did_you_mean(name, known) == expected
