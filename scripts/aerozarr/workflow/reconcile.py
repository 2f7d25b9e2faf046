"""What a run has to do: the source's listing, the settings, the work folder and the store compared.

Snakemake decides by its own records, which may be gone, from another working directory, or told
to look at times only. So before it builds its graph, whatever is out of step is removed: then it
cannot but make it again. One function decides (`plan_run`); what a dry run says is its answer.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from aerozarr.convert.fragment import Fragment, is_whole, read_fragment
from aerozarr.convert.kept import held_fields, with_made_of
from aerozarr.errors import StoreError
from aerozarr.filesystems.files import read_or_none
from aerozarr.merge.summary import Summary, digest_of, read_summary
from aerozarr.messages import plural, redacted
from aerozarr.run_config import INCOMPLETE, MERGED, REPORT, SAMPLES, RunConfig
from aerozarr.source.sample_table import read_samples, skipped_table, table_of
from aerozarr.source.samples import Listing, Sample
from aerozarr.store.format.layout import CHECKSUMS, MANIFEST, MOMENTS
from aerozarr.store.format.manifest import Manifest
from aerozarr.store.write.root import StoreRoot
from aerozarr.workflow.replaced import check_replaced
from aerozarr.workflow.state import Plan, State

# Why a sample is to be converted, as a dry run says it.
NEW = "new"
CHANGED = "changed"
OTHER_SETTINGS = "stored with other settings"
GONE = "gone from the store"
FORCED = "forced"
DAMAGED = "damaged"

# Files beside the manifest are looked into up to so many bytes; of larger ones the size must do.
LOOKED_INTO = 2**20

# What earlier versions did not write beside the manifest, and every merge does now.
_ADDED = (MOMENTS,)

# Rules after which nothing more is run, when `--until` names them, and no sample is converted.
_BEFORE_CONVERSION = frozenset({"make_example", "list_samples"})


def look(run_config: RunConfig, listing: Listing | None, files: Mapping[str, int | None]) -> State:
    """Return what is there.

    Parameters
    ----------
    run_config
        The configuration.
    listing
        What the source holds; None for the example, whose samples are those of the table.
    files
        What the store holds: path to size, None where that is not told.
    """
    names = (SAMPLES, INCOMPLETE)
    found = {name: read_or_none(run_config.place(name)) for name in names}
    tables: dict[str, bytes] = {}
    if listing is not None:
        samples = listing.samples
        tables = {SAMPLES: table_of(samples), INCOMPLETE: skipped_table(listing.skipped)}
    else:
        try:
            samples = read_samples(run_config.place(SAMPLES))
        except StoreError:
            samples, found[SAMPLES] = [], None
    fragments: dict[str, Fragment | None] = {}
    waiting = {path.stem for path in run_config.set_aside("*").parent.glob("*.json")}
    set_aside: set[str] = set()
    for sample in samples:
        if sample.key in waiting and not _is_answered(run_config, sample):
            path = str(run_config.set_aside(sample.key))
            set_aside.add(sample.key)
        else:
            path = run_config.fragment_path(sample.key)
        try:
            fragments[sample.key] = read_fragment(path)
        except StoreError:
            if os.path.exists(path):
                fragments[sample.key] = None
    summary = read_summary(run_config.place(MERGED))
    if summary is not None and summary.store != redacted(run_config.settings.store).rstrip("/"):
        summary = None  # the last run in this work folder was for another store
    manifest = run_config.store.read(MANIFEST)
    digests = _digests(run_config.store, summary, files)
    if manifest and summary and digest_of(manifest) != summary.manifest_digest:
        # Who wrote the groups, its neighbour tells.
        digests[CHECKSUMS] = digest_of(run_config.store.read(CHECKSUMS) or b"")
    restamped: dict[str, Fragment] = {}
    if listing is not None:
        replaced, restamped = check_replaced(run_config, listing, fragments)
        fragments |= replaced
    return State(
        samples,
        tables,
        found,
        fragments,
        summary,
        manifest,
        files,
        digests,
        restamped,
        frozenset(set_aside),
        listing.changes if listing is not None else {},
        has_report=run_config.place(REPORT).exists(),
    )


def _is_answered(run_config: RunConfig, sample: Sample) -> bool:
    """Whether the job has ended for which a fragment was set aside, and what it found still holds.

    Where it found that the sample is broken, files or settings may be right by now.
    """
    try:
        fragment = read_fragment(run_config.fragment_path(sample.key))
    except StoreError:
        return False
    if fragment.status == "converted":
        return True
    return _why_convert(sample, {sample.key: fragment}, run_config.stored_as_digest, {}) is None


def _digests(
    store: StoreRoot, summary: Summary | None, files: Mapping[str, int | None]
) -> dict[str, str]:
    """Return digests of the files beside the manifest, where looking into them costs little."""
    if summary is None or not store.location.is_local:
        return {}
    small = [name for name in summary.recorded if 0 < (files.get(name) or 0) <= LOOKED_INTO]
    return {name: digest_of(store.read(name) or b"") for name in small if name != MANIFEST}


def plan_run(
    run_config: RunConfig,
    state: State,
    *,
    forced: Collection[str] = (),
    last: Collection[str] = (),
    damaged: Collection[str] = (),
    spared: Collection[str] = (),
) -> Plan:
    """Decide what a run has to do.

    Parameters
    ----------
    run_config
        The configuration.
    state
        What is there.
    forced
        Rules that `--forcerun` names; `*` for `--forceall`.
    last
        Rules that `--until` names: nothing after them is run.
    damaged
        Keys of samples of which nothing is to be kept, because a verification found them damaged.
    spared
        Keys of samples of which a verification found the source damaged: their groups stay listed.
    """
    store = redacted(run_config.settings.store).rstrip("/")
    is_ours, is_foreign = (False, True) if state.is_others else _whose(state)
    is_compared = state.is_others or state.is_put_back
    files = {} if is_foreign and not is_compared else state.files
    convert: dict[str, str] = {}
    forget: list[str] = []
    in_part: dict[str, frozenset[str]] = {}
    aside: set[str] = set()
    for sample in state.samples:
        why = _why_convert(sample, state.fragments, run_config.stored_as_digest, files)
        fragment = state.fragments.get(sample.key)
        is_there = why in (CHANGED, OTHER_SETTINGS) and _is_whole_group(fragment, files)
        if sample.key in damaged:
            why = DAMAGED
        elif sample.key in spared and why == CHANGED and is_there:
            why = None
        if why is not None:
            convert[sample.key] = why
            if sample.key in state.fragments:
                forget.append(sample.key)
            if why in (CHANGED, OTHER_SETTINGS) and fragment is not None and is_there:
                aside.add(sample.key)
                held = held_fields(run_config, sample, fragment, state.changes.get(sample.id, {}))
                if held:
                    names = run_config.field_texts.keys() | fragment.fields.keys()
                    in_part[sample.key] = frozenset(names) - held
    # Of those that this run does not list (limit, splits), the next one that does is to know.
    forget += sorted(frozenset(damaged) - {sample.key for sample in state.samples})
    lost = sum(why == GONE for why in convert.values())
    is_forced = _forced_keys(run_config, state.samples, forced)
    convert = {
        sample.key: convert.get(sample.key, FORCED)
        for sample in state.samples
        if sample.key in convert or sample.key in is_forced
    }
    in_part = {key: names for key, names in in_part.items() if key not in is_forced}
    aside -= is_forced  # of which nothing is to be kept
    if last and set(last) <= _BEFORE_CONVERSION:
        convert = {}
    list_anew = any(state.found_tables[name] != content for name, content in state.tables.items())
    list_anew = list_anew or None in state.found_tables.values()
    summary = state.summary
    missing = [name for name in summary.files if name not in state.files] if summary else []
    missing = missing if is_ours else []
    changed = _changed_files(state) if is_ours else []
    lacking = [name for name in _ADDED if name not in summary.files] if summary else []
    lacking = lacking if is_ours else []
    merge_anew = (
        not is_ours
        or state.is_put_back
        or bool({"*", "merge_manifest"} & set(forced))
        or not state.has_report
        or bool(missing or changed or lacking or forget or convert or list_anew)
        or (summary is not None and not summary.is_of(run_config.listed_as, state.tables))
    )
    messages = [f"{', '.join(missing)} gone from {store}"] if missing else []
    if lacking:
        messages.append(
            f"{store} has no {', '.join(lacking)}, which earlier versions did not write; it is "
            "written, and nothing is converted for it"
        )
    if changed:
        messages.append(f"{', '.join(changed)} changed in {store}; written anew")
    is_known = bool(state.fragments)  # or there is no run of this work folder to speak of
    if state.is_others and is_known:
        messages.append(
            f"a run from another work folder wrote to {store} since the last one from "
            f"{run_config.workdir}; only groups with this one's checksums are kept"
        )
    elif state.is_put_back and (lost or state.unlisted):
        messages.append(
            f"{store} is not as the last run from {run_config.workdir} left it (was it put back "
            "from a copy?); only groups with the checksums of what was written last are kept"
        )
    elif is_foreign and not is_compared:
        messages.append(
            f"{store}/{MANIFEST} was not written from {run_config.workdir}, so its "
            "groups may not be either"
        )
    elif lost:
        messages.append(f"{plural(lost, 'group')} gone from {store}, or not whole in it")
    if lost:
        messages.append(f"{plural(lost, 'sample')} to convert again")
    restored = state.set_aside - convert.keys() - {*forget}
    doubtful = state.unlisted
    if doubtful:
        messages.append(
            f"{plural(len(doubtful), 'record')} of samples that this run does not look at can no "
            "longer be relied on; they are converted when they are asked for"
        )
    return Plan(
        convert,
        forget,
        list_anew,
        merge_anew,
        messages,
        in_part,
        aside,
        restored,
        state.set_aside,
        doubtful,
    )


def _forced_keys(
    run_config: RunConfig, samples: Sequence[Sample], forced: Collection[str]
) -> set[str]:
    """Return the samples whose conversion is forced: by its rule, or by the fragment's name."""
    if {"*", "convert_sample"} & set(forced):
        return {sample.key for sample in samples}
    paths = {os.path.abspath(name) for name in forced if "/" in name}
    return {
        s.key for s in samples if paths and os.path.abspath(run_config.fragment(s.key)) in paths
    }


