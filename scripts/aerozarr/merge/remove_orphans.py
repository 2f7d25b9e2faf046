"""Removing groups that the manifest does not list."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from aerozarr.convert.known_arrays import known_arrays
from aerozarr.errors import StoreError
from aerozarr.filesystems.files import write_atomically
from aerozarr.merge.summary import read_summary
from aerozarr.messages import first_lines, plural, printable, redacted
from aerozarr.run_config import RunConfig
from aerozarr.store.format.layout import MANIFEST, group_path, is_foreign_in_group
from aerozarr.store.format.manifest import Manifest
from aerozarr.store.write.records import check_lease_can_be_taken, read_written, record_written
from aerozarr.store.write.root import StoreRoot


def remove_orphans(run_config: RunConfig, *, merged: Path) -> None:
    """Remove orphans, and take them out of the summary: the job of `remove_orphans`.

    Raises
    ------
    StoreError
        When there were orphans that were not removed, because they hold files of somebody's own.
    """
    store = run_config.store
    check_lease_can_be_taken(
        store, run_config.lease_tokens, take_over=run_config.settings.take_over
    )
    removed, kept = remove_groups(run_config)
    summary = read_summary(merged)
    if summary is not None:
        write_atomically(merged, replace(summary, orphans=[*kept]).to_json().encode("utf-8"))
    head = f"{plural(len(removed), 'group')} removed that the manifest does not list"
    print(head, *first_lines(map(printable, removed)), sep="\n", file=sys.stderr)
    if kept:
        raise StoreError(kept_groups(kept))


def remove_groups(run_config: RunConfig) -> tuple[list[str], dict[str, str]]:
    """Remove the groups that the manifest does not list; see `orphans_of`.

    Returns
    -------
    removed, kept
        The ids of those that were removed; and of those that were not, each with a file in it that
        no run wrote.
    """
    store = run_config.store
    orphans = orphans_of(store)
    kept = foreign_files(run_config, orphans)
    removed = [sample_id for sample_id in orphans if sample_id not in kept]
    for sample_id in removed:
        store.remove_group(sample_id)
    written = read_written(store)
    if removed and written is not None:
        record_written(store, replace(written, groups=written.groups - {*removed}))
    store.clean()
    return removed, kept


def foreign_files(run_config: RunConfig, sample_ids: Collection[str]) -> dict[str, str]:
    """Return the samples in whose groups lie files that no run wrote, each with one of them."""
    if not sample_ids:
        return {}
    store, found = run_config.store, {}
    arrays = known_arrays(run_config, read_written(store))
    for sample_id in sample_ids:
        files = store.files_of(sample_id)
        foreign = sorted(path for path in files if is_foreign_in_group(path, arrays))
        if foreign:
            found[sample_id] = foreign[0]
    return found


def kept_groups(kept: Mapping[str, str]) -> str:
    """Return what to say of groups that are not removed."""
    head = (
        f"{plural(len(kept), 'group')} not removed, because of files that aerozarr did not write; "
        "move these away, and run snakemake remove_orphans again"
    )
    lines = (printable(f"{group_path(sample_id)}/{path}") for sample_id, path in kept.items())
    return "\n".join([head, *first_lines(lines)])


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
    return sorted(store.visible_of(ours) - listed)
