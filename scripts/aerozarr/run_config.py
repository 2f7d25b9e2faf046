"""What every Snakemake process and every job of a run knows: settings, dataset, and places.

The settings travel from a Snakemake process to its jobs in the environment, not on the command
line or in `params`: Snakemake records those, and storage options may hold credentials.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from aerozarr.config.fields import Domain, domains_of
from aerozarr.config.filemap import is_optional
from aerozarr.config.load_settings import load_settings
from aerozarr.config.settings import EXAMPLE, Settings, settings_from_json, settings_to_json
from aerozarr.environment import SETTINGS, STARTED
from aerozarr.errors import StoreError
from aerozarr.filesystems.files import check_writable, read_or_none, write_atomically
from aerozarr.filesystems.location import import_backend_for
from aerozarr.messages import redacted
from aerozarr.source.datasets import Dataset, resolve_dataset
from aerozarr.source.open_source import open_source
from aerozarr.source.optional import settle_optional
from aerozarr.source.samples import Sample
from aerozarr.source.source import Source
from aerozarr.store.format.layout import (
    BYTES_VERSION,
    BYTES_VERSION_WITHOUT_CHECKSUMS,
    FORMAT_VERSION,
)
from aerozarr.store.write import open_root
from aerozarr.store.write.records import (
    Written,
    check_lease,
    check_lease_can_be_taken,
    end_lease,
    record_written,
)
from aerozarr.store.write.root import StoreRoot

# Of the fragments; raise by hand when what they record changes.
FRAGMENT_VERSION = 2

# Names in the work folder: the sample table, the samples skipped when the source was listed, and
# what the last merge said.
SAMPLES = "samples.tsv"
INCOMPLETE = "incomplete.tsv"
MERGED = "merged.json"
REPORT = "report.html"
# What came of the last run, for programs.
RUN_JSON = "run.json"
# The listing, from the main process, which makes it, to the job that writes the tables; and a
# digest of what these should then hold.
HANDED_OVER = ".listing.json"
EXPECTED_TABLES = ".tables.sha256"
# What tells this run's lease of the store from others', one token a line, the last one first.
LEASE_TOKEN = ".lease"
# What tells this work folder from others.
WRITER = ".writer"
# The marks that the store may have, as this work folder left it, one a line; see `Written`.
_MARK = ".mark"


@dataclass(frozen=True)
class RunConfig:
    """A configuration, resolved.

    Attributes
    ----------
    settings, dataset, domains
        The settings, the dataset that they name, and its domains.
    in_no_sample
        Optional fields of the setting `filemap` that no sample of the source has, each with what
        the setting says; known to the main process.
    records
        The name by which the work folder knows the store; by default a hash of the setting `store`.
        Where it is given, what is recorded of samples does not depend on where the store is.
    """

    settings: Settings
    dataset: Dataset
    domains: tuple[Domain, ...]
    in_no_sample: tuple[str, ...] = ()
    records: str = ""

    @classmethod
    def of(cls, settings: Settings) -> RunConfig:
        """Resolve settings.

        Raises
        ------
        SettingsError
            When they name no dataset, or one that does not fit them.
        """
        dataset = resolve_dataset(settings)
        return cls(settings, dataset, domains_of(dataset.filemap, settings))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> RunConfig:
        """Check a Snakemake configuration, and hand it on to the jobs of this process.

        Raises
        ------
        SettingsError
            When a setting cannot be used.
        """
        settings = load_settings(config)
        dataset = resolve_dataset(settings)
        source = settings.source_url or settings.source_root
        settled = settings if source is None else settle_optional(settings, dataset, source)
        said = settings.filemap or {}
        asked = [name for name, text in said.items() if is_optional(text)]
        if settled is not settings:
            settings, dataset = settled, resolve_dataset(settled)
        in_no_sample = tuple(
            f"{name} ({said[name]})" for name in asked if name not in dataset.filemap
        )
        run_config = cls(settings, dataset, domains_of(dataset.filemap, settings), in_no_sample)
        os.environ[SETTINGS] = settings_to_json(settings)
        os.environ.setdefault(STARTED, datetime.now(UTC).isoformat(timespec="seconds"))
        return run_config

    @staticmethod
    def is_in_environment() -> bool:
        """Whether a Snakemake process handed its configuration on."""
        return SETTINGS in os.environ

    @classmethod
    def from_environment(cls) -> RunConfig:
        """Return the configuration that the Snakemake process handed on.

        Raises
        ------
        StoreError
            When there is none: the script was not started by Snakemake.
        """
        text = os.environ.get(SETTINGS)
        if text is None:
            raise StoreError(
                f"{SETTINGS} is not set. Start this through snakemake, or by hand: "
                "PYTHONPATH=scripts python -m aerozarr.workflow.by_hand --help"
            )
        return _resolved(text)

    @property
    def workdir(self) -> str:
        """The work folder, as Snakemake's file patterns name it."""
        return self.settings.workdir.rstrip("/") or "/"

    def place(self, name: str) -> Path:
        """Return the path of something in the work folder."""
        return Path(self.workdir, name)

    @cached_property
    def fragments(self) -> str:
        """The folder of the fragments, as Snakemake's file patterns name it.

        Each store has one of its own, so that a work folder can serve several in turn.
        """
        return str(self.place(f"fragments/{self.records or tag_of(self.settings.store)}"))

    def fragment(self, key: str) -> Path:
        """Return the path of a sample's fragment."""
        return Path(self.fragment_path(key))

    def fragment_path(self, key: str) -> str:
        """Return the path of a sample's fragment as a text, of which thousands take no time."""
        return f"{self.fragments}/{key}.json"

    def set_aside(self, key: str) -> Path:
        """Return where a sample's fragment is while some of its fields are converted anew."""
        return Path(self.fragments, ".set_aside", f"{key}.json")

    def made_of(self, sample: Sample) -> dict[str, str]:
        """Return by canonical name what changes when a field's stored bytes may do."""
        return {
            name: _short_hash(f"{text}\n{sample.print_of(*files)}")
            for name, (files, text) in self.field_texts.items()
        }

    @property
    def is_example(self) -> bool:
        """Whether the source is the bundled example, which the workflow makes itself."""
        return self.settings.dataset == EXAMPLE and self.source_setting is None

    @property
    def source_setting(self) -> str | None:
        """The source that is set, or None."""
        return self.settings.source_url or self.settings.source_root

    @property
    def source_url(self) -> str:
        """The folder or URL that is listed."""
        return self.source_setting or str(self.place("example_source"))

    @cached_property
    def source(self) -> Source:
        """The source; it is opened when it is first asked for something."""
        return open_source(self.settings, self.dataset, self.source_url)

    @cached_property
    def store(self) -> StoreRoot:
        """The store.

        Raises
        ------
        SettingsError
            When it cannot be opened, or is local and cannot be a folder that is written to.
        """
        settings = self.settings
        store = open_root(settings.store, settings.storage_options, owner=self.workdir)
        if store.location.is_local:
            check_writable("store", Path(store.location.path))
        return store

    def check_lease(self) -> None:
        """Check that no other run has taken the store over since this one began.

        A run that found nothing to write has taken no lease; what it writes all the same, because a
        rule or a file was forced, it may write while no other run is at work.

        Raises
        ------
        StoreError
            When one has, or is.
        """
        tokens = self.lease_tokens
        if tokens:
            check_lease(self.store, tokens[0])
        else:
            check_lease_can_be_taken(self.store, (), take_over=self.settings.take_over)

    def end_lease(self) -> None:
        """Let other runs write to the store: this one has written all."""
        for token in self.lease_tokens[:1]:
            end_lease(self.store, token)
            self.place(LEASE_TOKEN).unlink(missing_ok=True)

    @property
    def lease_tokens(self) -> list[str]:
        """What tells the store's leases of runs in this work folder; the last run's first."""
        return (read_or_none(self.place(LEASE_TOKEN)) or b"").decode("utf-8", "replace").split()

    @property
    def writer(self) -> str:
        """What tells the runs of this work folder to this store from all others.

        Empty while no run has begun here. It goes with the name by which the settings call the
        store, as the fragments do: under another name, this work folder knows nothing of it.
        """
        own = (read_or_none(self.place(WRITER)) or b"").decode("ascii", "replace").strip()
        return f"{own}-{Path(self.fragments).name}" if own else ""

    @property
    def marks(self) -> list[str]:
        """The marks of which the store has one, unless it was put back; see `Written`.

        Empty while no run of a version that gives marks has begun here.
        """
        return (read_or_none(self._mark_place) or b"").decode("ascii", "replace").split()

    @property
    def _mark_place(self) -> Path:
        return self.place(f"{_MARK}-{Path(self.fragments).name}")

    def record_written(self, written: Written) -> None:
        """Have the store record what runs wrote, with a mark that no copy of before has."""
        mark = uuid.uuid4().hex
        # A run that is killed between the two leaves a mark that is known here.
        write_atomically(self._mark_place, "\n".join([mark, *self.marks]).encode(), durable=True)
        record_written(self.store, replace(written, mark=mark))
        write_atomically(self._mark_place, mark.encode(), durable=True)

    def prepare(self) -> None:
        """Import what source and store need: for a process that forks one child a job."""
        for place in (self.source_url, self.settings.store):
            import_backend_for(place, self.settings.storage_options)

    @property
    def stored_as(self) -> str:
        """All that decides a sample's stored bytes, and where they are, as one text.

        One text and not many values, because Snakemake compares values as a set: two numbers
        that change places would go unnoticed.
        """
        content = {
            **self._stored_alike,
            "domains": [domain.described() for domain in self.domains],
        }
        scalars = [scalar.described() for scalar in self.dataset.scalars]
        return _text_of({**content, "scalars": scalars} if scalars else content)

    @cached_property
    def stored_as_digest(self) -> str:
        """A hash of `stored_as`."""
        return _short_hash(self.stored_as)

    @cached_property
    def _stored_alike(self) -> dict[str, Any]:
        """What decides the stored bytes of all fields."""
        s = self.settings
        return {
            "bytes_version": (
                BYTES_VERSION if s.chunk_checksums else BYTES_VERSION_WITHOUT_CHECKSUMS
            ),
            "fragment_version": FRAGMENT_VERSION,
            "store": "" if self.records else redacted(s.store).rstrip("/"),
            "shuffle_seed": s.shuffle_seed,
            "chunk_points": s.chunk_points,
            "shard_points": s.shard_points,
            "compression": s.compression.label,
            "class": self.source.class_name,
            # Left out where there are none, as it was before there could be any.
            **({"class_args": s.dataset_args} if s.dataset_args else {}),
        }

    @cached_property
    def field_texts(self) -> dict[str, tuple[tuple[str, ...], str]]:
        """By canonical name: a field's files, and a text of all settings that decide its bytes.

        Its unit does not: that is metadata, which is written anew whenever anything is.
        """
        texts: dict[str, tuple[tuple[str, ...], str]] = {}
        for domain in self.domains:
            keep = domain.keep_points
            alike = self._stored_alike | ({} if keep is None else {"keep_points": keep})
            for field in domain.fields:
                said = asdict(field) | {"unit": None, "long_name": None}
                if not field.patches:
                    del said["patches"]  # as it was when there were none
                texts[field.canonical] = field.files, _text_of({**alike, "field": said})
        return texts

    @property
    def listed_as(self) -> str:
        """All that decides the manifest's bytes besides the fragments, as one text."""
        s = self.settings
        return json.dumps(
            {
                "format_version": FORMAT_VERSION,
                "store": redacted(s.store).rstrip("/"),
                "dataset_name": s.dataset_name or self.dataset.name,
                "shuffle_seed": s.shuffle_seed,
                "coords_dtype": s.coords_dtype,
                "values_dtype": s.values_dtype,
                "compression": s.compression.label,
                "domains": [domain.described() for domain in self.domains],
                "on_broken_sample": s.on_broken_sample,
            },
            sort_keys=True,
        )


def tag_of(store: str) -> str:
    """Return the name by which a work folder knows a store of some place."""
    return hashlib.sha256(store.rstrip("/").encode()).hexdigest()[:8]


def _text_of(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, default=str)


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def _resolved(text: str) -> RunConfig:
    """Resolve settings once in a process: the fork server does so before it forks."""
    return RunConfig.of(settings_from_json(text))
