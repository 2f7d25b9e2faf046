"""Whose a store is: no run replaces what it did not write, and no two write at the same time."""

from __future__ import annotations

import atexit
import contextlib
import os
import uuid
from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path

from aerozarr.convert.fragment import Fragment
from aerozarr.convert.group_bytes import differing_files
from aerozarr.convert.known_arrays import known_arrays
from aerozarr.errors import AerozarrError, SettingsError, StoreError
from aerozarr.example import example_files
from aerozarr.filesystems.files import write_atomically
from aerozarr.filesystems.location import is_url
from aerozarr.merge.summary import digest_of
from aerozarr.messages import first_lines, plural, printable, redacted
from aerozarr.run_config import LEASE_TOKEN, MERGED, WRITER, RunConfig
from aerozarr.source.splits import parse_split
from aerozarr.store.format.layout import (
    MANIFEST,
    ROOT_METADATA,
    group_path,
)
from aerozarr.store.format.manifest import Manifest
from aerozarr.store.write.foreign import (
    check_files_in_groups,
    check_no_files,
    check_no_folders,
    files_for_groups,
    names_beside_the_groups,
)
from aerozarr.store.write.records import (
    Lease,
    Written,
    check_lease_can_be_taken,
    end_lease,
    read_lease,
    read_written,
    take_lease,
)
from aerozarr.workflow.state import Plan, State, Without


def check_store_is_ours(run_config: RunConfig, state: State, plan: Plan) -> Written:
    """Check that a run may write what it has to, and return what the store will then record.

    Parameters
    ----------
    run_config
        The configuration.
    state, plan
        What is there, and what the run has to do.

    Raises
    ------
    SettingsError
        When another dataset is in the store, or a group that no run of this store wrote.
    StoreError
        When another run is at work in it.
    """
    settings, store = run_config.settings, run_config.store
    written = read_written(store)
    # A run of this work folder merged here before, and its record was lost.
    is_first = written is None and state.summary is None
    is_merged_here = (
        state.summary is not None
        and state.manifest is not None
        and digest_of(state.manifest) == state.summary.manifest_digest
    )
    if written is None or (not written.dataset and is_merged_here):
        groups = written.groups if written else frozenset()
        written = Written(settings.dataset, sources_of(run_config), groups)
    if not settings.take_over:
        _check_dataset(run_config, written, _name_in(state.manifest))
    check_lease_can_be_taken(store, run_config.lease_tokens, take_over=settings.take_over)
    # An earlier version kept no record: what a fragment tells of was written by this work folder.
    known = written.groups | {f.sample_id for f in state.fragments.values() if f is not None}
    wanted = {sample.id for sample in state.samples if sample.key in plan.convert}
    if run_config.is_example:
        wanted |= {name.rpartition("/")[0] for name in example_files()}
    visible = {one for one in wanted if f"{group_path(one)}/{ROOT_METADATA}" in state.files}
    _check_groups(run_config, visible - known)
    arrays = known_arrays(run_config, written)
    if not settings.take_over:
        files = store.files_among(state.files, wanted)
        check_files_in_groups(store, chain(files, files_for_groups(store, wanted)), arrays)
    check_no_folders(store)
    if is_first and not settings.take_over:
        asked = settings.splits if settings.source_root else []
        splits = [parse_split(text).name for text in asked]
        check_no_files(store, names_beside_the_groups(store, state.files), splits)
    return Written(
        settings.dataset, sources_of(run_config), frozenset(known | wanted), arrays=arrays
    )


def _name_in(manifest: bytes | None) -> str | None:
    """Return the dataset's name that a manifest has, None where there is none that can be read."""
    with contextlib.suppress(StoreError):
        return Manifest.parse(manifest, MANIFEST).dataset_name if manifest else None
    return None


def _check_dataset(run_config: RunConfig, written: Written, name: str | None) -> None:
    settings = run_config.settings
    names = {*sources_of(run_config), redacted(run_config.source_url)}
    if written.dataset == settings.dataset and not names.isdisjoint(written.sources):
        return
    theirs = _described(name, written.dataset) or "a dataset that is not known"
    ours = _described(settings.dataset_name or run_config.dataset.name, settings.dataset)
    source = next(iter(written.sources), "a source that is not known")
    adopt = (
        "If another program stored this very source there, run snakemake adopt, which takes its "
        "samples up without converting them. "
    )
    raise SettingsError(
        f"store: {redacted(settings.store)!r} holds {printable(theirs)} from {printable(source)}; "
        f"this run is for {printable(ours)} from {redacted(run_config.source_url)}. "
        # Only of a store that no run is recorded of, another program may be the writer.
        f"{'' if written.dataset else adopt}Set store (and workdir) to a place of its own. If this "
        "run may replace what is there, or the source was moved, set take_over: true."
    )


def _described(name: str | None, dataset: str) -> str:
    """Return a dataset's name, with the setting `dataset` where that is another."""
    return f"{name} (dataset: {dataset})" if name and dataset not in ("", name) else name or dataset


def _check_groups(run_config: RunConfig, foreign: Collection[str]) -> None:
    if not foreign or run_config.settings.take_over:
        return
    head = (
        f"store: {redacted(run_config.settings.store)!r} holds {plural(len(foreign), 'group')} "
        "that no run of this store wrote, where this run would write. Set store to a place of its "
        "own; if they may be replaced, set take_over: true."
    )
    raise SettingsError("\n".join([head, *first_lines(map(printable, sorted(foreign)))]))


