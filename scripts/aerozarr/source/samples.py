"""Samples, those left out, and listings: what the tables of the work folder hold.

Ids come from a listing and are hostile until checked: `refusal` says which cannot be stored, and
`key_of` makes of the others a name that is safe in file names, wildcards and shells.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Literal

from aerozarr.messages import printable
from aerozarr.store.format.layout import (
    GROUP_SUFFIX,
    PARTIAL_FOLDER,
    safe_name,
    stays_inside,
)

# The size in bytes of a file whose size its file system does not tell.
UNKNOWN_SIZE = -1
# The tables of a listing, by their names in its text, on which digests depend.
_TABLES = {"samples": "samples", "left_out": "skipped"}


@dataclass(frozen=True)
class FileInfo:
    """One file of a sample: its size in bytes, and what changes when it changes."""

    size: int
    stamp: str


@dataclass(frozen=True)
class Sample:
    """A row of the sample table.

    Attributes
    ----------
    key, id
        The sample's safe name for jobs and fragments, and its id.
    split
        The split it belongs to; empty for a listed prefix.
    position
        Its index in what a dataset class brings for the split; -1 for samples that are files.
    files, sizes
        Names of its files, and their sizes in bytes.
    fingerprint
        Changes when any of its files does.
    """

    key: str
    id: str
    split: str
    position: int
    files: tuple[str, ...]
    sizes: tuple[int, ...]
    fingerprint: str

    def size_of(self, file: str) -> int | None:
        """Return the listed size of a file in bytes, or None when it is not known."""
        size = dict(zip(self.files, self.sizes, strict=True)).get(file, UNKNOWN_SIZE)
        return None if size == UNKNOWN_SIZE else size


@dataclass(frozen=True)
class Skipped:
    """A sample that is not converted: what is wrong with it, where, and what to do."""

    id: str
    split: str
    kind: Literal["incomplete", "refused", "broken"]
    field: str
    file: str
    cause: str
    remedy: str

    def __str__(self) -> str:
        where = ": ".join(part for part in (self.id, self.field, self.file) if part)
        return printable(f"{where}: {self.cause}; {self.remedy}")


@dataclass
class Listing:
    """What a source holds: the samples in sample order, those left out, and warnings."""

    samples: list[Sample] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """Return the listing as text, the same for the same listing."""
        # Not with asdict, whose deep copies take longer than everything else here.
        parts = {key: [vars(row) for row in getattr(self, name)] for key, name in _TABLES.items()}
        return json.dumps({**parts, "warnings": self.warnings}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Listing:
        """Return the listing that `to_json` wrote."""
        content = json.loads(text)
        samples = [
            Sample(**{**row, "files": tuple(row["files"]), "sizes": tuple(row["sizes"])})
            for row in content["samples"]
        ]
        skipped = [Skipped(**row) for row in content["left_out"]]
        return cls(samples, skipped, content["warnings"])

    def digest(self) -> str:
        """Return a hash that changes when a sample is new, changed, left out, moved or gone."""
        return _hash(self.to_json())


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def fingerprint(files: dict[str, FileInfo], *salt: str) -> str:
    """Return a hash over names, sizes and stamps (mtime or ETag) of a sample's files."""
    return _hash(json.dumps([sorted((n, i.size, i.stamp) for n, i in files.items()), *salt]))


def key_of(sample_id: str) -> str:
    """Return a sample's name in file names and Snakemake's wildcards."""
    return safe_name(sample_id)


def why_invalid(sample_id: str) -> str | None:
    """Return why an id cannot be a place in the store, or None when it can."""
    parts = sample_id.split("/")
    try:
        sample_id.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not valid UTF-8"
    if not stays_inside(sample_id):
        return "its id would leave the store"
    if any(part.endswith(GROUP_SUFFIX) for part in parts[:-1]):
        return "its folder would lie in another sample's group"
    if parts[0] == PARTIAL_FOLDER:
        return f"{PARTIAL_FOLDER} is where unfinished groups are written"
    if max(len(part.encode()) for part in parts) > 250 or len(sample_id.encode()) > 900:
        return "its name is longer than file systems and object stores allow"
    return None
