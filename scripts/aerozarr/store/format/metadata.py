"""The Zarr v3 metadata of a sample's group, as bytes.

Made here and not by zarr-python, because of order and cost: the shards have to be
there before the metadata that makes them visible, and zarr-python writes metadata first, with
many more requests. Tests compare both with what zarr-python writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aerozarr.config.fields import Domain, Field
from aerozarr.config.setting_types import Compression
from aerozarr.store.format.layout import ROOT_METADATA, Grid

_ITEM_SIZES = {"float16": 2, "float32": 4, "float64": 8}

# What the second dimension is called, by its width.
_COMPONENTS = {1: "scalar", 3: "xyz"}


def array_metadata(
    grid: Grid,
    width: int,
    dtype: str,
    compression: Compression,
    *,
    chunk_checksums: bool,
    attributes: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the Zarr v3 metadata of one array, of shape (n_points, width)."""
    index_codecs = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    codecs: list[dict[str, Any]] = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {
            "name": "blosc",
            "configuration": {
                "typesize": _ITEM_SIZES[dtype],
                "cname": compression.cname,
                "clevel": compression.clevel,
                "shuffle": "shuffle",
                "blocksize": 0,
            },
        },
    ]
    if chunk_checksums:
        codecs.append({"name": "crc32c"})
    sharding = {
        "chunk_shape": [grid.chunk_points, width],
        "codecs": codecs,
        "index_codecs": index_codecs,
        # At the start: Azure Blob Storage serves no suffix ranges.
        "index_location": "start",
    }
    return {
        "shape": [grid.n_points, width],
        "data_type": dtype,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [grid.shard_points, width]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0.0,
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "attributes": dict(attributes or {}),
        # Without names xarray does not open a group. All arrays of a domain share their points.
        "dimension_names": ["points", _COMPONENTS.get(width, f"components_{width}")],
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }


def _group_metadata(
    members: dict[str, Any] | None = None, attributes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the metadata of a group, with that of its members consolidated if they are given."""
    metadata: dict[str, Any] = {"attributes": dict(attributes or {}), "zarr_format": 3}
    if members is not None:
        metadata["consolidated_metadata"] = {
            "kind": "inline",
            "must_understand": False,
            "metadata": members,
        }
    metadata["node_type"] = "group"
    return metadata


def _attributes_of(field: Field) -> dict[str, str]:
    """Return the attributes of a field's array, named as the CF conventions do."""
    said = {"units": field.unit, "long_name": field.long_name}
    return {name: text for name, text in said.items() if text is not None}


def metadata_files(
    domains: tuple[Domain, ...],
    grids: dict[str, Grid],
    compression: Compression,
    *,
    chunk_checksums: bool,
    attributes: Mapping[str, Any] | None = None,
) -> dict[str, bytes]:
    """Return the metadata of a sample's group by path, the root's last.

    The root's is consolidated: it repeats all others, so that opening costs one read. `attributes`
    are the group's own.
    """
    files: dict[str, bytes] = {}
    members: dict[str, Any] = {}
    for domain in domains:
        members[domain.name] = _group_metadata({})
        files[f"{domain.name}/{ROOT_METADATA}"] = _json(_group_metadata())
        for field in domain.fields:
            metadata = array_metadata(
                grids[domain.name],
                field.width,
                field.dtype,
                compression,
                chunk_checksums=chunk_checksums,
                attributes=_attributes_of(field),
            )
            members[field.array_name] = metadata
            files[f"{field.array_name}/{ROOT_METADATA}"] = _json(metadata)
    files[ROOT_METADATA] = _json(_group_metadata(members, attributes))
    return files


def _json(metadata: dict[str, Any]) -> bytes:
    # Not indented: that takes Python's slow encoder, 4 ms for a sample of seven fields.
    return json.dumps(metadata, allow_nan=False).encode()
