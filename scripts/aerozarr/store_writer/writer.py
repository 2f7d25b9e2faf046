"""Writing a store from arrays in memory: what a solver's exporter or a script of one's own calls.

It is the code of the workflow's jobs: a sample becomes visible whole or not at all, and the
manifest lists what is on the disk.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from msgspec import structs

from aerozarr.config.filemap import attribute_named
from aerozarr.convert.fragment import Fragment
from aerozarr.convert.known_arrays import known_arrays
from aerozarr.convert.sample import convert
from aerozarr.errors import BrokenSample, StoreError
from aerozarr.filesystems.files import write_atomically
from aerozarr.merge.merge_manifest import merge_fragments
from aerozarr.merge.summary import Summary
from aerozarr.messages import first_lines, plural, printable
from aerozarr.run_config import WRITER, RunConfig
from aerozarr.source.samples import Sample, ids_by_split
from aerozarr.store.write.records import (
    Written,
    check_lease_can_be_taken,
    record_written,
)
from aerozarr.store_writer.configs import Configs
from aerozarr.store_writer.copied import take_up_copied
from aerozarr.store_writer.finished import check_is_as_finished, record_finished
from aerozarr.store_writer.given import (
    ORIGIN,
    check_id,
    check_sample,
    check_scalars,
    loader,
    note_for_caller,
    settings_of,
)
from aerozarr.store_writer.locks import Locks
from aerozarr.store_writer.ownership import check_group, check_store
from aerozarr.store_writer.place import earlier_digests
from aerozarr.store_writer.sample_record import SampleRecord, read_record, read_rows, sample_of

_WRITE_AGAIN = "Write these samples again, or take them out with StoreWriter.remove, and finish."


class StoreWriter:
    """Writes samples to a store, from one process or many, and then its manifest.

    Parameters
    ----------
    place
        The store: a folder or any fsspec URL.
    settings
        Those of config.yaml that decide what is stored: `dataset_name`, `chunk_points`,
        `compression`, `field_dtypes`, `fields` and `scalars` (without files), `storage_options` …;
        by default theirs.
    workdir
        A folder of this machine, or one that all processes share, for what is recorded until the
        store is finished, and by which it is extended later: a store has one. By default it is in
        the store's own folder of records; a store behind a URL needs one.

    Raises
    ------
    SettingsError
        When a setting cannot be used, or the store holds what another program wrote, or a
        StoreWriter with another workdir finished, and `take_over` is not set.
    """

    def __init__(
        self,
        place: str | Path,
        settings: Mapping[str, Any] | None = None,
        *,
        workdir: str | Path | None = None,
    ) -> None:
        self._configs = Configs(settings_of(place, dict(settings or {}), workdir))
        self._locks = Locks(self._configs.base.workdir)
        take_up_copied(self._configs.base, self._locks)
        check_store(self._configs.base)

    def write(
        self,
        sample_id: str,
        arrays: Mapping[str, Any],
        *,
        split: str | None = None,
        scalars: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a sample, in place of one of that id that was written before.

        It waits while another process writes the sample, or finishes the store.

        Parameters
        ----------
        sample_id
            The sample's id: its path in the store, without `.zarr`.
        arrays
            By the name of the field (`surface_position`, `volume_velocity` …, or one of the setting
            `fields`), an array of numpy or tensor of torch, real, of shape (points, components), or
            (points,) for one component. All fields of a domain have as many points. They are cast
            and shuffled as the workflow does it.
        split
            The split that it belongs to.
        scalars
            By name, every scalar of the setting `scalars`: a number, a text, true or false, or a
            list, array or tensor of numbers; NaN where the sample has none.

        Raises
        ------
        BrokenSample
            When an array or a scalar cannot be stored. Then, and when the disk is full, what was
            written of the sample before stays as it is.
        StoreError
            When its id cannot be a place in the store, or a group is there that is not ours.
        SettingsError
            When there is no such field or scalar, a scalar is missing, or a domain lacks its
            positions.
        """
        check_sample(sample_id, arrays, split)
        given = dict(scalars or {})
        check_scalars(given, self._configs.scalars)
        config = self._configs.of_fields(arrays)
        sample = sample_of(sample_id, split or "")
        with self._locks.writing(sample.key):
            self._write(config, sample, arrays, given)

    def _write(
        self,
        config: RunConfig,
        sample: Sample,
        arrays: Mapping[str, Any],
        scalars: Mapping[str, Any],
    ) -> None:
        record = SampleRecord(config, sample)
        check_group(config, sample.id, is_known=record.is_known)
        with record.replaced() as kept:
            made = convert(
                sample,
                loader(arrays, scalars),
                config.domains,
                config.settings,
                config.store,
                config.dataset.scalars,
                kept,
            )
            if made.skipped is not None:
                told = made.skipped
                raise BrokenSample(
                    field=told.field, file=sample.id, cause=told.cause, remedy=told.remedy
                )
        size = sum(int(array.nbytes) for array in arrays.values())
        fields = {
            name: structs.replace(field, note=note_for_caller(field.note))
            for name, field in made.fields.items()
        }
        stored_as = config.stored_as_digest
        record.end(structs.replace(made, fields=fields, stored_as=stored_as, source_bytes=size))

    def remove(self, sample_id: str) -> None:
        """Take a sample out of the store: its group goes, and the next finish does not list it.

        Until then the store has no manifest. It waits as `write` does.

        Raises
        ------
        StoreError
            When no StoreWriter with this workdir wrote it, or its id cannot be one.
        SettingsError
            When there is a file in its group that is not ours, and `take_over` is not set.
        """
        check_id(sample_id)
        config, sample = self._configs.base, sample_of(sample_id, "")
        with self._locks.writing(sample.key):
            record = SampleRecord(config, sample)
            if not record.is_known:
                raise StoreError(
                    f"{printable(repr(sample_id))} is no sample that was written with this workdir."
                )
            check_group(config, sample_id, is_known=True)
            config.store.withdraw_manifest()
            config.store.remove_group(sample_id)
            record.remove()

    def finish(self) -> list[str]:
        """Write the manifest and the files beside it, of all samples that were written.

        Called once, when every process has written its samples; writing more and finishing again
        extends the store. It waits for samples that are being written, and lists them too.

        Returns
        -------
        list of str
            What there is to tell: fields that lose much by rounding, values that are not finite,
            and as the last line where the store is.

        Raises
        ------
        StoreError
            When no sample was written, samples have different fields, or another run is at work in
            the store.
        SettingsError
            When a StoreWriter with another workdir has finished meanwhile.
        """
        with self._locks.finishing():
            return self._finish()

    def _finish(self) -> list[str]:
        base = self._configs.base
        begun = read_rows(base)
        found = [(sample, read_record(base, sample)) for sample in begun]
        whole = [(sample, fragment) for sample, fragment in found if fragment is not None]
        if not whole:
            raise StoreError(
                "no sample was written, so there is nothing to list. Write some first."
            )
        samples, fragments = [sample for sample, _ in whole], [fragment for _, fragment in whole]
        config = self._configs.of_fields(fragments[0].fields)
        unused = _unused(replace(config, settings=self._configs.settings))
        _check_alike(fragments, config)
        for sample, fragment in whole:
            if fragment.stored_as != config.stored_as_digest:  # an earlier version's
                now = structs.replace(fragment, stored_as=config.stored_as_digest)
                write_atomically(config.fragment(sample.key), now.to_json())
        check_is_as_finished(config, fragments, _WRITE_AGAIN)
        _record_ownership(config, samples)
        summary, _ = merge_fragments(config, samples, [], _WRITE_AGAIN)
        record_finished(config)
        lost = [printable(sample.id) for sample, fragment in found if fragment is None]
        return [*unused, *_lines(summary, lost)]


