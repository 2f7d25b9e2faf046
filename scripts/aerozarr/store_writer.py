"""Writing a store from arrays in memory: what a solver's exporter or a script of one's own calls.

It is the code of the workflow's jobs: a sample becomes visible whole or not at all, and the
manifest lists what is on the disk.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import structs

from aerozarr.config.fields import Field, domains_of
from aerozarr.config.filemap import ATTRIBUTES, KNOWN, attribute_named
from aerozarr.config.load_settings import load_settings
from aerozarr.config.scalars import Scalar, scalars_of
from aerozarr.convert.fragment import read_fragment
from aerozarr.convert.kept import Kept
from aerozarr.convert.sample import convert
from aerozarr.errors import BrokenSample, SettingsError, StoreError
from aerozarr.filesystems.files import write_atomically
from aerozarr.filesystems.location import is_url
from aerozarr.merge.merge_manifest import merge_fragments
from aerozarr.messages import did_you_mean, first_lines, plural, printable, redacted
from aerozarr.run_config import WRITER, RunConfig
from aerozarr.source.datasets import Dataset
from aerozarr.source.samples import Sample, key_of, why_invalid
from aerozarr.store.format.layout import MANIFEST, RECORDS_FOLDER
from aerozarr.store.format.manifest import Manifest
from aerozarr.store.write.records import (
    Written,
    check_lease_can_be_taken,
    read_written,
    record_written,
)

# What a store records as its dataset and source.
_ORIGIN = "StoreWriter"
# The settings that say where samples come from; here the caller brings them.
_NOT_HERE = frozenset(
    {
        *("dataset", "dataset_args", "filemap", "source_url", "source_root", "split_files"),
        *(
            "split_manifest",
            "categories",
            "limit",
            "exclude",
            "on_broken_sample",
            "verify",
            "store",
            "workdir",
        ),
    }
)
# Settings of a scalar that say where it is.
_PLACES = frozenset({"file", "table", "id_column", "id_format"})


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
        if not is_url(str(place)):  # one name for one store: fragments go by it
            place = os.path.abspath(place)
        given = dict(settings or {})
        wrong = sorted(_NOT_HERE & given.keys())
        if wrong:
            raise SettingsError(
                f"{wrong[0]} is no setting of a StoreWriter, which takes samples from its caller. "
                "Leave it out."
            )
        if workdir is None and is_url(str(place)):
            raise SettingsError("workdir is not set. A store behind a URL needs one: a folder.")
        workdir = f"{place}/{RECORDS_FOLDER}/writer" if workdir is None else workdir
        # Fields of one's own have no file here; their name stands for it.
        own = {
            name: said if attribute_named(name) or said is None else {"file": name, **said}
            for name, said in dict(given.pop("fields", {})).items()
        }
        scalars = _own_scalars(given.pop("scalars", {}))
        self._settings = load_settings(
            {**given, "fields": own, "source_url": _ORIGIN, "dataset": "example"}
            | {"filemap": {}, "store": str(place), "workdir": str(workdir), "scalars": scalars}
        )
        fields = {*ATTRIBUTES, *KNOWN, *self._settings.fields}
        self._scalars = scalars_of(self._settings.scalars, where="scalars", fields=fields)
        self._configs: dict[tuple[str, ...], RunConfig] = {}
        self._check_ours()

    def write(
        self,
        sample_id: str,
        arrays: Mapping[str, Any],
        *,
        split: str | None = None,
        scalars: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a sample, in place of one of that id that was written before.

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
            When an array or a scalar cannot be stored: then what was written of the sample before
            stays as it is.
        StoreError
            When its id cannot be a place in the store, or a group is there that is not ours.
        SettingsError
            When there is no such field or scalar, a scalar is missing, or a domain lacks its
            positions.
        """
        why = why_invalid(sample_id)
        if why is not None:
            raise StoreError(f"{printable(sample_id)!r} cannot be a sample's id: {why}.")
        given = dict(scalars or {})
        self._check_scalars(given)
        config = self._config_for(arrays)
        key = key_of(sample_id)
        row = self._row(config, key)
        if not row.exists() and config.store.has_group(sample_id):
            self._check_group(config, sample_id)
        before = row.read_bytes() if row.exists() else None
        # Before the group, so that it is known as ours should this process be killed.
        write_atomically(row, json.dumps({"id": sample_id, "split": split or ""}).encode())
        sample = Sample(key, sample_id, split or "", -1, (), (), "")
        fragment = config.fragment(key)
        kept = _set_aside(config, key)
        made = convert(
            sample,
            _loader(arrays, given),
            config.domains,
            config.settings,
            config.store,
            config.dataset.scalars,
            kept,
        )
        if made.skipped is not None:
            if kept is not None and before is not None:  # all is as it was
                write_atomically(row, before)
                kept.record.replace(fragment)
            else:
                row.unlink()
            skipped = made.skipped
            raise BrokenSample(
                field=skipped.field, file=sample_id, cause=skipped.cause, remedy=skipped.remedy
            )
        size = sum(int(array.nbytes) for array in arrays.values())
        made = structs.replace(made, stored_as=config.stored_as_digest, source_bytes=size)
        write_atomically(fragment, made.to_json())

    def finish(self) -> list[str]:
        """Write the manifest and the files beside it, of all samples that were written.

        Called once, when every process has written its samples; writing more and finishing again
        extends the store.

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
        folder = Path(self._settings.workdir, "rows")
        rows = [json.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))]
        order = {name: number for number, name in enumerate(self._settings.splits)}
        rows.sort(key=lambda row: (order.get(row["split"], len(order)), row["split"], row["id"]))
        samples = [
            Sample(key_of(row["id"]), row["id"], row["split"], -1, (), (), "") for row in rows
        ]
        any_config = self._base()
        begun = samples
        samples = [each for each in begun if any_config.fragment(each.key).exists()]
        if not samples:
            raise StoreError(
                "no sample was written, so there is nothing to list. Write some first."
            )
        fragments = [read_fragment(any_config.fragment(sample.key)) for sample in samples]
        config = self._config_for(fragments[0].fields)
        for fragment in fragments:
            if fragment.stored_as != config.stored_as_digest:
                if fragment is fragments[0]:  # the fields are its own
                    raise StoreError(
                        f"{printable(fragment.sample_id)} was written with other settings than "
                        "those of this StoreWriter. Finish with the settings that all samples "
                        "were written with, or write it again."
                    )
                raise StoreError(
                    f"{printable(fragment.sample_id)} was written with other fields or settings "
                    f"than {printable(fragments[0].sample_id)}. Write all samples with the same."
                )
        store = config.store
        check_lease_can_be_taken(store, (), take_over=config.settings.take_over)
        written = read_written(store)
        self._check_workdir(config, written)
        if not config.writer:
            write_atomically(config.place(WRITER), uuid.uuid4().hex.encode(), durable=True)
        groups = {*(written.groups if written else ()), *(sample.id for sample in samples)}
        record_written(store, Written(_ORIGIN, (_ORIGIN,), frozenset(groups), config.writer))
        summary, _ = merge_fragments(config, samples, [])
        lines = replace(summary, orphans=[]).lines()
        if summary.orphans:
            count = plural(len(summary.orphans), "group")
            lines.insert(0, f"{count} in the store that the manifest does not list:")
            lines[1:1] = first_lines(map(printable, summary.orphans))
        if lost := [printable(each.id) for each in begun if each not in samples]:
            # Their process was killed, or could not write.
            why = f"its writing did not end ({plural(len(lost), 'sample')})"
            head = f"warning: not listed, because {why}; write it again:"
            lines = [head, *first_lines(lost), *lines]
        return lines

    def _check_ours(self) -> None:
        config = self._base()
        written = read_written(config.store)
        self._check_workdir(config, written)
        if written is None or written.dataset == _ORIGIN or config.settings.take_over:
            return
        raise SettingsError(
            f"store: {redacted(config.settings.store)!r} holds "
            f"{printable(written.dataset or 'a dataset that is not known')}, which no StoreWriter "
            "wrote. Give a place of its own; if what is there may be replaced, set take_over: true."
        )

    def _check_workdir(self, config: RunConfig, written: Written | None) -> None:
        """Refuse a store that was finished with another workdir, whose samples this one lacks."""
        if written is None or written.dataset != _ORIGIN or config.settings.take_over:
            return
        if written.writer in ("", _ORIGIN):
            # Earlier versions did not say which workdir it was: what the manifest lists has to do.
            is_known = self._knows_all_listed(config)
        else:
            is_known = written.writer == config.writer
        if is_known:
            return
        raise SettingsError(
            f"workdir: {config.workdir!r} is not the one that "
            f"{redacted(config.settings.store)!r} was finished with, or the store had another name "
            "then, so this StoreWriter would take out of the manifest what it does not know. Give "
            "the workdir of before (into it, the folders rows and fragments of another may be "
            "copied); to list what is written with this one alone, set take_over: true."
        )

    def _knows_all_listed(self, config: RunConfig) -> bool:
        content = config.store.read(MANIFEST)
        if content is None:
            return True
        try:
            listed = Manifest.parse(content, MANIFEST).samples
        except StoreError:
            return False
        return all(self._row(config, key_of(sample_id)).exists() for sample_id in listed)

    def _check_scalars(self, given: Mapping[str, Any]) -> None:
        """Refuse scalars that the setting does not name, and the lack of one that it does."""
        known = [scalar.name for scalar in self._scalars]
        for name in given:
            if name not in known:
                raise SettingsError(
                    f"{name!r} is no scalar.{did_you_mean(name, known)} Name it in the setting "
                    f"scalars: {{{name!r}: {{}}}}, or take it out."
                )
        for name in known:
            if name not in given:
                raise SettingsError(
                    f"the scalar {name} is not given, and every sample has to have it. Give "
                    f"scalars={{{name!r}: …}}, with NaN where there is none."
                )

    def _check_group(self, config: RunConfig, sample_id: str) -> None:
        written = read_written(config.store)
        self._check_workdir(config, written)
        if config.settings.take_over or (written is not None and sample_id in written.groups):
            return
        raise StoreError(
            f"store: {redacted(config.settings.store)!r} holds a group of {printable(sample_id)} "
            "that no StoreWriter wrote. Give a place of its own, or set take_over: true."
        )

    def _base(self) -> RunConfig:
        return self._config_of({})

    def _row(self, config: RunConfig, key: str) -> Path:
        return config.place(f"rows/{key}.json")

    def _config_for(self, names: Mapping[str, Any]) -> RunConfig:
        """Return the configuration of samples with some fields."""
        filemap: dict[str, str] = {}
        for name in names:
            attribute = attribute_named(name)
            if attribute is not None:
                if attribute in filemap:
                    raise SettingsError(
                        f"{name!r} and {filemap[attribute]!r} are two names of one field. Give it "
                        "once."
                    )
                filemap[attribute] = name
            elif name not in self._settings.fields:
                known = [*ATTRIBUTES, *self._settings.fields]
                raise SettingsError(
                    f"{name!r} is no field.{did_you_mean(name, known)} Name it in the setting "
                    f"fields: {{{name!r}: {{'width': …}}}}, or take it out."
                )
        ordered = {name: filemap[name] for name in ATTRIBUTES if name in filemap}
        canonical = {f"{ATTRIBUTES[name].domain}_{ATTRIBUTES[name].name}" for name in ordered}
        return self._config_of(ordered, canonical | {*names})

    def _config_of(self, filemap: dict[str, str], names: set[str] | None = None) -> RunConfig:
        key = (*filemap, *sorted(names or ()))
        if key not in self._configs:
            said = {
                name: one
                for name, one in self._settings.fields.items()
                if names is None or name in names
            }
            settings = self._settings.model_copy(update={"fields": said})
            domains = domains_of(filemap, settings) if names is not None else ()
            dataset = Dataset("custom", filemap, scalars=self._scalars)
            self._configs[key] = RunConfig(settings, dataset, domains)
        return self._configs[key]


def _set_aside(config: RunConfig, key: str) -> Kept | None:
    """Set aside what is recorded of a sample that is written again; None when nothing is.

    Should this process be killed, it would speak of another group.
    """
    fragment, record = config.fragment(key), config.set_aside(key)
    try:
        former = read_fragment(fragment)
    except StoreError:
        fragment.unlink(missing_ok=True)
        return None
    record.parent.mkdir(exist_ok=True)
    fragment.replace(record)
    return Kept(former, frozenset(), record)


def _own_scalars(said: Any) -> Any:
    """Return the setting `scalars` of a StoreWriter: they have no file; their name stands for it.

    Raises
    ------
    SettingsError
        When one names a file or a table.
    """
    if not isinstance(said, Mapping):
        return said  # which is told of
    own = {}
    for name, one in said.items():
        if isinstance(one, str) or (isinstance(one, Mapping) and not _PLACES.isdisjoint(one)):
            raise SettingsError(
                f"scalars: {name}: {one!r} names a file, and a StoreWriter takes scalars from its "
                f"caller. Write {{{name!r}: {{}}}}, or with unit, long_name and kind."
            )
        own[name] = {"file": name, **one} if isinstance(one, Mapping) else one
    return own


def _plain(value: Any) -> Any:
    """Return a scalar of numpy as Python has it, with its exact value; any other as it is."""
    if isinstance(value, np.ndarray) and value.dtype == bool and value.ndim:
        value = value.astype(int)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _loader(arrays: Mapping[str, Any], scalars: Mapping[str, Any]) -> Any:
    """Return what gives a field's array, as a tensor, and a scalar's value."""

    def load(field: Field | Scalar) -> object:
        if isinstance(field, Scalar):
            return _plain(scalars[field.name])
        array = arrays[field.file]
        if isinstance(array, torch.Tensor):
            return array.detach().cpu()
        if not isinstance(array, np.ndarray):
            return array  # which is told of
        # numpy's longdouble has more digits than any dtype of torch.
        if array.dtype.kind not in "fiubc" or array.dtype.type in (np.longdouble, np.clongdouble):
            raise BrokenSample(
                field=field.canonical,
                file=field.file,
                cause=f"its values are of no number type ({array.dtype})",
                remedy="give an array of floats",
            )
        native = np.asarray(array, array.dtype.newbyteorder("="))
        # torch takes neither arrays that cannot be written to nor negative strides.
        is_plain = native.flags.writeable and all(stride >= 0 for stride in native.strides)
        return torch.from_numpy(native if is_plain else native.copy())

    return load