def _is_whole_group(fragment: Fragment | None, files: Mapping[str, int | None]) -> bool:
    """Whether a fragment is of a group, and the store holds all of it."""
    return fragment is not None and fragment.status == "converted" and is_whole(fragment, files)


def renewed_fragments(run_config: RunConfig, state: State, plan: Plan) -> dict[str, Fragment]:
    """Return fragments that hold, and are to be written anew with what earlier ones did not say.

    By key: those of files that are others and hold the same, and those of earlier versions.
    """
    renewed: dict[str, Fragment] = {}
    outdated = {*plan.convert, *plan.forget}
    for sample in state.samples:
        fragment = state.fragments.get(sample.key)
        if fragment is None or sample.key in outdated:
            continue
        if fragment.fingerprint != sample.fingerprint:
            continue  # it stays although its source is damaged, and the next run is to know that
        fragment = state.restamped.get(sample.key, fragment)
        # The notes of earlier versions do not say which field they are of.
        is_earlier = not fragment.notes and any(not r.made_of for r in fragment.fields.values())
        if sample.key in state.restamped or is_earlier:
            changes = state.changes.get(sample.id, {})
            renewed[sample.key] = with_made_of(run_config, sample, fragment, changes)
    return renewed


def _changed_files(state: State) -> list[str]:
    """Return the files beside the manifest that are there and not as they were merged."""
    if state.summary is None:
        return []
    return [
        name
        for name, (size, digest) in state.summary.recorded.items()
        if state.files.get(name, size) not in (None, size)
        or state.digests.get(name, digest) != digest
    ]


