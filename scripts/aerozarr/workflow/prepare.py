"""What the main Snakemake process does before it builds the graph of jobs.

It lists the source, once a run, and decides what is to be done (`reconcile`). If jobs are going to
run, it also locks the work folder, and removes from it what does not hold any more.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fsspec import available_protocols

from aerozarr.convert.whole_groups import Looking
from aerozarr.errors import SettingsError, StoreError
from aerozarr.filesystems.files import check_writable, lock, write_atomically
from aerozarr.filesystems.location import Location
from aerozarr.merge.summary import digest_of_tables
from aerozarr.messages import did_you_mean, plural, redacted
from aerozarr.run_config import (
    EXPECTED_TABLES,
    HANDED_OVER,
    INCOMPLETE,
    MERGED,
    REPORT,
    RUN_JSON,
    SAMPLES,
    RunConfig,
)
from aerozarr.source.samples import Listing
from aerozarr.store.write.local_files import LocalFiles
from aerozarr.verify.repair import Planned, begin_repair
from aerozarr.workflow.ownership import (
    begin_writing,
    check_store_is_ours,
    checked_groups,
)
from aerozarr.workflow.put_back import compared_if_put_back
from aerozarr.workflow.reconcile import forget, look, plan_run, renewed_fragments
from aerozarr.workflow.replaced import rewrite_fragments
from aerozarr.workflow.slurm import end_left_jobs
from aerozarr.workflow.state import State

# Kept for the life of the process: closing the file gives the lock up.
_locks: list[IO[str]] = []


# The lock of the work folder, which is there from its first run on.
_LOCK = ".lock"
# What runs remove from the work folder, or write anew, whatever it holds.
_REPLACED = (
    *(SAMPLES, INCOMPLETE, MERGED, REPORT, RUN_JSON, "fragments", "estimate"),
    *("verification", "verify.tsv", "repair.tsv", "adoption", "adopt.tsv"),
)

# Targets that convert and merge nothing, whatever is out of step.
_LEAVE_STORE = frozenset({"estimate", "remove_orphans"})


@dataclass(frozen=True)
class Prepared:
    """What a run knows once it is prepared.

    Attributes
    ----------
    source_digest
        Changes when the source does; `example` for the example, which is made by a job.
    messages
        What the person should know before the jobs start.
    forecast
        What a run would do; empty for the example while its samples are not there yet.
    to_convert
        Keys of the samples to convert; None for the example, whose samples a job makes.
    has_nothing_to_do
        Whether there is nothing to convert, and nothing to merge.
    """

    source_digest: str
    messages: Sequence[str]
    forecast: str
    to_convert: frozenset[str] | None = None
    has_nothing_to_do: bool = False


def prepare_run(
    run_config: RunConfig,
    *,
    runs_jobs: bool,
    targets: Collection[str] = (),
    forced: Collection[str] = (),
    last: Collection[str] = (),
    repair: Planned | None = None,
) -> Prepared:
    """List the source, decide what is to be done, and make the work folder ready for it.

    Parameters
    ----------
    run_config
        The configuration.
    runs_jobs
        False for a dry run and whatever else only looks: then nothing is written or removed.
    targets
        What the command line asks for; nothing for all. Those of `_LEAVE_STORE` leave store and
        fragments as they are.
    forced, last
        Rules that `--forcerun` and `--until` name; see `plan_run`.
    repair
        What is to be mended, of a run that does so.

    Raises
    ------
    SettingsError
        When the source cannot be listed, or a folder cannot be written.
    StoreError
        When another run is at work in the same work folder.
    """
    messages = _check_urls(run_config)
    store = run_config.store  # opened in any case: a dry run should say that it cannot be
    looking = Looking(run_config.fragments, store.local_root)
    listing = None
    if not run_config.is_example:
        listing = run_config.source.list()
    if _is_same(store.location, run_config.source_url):
        raise SettingsError(
            f"store: {redacted(store.location.url)!r} is the source itself. Give the "
            "store a folder or URL of its own."
        )
    store.check()
    if runs_jobs:
        messages += acquire_workdir(run_config)
        store.clean()
    # Listed once, because that takes a request for every thousand objects.
    files = store.all_files()
    state = look(run_config, listing, files)
    if isinstance(files, LocalFiles):
        files.take(looking.whole())
    state = compared_if_put_back(run_config, checked_groups(run_config, state))
    damaged: frozenset[str] = frozenset()
    if repair is not None and not repair.is_begun:
        _check_is_known(run_config, state)
        damaged = repair.repair.keys
        forced = {*forced, *(["merge_manifest"] if repair.repair.merges else [])}
    spared = repair.repair.spared if repair is not None else frozenset[str]()
    plan = plan_run(run_config, state, forced=forced, last=last, damaged=damaged, spared=spared)
    leaves_store = bool(targets) and set(targets) <= _LEAVE_STORE
    if plan.writes and not leaves_store:
        written = check_store_is_ours(run_config, state, plan)
        if runs_jobs:
            begin_writing(run_config, written)
    if runs_jobs and repair is not None:
        begin_repair(run_config, repair)  # first: what is forgotten next is known by it alone
    if runs_jobs and not leaves_store:
        forget(run_config, plan)
        rewrite_fragments(run_config, renewed_fragments(run_config, state, plan))
    if runs_jobs:
        hand_over(run_config, listing, state)
    messages += plan.messages
    if runs_jobs and not leaves_store:
        messages += plan.told_of_fields
    if listing is None:
        return Prepared("example", messages, plan.forecast if state.samples else "")
    return Prepared(
        listing.digest(),
        [*listing_messages(listing, run_config), *messages],
        plan.forecast,
        frozenset(plan.convert),
        not plan.writes,
    )


def _check_is_known(run_config: RunConfig, state: State) -> None:
    """Refuse to mend a store of which this work folder knows nothing: all of it would be anew."""
    if not any(state.fragments.values()):
        raise StoreError(
            f"{run_config.workdir} knows nothing of what was stored, so that repair would convert "
            "all of it. Set workdir to the work folder of the runs that wrote the store; or run "
            "snakemake adopt, which takes up what is the source's, and then snakemake, which "
            "converts the rest."
        )


def hand_over(run_config: RunConfig, listing: Listing | None, state: State) -> None:
    """Write down what the jobs of this run need to know of the listing."""
    expected = run_config.place(EXPECTED_TABLES)
    if listing is None:
        expected.unlink(missing_ok=True)
        return
    write_atomically(run_config.place(HANDED_OVER), listing.to_json().encode())
    write_atomically(expected, digest_of_tables(state.tables).encode())


def _is_same(store: Location, source: str) -> bool:
    if store.is_local:
        return os.path.realpath(store.path) == os.path.realpath(source)
    return store.url.rstrip("/") == source.rstrip("/")


def _check_urls(run_config: RunConfig) -> list[str]:
    """Refuse places that no two processes share; return a warning of options for nothing."""
    settings = run_config.settings
    for key, url in (("source_url", settings.source_url), ("store", settings.store)):
        if url and url.startswith("memory://"):
            raise SettingsError(
                f"{key}: {url!r} is the memory of one process, and each sample is converted by a "
                "process of its own. Give a folder or another URL."
            )
    known = available_protocols()
    unknown = [name for name in settings.storage_options if name not in known]
    return [
        f"warning: storage_options: {name!r} is no protocol.{did_you_mean(name, known)}"
        for name in unknown
    ]


def acquire_workdir(run_config: RunConfig) -> list[str]:
    """Make the work folder, lock it for the life of this process, and end what others left at work.

    Returns
    -------
    list of str
        What the person should know.

    Raises
    ------
    SettingsError
        When the folder cannot be written, or holds what runs would replace and none wrote.
    StoreError
        When another run is at work in it, or jobs that one left cannot be ended.
    """
    check_writable("workdir", Path(run_config.workdir))
    _check_workdir_is_ours(run_config)
    Path(run_config.workdir).mkdir(parents=True, exist_ok=True)
    _locks.append(lock(run_config.place(_LOCK)))
    return end_left_jobs(Path(run_config.workdir))


def _check_workdir_is_ours(run_config: RunConfig) -> None:
    """Check that a folder without a run's lock holds nothing that a run removes or replaces.

    It may be any folder: the working directory, with tables and results of somebody's own.
    """
    if run_config.place(_LOCK).exists():
        return
    found = [name for name in _REPLACED if run_config.place(name).exists()]
    if found:
        raise SettingsError(
            f"workdir: {run_config.workdir!r} holds {', '.join(found)}, which runs would replace, "
            "and no run has been at work there. Set workdir to a folder of its own. (If it is a "
            f"work folder that was copied without hidden files, make an empty {_LOCK} in it.)"
        )


def _in_no_sample(listing: Listing, run_config: RunConfig) -> list[str]:
    """Return what to tell of optional fields and scalars that the settings name in vain."""
    told = [
        f"filemap: no sample has {name}, so the store is without"
        for name in run_config.in_no_sample
    ]
    asked = [scalar for scalar in run_config.dataset.scalars if scalar.is_optional]
    if asked and listing.samples:
        there = {
            scalar for sample in listing.samples for scalar in run_config.source.scalars_of(sample)
        }
        told += [
            f"scalars: no sample has {scalar.name} ({scalar.file}), so the store is without"
            for scalar in asked
            if scalar not in there
        ]
    return told


def listing_messages(listing: Listing, run_config: RunConfig) -> list[str]:
    """Return what the person should know of a listing, and how many samples it has."""
    messages = [f"warning: {warning}" for warning in listing.warnings]
    messages += [f"warning: {each}" for each in _in_no_sample(listing, run_config)]
    skipped = f", {len(listing.skipped)} skipped" if listing.skipped else ""
    name = run_config.settings.dataset_name or run_config.dataset.name
    messages.append(
        f"{plural(len(listing.samples), 'sample')} of {name} in "
        f"{redacted(run_config.source_url)}{skipped}"
    )
    return messages
