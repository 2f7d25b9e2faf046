"""Specification of fragments, and of the manifest's content and bytes."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs, to_builtins

from aerozarr.convert.accumulate import moments_of
from aerozarr.convert.fragment import FieldRecord, Fragment, read_fragment
from aerozarr.convert.rounding import Rounding
from aerozarr.errors import StoreError
from aerozarr.filesystems.files import write_atomically
from aerozarr.run_config import FRAGMENT_VERSION, RunConfig
from aerozarr.source.samples import Skipped
from aerozarr.store.format.layout import Grid
from aerozarr.store.format.manifest import Manifest
from unit.store_helpers import project_of

LEFT_OUT = Skipped("ü/1", "val", "broken", "volume_sdf", "sdf.pt", 'cause\n"', "remedy\t'")
GRID = Grid(10, 4, 12, 3)


def converted(sample_id: str = "run_1", **domains: Grid) -> Fragment:
    return Fragment(sample_id=sample_id, status="converted", domains=domains or {"volume": GRID})


def project_with(tmp_path: Path, **settings: Any) -> RunConfig:
    return project_of(tmp_path / "store", tmp_path / "work", **settings)


def text_of(run_config: RunConfig, fragments: list[Fragment], name: str = "cars") -> str:
    manifest = Manifest.build(
        name, run_config.settings, run_config.domains, ((f.sample_id, f.domains) for f in fragments)
    )
    return manifest.to_bytes().decode("utf-8")


# The manifest ----------------------------------------------------------------------------------

# Written out by hand from the store format, so that neither json nor a dictionary hides a detail.
WRITTEN_OUT = """\
{
  "dataset_name": "cars",
  "format_version": 1,
  "shuffle_seed": 42,
  "coords_dtype": "float32",
  "values_dtype": "float16",
  "compressor": "blosc-zstd-5",
  "domains": {
    "surface": {
      "position": "surface_position",
      "arrays": {
        "surface_position": {
          "array_name": "surface/position",
          "field": "surface_position",
          "dtype": "float32",
          "dim": 3
        },
        "surface_pressure": {
          "array_name": "surface/pressure",
          "field": "surface_pressure",
          "dtype": "float64",
          "dim": 1
        }
      }
    }
  },
  "samples": {
    "param1/ü 数": {
      "relpath": "param1/ü 数.zarr",
      "domains": {
        "surface": {
          "n_points": 10,
          "chunk_points": 4,
          "shard_points": 12,
          "n_chunks": 3
        }
      }
    }
  }
}"""


def test_manifest_is_the_written_out_one(tmp_path):
    run_config = project_with(
        tmp_path,
        filemap={"surface_pressure": "p.pt", "surface_position": "x.pt"},
        shuffle_seed=42,
        field_dtypes={"surface_pressure": "float64"},
    )
    content = text_of(run_config, [converted("param1/ü 数", surface=GRID)])
    assert content == WRITTEN_OUT


FULL_MAP = {  # in another order than the format's
    "volume_distance_to_surface": "sdf.pt",
    "volume_friction": "volume_friction.pt",
    "surface_position_stl_resampled": "stl_resampled.pt",
    "surface_position_stl": "stl.pt",
    "volume_normals": "volume_normals.pt",
    "volume_vorticity": "vorticity.pt",
    "volume_velocity": "velocity.pt",
    "volume_pressure": "volume_pressure.pt",
    "volume_position": "volume_position.pt",
    "surface_area": "area.pt",
    "surface_normals": "surface_normals.pt",
    "surface_friction": "surface_friction.pt",
    "surface_pressure": "surface_pressure.pt",
    "surface_position": "surface_position.pt",
    "design_parameters": "design.pt",
}
# The table of the store format, by domain in ascending order.
FULL_DOMAINS = {
    "surface": [("position", 3), ("pressure", 1), ("friction", 3), ("normals", 3), ("area", 1)],
    "surface_stl": [("position", 3)],
    "surface_stl_resampled": [("position", 3)],
    "volume": [
        *[("position", 3), ("pressure", 1), ("velocity", 3), ("vorticity", 3), ("normals", 3)],
        *[("friction", 3), ("sdf", 1)],
    ],
}


def test_arrays_are_in_file_map_order_and_domains_ascend(tmp_path):
    run_config = project_with(tmp_path, filemap=FULL_MAP)
    expected = {
        domain: {
            "position": f"{domain}_position",
            "arrays": {
                f"{domain}_{name}": {
                    "array_name": f"{domain}/{name}",
                    "field": f"{domain}_{name}",
                    "dtype": "float32" if name == "position" else "float16",
                    "dim": width,
                }
                for name, width in fields
            },
        }
        for domain, fields in FULL_DOMAINS.items()
    }
    content = json.loads(text_of(run_config, []))
    assert json.dumps(content["domains"]) == json.dumps(expected)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"shuffle_seed": -3}, {"shuffle_seed": -3}),
        ({"shuffle_seed": 2**70}, {"shuffle_seed": 2**70}),
        ({"coords_dtype": "float64"}, {"coords_dtype": "float64"}),
        ({"values_dtype": "float32"}, {"values_dtype": "float32"}),
        ({"compression": {"cname": "lz4", "clevel": 0}}, {"compressor": "blosc-lz4-0"}),
        ({"compression": {"cname": "blosclz"}}, {"compressor": "blosc-blosclz-5"}),
        ({"compression": {"clevel": 9}}, {"compressor": "blosc-zstd-9"}),
        # The grid actually used is the sample's; the settings of it are not in the manifest.
        ({"chunk_points": 17, "shard_points": 99}, {}),
        # A single field's dtype shows in its array alone.
        ({"field_dtypes": {"volume_sdf": "float64"}}, {}),
    ],
    ids=str,
)
def test_head_of_the_manifest(tmp_path, settings, expected):
    content = json.loads(text_of(project_with(tmp_path, **settings), []))
    head = {
        "dataset_name": "cars",
        "format_version": 1,
        "shuffle_seed": 0,
        "coords_dtype": "float32",
        "values_dtype": "float16",
        "compressor": "blosc-zstd-5",
        **expected,
    }
    assert list(content.items())[:6] == list(head.items())
    assert list(content)[6:] == ["domains", "samples"]


def test_samples_keep_their_order_and_their_domains_ascend(tmp_path):
    one, two = Grid(10, 4, 12, 3), Grid(3, 3, 3, 1)
    fragments = [
        converted("run_2", volume=one, surface=two),
        converted("run_10", surface=one, volume=two),
        converted("a", volume=two, surface_stl=one, surface=one),
    ]
    content = json.loads(text_of(project_with(tmp_path), fragments))["samples"]
    assert list(content) == ["run_2", "run_10", "a"]
    assert [list(entry["domains"]) for entry in content.values()] == [
        ["surface", "volume"],
        ["surface", "volume"],
        ["surface", "surface_stl", "volume"],
    ]
    assert list(content["run_2"]) == ["relpath", "domains"]
    assert list(content["run_2"]["domains"]["volume"].items()) == [
        ("n_points", 10),
        ("chunk_points", 4),
        ("shard_points", 12),
        ("n_chunks", 3),
    ]


@pytest.mark.parametrize(
    "sample_id", ["ü", "数据/run_1", "🚗", 'a"b', "a\nb", "a b", "a\u2028b", "\u200f"]
)
def test_ids_are_kept_as_utf8_and_only_escaped_where_json_must(tmp_path, sample_id):
    content = Manifest.build(
        "cars", *_parts(project_with(tmp_path)), [(sample_id, converted(sample_id).domains)]
    ).to_bytes()
    expected = sample_id.replace('"', '\\"').replace("\n", "\\n")
    assert f'    "{expected}": {{\n      "relpath": "{expected}.zarr",\n'.encode() in content
    assert json.loads(content)["samples"][sample_id]["relpath"] == f"{sample_id}.zarr"


def _parts(run_config: RunConfig) -> tuple[Any, Any]:
    return run_config.settings, run_config.domains


def test_no_byte_order_mark_no_newline_at_the_end_no_carriage_return(tmp_path):
    content = Manifest.build(
        "ü", *_parts(project_with(tmp_path)), [(converted().sample_id, converted().domains)]
    ).to_bytes()
    assert content.startswith(b"{\n  ")
    assert content.endswith(b"\n}")
    assert b"\r" not in content


# Fragments -------------------------------------------------------------------------------------

FRAGMENTS = {
    "converted": Fragment(
        sample_id="param1/ü 数",
        status="converted",
        domains={"surface": GRID, "volume": Grid(1, 1, 1, 1)},
        source_bytes=2**40,
        fields={
            "surface_pressure": FieldRecord(
                moments=moments_of(np.array([[1e-300], [np.pi], [np.nan], [np.inf]])),
                rounding=Rounding(values=3, max_absolute=0.1, max_relative=1 / 3, flushed=1),
            ),
            "volume_sdf": FieldRecord(
                moments=moments_of(np.full((2, 1), np.nan)), rounding=Rounding()
            ),
        },
        objects={"surface/pressure/c/0/0": (2**40, "ab" * 32), "zarr.json": (3, "cd" * 32)},
        seconds=0.25,
        peak_memory_mb=512.5,
    ),
    "broken": Fragment(sample_id="ü/1", status="broken", skipped=LEFT_OUT),
}


@pytest.mark.parametrize("fragment", FRAGMENTS.values(), ids=FRAGMENTS)
def test_a_fragment_is_read_as_it_was_written(tmp_path, fragment):
    path = tmp_path / "fragments/key.json"
    write_atomically(path, fragment.to_json())
    read = read_fragment(path)
    assert read == fragment
    assert all(type(grid) is Grid for grid in read.domains.values())
    assert read.skipped is None or type(read.skipped) is Skipped


@pytest.mark.parametrize("version", [0, FRAGMENT_VERSION + 1, 99])
def test_a_fragment_of_another_version_is_refused_with_both_numbers(tmp_path, version):
    path = tmp_path / "key.json"
    path.write_text(json.dumps({"fragment_version": version, "of": "the future"}), encoding="utf-8")
    with pytest.raises(StoreError) as caught:
        read_fragment(path)
    message = str(caught.value)
    assert str(path) in message
    assert f"version {version}" in message
    assert f"version {FRAGMENT_VERSION}" in message
    assert "Delete" in message


def test_a_fragment_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"key\.json is not there"):
        read_fragment(tmp_path / "key.json")


WHOLE = json.loads(FRAGMENTS["converted"].to_json())
NO_GRID = {"n_points": 1, "chunk_points": 1, "shard_points": 1, "n_chunks": 1}


def test_a_fragment_of_an_earlier_version_is_read(tmp_path):
    path = tmp_path / "key.json"
    fragment = FRAGMENTS["converted"]
    moments = replace(fragment.fields["volume_sdf"].moments, m2=[math.inf])
    fields = {"volume_sdf": structs.replace(fragment.fields["volume_sdf"], moments=moments)}
    fragment = structs.replace(fragment, fields=fields)
    # With indentation, and numbers that JSON does not have.
    text = json.dumps(to_builtins(fragment), indent=2)
    assert "Infinity" in text
    path.write_text(text, encoding="utf-8")
    assert read_fragment(path) == fragment


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut-off"),
        pytest.param(json.dumps(WHOLE).encode()[:-1], id="cut-off-at-the-end"),
        pytest.param(b"[]", id="a-list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'"text"', id="a-text"),
        pytest.param(b"\xff\xfe", id="not-utf8"),
        pytest.param(json.dumps({**WHOLE, "extra": 1}).encode(), id="an-unknown-key"),
        pytest.param(json.dumps({**WHOLE, "status": "fine"}).encode(), id="an-unknown-status"),
        pytest.param(json.dumps({**WHOLE, "sample_id": 3}).encode(), id="an-id-that-is-no-text"),
        pytest.param(
            json.dumps({**WHOLE, "domains": {"volume": {"n_points": 3}}}).encode(), id="half-a-grid"
        ),
        pytest.param(
            json.dumps({k: v for k, v in WHOLE.items() if k != "status"}).encode(), id="no-status"
        ),
        pytest.param(
            json.dumps({**WHOLE, "domains": {"volume": {**NO_GRID, "n_points": 0}}}).encode(),
            id="no-points",
        ),
        pytest.param(
            json.dumps({**WHOLE, "domains": {"volume": {**NO_GRID, "n_chunks": 2}}}).encode(),
            id="numbers-that-do-not-fit",
        ),
    ],
)
def test_a_damaged_fragment_is_refused(tmp_path, content):
    path = tmp_path / "key.json"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"key\.json") as caught:
        read_fragment(path)
    assert "Delete it and run snakemake again" in str(caught.value)


# Writing aside ---------------------------------------------------------------------------------


def test_a_file_is_written_with_its_folders_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "a/b/key.json"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_write_that_breaks_off_leaves_the_old_file(tmp_path):
    path = tmp_path / "key.json"
    write_atomically(path, b"old")
    (tmp_path / ".key.json.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_reader_with_the_old_file_open_keeps_it(tmp_path):
    path = tmp_path / "key.json"
    write_atomically(path, b"old " * 1000)
    with path.open("rb", buffering=0) as reader:
        write_atomically(path, b"new")
        assert reader.read() == b"old " * 1000


@pytest.mark.parametrize("length", [1, 180, 250])
def test_long_names_can_be_written_aside(tmp_path, length):
    path = tmp_path / ("k" * (length - 5) + ".json")
    write_atomically(path, b"x")
    assert path.read_bytes() == b"x"


def test_an_unfinished_fragment_is_not_taken_for_one(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "replace", lambda self, target: None)
    write_atomically(tmp_path / "key.json", b"x")
    assert list(tmp_path.glob("*.json")) == []
