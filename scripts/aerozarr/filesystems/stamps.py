"""What a file system says of objects that changes when they are written anew."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

# What file systems call it, the surest first.
STAMPS = (
    *("ETag", "etag", "md5Hash", "blob_id", "sha", "CRC"),
    *("LastModified", "last_modified", "mtime", "created"),
)
# Names that a source's fingerprints do not look at: with them, all of its samples would change.
_MORE_STAMPS = (
    *("e_tag", "Content-MD5", "generation", "version", "last_commit"),
    *("Last-Modified", "timeModified", "updated", "modified", "modify", "modificationTime"),
    *("last_write_time", "date_time"),
)


def stamp_of(entry: Mapping[str, Any], names: Iterable[str] = STAMPS) -> str:
    """Return the surest of what a listing says of an object; empty where it says nothing."""
    return next((str(entry[name]) for name in names if entry.get(name) is not None), "")


def stamp_of_object(entry: Mapping[str, Any]) -> str:
    """Return what changes when an object is written anew; empty where that is not told."""
    stamp = stamp_of(entry, (*STAMPS, *_MORE_STAMPS))
    return f"{entry.get('size')} {stamp}" if stamp else ""


def stamp_of_objects(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what changes when any of some objects is written anew, added or removed.

    Parameters
    ----------
    entries
        What the file system says of each, by its path.

    Returns
    -------
    str
        A digest; empty where there is nothing, or where it is not told of each.
    """
    stamps = {path: stamp_of_object(entry) for path, entry in entries.items()}
    if not all(stamps.values()):
        return ""
    lines = [f"{path}\n{stamps[path]}\n" for path in sorted(stamps)]
    digest = hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape"))
    return digest.hexdigest() if lines else ""
