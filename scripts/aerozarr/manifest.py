"""Fragments, one a sample, and the manifest that is merged from them.

The manifest's bytes are part of the store format: its keys, their order, two spaces, no newline
at the end. A fragment is this workflow's own: what became of one sample.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from aerozarr.errors import StoreError
from aerozarr.fields import Domain
from aerozarr.groups import Grid
from aerozarr.moments import Moments
from aerozarr.rounding import Rounding
from aerozarr.samples import LeftOut
from aerozarr.settings import Settings
from aerozarr.stores import MANIFEST, Store

FORMAT_VERSION = 1
FRAGMENT_VERSION = 2


class FieldRecord(BaseModel):
    """What a conversion learnt of one field.

    Attributes
    ----------
    moments
        Of the values as stored.
    rounding
        What the cast changed, in the points of the first chunk: a uniform sample of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    moments: Moments
    rounding: Rounding


class Fragment(BaseModel):
    """What became of one sample.

    Attributes
    ----------
    fragment_version
        Version of this record.
    sample_id
        The sample's id.
    status
        `converted`, or `broken`: then there is no group.
    fingerprint, stored_as
        Of the sample's files, and of the settings, at the time.
    domains
        For a converted sample: grid by domain.
    fields, objects
        Likewise: what was learnt of each field, by canonical name, and size and SHA-256 of each of
        the group's files, by path.
    left_out
        For a broken one: what is wrong.
    source_bytes
        Bytes read from the source.
    seconds, peak_memory_mb
        Wall time of the conversion, and the process's peak resident memory in MiB.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    fragment_version: int = FRAGMENT_VERSION
    sample_id: str
    status: Literal["converted", "broken"]
    fingerprint: str = ""
    stored_as: str = ""
    domains: dict[str, Grid] = {}
    fields: dict[str, FieldRecord] = {}
    objects: dict[str, tuple[int, str]] = {}
    left_out: LeftOut | None = None
    source_bytes: int = 0
    seconds: float = 0.0
    peak_memory_mb: float = 0.0

    @property
    def stored_bytes(self) -> int:
        """Bytes of the group's files."""
        return sum(size for size, _ in self.objects.values())


def read_fragment(path: Path) -> Fragment:
    """Read a fragment.

    Raises
    ------
    StoreError
        When it is not there, is of another version, or is no fragment.
    """
    try:
        content = json.loads(path.read_bytes())
        version = content.get("fragment_version")
        if version != FRAGMENT_VERSION:
            raise StoreError(
                f"{path} is a fragment of version {version}, this aerozarr reads version "
                f"{FRAGMENT_VERSION}. Delete it and run snakemake again."
            )
        return Fragment.model_validate(content)
    except FileNotFoundError:
        raise StoreError(f"{path} is not there. Run snakemake again.") from None
    except (ValidationError, ValueError, AttributeError):
        raise StoreError(
            f"{path} is no fragment, or damaged. Delete it and run snakemake again."
        ) from None


def is_whole(fragment: Fragment, files: Mapping[str, int | None]) -> bool:
    """Whether a store holds every file of a converted sample, in its size.

    Parameters
    ----------
    fragment
        The sample's.
    files
        What the store holds: path to size, None where that is not told.
    """
    group = f"{fragment.sample_id}.zarr"
    return all(
        files.get(f"{group}/{path}", -1) in (size, None)
        for path, (size, _) in fragment.objects.items()
    )


def write_aside(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: beside its place first, then put in place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name[:200]}.partial")
    aside.write_bytes(content)
    aside.replace(path)


def build_manifest(
    name: str, settings: Settings, domains: tuple[Domain, ...], fragments: list[Fragment]
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
    fragments
        Those of converted samples, in sample order.
    """
    return {
        "dataset_name": name,
        "format_version": FORMAT_VERSION,
        "shuffle_seed": settings.shuffle_seed,
        "coords_dtype": settings.coords_dtype,
        "values_dtype": settings.values_dtype,
        "compressor": settings.compression.label,
        "domains": {domain.name: _domain_entry(domain) for domain in domains},
        "samples": {fragment.sample_id: _sample_entry(fragment) for fragment in fragments},
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


def _sample_entry(fragment: Fragment) -> dict[str, Any]:
    return {
        "relpath": f"{fragment.sample_id}.zarr",
        "domains": {
            name: {
                "n_points": grid.n_points,
                "chunk_points": grid.chunk_points,
                "shard_points": grid.shard_points,
                "n_chunks": grid.n_chunks,
            }
            for name, grid in sorted(fragment.domains.items())
        },
    }


def orphans_of(store: Store) -> list[str]:
    """Return the ids of a store's groups that its manifest does not list.

    Raises
    ------
    StoreError
        When the store has no manifest: then nothing says which groups are wanted.
    """
    manifest = store.read(MANIFEST)
    if manifest is None:
        raise StoreError(
            f"{store.location.url} has no {MANIFEST}, so nothing says which groups are wanted. "
            "Run snakemake first."
        )
    return sorted(store.group_ids() - set(json.loads(manifest)["samples"]))


def manifest_bytes(manifest: dict[str, Any]) -> bytes:
    """Return the manifest as it is stored: UTF-8 JSON, indented by two, no newline at the end."""
    return json.dumps(manifest, indent=2, ensure_ascii=False).encode("utf-8")
