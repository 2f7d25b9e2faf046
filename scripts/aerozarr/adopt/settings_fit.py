"""Whether the settings give the store that is there, and which have to change if they do not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import get_args

from aerozarr.config.fields import Domain, Field
from aerozarr.config.setting_types import Cname
from aerozarr.config.settings import Settings
from aerozarr.errors import SettingsError
from aerozarr.messages import printable, redacted
from aerozarr.run_config import RunConfig
from aerozarr.store.format.layout import MANIFEST, Grid
from aerozarr.store.format.manifest import ArrayEntry, Manifest

# Storage dtypes that the settings know.
_DTYPES = ("float16", "float32", "float64")
_COMPRESSOR = re.compile(r"blosc-([a-z0-9]+)-([0-9])", re.ASCII)


def check_settings_fit(run_config: RunConfig, manifest: Manifest) -> None:
    """Check that converting with the present settings would give the store that is there.

    Parameters
    ----------
    run_config
        The configuration.
    manifest
        The store's manifest.

    Raises
    ------
    SettingsError
        When it would give another: with each setting that has to change, and to what.
    """
    settings = run_config.settings
    wrong = [
        *_wrong_head(run_config, manifest),
        *_wrong_fields(run_config.domains, settings, manifest),
        *_wrong_grids(settings, manifest),
    ]
    if not wrong:
        return
    head = (
        f"store: {redacted(settings.store)!r} cannot be adopted with these settings, which would "
        f"give another store than its {MANIFEST} lists. So nothing was compared. Set:"
    )
    raise SettingsError("\n".join([head, *(printable(f"  {line}") for line in wrong)]))


def _wrong_head(run_config: RunConfig, manifest: Manifest) -> Iterator[str]:
    settings = run_config.settings
    name = settings.dataset_name or run_config.dataset.name
    for key, ours in (
        ("dataset_name", name),
        ("shuffle_seed", settings.shuffle_seed),
        ("coords_dtype", settings.coords_dtype),
        ("values_dtype", settings.values_dtype),
    ):
        theirs = getattr(manifest, key)
        if theirs != ours:
            yield f"{key}: {json.dumps(theirs, ensure_ascii=False)} (not {ours})"
    if manifest.compressor != settings.compression.label:
        named = _COMPRESSOR.fullmatch(manifest.compressor)
        if named is None or named[1] not in get_args(Cname):
            yield (
                f"compression: no value of it is {manifest.compressor!r}, so the store cannot be "
                "adopted, only converted anew"
            )
        else:
            compression = f"{{cname: {named[1]}, clevel: {named[2]}}}"
            yield f"compression: {compression} (not {settings.compression.label})"


def _wrong_fields(
    domains: Iterable[Domain], settings: Settings, manifest: Manifest
) -> Iterator[str]:
    ours = {f.canonical: (domain, f) for domain in domains for f in domain.fields}
    theirs = {name: array for d in manifest.domains.values() for name, array in d.arrays.items()}
    for name in sorted(theirs.keys() - ours.keys()):
        yield f"filemap: a file for {name}, which the store has and the settings do not name"
    for name in sorted(ours.keys() - theirs.keys()):
        yield f"filemap: no file for {name}, which the store does not have"
    for name in (name for name in ours if name in theirs):
        domain, field = ours[name]
        array = theirs[name]
        if array.array_name != field.array_name or array.dim != field.width:
            yield (
                f"fields: {name} is {field.array_name} of {field.width} components by these "
                f"settings, and {array.array_name} of {array.dim} in the store"
            )
        elif array.dtype != field.dtype:
            yield from _other_dtype(field, array, settings, manifest, field is domain.position)
    for domain in domains:
        entry = manifest.domains.get(domain.name)
        if entry is not None and entry.position != domain.position.canonical:
            yield f"fields: the position of {domain.name} is {entry.position} in the store"


def _other_dtype(
    field: Field, array: ArrayEntry, settings: Settings, manifest: Manifest, is_position: bool
) -> Iterator[str]:
    name = field.canonical
    if array.dtype not in _DTYPES:
        yield f"field_dtypes: no value of it is {array.dtype}, which {name} has in the store"
        return
    usual = manifest.coords_dtype if is_position else manifest.values_dtype
    ours = settings.coords_dtype if is_position else settings.values_dtype
    if array.dtype == usual != ours and name not in settings.field_dtypes:
        return  # which follows from what is said of coords_dtype or values_dtype
    yield f"field_dtypes: {{{name}: {array.dtype}}} (not {field.dtype})"


def _wrong_grids(settings: Settings, manifest: Manifest) -> Iterator[str]:
    grids = [grid for entry in manifest.samples.values() for grid in entry.domains.values()]
    if not grids or _give(grids, settings.chunk_points, settings.shard_points):
        return
    # Only a domain of several chunks, or shards, tells what was asked for.
    chunk = max(grid.chunk_points for grid in grids)
    for shard in (settings.shard_points, None, max(grid.shard_points for grid in grids)):
        if _give(grids, chunk, shard):
            if chunk != settings.chunk_points:
                yield f"chunk_points: {chunk} (not {settings.chunk_points})"
            if shard != settings.shard_points:
                yield f"shard_points: {json.dumps(shard)} (not {json.dumps(settings.shard_points)})"
            return
    yield (
        "chunk_points, shard_points: no values of them give the chunks and shards of all samples, "
        "so the store cannot be adopted, only converted anew"
    )


def _give(grids: Iterable[Grid], chunk_points: int, shard_points: int | None) -> bool:
    """Whether two settings give all of some grids."""
    return all(grid == Grid.of(grid.n_points, chunk_points, shard_points) for grid in grids)
