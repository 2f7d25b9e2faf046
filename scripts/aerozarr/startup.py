"""What the main Snakemake process does before it builds the graph of jobs.

It lists the source, once a run. If it is going to run jobs, it also takes the work folder's lock,
and puts right what a killed run, or a person, left out of step: the store and the work folder are
two places, and only here are they compared.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from fsspec import available_protocols

from aerozarr.errors import SettingsError, StoreError, did_you_mean
from aerozarr.listing import list_source, sample_folder_base
from aerozarr.locations import Location, without_credentials
from aerozarr.manifest import is_whole, read_fragment, write_aside
from aerozarr.project import Project, check_writable
from aerozarr.samples import LeftOut, Listing, Sample
from aerozarr.scanning import is_there
from aerozarr.slurm import end_left_jobs
from aerozarr.stores import MANIFEST
from aerozarr.summary import counted, digest_of, read_summary
from aerozarr.tables import read_samples, rows_text

SAMPLES = "samples.tsv"
MERGED = "merged.json"
# The listing on its way from the main process, which makes it, to the job that writes the tables.
HANDED_OVER = ".listing.json"

# Kept for the life of the process: closing the file gives the lock up.
_locks: list[IO[str]] = []


def begin(project: Project, *, runs_jobs: bool) -> tuple[str, list[str], str]:
    """List the source, and make the work folder ready if jobs are going to run.

    Parameters
    ----------
    project
        The configuration.
    runs_jobs
        False for a dry run and whatever else only looks: then nothing is written or removed.

    Returns
    -------
    digest : str
        Changes when the source does; `example` for the example, which is made by a job.
    messages : list of str
        What the person should know before the jobs start.
    forecast : str
        What a run would do, when none is going to; empty for the example, whose samples are not
        there yet.

    Raises
    ------
    SettingsError
        When the source cannot be listed, or a folder cannot be written.
    StoreError
        When another run is at work in the same work folder.
    """
    messages = _check_urls(project)
    listing = None
    if not project.is_example:
        listing = list_source(project.settings, project.dataset, project.source)
    store = project.store  # opened in any case: a dry run should say that it cannot be
    if _is_same(store.location, project.source):
        raise SettingsError(
            f"store: {without_credentials(store.location.url)!r} is the source itself. Give the "
            "store a folder or URL of its own."
        )
    store.check()
    if runs_jobs:
        messages += take_over(project)
        store.clean()
        if listing is not None:
            write_aside(project.place(HANDED_OVER), listing.to_json().encode())
    # Listed once, because that takes a request for every thousand objects.
    is_known = Path(project.fragments).is_dir() or project.place(MERGED).exists()
    files = store.all_files() if is_known else {}
    messages += _forget_lost(project, files, forget=runs_jobs)
    if listing is None:
        return "example", messages, ""
    would_do = "" if runs_jobs else forecast(project, listing, files)
    return listing.digest(), [*_listing_messages(listing, project), *messages], would_do


def _is_same(store: Location, source: str) -> bool:
    if store.is_local:
        return os.path.realpath(store.path) == os.path.realpath(source)
    return store.url.rstrip("/") == source.rstrip("/")


def _check_urls(project: Project) -> list[str]:
    """Refuse places that no two processes share; return a warning of options for nothing."""
    settings = project.settings
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


def take_over(project: Project) -> list[str]:
    """Make the work folder, lock it for the life of this process, and end what others left at work.

    Returns
    -------
    list of str
        What the person should know.

    Raises
    ------
    SettingsError
        When the folder cannot be written.
    StoreError
        When another run is at work in it, or jobs that one left cannot be ended.
    """
    check_writable("workdir", Path(project.workdir))
    Path(project.workdir).mkdir(parents=True, exist_ok=True)
    _locks.append(lock(project.place(".lock")))
    return end_left_jobs(Path(project.workdir))


def forecast(project: Project, listing: Listing, files: Mapping[str, int | None]) -> str:
    """Say what a run would convert, which Snakemake cannot before the samples are listed.

    Parameters
    ----------
    project, listing
        The configuration, and what its source holds.
    files
        What the store holds: path to size, None where that is not told.
    """
    counts: Counter[str] = Counter()
    for sample in listing.samples:
        try:
            fragment = read_fragment(project.fragment(sample.key))
        except StoreError:
            counts["new"] += 1
            continue
        if fragment.status == "converted" and not is_whole(fragment, files):
            counts["gone from the store"] += 1
        elif fragment.fingerprint != sample.fingerprint:
            counts["changed"] += 1
        elif fragment.stored_as != project.stored_as_digest:
            counts["stored with other settings"] += 1
    total = counts.total()
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    return f"a run would convert {counted(total, 'sample')}{f' ({kinds})' if kinds else ''}"


def _listing_messages(listing: Listing, project: Project) -> list[str]:
    messages = [f"warning: {warning}" for warning in listing.warnings]
    left_out = f", {len(listing.left_out)} left out" if listing.left_out else ""
    name = project.settings.dataset_name or project.dataset.name
    messages.append(
        f"{counted(len(listing.samples), 'sample')} of {name} in "
        f"{without_credentials(project.source)}{left_out}"
    )
    return messages


def lock(path: Path) -> IO[str]:
    """Take a lock that ends with this process, however it ends.

    Returns
    -------
    file
        To be kept open for as long as the lock is wanted.

    Raises
    ------
    StoreError
        When another process has it.
    """
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise StoreError(
            f"another run (process {holder}) is at work in {path.parent}. Wait for it to end, or "
            "give this one a workdir and store of its own."
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _forget_lost(project: Project, files: Mapping[str, int | None], *, forget: bool) -> list[str]:
    """Forget fragments whose groups are not whole in the store, and a merge whose manifest is gone.

    A fragment says that its group is there, and with which files; when one is missing, or of
    another size, the sample has to be converted again.
    """
    table = project.place(SAMPLES)
    if not table.exists():
        return []
    store = without_credentials(project.settings.store).rstrip("/")
    merged = project.place(MERGED)
    summary = read_summary(merged)
    if summary is not None and summary.store != project.settings.store.rstrip("/"):
        summary = None  # the last run in this work folder was for another store
    manifest = project.store.read(MANIFEST)
    is_ours = (
        manifest is not None
        and summary is not None
        and (digest_of(manifest) == summary.manifest_digest)
    )
    # What lies beside the manifest is merged again when some of it is gone.
    gone = [name for name in summary.files if name not in files] if is_ours and summary else []
    is_foreign = manifest is not None and summary is not None and not is_ours
    files = {} if is_foreign else files
    paths = (project.fragment(sample.key) for sample in read_samples(table))
    lost = [path for path in paths if path.exists() and _is_lost(path, files)]
    if forget:
        for path in lost:
            path.unlink()
        if gone or not is_ours:
            merged.unlink(missing_ok=True)
    messages = [f"{', '.join(gone)} gone from {store}"] if gone else []
    if is_foreign:
        messages.append(
            f"{store}/{MANIFEST} was not written from {project.workdir}, so its "
            "groups may not be either"
        )
    elif lost:
        messages.append(f"{counted(len(lost), 'group')} gone from {store}, or not whole in it")
    if lost and forget:
        messages.append(f"{counted(len(lost), 'sample')} to convert again")
    return messages


def _is_lost(path: Path, files: Mapping[str, int | None]) -> bool:
    """Whether a fragment says that there is a group which is not whole, or cannot be read."""
    try:
        fragment = read_fragment(path)
    except StoreError:
        return True
    return fragment.status == "converted" and not is_whole(fragment, files)


def read_listing(project: Project) -> Listing:
    """Return the listing that the main process handed over to the jobs of this run.

    The example is listed anew: its source did not exist then.
    """
    if project.is_example:
        return list_source(project.settings, project.dataset, project.source)
    return Listing.from_json(project.place(HANDED_OVER).read_text(encoding="utf-8"))


def write_tables(project: Project, *, table: Path, incomplete: Path) -> None:
    """Write the sample table and that of the samples left out: the job of `list_samples`.

    Fragments of samples that are gone from the source go, so
    that a sample that comes back is converted again.
    """
    listing = read_listing(project)
    if project.dataset.sample_class is None:
        _forget_gone(project, listing)
    write_aside(incomplete, rows_text(listing.left_out, LeftOut).encode("utf-8"))
    write_aside(table, rows_text(listing.samples, Sample).encode("utf-8"))
    project.place(HANDED_OVER).unlink(missing_ok=True)
    print(f"{len(listing.samples)} samples, {len(listing.left_out)} left out", file=sys.stderr)


def _forget_gone(project: Project, listing: Listing) -> None:
    """Remove fragments of samples that the source no longer holds.

    Those that it holds and that are not asked for just now (`limit`, `splits`) stay: asking for
    them again then converts nothing.
    """
    base = sample_folder_base(project.settings, project.dataset, project.source)
    listed = {project.fragment(sample.key) for sample in listing.samples}
    for path in Path(project.fragments).glob("*.json"):
        if path not in listed and not _still_there(path, base, project):
            path.unlink()


def _still_there(path: Path, base: Location, project: Project) -> bool:
    try:
        sample_id = read_fragment(path).sample_id
    except StoreError:
        return False
    return is_there(base, sample_id, project.dataset.filemap.values())
