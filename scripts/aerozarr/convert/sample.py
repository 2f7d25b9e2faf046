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

import numpy as np

from aerozarr.config.fields import Domain, Field
from aerozarr.config.settings import Settings
from aerozarr.convert.cast import Cast, ReusableBuffer, RoundingSample, cast_field
from aerozarr.convert.encode import encode_shards, use_one_thread
from aerozarr.convert.fragment import FieldRecord, Fragment
from aerozarr.convert.peak_memory import peak_memory_mb, reset_peak_memory
from aerozarr.convert.permutation_file import Shuffle, spill_if_long
from aerozarr.errors import BrokenSample, StoreError
from aerozarr.filesystems.files import write_atomically
from aerozarr.run_config import RunConfig
from aerozarr.source.files.rows import as_rows, columns_note, looks_transposed
from aerozarr.source.sample_table import find_sample
from aerozarr.source.samples import UNKNOWN_SIZE, Sample, Skipped
from aerozarr.source.source import Loader
from aerozarr.store.format.layout import ROOT_METADATA, Grid, shard_path
from aerozarr.store.format.metadata import metadata_files
from aerozarr.store.format.shuffle import permutation, seed_of
from aerozarr.store.write.root import GroupWriter, StoreRoot


def convert(
    sample: Sample, load: Loader, domains: tuple[Domain, ...], settings: Settings, store: StoreRoot
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

    Returns
    -------
    Fragment
        For a broken sample one that says what is wrong; then no group is left in the store.

    Raises
    ------
    Exception
        Whatever is not the sample's own fault: OSError, MemoryError, a network error, a bug.
    """
    start = time.perf_counter()
    reset_peak_memory()
    with store.write_group(sample.id) as group:
        try:
            grids, fields, notes = _write_domains(sample, load, domains, settings, group)
        except BrokenSample as error:
            if store.has_group(sample.id):
                store.withdraw_manifest()
                store.remove_group(sample.id)
            return Fragment(
                sample_id=sample.id,
                status="broken",
                # Of no fingerprint, it is tried again by the next run.
                fingerprint=sample.fingerprint if error.is_certain else "",
                skipped=_skipped(sample, error),
            )
        metadata = metadata_files(
            domains, grids, settings.compression, chunk_checksums=settings.chunk_checksums
        )
        root = metadata.pop(ROOT_METADATA)
        for path, content in metadata.items():
            group.put(path, content)
        group.commit(root)
    return Fragment(
        sample_id=sample.id,
        status="converted",
        domains=grids,
        fields=fields,
        objects={path: (file.size, file.sha256) for path, file in group.stored.items()},
        notes=notes,
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
        file=error.file,
        cause=error.cause,
        remedy=error.remedy,
    )


# What the operating system says of a file that cannot be read, whoever asks.
_UNREADABLE = (errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENXIO, errno.ELOOP)


def _load(load: Loader, field: Field) -> object:
    """Load a field; a file that cannot be read costs its sample, and no other.

    Raises
    ------
    BrokenSample
        When the file cannot be read, or holds no such field.
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
) -> tuple[dict[str, Grid], dict[str, FieldRecord], list[str]]:
    """Write every field.

    Returns
    -------
    grids, fields, notes
        Grid by domain, what was learnt by canonical field name, and what to tell once a run.
    """
    grids: dict[str, Grid] = {}
    fields: dict[str, FieldRecord] = {}
    notes: list[str] = []
    perm: Shuffle | None
    for domain in domains:
        # What the domain before took goes before this one's comes.
        buffer, perm = ReusableBuffer(), None
        transposed: list[int | None] = []
        for field in domain.fields:
            value = _load(load, field)
            n_rows = len(as_rows(value, field))
            transposed.append(looks_transposed(value, field))
            if perm is None:  # the position comes first: it says how many points there are
                grid = Grid.of(n_rows, settings.chunk_points, settings.shard_points)
                grids[domain.name] = grid
                perm, rounding_sample = _shuffle(sample.id, domain, grid, settings.shuffle_seed)
            elif n_rows != len(perm):
                raise _misaligned(domain, field, n_rows, len(perm), transposed)
            fields[field.canonical] = _write_field(
                cast_field(value, field, buffer, rounding_sample),
                field,
                perm,
                grid,
                settings,
                group,
            )
            note = columns_note(value, field)
            notes += [note] if note else []
        if None not in transposed and len(set(transposed)) == 1:
            raise _transposed(domain.position, f"all fields of {domain.name} are", transposed[0])
    return grids, fields, notes


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
        remedy="transpose: torch.save(tensor.T.contiguous(), path)",
    )


def _shuffle(
    sample_id: str, domain: Domain, grid: Grid, shuffle_seed: int
) -> tuple[Shuffle, RoundingSample]:
    """Return a domain's permutation, and the rows to look at: those of its first chunk."""
    drawn = permutation(grid.n_points, seed_of(shuffle_seed, sample_id, domain.name))
    # In order, so that a mapped file is looked at from front to end.
    places = np.sort(drawn[: grid.chunk_points]).astype(np.int64)
    return spill_if_long(drawn), RoundingSample(places, grid.n_points)


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


def convert_from_source(run_config: RunConfig, sample: Sample, store: StoreRoot) -> Fragment:
    """Convert a sample of the source into a store, and say of which source and settings it is.

    Parameters, errors and what is returned are those of `convert`.
    """
    read_sizes: dict[str, int] = {}
    # Before the files are read: what changes meanwhile is noticed by the next run.
    signs = run_config.source.signs(sample)
    update: dict[str, object] = {"stored_as": run_config.stored_as_digest, **signs._asdict()}
    load = run_config.source.loader(sample, run_config.domains, read_sizes)
    made = convert(sample, load, run_config.domains, run_config.settings, store)
    if UNKNOWN_SIZE in sample.sizes:
        update["source_bytes"] = sum(read_sizes.values())
    return made.model_copy(update=update)


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
    made = convert_from_source(run_config, find_sample(table, key), run_config.store)
    if made.skipped is not None:
        print(f"aerozarr: broken: {made.skipped}", file=sys.stderr)
        if settings.on_broken_sample == "fail":
            raise StoreError(f"{made.skipped}. on_broken_sample is fail, so the run stops here.")
    write_atomically(fragment, made.model_dump_json(indent=2).encode("utf-8"))
