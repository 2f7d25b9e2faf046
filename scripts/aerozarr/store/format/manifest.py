"""The manifest of a store: `manifest.json`, whose bytes are part of the format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from aerozarr.config.fields import Domain
from aerozarr.config.settings import Settings
from aerozarr.store.format.layout import FORMAT_VERSION, Grid, group_path


def build_manifest(
    name: str,
    settings: Settings,
    domains: tuple[Domain, ...],
    samples: Iterable[tuple[str, Mapping[str, Grid]]],
) -> dict[str, Any]:
    """Return the manifest of the converted samples.

    Parameters
    ----------
    name
        The dataset's name.
    settings
        For the seed, the dtypes and the compression.
    domains
        The dataset's domains.
    samples
        Id and grids by domain of the converted samples, in sample order.
    """
    return {
        "dataset_name": name,
        "format_version": FORMAT_VERSION,
        "shuffle_seed": settings.shuffle_seed,
        "coords_dtype": settings.coords_dtype,
        "values_dtype": settings.values_dtype,
        "compressor": settings.compression.label,
        "domains": {domain.name: _domain_entry(domain) for domain in domains},
        "samples": {sample_id: _sample_entry(sample_id, grids) for sample_id, grids in samples},
    }


def _domain_entry(domain: Domain) -> dict[str, Any]:
    return {
        "position": domain.position.canonical,
        "arrays": {
            field.canonical: {
                "array_name": field.array_name,
                "field": field.canonical,
                "dtype": field.dtype,
                "dim": field.width,
            }
            for field in domain.fields
        },
    }


def _sample_entry(sample_id: str, grids: Mapping[str, Grid]) -> dict[str, Any]:
    return {
        "relpath": group_path(sample_id),
        "domains": {
            name: {
                "n_points": grid.n_points,
                "chunk_points": grid.chunk_points,
                "shard_points": grid.shard_points,
                "n_chunks": grid.n_chunks,
            }
            for name, grid in sorted(grids.items())
        },
    }


def manifest_bytes(manifest: dict[str, Any]) -> bytes:
    """Return the manifest as it is stored: UTF-8 JSON, indented by two, no newline at the end."""
    return json.dumps(manifest, indent=2, ensure_ascii=False).encode("utf-8")
