"""The files beside the manifest that make a store complete in itself.

All of them depend on the source and the settings alone, except `provenance.json`, which tells when
and with what the store was made.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from aerozarr import __version__
from aerozarr.convert.fragment import Fragment
from aerozarr.environment import STARTED
from aerozarr.merge.statistics import moments_of, statistics
from aerozarr.messages import redacted
from aerozarr.run_config import RunConfig
from aerozarr.source.sample_table import rows_text
from aerozarr.source.samples import Sample, Skipped, ids_by_split
from aerozarr.store.format.layout import (
    MOMENTS,
    SKIPPED,
    SPLITS,
    STATISTICS,
    group_path,
    id_list_name,
    statistics_name,
)
from aerozarr.store.format.moments_file import moments_lines
from aerozarr.store.format.tables import checksums_table
from aerozarr.store.write.root import StoredFile

PACKAGES = ("snakemake", "torch", "zarr", "numcodecs", "numpy", "fsspec")

# Up to the last @ before a slash: a password may hold an @.
# A provenance may come from elsewhere: nothing but such files is removed because it says so.
_OWN = re.compile(
    r"splits\.json|moments\.jsonl|statistics(\.[\w.~%-]{1,180})?\.json"
    r"|[\w.~%-]{1,180}_design_ids\.txt|blacklist\w{0,40}\.txt",
    re.ASCII,
)


def sidecars(
    run_config: RunConfig,
    samples: Sequence[Sample],
    fragments: Sequence[Fragment],
    left: list[Skipped],
    numbers: Mapping[str, Any],
) -> dict[str, bytes]:
    """Return the files beside the manifest by name, but for `checksums.tsv` and provenance.

    Parameters
    ----------
    run_config
        The configuration.
    samples, fragments
        The converted samples, in sample order, and their fragments.
    left
        The skipped samples.
    numbers
        The statistics of all converted samples.
    """
    files = {
        SKIPPED: rows_text(left, Skipped).encode("utf-8"),
        STATISTICS: _json(numbers),
        MOMENTS: moments_lines((f.sample_id, moments_of(f)) for f in fragments),
    }
    splits = ids_by_split(samples)
    by_id = {fragment.sample_id: fragment for fragment in fragments}
    if splits:
        files[SPLITS] = _json(splits)
        files |= {k: v.encode("utf-8") for k, v in run_config.source.blacklists().items()}
    for split, ids in splits.items():
        of_split = [by_id[sample_id] for sample_id in ids]
        files[statistics_name(split)] = _json(statistics(run_config.domains, of_split))
        files[id_list_name(split)] = "".join(f"{id_}\n" for id_ in ids).encode("utf-8")
    return files


def checksums(fragments: Sequence[Fragment], beside: Mapping[str, bytes]) -> bytes:
    """Return size and SHA-256 of every file of the store, as a table; groups in sample order.

    Parameters
    ----------
    fragments
        Those of converted samples, in sample order.
    beside
        The files beside the groups by name, without this table and provenance.
    """
    rows = [
        (f"{group_path(fragment.sample_id)}/{path}", size, digest)
        for fragment in fragments
        for path, (size, digest) in sorted(fragment.objects.items())
    ]
    for name, content in sorted(beside.items()):
        stored = StoredFile.of(content)
        rows.append((name, stored.size, stored.sha256))
    return checksums_table(rows)


def provenance(run_config: RunConfig, counts: Mapping[str, int], files: Sequence[str]) -> bytes:
    """Return when, with what and from what the store was made, as a file.

    Parameters
    ----------
    run_config
        The configuration.
    counts
        Numbers that describe the run.
    files
        The files beside the groups; a later merge removes those that it no longer writes.
    """
    return _json({**provenance_of(run_config), **counts, "files": sorted(files)})


def provenance_of(run_config: RunConfig) -> dict[str, Any]:
    """Return when, with what and from what a store is made, without credentials."""
    settings = run_config.settings.model_dump(mode="json", exclude={"storage_options"})
    return {
        "aerozarr": __version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "source": redacted(run_config.source_url),
        "settings": redacted(settings),
        "started": os.environ.get(STARTED, ""),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def files_named_by(content: bytes | None) -> list[str]:
    """Return the files of a run that a store's provenance names; none if it cannot be read.

    Other names are ignored, however they came there.
    """
    try:
        files = json.loads(content or b"{}").get("files")
    except (ValueError, AttributeError, RecursionError):
        return []
    names = files if isinstance(files, list) else []
    return [name for name in names if isinstance(name, str) and _OWN.fullmatch(name)]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _json(content: Any) -> bytes:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False).encode("utf-8")