def _whose(state: State) -> tuple[bool, bool]:
    """Return whether the store's manifest is the one merged last, and whether another run wrote it.

    One that is damaged was not written by anybody, nor was one that was edited, beside checksums
    that are still those of the last merge: it is merged again, from the fragments.
    """
    if state.manifest is None or state.summary is None:
        return False, False
    if digest_of(state.manifest) == state.summary.manifest_digest:
        return True, False
    _, recorded = state.summary.recorded.get(CHECKSUMS, (0, ""))
    if recorded and state.digests.get(CHECKSUMS) == recorded:
        return False, False
    try:
        Manifest.parse(state.manifest, MANIFEST)
    except StoreError:
        return False, False
    return False, True


def _why_convert(
    sample: Sample,
    fragments: Mapping[str, Fragment | None],
    stored_as: str,
    files: Mapping[str, int | None],
) -> str | None:
    """Return why a sample has to be converted, None when what is stored of it holds."""
    if sample.key not in fragments:
        return NEW
    fragment = fragments[sample.key]
    if fragment is None or fragment.sample_id != sample.id:
        return GONE  # damaged, or another's
    # First: where settings name other files, a sample's fingerprint is another one, too.
    if fragment.stored_as != stored_as:
        return OTHER_SETTINGS
    if fragment.fingerprint != sample.fingerprint:
        return CHANGED
    if fragment.status == "converted" and not is_whole(fragment, files):
        return GONE
    return None


def forget(run_config: RunConfig, plan: Plan) -> None:
    """Remove from the work folder what does not hold any more, so that it is made again."""
    for key in plan.restored:
        run_config.set_aside(key).replace(run_config.fragment(key))
    for key in plan.forget:
        path, aside = run_config.fragment(key), run_config.set_aside(key)
        if key not in plan.aside:
            path.unlink(missing_ok=True)
            aside.unlink(missing_ok=True)
        elif key in plan.set_aside:
            path.unlink(missing_ok=True)  # it says that the sample is broken
        elif path.exists():
            # Its job keeps by it what holds of the group, which stays if the sample is broken.
            aside.parent.mkdir(exist_ok=True)
            path.replace(aside)
    for key in plan.convert.keys() - {*plan.aside}:
        run_config.set_aside(key).unlink(missing_ok=True)
    if plan.writes:
        for doubtful in plan.doubtful:
            Path(doubtful).unlink(missing_ok=True)
    gone: list[str] = []
    if plan.list_anew:
        gone += [SAMPLES, INCOMPLETE]
    if plan.merge_anew:
        gone.append(MERGED)
    for name in gone:
        Path(run_config.place(name)).unlink(missing_ok=True)
