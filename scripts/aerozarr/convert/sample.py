"""Converting one sample: from its files, or what a class loads, to its group and its fragment.

One field at a time: read (mapped where it is local, ahead of its use where it is not), cast, check,
gather chunk by chunk, compress, write. So the memory needed is one field in storage dtype and the
domain's permutation (for a remote store, the compressed sample too; for a remote source, what is
read ahead).
"""

from __future__ import annotations

import errno
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from aerozarr.config.fields import Domain, Field
from aerozarr.config.file_patterns import whole_name
from aerozarr.config.scalars import Scalar
from aerozarr.config.settings import Settings
from aerozarr.convert.cast import Cast, KeptRows, ReusableBuffer, RoundingSample, cast_field
from aerozarr.convert.encode import encode_shards, use_one_thread
from aerozarr.convert.fragment import FieldRecord, Fragment
from aerozarr.convert.kept import Kept, find_kept, with_made_of
from aerozarr.convert.peak_memory import peak_memory_mb, reset_peak_memory
from aerozarr.convert.permutation_file import Shuffle, spill_if_long
from aerozarr.errors import BrokenSample, StoreError
from aerozarr.filesystems.files import write_atomically
from aerozarr.run_config import RunConfig
from aerozarr.source.files.rows import (
    columns_note,
    looks_transposed,
    outline_rows,
    whole_numbers_note,
)
from aerozarr.source.files.scalars import as_scalar
from aerozarr.source.sample_table import find_sample
from aerozarr.source.samples import UNKNOWN_SIZE, Sample, Skipped
from aerozarr.source.source import Loader
from aerozarr.store.format.layout import ROOT_METADATA, Grid, shard_path
from aerozarr.store.format.metadata import metadata_files
from aerozarr.store.format.scalars import scalar_attributes
from aerozarr.store.format.shuffle import count_kept, permutation, seed_of
from aerozarr.store.write.root import GroupWriter, StoreRoot


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
            grids, source_points, fields = _write_domains(
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


# What the operating system says of a file that cannot be read, whoever asks.
_UNREADABLE = (errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENXIO, errno.ELOOP)


def _attributes_of(load: Loader, scalars: tuple[Scalar, ...]) -> dict[str, Any]:
    """Return the attributes of a sample's group: its scalars.

    Raises
    ------
    BrokenSample
        When a file cannot be read, or holds no such scalar.
    """
    return scalar_attributes({one: as_scalar(_load(load, one), one) for one in scalars})


def _load(load: Loader, field: Field | Scalar) -> object:
    """Load a field or a scalar; a file that cannot be read costs its sample, and no other.

    Raises
    ------
    BrokenSample
        When the file cannot be read, or holds no such thing.
    """
    try:
        return load(field)
    except OSError as error:
        if error.errno not in _UNREADABLE:
            raise
        raise BrokenSample(
            field=field.canonical,
            file=field.file,
            cause=f"it cannot be read: {error.strerror}",
            remedy="give the person who runs this the right to read it, or check the disk",
            is_certain=False,
            kind="unreadable",
        ) from None


def _write_domains(
    sample: Sample,
    load: Loader,
    domains: tuple[Domain, ...],
    settings: Settings,
    group: GroupWriter,
    kept: Kept | None,
) -> tuple[dict[str, Grid], dict[str, int], dict[str, FieldRecord]]:
    """Write every field that is not kept.

    Returns
    -------
    grids, source_points, fields
        Grid, and number of points in the source, by domain; and what was learnt by canonical field
        name.
    """
    grids: dict[str, Grid] = {}
    source_points: dict[str, int] = {}
    fields: dict[str, FieldRecord] = {}
    for domain in domains:
        name = domain.name
        grids[name], source_points[name], found = _write_domain(
            sample, load, domain, settings, group, kept
        )
        fields |= found
    return grids, source_points, fields


def _write_domain(
    sample: Sample,
    load: Loader,
    domain: Domain,
    settings: Settings,
    group: GroupWriter,
    kept: Kept | None,
) -> tuple[Grid, int, dict[str, FieldRecord]]:
    """Write the fields of a domain that are not kept."""
    # What the domain before took goes before this one's comes.
    buffer = ReusableBuffer()
    order: _Order | None = None
    fields: dict[str, FieldRecord] = {}
    transposed: list[int | None] = []
    grid = kept.grid_of(domain) if kept is not None else None
    n_points = kept.points_of(domain) if kept is not None else None
    for field in domain.fields:
        if kept is not None and grid is not None and field.canonical in kept.fields:
            fields[field.canonical] = kept.take(field, group)
            transposed.append(None)
            continue
        value = _load(load, field)
        n_rows = len(outline_rows(value, field))
        transposed.append(looks_transposed(value, field))
        if field == domain.position:  # it comes first, and says how many points there are
            # Of another number of points, the others are shuffled in another way.
            kept = kept if n_rows == n_points else None
            n_points, stored = n_rows, count_kept(n_rows, domain.keep_points)
            grid = Grid.of(stored, settings.chunk_points, settings.shard_points)
        assert grid is not None and n_points is not None
        if n_rows != n_points:
            raise _misaligned(domain, field, n_rows, n_points, transposed)
        if order is None:
            order = _shuffle(sample.id, domain, n_points, grid, settings.shuffle_seed)
        cast = cast_field(value, field, buffer, order.rounding_sample, order.kept_rows)
        record = _write_field(cast, field, order.perm, grid, settings, group)
        fields[field.canonical] = replace(record, note=_note_of(value, field, record))
    if None not in transposed and len(set(transposed)) == 1:
        raise _transposed(domain.position, f"all fields of {domain.name} are", transposed[0])
    assert grid is not None and n_points is not None
    return grid, n_points, fields


def _note_of(value: object, field: Field, record: FieldRecord) -> str:
    """Return what the person should know of a field, the same for all samples; empty for nothing.

    A text with numbers of one sample would be told once for each.
    """
    moments = record.moments
    ends = [abs(end) for end in (*moments.low, *moments.high) if end is not None]
    notes = (columns_note(value, field), whole_numbers_note(value, field, max(ends, default=0.0)))
    return "; ".join(filter(None, notes))


def _misaligned(
    domain: Domain, field: Field, n_rows: int, n_points: int, transposed: list[int | None]
) -> BrokenSample:
    """Return the error of a field with another number of rows than the domain's positions.

    `transposed` says of each field up to this one how many points it has, should it lie on its
    side.
    """
    position = domain.position
    if None not in transposed and len(set(transposed)) == 1:
        return _transposed(position, f"all fields of {domain.name} are", transposed[0])
    if transposed[0] == n_rows:
        return _transposed(position, "it is", n_rows)
    if transposed[-1] == n_points:
        return _transposed(field, "it is", n_points)
    return BrokenSample(
        field=field.canonical,
        file=field.file,
        cause=f"it has {n_rows} rows, {position.file} has {n_points}",
        remedy="write both from the same mesh, or exclude the sample",
    )


def _transposed(field: Field, subject: str, columns: int | None) -> BrokenSample:
    return BrokenSample(
        field=field.canonical,
        file=field.file,
        cause=f"{subject} of shape ({field.width}, {columns}): components by points, where points "
        "by components are expected",
        remedy="transpose it, and write it again: "
        + (
            "torch.save(tensor.T.contiguous(), path)"
            if field.file.endswith((".pt", ".pth"))
            else "one row a point"
        ),
    )


class _Order(NamedTuple):
    """Which rows of a domain's fields are stored, and in which order.

    Attributes
    ----------
    perm
        Stored row r is row `perm[r]` of those that are stored, in the source's order.
    rounding_sample
        The rows to look at: those of the first chunk.
    kept_rows
        The rows that are stored; None for all.
    """

    perm: Shuffle
    rounding_sample: RoundingSample
    kept_rows: KeptRows | None = None


def _shuffle(
    sample_id: str, domain: Domain, n_points: int, grid: Grid, shuffle_seed: int
) -> _Order:
    """Return the order in which the rows of a domain's fields are stored.

    Of `n_points` in the source, the grid says how many are stored.
    """
    drawn = permutation(n_points, seed_of(shuffle_seed, sample_id, domain.name))
    # In order, so that a mapped file is looked at from front to end.
    places = np.sort(drawn[: grid.chunk_points]).astype(np.int64)
    rounding_sample = RoundingSample(places, n_points)
    if grid.n_points == n_points:
        return _Order(spill_if_long(drawn), rounding_sample)
    first = drawn[: grid.n_points].copy()  # lets the rest of them go
    del drawn
    by_row = np.argsort(first)
    perm = np.empty_like(first)
    perm[by_row] = np.arange(len(first), dtype=first.dtype)
    kept_rows = KeptRows(first[by_row].astype(np.int64), n_points)
    return _Order(spill_if_long(perm), rounding_sample, kept_rows)


def _write_field(
    made: Cast,
    field: Field,
    perm: Shuffle,
    grid: Grid,
    settings: Settings,
    group: GroupWriter,
) -> FieldRecord:
    """Write one field; return what was learnt about it."""
    shards = encode_shards(
        made.padded,
        perm,
        grid,
        settings.compression,
        chunk_checksums=settings.chunk_checksums,
        width=field.width,
    )
    for shard in shards:
        group.put_shard(shard_path(field.array_name, shard.number), shard)
    return FieldRecord(moments=made.moments, rounding=made.rounding)


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
