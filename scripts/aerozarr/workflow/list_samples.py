"""The tables of a listing: the job of `list_samples`."""

from __future__ import annotations

import sys
from pathlib import Path

from aerozarr.convert.fragment import read_fragment
from aerozarr.errors import StoreError
from aerozarr.filesystems.files import write_aside
from aerozarr.filesystems.location import Location
from aerozarr.run_config import HANDED_OVER, Project
from aerozarr.source.listing import list_source, sample_folder_base
from aerozarr.source.sample_table import rows_text
from aerozarr.source.samples import LeftOut, Listing, Sample
from aerozarr.source.scan import is_there


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
