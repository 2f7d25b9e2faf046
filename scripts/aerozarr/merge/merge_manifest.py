"""Merging fragments into the manifest and the files beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from aerozarr.convert.fragment import (
    Fragment,
    is_whole,
    read_fragment,
    rounding_lines,
    told_once,
)
from aerozarr.convert.whole_groups import Looking
from aerozarr.errors import StoreError
from aerozarr.filesystems.files import read_or_none, sync_file_system, write_atomically
from aerozarr.garbage import no_garbage_collection
from aerozarr.merge.kept_points import kept_lines
from aerozarr.merge.report import Outcome, report_of
from aerozarr.merge.sidecars import checksums, files_named_by, provenance, sidecars
from aerozarr.merge.statistics import statistics
from aerozarr.merge.summary import Summary, digest_of, digest_of_tables
from aerozarr.messages import first_lines, plural, printable, redacted
from aerozarr.run_config import EXPECTED_TABLES, INCOMPLETE, SAMPLES, RunConfig
from aerozarr.source.sample_table import read_samples, read_skipped
from aerozarr.source.samples import Sample, Skipped
from aerozarr.source.splits import always_there
from aerozarr.store.format.layout import CHECKSUMS, MANIFEST, PROVENANCE
from aerozarr.store.format.manifest import Manifest
from aerozarr.store.format.tables import Checksums, read_checksums
from aerozarr.store.write.local_files import LocalFiles
from aerozarr.store.write.records import read_written
from aerozarr.store.write.root import StoreRoot


def merge_fragments(
    run_config: RunConfig,
    samples: list[Sample],
    skipped: list[Skipped],
    mend: str = "Run snakemake again: it converts these samples again.",
) -> tuple[Summary, Outcome]:
    """Publish the manifest and the files beside it.

    Parameters
    ----------
    run_config
        The configuration; the samples' fragments are in its work folder.
    samples, skipped
        The sample table, and the table of those skipped when the source was listed.
    mend
        What to do about groups that are gone, for the message.

    Returns
    -------
    summary, outcome
        What to tell, and what was merged.

    Raises
    ------
    StoreError
        When a fragment or a group is missing, or no sample could be converted, or one is broken
        and `on_broken_sample` is `fail`. The manifest is then not written; one of before stays, if
        all groups that it lists are there.
    """
    settings, store = run_config.settings, run_config.store
    on_disk = _sync_meanwhile(run_config, store)
    looking = Looking(run_config.fragments, store.local_root)
    fragments = [read_fragment(run_config.fragment_path(sample.key)) for sample in samples]
    _check_fragments(samples, fragments)
    converted = [fragment for fragment in fragments if fragment.status == "converted"]
    broken = [fragment.skipped for fragment in fragments if fragment.skipped is not None]
    skipped = sorted([*skipped, *broken], key=lambda row: (row.split, row.id))
    if broken and (settings.on_broken_sample == "fail" or not converted):
        _withdraw_if_wrong(store)
        raise StoreError(_why_failed(broken, converted, store))
    there = store.all_files()
    if isinstance(there, LocalFiles):
        there.take(looking.whole())
    _check_groups(converted, store, there, mend)
    written = read_written(store)
    ours = written.groups if written is not None else frozenset()
    name = settings.dataset_name or run_config.dataset.name
    listed = ((fragment.sample_id, fragment.domains) for fragment in converted)
    manifest = Manifest.build(name, settings, run_config.domains, listed).to_bytes()
    kept = [s for s, f in zip(samples, fragments, strict=True) if f.status == "converted"]
    numbers = statistics(run_config.domains, converted)
    files = {**sidecars(run_config, kept, converted, skipped, numbers), MANIFEST: manifest}
    files = {**_placeholders(run_config, files, there), **files}
    counts = {
        "samples": len(converted),
        "skipped": len(skipped),
        "source_bytes": sum(fragment.source_bytes for fragment in converted),
        "stored_bytes": sum(fragment.stored_bytes for fragment in converted),
    }
    waiting = store.visible_among(there, _waiting(run_config, samples, fragments))
    visible = store.visible_among(there, ours)
    adopted = sum(fragment.adopted for fragment in converted)
    if adopted:  # settings and versions are not those that wrote these
        counts["adopted"] = adopted
    on_disk.result()  # what the manifest is going to list is there before it
    run_config.check_lease()  # others may have written here meanwhile
    published = _publish(
        store,
        files,
        checksums(converted, files),
        run_config,
        counts,
        is_there=MANIFEST in there,
    )
    store.clean()
    summary = Summary(
        store=redacted(settings.store).rstrip("/"),
        dataset_name=name,
        samples=len(converted),
        skipped=[str(row) for row in sorted(skipped, key=_how_bad) if not row.is_absent],
        absent=sum(row.is_absent for row in skipped),
        unreadable=[str(row) for row in skipped if row.kind == "unreadable"],
        kinds=dict(Counter(row.kind for row in skipped)),
        orphans=sorted(visible - {fragment.sample_id for fragment in converted} - waiting),
        source_bytes=counts["source_bytes"],
        stored_bytes=counts["stored_bytes"],
        manifest_digest=digest_of(manifest),
        notes=[
            *rounding_lines(run_config.domains, converted),
            *told_once(converted),
            *([_told_of_waiting(len(waiting))] if waiting else []),
        ],
        kept_points=kept_lines(run_config.domains, converted),
        not_finite=[_not_finite(fragment) for fragment in converted if _not_finite(fragment)],
        files=[*files, CHECKSUMS, PROVENANCE],
        recorded={name: _recorded_as(content) for name, content in published.items()},
        listed_as=digest_of(run_config.listed_as.encode()),
    )
    return summary, Outcome(kept, converted, skipped, name, numbers)


def _sync_meanwhile(run_config: RunConfig, store: StoreRoot) -> Future[None]:
    """Have all groups and fragments reach the disk, in a thread, while they are merged."""

    def sync() -> None:
        store.sync()
        sync_file_system(run_config.place("."))

    executor = ThreadPoolExecutor(1)
    on_disk = executor.submit(sync)
    executor.shutdown(wait=False)
    return on_disk


def _waiting(run_config: RunConfig, samples: list[Sample], fragments: list[Fragment]) -> set[str]:
    """Return the broken samples whose former groups stay, for when they are mended."""
    return {
        sample.id
        for sample, fragment in zip(samples, fragments, strict=True)
        if fragment.status == "broken" and run_config.set_aside(sample.key).exists()
    }


def _told_of_waiting(count: int) -> str:
    return (
        f"the former group of {plural(count, 'broken sample')} stays in the store and is not "
        "listed; with the files and settings of before it is used again, and what is converted "
        "later takes its place"
    )


def _how_bad(row: Skipped) -> tuple[int, str, str]:
    """Return where a skipped sample stands among others: the worst first."""
    order = ("unreadable", "broken", "invalid_id", "incomplete", "excluded")
    return order.index(row.kind), row.split, row.id


def _not_finite(fragment: Fragment) -> str:
    """Return a sample's id and its fields that hold NaN or infinite values; empty if none does."""
    told = []
    for name, record in fragment.fields.items():
        moments = record.moments
        if any(moments.nans) or any(moments.infinities):
            count = sum(moments.nans) + sum(moments.infinities)
            told.append(f"{name} ({count} of {moments.rows * len(moments.nans)} values)")
    return f"{fragment.sample_id}: {', '.join(told)}" if told else ""


