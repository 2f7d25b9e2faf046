"""Converting the fields of a sample's domains: read, cast, shuffled and written, one at a time."""

from __future__ import annotations

import errno

from msgspec.structs import replace

from aerozarr.config.fields import Domain, Field
from aerozarr.config.scalars import Scalar
from aerozarr.config.settings import Settings
from aerozarr.convert.cast import Cast, ReusableBuffer, cast_field
from aerozarr.convert.encode import encode_shards
from aerozarr.convert.fragment import FieldRecord
from aerozarr.convert.kept import Kept
from aerozarr.convert.order import Order, order_of
from aerozarr.convert.permutation_file import Shuffle
from aerozarr.errors import BrokenSample
from aerozarr.source.files.rows import (
    columns_note,
    looks_transposed,
    outline_rows,
    whole_numbers_note,
)
from aerozarr.source.samples import Sample
from aerozarr.source.source import Loader
from aerozarr.store.format.layout import Grid, shard_path
from aerozarr.store.format.shuffle import count_kept
from aerozarr.store.write.root import GroupWriter


def write_domains(
    sample: Sample,
    load: Loader,
    domains: tuple[Domain, ...],
    settings: Settings,
    group: GroupWriter,
    kept: Kept | None,
) -> tuple[dict[str, Grid], dict[str, int], dict[str, FieldRecord]]:
    """Write every field that is not kept.

    Parameters
    ----------
    sample, load, domains, settings, kept
        As for `convert`.
    group
        Where to.

    Returns
    -------
    grids, source_points, fields
        Grid, and number of points in the source, by domain; and what was learnt by canonical field
        name.

    Raises
    ------
    BrokenSample
        When a field cannot be converted.
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
    order: Order | None = None
    fields: dict[str, FieldRecord] = {}
    transposed: list[int | None] = []
    grid = kept.grid_of(domain) if kept is not None else None
    n_points = kept.points_of(domain) if kept is not None else None
    for field in domain.fields:
        if kept is not None and grid is not None and field.canonical in kept.fields:
            fields[field.canonical] = kept.take(field, group)
            transposed.append(None)
            continue
        value = load_or_tell(load, field)
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
            order = order_of(sample.id, domain, n_points, grid, settings.shuffle_seed)
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
    rows = "columns" if field.columns else field.width
    return BrokenSample(
        field=field.canonical,
        file=field.file,
        cause=f"{subject} of shape ({rows}, {columns}): components by points, where points by "
        "components are expected",
        remedy="transpose it, and write it again: "
        + (
            "torch.save(tensor.T.contiguous(), path)"
            if field.file.endswith((".pt", ".pth"))
            else "one row a point"
        ),
    )


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


# What the operating system says of a file that cannot be read, whoever asks.
_UNREADABLE = (errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENXIO, errno.ELOOP)


def load_or_tell(load: Loader, field: Field | Scalar) -> object:
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
