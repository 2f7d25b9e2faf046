"""Removing groups that the manifest does not list."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from aerozarr.errors import StoreError
from aerozarr.filesystems.files import write_atomically
from aerozarr.merge.summary import read_summary
from aerozarr.messages import first_lines, plural, printable, redacted
from aerozarr.run_config import RunConfig
from aerozarr.store.format.layout import MANIFEST
from aerozarr.store.format.manifest import Manifest
from aerozarr.store.write.records import check_lease_can_be_taken, read_written, record_written
from aerozarr.store.write.root import StoreRoot


def remove_orphans(run_config: RunConfig, *, merged: Path) -> None:
    """Remove orphans, and take them out of the summary: the job of `remove_orphans`."""
    store = run_config.store
    check_lease_can_be_taken(
        store, run_config.lease_tokens, take_over=run_config.settings.take_over
    )
    removed = remove_groups(store)
    summary = read_summary(merged)
    if summary is not None:
        write_atomically(merged, replace(summary, orphans=[]).to_json().encode("utf-8"))
    head = f"{plural(len(removed), 'group')} removed that the manifest does not list"
    print(head, *first_lines(map(printable, removed)), sep="\n", file=sys.stderr)


def remove_groups(store: StoreRoot) -> list[str]:
    """Remove the groups that the manifest does not list, and return their ids; see `orphans_of`."""
    orphans = orphans_of(store)
    for sample_id in orphans:
        store.remove_group(sample_id)
    written = read_written(store)
    if orphans and written is not None:
        record_written(store, replace(written, groups=written.groups - {*orphans}))
    store.clean()
    return orphans


def orphans_of(store: StoreRoot) -> list[str]:
    """Return the ids of groups that this store's runs wrote and its manifest does not list.

    Raises
    ------
    StoreError
        When the store has no manifest, or one that is damaged: then nothing says which groups are
        wanted.
    """
    content = store.read(MANIFEST)
    place = redacted(store.location.url)
    if content is None:
        raise StoreError(
            f"{place} has no {MANIFEST}, so nothing says which groups are wanted. "
            "Run snakemake first."
        )
    listed = Manifest.parse(content, f"{place}/{MANIFEST}").samples.keys()
    written = read_written(store)
    ours = written.groups if written is not None else frozenset()
    return sorted((store.group_ids() & ours) - listed)