def _placeholders(
    run_config: RunConfig, files: Mapping[str, bytes], there: Mapping[str, int | None]
) -> dict[str, bytes]:
    """Return, empty, the files that training code opens and that would not be there.

    Where somebody wrote a list of his own, it stays.
    """
    store = run_config.store
    names = [name for name in always_there(run_config.dataset.rule) if name not in files]
    own = [name for name in names if there.get(name, 0) != 0]
    recorded = _read_recorded(store) if own else {}
    foreign = {name for name in own if not _is_as_recorded(store, name, recorded)}
    return {name: b"" for name in names if name not in foreign}


def _read_recorded(store: StoreRoot) -> Checksums:
    """Return what a store's table of checksums says; nothing where it cannot be read."""
    try:
        return read_checksums(store.read(CHECKSUMS) or b"", CHECKSUMS)
    except StoreError:
        return {}


def _is_as_recorded(store: StoreRoot, name: str, recorded: Checksums) -> bool:
    """Whether a file is as the last merge wrote it, and nobody's own by now."""
    return recorded.get(name) == _recorded_as(store.read(name) or b"")


def _recorded_as(content: bytes) -> tuple[int, str]:
    return len(content), digest_of(content)


def _publish(
    store: StoreRoot,
    files: dict[str, bytes],
    digests: bytes,
    run_config: RunConfig,
    counts: dict[str, int],
    *,
    is_there: bool,
) -> dict[str, bytes]:
    """Put the manifest and what belongs beside it in place, the manifest last; return all."""
    before = files_named_by(store.read(PROVENANCE))
    if is_there:
        # It never stands beside statistics and checksums of another merge.
        store.withdraw_manifest()
    files = {CHECKSUMS: digests, **files}
    files = {PROVENANCE: provenance(run_config, counts, [*files, PROVENANCE]), **files}
    unwanted = sorted({*before} - {*files})
    recorded = _read_recorded(store) if unwanted else {}
    for gone in unwanted:
        if gone not in recorded or _is_as_recorded(store, gone, recorded):
            store.withdraw(gone)
    for name, content in files.items():
        store.publish(name, content)
    return files


