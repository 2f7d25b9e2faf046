"""The tables of a listing: the job of `list_samples`."""

from __future__ import annotations

import sys
from pathlib import Path

from aerozarr.convert.fragment import read_fragment
from aerozarr.errors import StoreError
from aerozarr.filesystems.files import write_atomically
from aerozarr.run_config import HANDED_OVER, RunConfig
from aerozarr.source.sample_table import skipped_table, table_of
from aerozarr.source.samples import Listing


def read_listing(run_config: RunConfig) -> Listing:
    """Return the listing that the main process handed over to the jobs of this run.

    The example is listed anew: its source did not exist then.
    """
    if run_config.is_example:
        return run_config.source.list()
    return Listing.from_json(run_config.place(HANDED_OVER).read_text(encoding="utf-8"))


def list_samples(run_config: RunConfig, *, table: Path, incomplete: Path) -> None:
    """Write the sample table and that of the skipped samples: the job of `list_samples`.

    Fragments of samples that are gone from the source are removed, so that a sample that comes back
    is converted again.
    """
    listing = read_listing(run_config)
    _forget_gone(run_config, listing)
    write_atomically(incomplete, skipped_table(listing.skipped))
    write_atomically(table, table_of(listing.samples))
    run_config.place(HANDED_OVER).unlink(missing_ok=True)
    print(f"{len(listing.samples)} samples, {len(listing.skipped)} skipped", file=sys.stderr)


def _forget_gone(run_config: RunConfig, listing: Listing) -> None:
    """Remove fragments of samples that the source no longer holds.

    Those that it holds and that are not asked for just now (`limit`, `splits`) stay: asking for
    them again then converts nothing.
    """
    listed = {f"{sample.key}.json" for sample in listing.samples}
    for folder in (Path(run_config.fragments), run_config.set_aside("").parent):
        for path in folder.glob("*.json"):
            if path.name not in listed and not _still_there(path, run_config):
                path.unlink()


def _still_there(path: Path, run_config: RunConfig) -> bool:
    try:
        sample_id = read_fragment(path).sample_id
    except StoreError:
        return False
    return run_config.source.still_holds(sample_id)
