"""Samples whose files were replaced by others of the same size and time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from msgspec.structs import replace

from aerozarr.convert.fragment import Fragment
from aerozarr.filesystems.files import write_atomically
from aerozarr.run_config import RunConfig
from aerozarr.source.samples import Listing, Sample

# A file's end is read in no time, and waited for over a network.
_AT_ONCE = 16


def check_replaced(
    run_config: RunConfig, listing: Listing, fragments: Mapping[str, Fragment | None]
) -> tuple[dict[str, Fragment], dict[str, Fragment]]:
    """Look into the files of samples whose inode or ctime differ, and nothing else that is listed.

    Parameters
    ----------
    run_config, listing
        The configuration, and what its source holds.
    fragments
        By key, what earlier runs recorded.

    Returns
    -------
    replaced, same : dict
        By key, the fragments of samples that hold something else: without their fingerprint, so
        that they convert again; and of those that hold the same, with their new stamps.
    """
    asked: list[tuple[Sample, Fragment, str]] = []
    for sample in listing.samples:
        fragment, stamp = fragments.get(sample.key), listing.stamps.get(sample.id, "")
        # A fragment of an earlier version has no stamp: size and time have to do.
        if fragment is None or not (stamp and fragment.stamp and fragment.content):
            continue
        if fragment.stamp != stamp and fragment.fingerprint == sample.fingerprint:
            asked.append((sample, fragment, stamp))
    if not asked:
        return {}, {}

    def digest(sample: Sample) -> str:
        try:
            return run_config.source.content(sample)
        except OSError:
            return ""  # the job will say what is wrong with it

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        digests = list(pool.map(digest, [sample for sample, _, _ in asked]))
    replaced: dict[str, Fragment] = {}
    same: dict[str, Fragment] = {}
    for (sample, fragment, stamp), found in zip(asked, digests, strict=True):
        if found == fragment.content:
            same[sample.key] = replace(fragment, stamp=stamp)
        else:
            replaced[sample.key] = replace(fragment, fingerprint="")
    return replaced, same


def rewrite_fragments(run_config: RunConfig, fragments: Mapping[str, Fragment]) -> None:
    """Write fragments that say more than before, so that the next run need not look again."""
    for key, fragment in fragments.items():
        path = run_config.fragment(key)
        status = path.stat()
        write_atomically(path, fragment.to_json())
        # Snakemake would merge again for a newer fragment.
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