def sources_of(run_config: RunConfig) -> tuple[str, ...]:
    """Return the names under which a later run may know this one's source.

    A local source is known by its path, and by the way to it from a local store: so it is known
    again when both were moved together.
    """
    source, store = run_config.source_url, run_config.store.location
    if is_url(source):
        return (redacted(source).rstrip("/"),)
    path = os.path.abspath(os.path.expanduser(redacted(source).removeprefix("file://")))
    if not store.is_local:
        return (path,)
    return (path, f"store:{os.path.relpath(path, store.path)}")


def checked_groups(run_config: RunConfig, state: State) -> State:
    """Return a state without the files of groups that are not what the fragments say.

    Sizes do not tell the bytes of one run from those of another. Where a run of another work folder
    began to write to the store after this one's, groups are compared with their checksums; behind a
    URL, where that would read all of them, none is taken for this one's.
    """
    written = read_written(run_config.store)
    if written is None or not written.writer or written.writer == run_config.writer:
        return _without_damaged_groups(run_config, state)
    if not run_config.store.location.is_local:
        return replace(
            state, files={}, is_others=True, unlisted=unlisted_fragments(run_config, state)
        )
    fragments = {key: one for key, one in state.fragments.items() if one is not None}
    compared = _compared(run_config, state, fragments)
    return replace(compared, is_others=True, unlisted=unlisted_fragments(run_config, state))


def unlisted_fragments(run_config: RunConfig, state: State) -> list[str]:
    """Return the paths of fragments, and of those set aside, that `state` does not hold."""
    folder, aside = run_config.fragments, os.path.dirname(run_config.set_aside(""))
    names = [name for name in _names_in(folder) if name.endswith(".json")]
    left = [f"{folder}/{name}" for name in names if name[:-5] not in state.fragments]
    names = [name for name in _names_in(aside) if name.endswith(".json")]
    return left + [f"{aside}/{name}" for name in names if name[:-5] not in state.set_aside]


def _names_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _compared(run_config: RunConfig, state: State, fragments: Mapping[str, Fragment]) -> State:
    """Return a state without the files that differ from what fragments say of them."""
    gone = differing_files(run_config.store, state.files, fragments.values())
    return replace(state, files=Without(state.files, gone)) if gone else state


def _without_damaged_groups(run_config: RunConfig, state: State) -> State:
    """Return a state that lacks the files of groups that a power loss damaged.

    Groups are synced when they are merged. If the machine was started anew during a run, those
    that were converted after the last merge are compared with their checksums: some file systems
    give a file its size before its content.
    """
    store, tokens = run_config.store, run_config.lease_tokens
    if not tokens or not store.location.is_local:
        return state
    lease = read_lease(store)
    if lease is None or lease.token not in tokens or not lease.is_from_before_a_restart:
        return state
    merged = run_config.place(MERGED)
    last_merge = merged.stat().st_mtime if merged.exists() else 0.0
    late = {
        key: fragment
        for key, fragment in state.fragments.items()
        if fragment is not None and _time_of(run_config, key) >= last_merge
    }
    return _compared(run_config, state, late)


def _time_of(run_config: RunConfig, key: str) -> float:
    """Return when a sample's fragment was written."""
    for path in (run_config.fragment(key), run_config.set_aside(key)):
        with contextlib.suppress(FileNotFoundError):
            return path.stat().st_mtime
    return 0.0


def check_may_adopt(run_config: RunConfig, manifest: bytes) -> None:
    """Check that a run may adopt what is in the store.

    Values that are the source's say enough of a store that nothing is recorded of. One that a run
    of another dataset wrote stays that run's.

    Raises
    ------
    SettingsError
        When another dataset's run wrote it.
    StoreError
        When another run is at work in it.
    """
    settings, written = run_config.settings, read_written(run_config.store)
    if written is not None and written.dataset and not settings.take_over:
        _check_dataset(run_config, written, _name_in(manifest))
    tokens = run_config.lease_tokens
    check_lease_can_be_taken(run_config.store, tokens, take_over=settings.take_over)
    check_no_folders(run_config.store)


def begin_writing(run_config: RunConfig, written: Written | None) -> None:
    """Take the store's lease for this run, and record what it is about to write.

    Parameters
    ----------
    run_config
        The configuration.
    written
        What the store will then record, besides the writer; None leaves that to a later job.

    Raises
    ------
    StoreError
        When another run took the lease at the same moment.
    """
    store = run_config.store
    token = uuid.uuid4().hex
    # Written down first: a run that is killed between the two is known again.
    known = [token, *run_config.lease_tokens[:1]]
    write_atomically(run_config.place(LEASE_TOKEN), "\n".join(known).encode(), durable=True)
    take_lease(store, Lease.of_this_process(token, run_config.workdir))
    if not run_config.writer:
        write_atomically(run_config.place(WRITER), uuid.uuid4().hex.encode(), durable=True)
    if written is not None:
        run_config.record_written(replace(written, writer=run_config.writer))
    if store.location.is_local:
        # The merge ends the lease, and `let_go` that of a run that failed. One that ends otherwise
        # ends its lease here; behind a URL no connection can be relied on by then.
        atexit.register(_end, run_config, token, os.getpid(), Path.cwd())


def let_go(run_config: RunConfig) -> None:
    """Let other runs write to the store, after this one has failed."""
    with contextlib.suppress(OSError, AerozarrError):
        run_config.end_lease()


def _end(run_config: RunConfig, token: str, process: int, directory: Path) -> None:
    if os.getpid() != process:
        return  # a fork
    with contextlib.suppress(OSError, AerozarrError), contextlib.chdir(directory):
        end_lease(run_config.store, token)
        if run_config.lease_tokens[:1] == [token]:
            run_config.place(LEASE_TOKEN).unlink()
