"""Which arrays of raw files no field is made of."""

from __future__ import annotations

from collections.abc import Iterator

from aerozarr.config.raw_keys import RawKey, parse_raw_key
from aerozarr.errors import AerozarrError
from aerozarr.filesystems.location import is_url
from aerozarr.messages import printable
from aerozarr.run_config import RunConfig
from aerozarr.source.samples import Sample


def unused_arrays(run_config: RunConfig, sample: Sample) -> Iterator[str]:
    """Yield what there is in a sample's raw files besides the fields, a line a file."""
    keys: dict[str, list[RawKey]] = {}
    for one in (one for domain in run_config.domains for one in domain.fields):
        for file, key in ((one.file, one.key), *(one.patches or ())):
            keys.setdefault(file, []).append(parse_raw_key(key or ""))
    for file, names in run_config.source.array_names(sample, run_config.domains).items():
        left = [
            f"{printable(name)} ({association})"
            for association, of in names.items()
            for name in of
            if not any(key.is_of(association, name) for key in keys[file])
        ]
        if left:
            yield f"{printable(file)}: {', '.join(left)}"


def unused_arrays_here(run_config: RunConfig, sample: Sample) -> list[str]:
    """Return the same of a source on this machine, and nothing where it cannot be read any more.

    Behind a URL, whole files would be fetched for it.
    """
    if is_url(run_config.source_url):
        return []
    try:
        return list(unused_arrays(run_config, sample))
    except (AerozarrError, OSError, MemoryError, RuntimeError):
        # What is wrong with it, the next run says. A line of the report is not worth a merge.
        return []
