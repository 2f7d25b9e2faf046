"""The fields of a sample that a conversion keeps: those of a finished group that still hold.

A group is converted in part when only some of its fields are new, gone or changed. The shuffle
depends on seed, sample and domain alone, so the others need not be read, nor written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from aerozarr.config.fields import Domain, Field
from aerozarr.convert.fragment import FieldRecord, Fragment, read_fragment
from aerozarr.errors import StoreError
from aerozarr.filesystems.files import sync_folder
from aerozarr.run_config import RunConfig
from aerozarr.source.samples import Sample
from aerozarr.store.format.layout import Grid
from aerozarr.store.write.root import GroupWriter, StoredFile, StoreRoot


@dataclass(frozen=True)
class Kept:
    """What a conversion keeps of the sample's group.

    Attributes
    ----------
    fragment
        What is recorded of the group.
    fields
        Canonical names of the fields that hold; none where all are converted anew.
    record
        The fragment's file. It goes before the group changes, since it says nothing of the new one;
        of a sample that turns out to be broken, both stay.
    """

    fragment: Fragment
    fields: frozenset[str]
    record: Path

    def grid_of(self, domain: Domain) -> Grid | None:
        """Return the grid of a domain, None when none of its fields is kept."""
        is_kept = any(field.canonical in self.fields for field in domain.fields)
        return self.fragment.domains.get(domain.name) if is_kept else None

    def points_of(self, domain: Domain) -> int | None:
        """Return how many points such a domain has in the source."""
        is_kept = self.grid_of(domain) is not None
        return self.fragment.points_in_source(domain.name) if is_kept else None

    def take(self, field: Field, group: GroupWriter) -> FieldRecord:
        """Have a group keep a field's shards; return what was learnt of it."""
        group.keep(
            {
                path: StoredFile(size, sha256)
                for path, (size, sha256) in _shards(self.fragment, field.array_name).items()
            }
        )
        return self.fragment.fields[field.canonical]

    def end(self) -> None:
        """Forget what is recorded: the group is about to change, and may do so by half."""
        self.record.unlink(missing_ok=True)
        if self.record.parent.is_dir():
            sync_folder(self.record.parent)


def _shards(fragment: Fragment, array_name: str) -> Mapping[str, tuple[int, str]]:
    """Return size and SHA-256 of an array's shards, by path below the group."""
    start = f"{array_name}/c/"
    return {path: file for path, file in fragment.objects.items() if path.startswith(start)}


def held_fields(
    run_config: RunConfig, sample: Sample, fragment: Fragment, changes: Mapping[str, str]
) -> frozenset[str]:
    """Return the fields of a converted sample that a conversion now would store in the same way.

    Parameters
    ----------
    run_config, sample, fragment
        The configuration, the sample's row of the table, and what is recorded of it.
    changes
        By file, what changes when it is replaced (`FileInfo.change`); where that is told.

    Returns
    -------
    frozenset of str
        Canonical names; none when its group is to be written anew whatever they hold.
    """
    if fragment.status != "converted" or not fragment.fingerprint or fragment.adopted:
        return frozenset()  # another writer's shards need metadata of its own
    held: set[str] = set()
    for name, made_of in run_config.made_of(sample).items():
        record = fragment.fields.get(name)
        if record is None or record.made_of != made_of:
            continue
        change = sample.change_of(changes, *run_config.field_texts[name][0])
        # Of the same size and time, a file that was replaced may hold something else.
        if not record.change or not change or record.change == change:
            held.add(name)
    return frozenset(held)


def with_made_of(
    run_config: RunConfig, sample: Sample, fragment: Fragment, changes: Mapping[str, str]
) -> Fragment:
    """Return the fragment of a sample that was converted as it would be now, with what says so.

    Parameters are those of `held_fields`.
    """
    made_of = run_config.made_of(sample)
    fields = {
        name: replace(
            record,
            made_of=made_of[name],
            change=sample.change_of(changes, *run_config.field_texts[name][0]),
        )
        for name, record in fragment.fields.items()
    }
    return replace(fragment, fields=fields)


def find_kept(
    run_config: RunConfig, sample: Sample, store: StoreRoot, changes: Mapping[str, str]
) -> Kept | None:
    """Return what a job keeps of the sample's group: what the run set its fragment aside for.

    None when there is no such group, or it is not whole. `changes` is as for `held_fields`.
    """
    record = run_config.set_aside(sample.key)
    try:
        fragment = read_fragment(record)
    except StoreError:
        record.unlink(missing_ok=True)
        return None
    there = store.files_of(sample.id)
    is_whole = all(
        there.get(path, -1) in (size, None) for path, (size, _) in fragment.objects.items()
    )
    if fragment.sample_id == sample.id and fragment.status == "converted" and is_whole:
        fields = held_fields(run_config, sample, fragment, changes)
        return Kept(fragment, fields, record)
    record.unlink()
    return None