def _why_failed(broken: list[Skipped], converted: list[Fragment], store: StoreRoot) -> str:
    head = (
        f"{plural(len(broken), 'broken sample')}, and on_broken_sample is fail"
        if converted
        else f"every sample is broken ({len(broken)}), so there is nothing to list"
    )
    stays = store.read(MANIFEST) is not None
    what = f"{redacted(store.location.url)}/{MANIFEST} and the groups that it lists are as before"
    lines = first_lines(map(str, broken))
    return "\n".join([f"{head}{f' ({what})' if stays else ''}:", *lines])


def _check_fragments(samples: list[Sample], fragments: list[Fragment]) -> None:
    for sample, fragment in zip(samples, fragments, strict=True):
        if fragment.sample_id != sample.id:
            raise StoreError(
                f"the fragment of {sample.id!r} is that of {fragment.sample_id!r}. Delete the "
                "fragments folder of the work folder and run snakemake again."
            )


def _withdraw_if_wrong(store: StoreRoot) -> None:
    """Withdraw the manifest unless all groups that it lists are there."""
    content = store.read(MANIFEST)
    if content is None:
        return
    try:
        listed = Manifest.parse(content, MANIFEST).samples.keys()
    except StoreError:
        store.withdraw_manifest()
        return
    if listed - store.visible_of(listed):
        store.withdraw_manifest()


def _check_groups(
    converted: list[Fragment], store: StoreRoot, there: Mapping[str, int | None], mend: str
) -> None:
    missing = [f.sample_id for f in converted if not is_whole(f, there)]
    if missing:
        store.withdraw_manifest()
        head = (
            f"{len(missing)} groups are gone from the store, or not whole in it, so no manifest "
            f"was written. {mend}"
        )
        raise StoreError("\n".join([head, *first_lines(map(printable, missing))]))


def merge_manifest(
    run_config: RunConfig,
    *,
    table: Path,
    incomplete: Path,
    merged: Path,
    report: Path,
    keys: Collection[str] | None = None,
) -> None:
    """Merge all fragments, and write report and summary: the job of `merge_manifest`.

    Parameters
    ----------
    run_config
        The configuration.
    table, incomplete
        The sample table, and the table of those skipped when the source was listed.
    merged, report
        Where summary and report go.
    keys
        Of the samples of the table to merge, and no others; None for all.

    Raises
    ------
    StoreError
        As `merge_fragments` does; and when the tables are not those of the listing that this run
        was started with: then nothing is published. After everything was published, when samples
        could not be read: the run did not do all that it was to do, and the next one tries again.
    """
    samples, skipped = read_samples(table), read_skipped(incomplete)
    if keys is not None:
        samples = [sample for sample in samples if sample.key in keys]
    tables = digest_of_tables({SAMPLES: table.read_bytes(), INCOMPLETE: incomplete.read_bytes()})
    expected = read_or_none(run_config.place(EXPECTED_TABLES))
    if expected not in (None, tables.encode()):
        raise StoreError(
            f"{table} or {incomplete} was changed after the source was listed, so no manifest was "
            "written. Run snakemake again: it writes both again."
        )
    run_config.check_lease()
    with no_garbage_collection():
        summary, outcome = merge_fragments(run_config, samples, skipped)
        page = report_of(run_config, summary, outcome)
    if run_config.marks and (written := read_written(run_config.store)) is not None:
        # A copy that was made before this is known by its mark, if it is put back.
        run_config.record_written(written)
    write_atomically(report, page.encode("utf-8"))
    summary = replace(summary, tables=tables)
    write_atomically(merged, summary.to_json().encode("utf-8"), durable=True)
    run_config.end_lease()
    if summary.unreadable:
        head = (
            f"{summary.store}/{MANIFEST} lists {plural(summary.samples, 'sample')}, and "
            f"{plural(len(summary.unreadable), 'sample')} could not be read:"
        )
        raise StoreError("\n".join([head, *first_lines(summary.unreadable)]))
