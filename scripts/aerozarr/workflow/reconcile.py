"""What is out of step between the source, the work folder and the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from aerozarr.convert.fragment import is_whole, read_fragment
from aerozarr.errors import StoreError
from aerozarr.merge.summary import digest_of, read_summary
from aerozarr.messages import plural, redacted
from aerozarr.run_config import MERGED, SAMPLES, RunConfig
from aerozarr.source.sample_table import read_samples
from aerozarr.source.samples import Listing
from aerozarr.store.format.layout import MANIFEST


def forecast(run_config: RunConfig, listing: Listing, files: Mapping[str, int | None]) -> str:
    """Say what a run would convert, which Snakemake cannot before the samples are listed.

    Parameters
    ----------
    run_config, listing
        The configuration, and what its source holds.
    files
        What the store holds: path to size, None where that is not told.
    """
    counts: Counter[str] = Counter()
    for sample in listing.samples:
        try:
            fragment = read_fragment(run_config.fragment(sample.key))
        except StoreError:
            counts["new"] += 1
            continue
        if fragment.status == "converted" and not is_whole(fragment, files):
            counts["gone from the store"] += 1
        elif fragment.fingerprint != sample.fingerprint:
            counts["changed"] += 1
        elif fragment.stored_as != run_config.stored_as_digest:
            counts["stored with other settings"] += 1
    total = counts.total()
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    return f"a run would convert {plural(total, 'sample')}{f' ({kinds})' if kinds else ''}"


def _forget_lost(
    run_config: RunConfig, files: Mapping[str, int | None], *, forget: bool
) -> list[str]:
    """Forget fragments whose groups are not whole in the store, and a merge whose manifest is gone.

    A fragment says that its group is there, and with which files; when one is missing, or of
    another size, the sample has to be converted again.
    """
    table = run_config.place(SAMPLES)
    if not table.exists():
        return []
    store = redacted(run_config.settings.store).rstrip("/")
    merged = run_config.place(MERGED)
    summary = read_summary(merged)
    if summary is not None and summary.store != run_config.settings.store.rstrip("/"):
        summary = None  # the last run in this work folder was for another store
    manifest = run_config.store.read(MANIFEST)
    is_ours = (
        manifest is not None
        and summary is not None
        and (digest_of(manifest) == summary.manifest_digest)
    )
    # What lies beside the manifest is merged again when some of it is gone.
    gone = [name for name in summary.files if name not in files] if is_ours and summary else []
    is_foreign = manifest is not None and summary is not None and not is_ours
    files = {} if is_foreign else files
    paths = (run_config.fragment(sample.key) for sample in read_samples(table))
    lost = [path for path in paths if path.exists() and _is_lost(path, files)]
    if forget:
        for path in lost:
            path.unlink()
        if gone or not is_ours:
            merged.unlink(missing_ok=True)
    messages = [f"{', '.join(gone)} gone from {store}"] if gone else []
    if is_foreign:
        messages.append(
            f"{store}/{MANIFEST} was not written from {run_config.workdir}, so its "
            "groups may not be either"
        )
    elif lost:
        messages.append(f"{plural(len(lost), 'group')} gone from {store}, or not whole in it")
    if lost and forget:
        messages.append(f"{plural(len(lost), 'sample')} to convert again")
    return messages


def _is_lost(path: Path, files: Mapping[str, int | None]) -> bool:
    """Whether a fragment says that there is a group which is not whole, or cannot be read."""
    try:
        fragment = read_fragment(path)
    except StoreError:
        return True
    return fragment.status == "converted" and not is_whole(fragment, files)
