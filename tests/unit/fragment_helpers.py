"""Samples with a fragment and a group, for a merge, and what it is to say of them."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from aerozarr.convert.fragment import Fragment
from aerozarr.run_config import RunConfig
from aerozarr.source.samples import Sample, Skipped
from aerozarr.store.format.layout import Grid
from aerozarr.store.write.records import Written, read_written, record_written
from unit.merge_helpers import put_fragment
from unit.store_helpers import files_below, put_file, records_of, sample_of

MANIFEST, SKIPPED = "manifest.json", "skipped.tsv"
COLUMNS = ["id", "split", "kind", "field", "file", "cause", "remedy"]
FILEMAP = {"surface_position": "x.pt", "surface_pressure": "p.pt", "volume_position": "v.pt"}
GRIDS = {"volume": Grid(23, 4, 8, 6), "surface": Grid(10, 4, 12, 3)}

# What the store format says about FILEMAP with the default settings; the order of keys counts.
HEAD = {
    "dataset_name": "drivaerml",
    "format_version": 1,
    "shuffle_seed": 0,
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
                    "dim": 3,
                },
                "surface_pressure": {
                    "array_name": "surface/pressure",
                    "field": "surface_pressure",
                    "dtype": "float16",
                    "dim": 1,
                },
            },
        },
        "volume": {
            "position": "volume_position",
            "arrays": {
                "volume_position": {
                    "array_name": "volume/position",
                    "field": "volume_position",
                    "dtype": "float32",
                    "dim": 3,
                },
            },
        },
    },
}


def entry(sample_id: str) -> dict[str, Any]:
    """What the manifest says about a sample with GRIDS."""
    return {
        "relpath": f"{sample_id}.zarr",
        "domains": {
            "surface": {"n_points": 10, "chunk_points": 4, "shard_points": 12, "n_chunks": 3},
            "volume": {"n_points": 23, "chunk_points": 4, "shard_points": 8, "n_chunks": 6},
        },
    }


def expected_manifest(ids: Sequence[str], **head: Any) -> bytes:
    content = {**HEAD, **head, "samples": {sample_id: entry(sample_id) for sample_id in ids}}
    return json.dumps(content, indent=2, ensure_ascii=False).encode("utf-8")


def put_group(run_config: RunConfig, sample_id: str, size: int = 2) -> None:
    url = str(run_config.settings.store)
    put_file(url, f"{sample_id}.zarr/volume/position/c/0/0", sample_id.encode())
    put_file(url, f"{sample_id}.zarr/zarr.json", b"{" + b" " * (size - 2) + b"}")


def record(run_config: RunConfig, *ids: str) -> None:
    """Have the store record that its runs wrote these samples, too."""
    written = read_written(run_config.store)
    groups = {*ids, *(written.groups if written else ())}
    record_written(run_config.store, Written("drivaerml", (), frozenset(groups)))


def files_of_samples(url: str) -> dict[str, bytes]:
    """Every file but what the store records of its runs."""
    found = files_below(url).items()
    return {path: content for path, content in found if not path.startswith(".aerozarr/")}


def converted(
    run_config: RunConfig,
    sample_id: str,
    *,
    group: bool = True,
    source: int = 1000,
    stored: int = 250,
) -> Sample:
    """A sample with its fragment and its group."""
    sample = sample_of(sample_id)
    fragment = Fragment(
        sample_id=sample_id,
        status="converted",
        domains=GRIDS,
        fields=records_of(run_config),
        objects={"zarr.json": (stored, "0" * 64)},
        source_bytes=source,
        seconds=1.5,
        peak_memory_mb=100.0,
    )
    put_fragment(run_config, sample, fragment)
    if group:
        put_group(run_config, sample_id, stored)
    return sample


def broken(run_config: RunConfig, sample_id: str, *, split: str = "", **row: str) -> Sample:
    """A sample with a fragment that says what is wrong."""
    sample = sample_of(sample_id, split=split)
    skipped = left_out_row(sample_id, split=split, kind="broken", **row)
    fragment = Fragment(sample_id=sample_id, status="broken", skipped=skipped)
    put_fragment(run_config, sample, fragment)
    return sample


def left_out_row(sample_id: str, **row: str) -> Skipped:
    usual = {"split": "", "kind": "incomplete", "field": "", "file": "x.pt"}
    usual |= {"cause": "is not there", "remedy": "add it"}
    return Skipped(id=sample_id, **(usual | row))  # type: ignore[arg-type]


def skipped_rows(url: str) -> list[Mapping[str, str]]:
    """The table of skipped samples, as the csv module reads it."""
    text = files_below(url)[SKIPPED].decode("utf-8")
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t"))


def listed(url: str) -> list[str]:
    return list(json.loads(files_below(url)[MANIFEST])["samples"])
