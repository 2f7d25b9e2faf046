"""Specification of what an adoption says of settings that give another store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aerozarr.adopt.settings_fit import check_settings_fit
from aerozarr.errors import SettingsError
from aerozarr.run_config import RunConfig
from aerozarr.store.format.layout import Grid
from aerozarr.store.format.manifest import Manifest
from unit.store_helpers import project_of

FILEMAP = {
    "surface_position": "surface_position.pt",
    "surface_pressure": "surface_pressure.pt",
    "volume_position": "volume_position.pt",
    "volume_velocity": "volume_velocity.pt",
}


def manifest_of(config: RunConfig) -> Manifest:
    """What a program with some settings writes of two samples."""
    settings = config.settings
    samples = {
        sample: {
            domain.name: Grid.of(count, settings.chunk_points, settings.shard_points)
            for domain, count in zip(config.domains, counts, strict=True)
        }
        for sample, counts in {"a": (10, 23), "b": (3, 40)}.items()
    }
    name = settings.dataset_name or config.dataset.name
    built = Manifest.build(name, settings, config.domains, samples.items())
    return Manifest.parse(built.to_bytes(), "manifest.json")


def project(tmp_path: Path, **settings: Any) -> RunConfig:
    return project_of(tmp_path / "store", tmp_path / "work", **{"filemap": FILEMAP, **settings})


def said(tmp_path: Path, theirs: dict[str, Any], **ours: Any) -> list[str]:
    """What is to be set, line by line."""
    manifest = manifest_of(project(tmp_path, **theirs))
    with pytest.raises(SettingsError) as caught:
        check_settings_fit(project(tmp_path, **ours), manifest)
    head, *lines = str(caught.value).split("\n")
    assert "cannot be adopted with these settings" in head
    return [line.strip() for line in lines]


def test_the_settings_of_the_store_fit(tmp_path: Path) -> None:
    for settings in ({}, {"shuffle_seed": 3, "values_dtype": "float32", "shard_points": None}):
        config = project(tmp_path, **settings)
        check_settings_fit(config, manifest_of(config))


@pytest.mark.parametrize(
    ("theirs", "line"),
    [
        ({"shuffle_seed": 7}, "shuffle_seed: 7 (not 0)"),
        ({"dataset_name": "wings"}, 'dataset_name: "wings" (not drivaerml)'),
        ({"values_dtype": "float32"}, 'values_dtype: "float32" (not float16)'),
        ({"coords_dtype": "float64"}, 'coords_dtype: "float64" (not float32)'),
        (
            {"field_dtypes": {"volume_velocity": "float32"}},
            "field_dtypes: {volume_velocity: float32} (not float16)",
        ),
        (
            {"compression": {"cname": "lz4", "clevel": 1}},
            "compression: {cname: lz4, clevel: 1} (not blosc-zstd-5)",
        ),
        ({"chunk_points": 2}, "chunk_points: 2 (not 4)"),
        ({"shard_points": 16}, "shard_points: 16 (not 8)"),
        ({"shard_points": None}, "shard_points: null (not 8)"),
    ],
)
def test_the_one_setting_to_change_is_named(
    tmp_path: Path, theirs: dict[str, Any], line: str
) -> None:
    assert said(tmp_path, theirs) == [line]
    check_settings_fit(project(tmp_path, **theirs), manifest_of(project(tmp_path, **theirs)))


def test_all_settings_to_change_are_named_at_once(tmp_path: Path) -> None:
    theirs = {"shuffle_seed": 7, "chunk_points": 2, "shard_points": None}
    assert [line.partition(":")[0] for line in said(tmp_path, theirs)] == [
        "shuffle_seed",
        "chunk_points",
        "shard_points",
    ]


def test_a_field_of_the_present_settings_alone_is_told(tmp_path: Path) -> None:
    lines = said(tmp_path, {}, field_dtypes={"volume_velocity": "float32"})
    assert lines == ["field_dtypes: {volume_velocity: float16} (not float32)"]


def test_fields_that_one_side_lacks_are_named(tmp_path: Path) -> None:
    more = {**FILEMAP, "volume_pressure": "p.pt"}
    assert said(tmp_path, {"filemap": more}) == [
        "filemap: a file for volume_pressure, which the store has and the settings do not name"
    ]
    assert said(tmp_path, {}, filemap=more) == [
        "filemap: no file for volume_pressure, which the store does not have"
    ]


def test_what_no_setting_gives_is_said_to_be_so(tmp_path: Path) -> None:
    config = project(tmp_path)
    manifest = manifest_of(config)
    for change, line in (
        ({"compressor": "zstd-3"}, "compression: no value of it is 'zstd-3'"),
        ({"compressor": "blosc-lzma-3"}, "compression: no value of it is 'blosc-lzma-3'"),
        ({"compressor": "blosc-zstd-3\x1b[0m"}, "compression: no value of it is"),
    ):
        with pytest.raises(SettingsError) as caught:
            check_settings_fit(config, manifest.model_copy(update=change))
        assert line in str(caught.value)
        assert "\x1b" not in str(caught.value)
    grids = {"surface": Grid(10, 4, 8, 3), "volume": Grid(23, 8, 8, 3)}
    entry = manifest.samples["a"].model_copy(update={"domains": grids})
    with pytest.raises(SettingsError, match="no values of them give the chunks and shards"):
        check_settings_fit(config, manifest.model_copy(update={"samples": {"a": entry}}))
