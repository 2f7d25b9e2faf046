"""Converting one sample: from its files, or what a class loads, to its group and its fragment.

One field at a time: read (mapped where it is local, ahead of its use where it is not), cast, check,
gather chunk by chunk, compress, write. So the memory needed is one field in storage dtype and the
domain's permutation (for a remote store, the compressed sample too; for a remote source, what is
read ahead).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from aerozarr.config.fields import Domain
from aerozarr.config.file_patterns import whole_name
from aerozarr.config.scalars import Scalar
from aerozarr.config.settings import Settings
from aerozarr.convert.domain import load_or_tell, write_domains
from aerozarr.convert.encode import use_one_thread
from aerozarr.convert.fragment import Fragment
from aerozarr.convert.kept import Kept, find_kept, with_made_of
from aerozarr.convert.peak_memory import peak_memory_mb, reset_peak_memory
from aerozarr.errors import BrokenSample, StoreError
from aerozarr.filesystems.files import write_atomically
from aerozarr.run_config import RunConfig
from aerozarr.source.files.scalars import as_scalar
from aerozarr.source.sample_table import find_sample
from aerozarr.source.samples import UNKNOWN_SIZE, Sample, Skipped
from aerozarr.source.source import Loader
from aerozarr.store.format.layout import ROOT_METADATA
from aerozarr.store.format.metadata import metadata_files
from aerozarr.store.format.scalars import scalar_attributes
from aerozarr.store.write.root import StoreRoot


def convert(
    sample: Sample,
    load: Loader,
    domains: tuple[Domain, ...],
    settings: Settings,
    store: StoreRoot,
    scalars: tuple[Scalar, ...] = (),
    kept: Kept | None = None,
) -> Fragment:
    """Convert one sample into the store.

    Parameters
    ----------
    sample
        The sample's row of the table.
    load
        Loads its fields; see `Source.loader`.
    domains, settings
        What to store, and how.
    store
        Where to.
    scalars
        The scalars that the sample has; see `Source.scalars_of`.
    kept
        What the sample's group there keeps; by default nothing.

    Returns
    -------
    Fragment
        For a broken sample one that says what is wrong; then a group of before stays as it is.

    Raises
    ------
    Exception
        Whatever is not the sample's own fault: OSError, MemoryError, a network error, a bug.
    """
    start = time.perf_counter()
    reset_peak_memory()
    with store.write_group(sample.id) as group:
        try:
            # First: they cost little, and may be wrong too.
            attributes = _attributes_of(load, scalars)
            grids, source_points, fields = write_domains(
                sample, load, domains, settings, group, kept
            )
        except BrokenSample as error:
            # The group of before is as it was, and so is its record: neither a mistake in the
            # settings nor a file that is broken now may cost what was converted.
            return Fragment(
                sample_id=sample.id,
                status="broken",
                # Of no fingerprint, it is tried again by the next run.
                fingerprint=sample.fingerprint if error.is_certain else "",
                skipped=_skipped(sample, error),
            )
        metadata = metadata_files(
            domains,
            grids,
            settings.compression,
            chunk_checksums=settings.chunk_checksums,
            attributes=attributes,
        )
        root = metadata.pop(ROOT_METADATA)
        for path, content in metadata.items():
            group.put(path, content)
        if kept is not None:
            kept.end()
        group.commit(root)
    return Fragment(
        sample_id=sample.id,
        status="converted",
        domains=grids,
        source_points={
            name: count for name, count in source_points.items() if count != grids[name].n_points
        },
        fields=fields,
        objects={path: (file.size, file.sha256) for path, file in group.stored.items()},
        fingerprint=sample.fingerprint,
        source_bytes=sum(size for size in sample.sizes if size != UNKNOWN_SIZE),
        seconds=round(time.perf_counter() - start, 4),
        peak_memory_mb=peak_memory_mb(),
    )


def _skipped(sample: Sample, error: BrokenSample) -> Skipped:
    return Skipped(
        id=sample.id,
        split=sample.split,
        kind=error.kind,
        field=error.field,
        file=_name_of(sample, error.file),
        cause=error.cause,
        remedy=error.remedy,
    )


def _name_of(sample: Sample, file: str) -> str:
    """Return the name of the sample's file that a file map names, where it has a pattern."""
    names = sample.names_of(file)
    return whole_name(names[0]) if names else file


def _attributes_of(load: Loader, scalars: tuple[Scalar, ...]) -> dict[str, Any]:
    """Return the attributes of a sample's group: its scalars.

    Raises
    ------
    BrokenSample
        When a file cannot be read, or holds no such scalar.
    """
    return scalar_attributes({one: as_scalar(load_or_tell(load, one), one) for one in scalars})


def convert_from_source(
    run_config: RunConfig, sample: Sample, store: StoreRoot, *, may_keep: bool = False
) -> Fragment:
    """Convert a sample of the source into a store, and say of which source and settings it is.

    Parameters, errors and what is returned are those of `convert`; with `may_keep`, fields that
    hold stay as they are.
    """
    read_sizes: dict[str, int] = {}
    # Before the files are read: what changes meanwhile is noticed by the next run.
    signs = run_config.source.signs(sample)
    kept = find_kept(run_config, sample, store, signs.changes) if may_keep else None
    of_kept = kept.fields if kept is not None else ()
    load = run_config.source.loader(sample, run_config.domains, read_sizes, kept=of_kept)
    scalars = run_config.source.scalars_of(sample)
    made = convert(sample, load, run_config.domains, run_config.settings, store, scalars, kept)
    source_bytes = made.source_bytes
    if UNKNOWN_SIZE in sample.sizes:
        before = kept.fragment.source_bytes if kept is not None and kept.fields else 0
        source_bytes = max(before, sum(read_sizes.values()))
    made = replace(
        made,
        stored_as=run_config.stored_as_digest,
        stamp=signs.stamp,
        content=signs.content,
        source_bytes=source_bytes,
    )
    return with_made_of(run_config, sample, made, signs.changes)


def convert_sample(run_config: RunConfig, *, table: Path, key: str, fragment: Path) -> None:
    """Convert one sample of the sample table: the job of `convert_sample`.

    Raises
    ------
    StoreError
        When the sample is broken and `on_broken_sample` is `fail`.
    """
    use_one_thread()
    settings = run_config.settings
    run_config.check_lease()
    sample = find_sample(table, key)
    made = convert_from_source(run_config, sample, run_config.store, may_keep=True)
    if made.skipped is not None:
        print(f"aerozarr: broken: {made.skipped}", file=sys.stderr)
        if settings.on_broken_sample == "fail":
            raise StoreError(f"{made.skipped}. on_broken_sample is fail, so the run stops here.")
    write_atomically(fragment, made.to_json())