def _check_alike(fragments: list[Fragment], config: RunConfig) -> None:
    """Check that all samples were written with the fields and settings of a configuration."""
    first = fragments[0]
    alike = {config.stored_as_digest}
    if any(fragment.stored_as not in alike for fragment in fragments):
        alike |= earlier_digests(config)
    others = [f.sample_id for f in fragments if f.stored_as not in alike]
    if first.sample_id in others:  # though the fields are its own
        raise StoreError(
            f"{printable(first.sample_id)} was written with other settings than those of "
            "this StoreWriter. Finish with the settings that all samples were written with, "
            "or write it again."
        )
    if others:
        head = (
            f"{printable(others[0])} was written with other fields or settings than "
            f"{printable(first.sample_id)} ({plural(len(others), 'sample')}, named "
            "below). Write all samples with the same."
        )
        raise StoreError("\n".join([head, *first_lines(map(printable, others))]))


def _unused(config: RunConfig) -> list[str]:
    """Return a line that tells of fields of one's own which no sample has, if there are any."""
    stored = {field.canonical for domain in config.domains for field in domain.fields}
    named = (name for name in config.settings.fields if attribute_named(name) is None)
    unused = [name for name in named if name not in stored]
    if not unused:
        return []
    fields = printable(", ".join(unused))
    return [f"no sample has {fields}, which fields names; to add it, write all samples again"]


def _record_ownership(config: RunConfig, samples: list[Sample]) -> None:
    """Have the store say whose it is, and which groups are ours."""
    store = config.store
    check_lease_can_be_taken(store, (), take_over=config.settings.take_over)
    written = check_store(config, ids_by_split(samples))
    if not config.writer:
        write_atomically(config.place(WRITER), uuid.uuid4().hex.encode(), durable=True)
    groups = {*(written.groups if written else ()), *(sample.id for sample in samples)}
    arrays = known_arrays(config, written)
    record_written(
        store, Written(ORIGIN, (ORIGIN,), frozenset(groups), config.writer, arrays=arrays)
    )


def _lines(summary: Summary, lost: list[str]) -> list[str]:
    """Return what there is to tell, the worst first; `lost` are ids of samples not listed."""
    lines = replace(summary, orphans=[], not_finite=[]).lines()
    if summary.not_finite:
        count = plural(len(summary.not_finite), "sample")
        head = f"warning: values that are not finite, kept as they are, in {count}:"
        lines = [head, *first_lines(map(printable, summary.not_finite)), *lines]
    if summary.orphans:
        count = plural(len(summary.orphans), "group")
        lines.insert(0, f"{count} in the store that the manifest does not list:")
        lines[1:1] = first_lines(map(printable, summary.orphans))
    if lost:  # their process was killed, or could not write
        why = f"its writing did not end ({plural(len(lost), 'sample')})"
        head = f"warning: not listed, because {why}; write it again:"
        lines = [head, *first_lines(lost), *lines]
    return lines
