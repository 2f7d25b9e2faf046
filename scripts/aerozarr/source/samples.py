"""Samples, skipped samples, and listings: what the tables of the work folder hold.

Ids come from a listing and are hostile until checked: `why_invalid` says which cannot be stored,
and `key_of` makes of the others a name that is safe in file names, wildcards and shells.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from aerozarr.config.file_patterns import names_of
from aerozarr.messages import printable
from aerozarr.store.format.layout import (
    GROUP_SUFFIX,
    PARTIAL_FOLDER,
    hashed_name,
    is_beside_the_groups,
    safe_name,
    stays_inside,
)

# The size in bytes of a file whose size its file system does not tell.
UNKNOWN_SIZE = -1
# The tables of a listing, by their names in its text, and the kind of a skipped sample there where
# it is another. Digests depend on them: those of earlier versions have to stay as they are.
_TABLES = {"samples": "samples", "left_out": "skipped"}
_EARLIER_KINDS = {"invalid_id": "refused"}

# What rows of samples have been given since.
_LATER = frozenset({"splits", "prints", "cells"})

# A name's end of so many equal pieces is what Snakemake takes for a fault of the rules.
_REPEATS = 20
_REPEATED = re.compile(rf"(.+?)\1{{{_REPEATS - 1}}}$")

SkippedKind = Literal["incomplete", "invalid_id", "broken", "excluded", "unreadable"]


@dataclass(frozen=True)
class FileInfo:
    """One file of a sample.

    Attributes
    ----------
    size
        In bytes.
    stamp
        What changes when it is written: its mtime or ETag; empty where neither is told.
    change
        What also changes when it is replaced and given its old time: ctime and inode. They change
        too when it is copied or moved, so they alone do not say that it is another one.
    """

    size: int
    stamp: str
    change: str = ""


class Cell(NamedTuple):
    """What a table of all samples has for a scalar of one.

    Attributes
    ----------
    scalar
        The scalar's name.
    text, line
        What the cell holds, and on which line of the table it stands.
    problem, remedy
        Why there is no such cell, and what to do; empty where there is one.
    """

    scalar: str
    text: str
    line: int
    problem: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Sample:
    """A row of the sample table.

    Attributes
    ----------
    key, id
        The sample's safe name for jobs and fragments, and its id.
    split
        The split by which it is listed first; empty for a listed prefix.
    position
        Its index in what a dataset class brings for the split; -1 for samples that are files.
    files, sizes
        Names of its files, and their sizes in bytes.
    fingerprint
        Changes when any of its files does.
    splits
        Every split that lists it, with its place there; empty when that is `split` alone, in the
        order of the table.
    prints
        Of each file, what changes when it does; none in tables of earlier versions.
    cells
        What tables with a row for each sample have for it, by which its fingerprint changes too.
    """

    key: str
    id: str
    split: str
    position: int
    files: tuple[str, ...]
    sizes: tuple[int, ...]
    fingerprint: str
    splits: tuple[tuple[str, int], ...] = ()
    prints: tuple[str, ...] = ()
    cells: tuple[Cell, ...] = ()

    def cell_of(self, scalar: str) -> Cell | None:
        """Return what a table has for a scalar by its name; None for nothing."""
        return next((cell for cell in self.cells if cell.scalar == scalar), None)

    def size_of(self, file: str) -> int | None:
        """Return the listed size of a file in bytes, or None when it is not known."""
        size = dict(zip(self.files, self.sizes, strict=True)).get(file, UNKNOWN_SIZE)
        return None if size == UNKNOWN_SIZE else size

    def names_of(self, entry: str) -> tuple[str, ...]:
        """Return the names of the sample's files that an entry of a file map names.

        One, or those of its parts, in order.
        """
        return names_of(entry, self.files)

    def print_of(self, *entries: str) -> str:
        """Return what changes when a file does that entries of a file map name.

        Where that is not known, what changes when any file does.
        """
        known = dict(zip(self.files, self.prints, strict=False))
        names = [name for entry in entries for name in self.names_of(entry)]
        prints = [known.get(name, "") for name in names]
        return "+".join(prints) if prints and all(prints) else self.fingerprint

    def change_of(self, changes: Mapping[str, str], *entries: str) -> str:
        """Return what changes when a file is replaced that entries of a file map name.

        Parameters
        ----------
        changes
            By file, as `FileInfo.change` has it.
        entries
            Entries of a file map.

        Returns
        -------
        str
            Empty where that is not known of all these files.
        """
        names = [name for entry in entries for name in self.names_of(entry)]
        told = [changes.get(name, "") for name in names]
        return "+".join(told) if all(told) else ""


# The cause of an incomplete sample of which nothing is there.
ABSENT = "are not there, nor is any other file of the sample"
ABSENT_ONE = "is not there, nor is any other file of the sample"


@dataclass(frozen=True)
class Skipped:
    """A sample that is not converted: what is wrong with it, where, and what to do.

    Attributes
    ----------
    id, split
        The sample's id, and the split it was asked for in.
    kind
        `incomplete`: a file is missing. `invalid_id`: its id cannot be a place in the store.
        `broken`: a file cannot be converted. `excluded`: the setting `exclude` names it.
        `unreadable`: its folder cannot be listed.
    field, file
        Where it is wrong; empty when that is not one field or file.
    cause, remedy
        What is wrong, and what to do about it.
    """

    id: str
    split: str
    kind: SkippedKind
    field: str
    file: str
    cause: str
    remedy: str

    @property
    def is_absent(self) -> bool:
        """Whether nothing of the sample is there: a split may list what was never downloaded."""
        return self.kind == "incomplete" and self.cause in (ABSENT, ABSENT_ONE)

    def __str__(self) -> str:
        where = ": ".join(part for part in (self.id, self.field, self.file) if part)
        return printable(f"{where}: {self.cause}; {self.remedy}")


def skipped_of(row: Mapping[str, str]) -> Skipped:
    """Return a skipped sample from a row of its table, of this version or an earlier one."""
    kinds = {earlier: kind for kind, earlier in _EARLIER_KINDS.items()}
    return Skipped(**{**row, "kind": kinds.get(row["kind"], row["kind"])})  # type: ignore[arg-type] # text


@dataclass
class Listing:
    """What a source holds.

    Attributes
    ----------
    samples, skipped
        The samples in sample order, and those that are skipped.
    warnings
        What the person should know.
    stamps
        By sample id: a hash over what changes when a file is replaced and given its old time.
        Known where the source was just listed, and no part of the listing's text.
    changes
        By sample id and file: what these are hashes over.
    """

    samples: list[Sample] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    stamps: dict[str, str] = field(default_factory=dict, compare=False)
    changes: dict[str, dict[str, str]] = field(default_factory=dict, compare=False)

    def to_json(self) -> str:
        """Return the listing as text, the same for the same listing."""
        # Not with asdict, whose deep copies take longer than everything else here.
        parts = {key: [vars(row) for row in getattr(self, name)] for key, name in _TABLES.items()}
        # As earlier versions wrote it, which knew neither several splits a sample nor what tells
        # one file's change from another's: digests are made of this.
        parts["samples"] = [
            {key: row[key] for key in row if key not in _LATER or row[key]}
            for row in parts["samples"]
        ]
        parts["left_out"] = [
            {**row, "kind": _EARLIER_KINDS.get(row["kind"], row["kind"])}
            for row in parts["left_out"]
        ]
        return json.dumps({**parts, "warnings": self.warnings}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Listing:
        """Return the listing that `to_json` wrote."""
        content = json.loads(text)
        samples = [
            Sample(
                **{
                    **row,
                    "files": tuple(row["files"]),
                    "sizes": tuple(row["sizes"]),
                    "splits": tuple((name, place) for name, place in row.get("splits", ())),
                    "prints": tuple(row.get("prints", ())),
                    "cells": tuple(Cell(*cell) for cell in row.get("cells", ())),
                }
            )
            for row in content["samples"]
        ]
        skipped = [skipped_of(row) for row in content["left_out"]]
        return cls(samples, skipped, content["warnings"])

    def digest(self) -> str:
        """Return a hash that changes when a sample is new, changed, skipped, moved or gone."""
        return _hash(self.to_json())


def ids_by_split(samples: Sequence[Sample]) -> dict[str, list[str]]:
    """Return the ids of each split that the samples are in, in the split's own order."""
    places: dict[str, list[tuple[int, str]]] = {}
    for row, sample in enumerate(samples):
        for split, place in sample.splits or ((sample.split, row),):
            if split:
                places.setdefault(split, []).append((place, sample.id))
    return {split: [sample_id for _, sample_id in sorted(of)] for split, of in places.items()}


# What is hashed is JSON, put together by hand: there are nine hashes a sample, for which json.dumps
# would take longer than all the rest of a listing.
_text = json.encoder.encode_basestring_ascii


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def fingerprint(files: dict[str, FileInfo], *salt: str) -> str:
    """Return a hash over names, sizes and stamps (mtime or ETag) of a sample's files."""
    rows = ", ".join(f"[{_text(n)}, {i.size}, {_text(i.stamp)}]" for n, i in sorted(files.items()))
    return _hash(f"[[{rows}]{''.join(f', {_text(part)}' for part in salt)}]")


def salted(fingerprint: str, texts: Iterable[str]) -> str:
    """Return a fingerprint that changes with some texts too."""
    return _hash(f"{_text(fingerprint)}{''.join(f', {_text(text)}' for text in texts)}")


def print_of(file: FileInfo) -> str:
    """Return what changes when a file does, as far as its size and its stamp tell."""
    return _hash(f"[{file.size}, {_text(file.stamp)}]")[:12]


def stamp_of(files: Mapping[str, FileInfo]) -> str:
    """Return a hash over the changes of a sample's files; empty where none is told."""
    changes = sorted(changes_of(files).items())
    rows = ", ".join(f"[{_text(name)}, {_text(change)}]" for name, change in changes)
    return _hash(f"[{rows}]") if changes else ""


def changes_of(files: Mapping[str, FileInfo]) -> dict[str, str]:
    """Return by file what changes when it is replaced, where that is told."""
    return {name: info.change for name, info in files.items() if info.change}


def key_of(sample_id: str) -> str:
    """Return a sample's name in file names and Snakemake's wildcards."""
    name = safe_name(sample_id)
    # Snakemake ends a run in which a wildcard does: it would be a rule that feeds on itself.
    repeats = name.count(name[-1:]) >= _REPEATS and _REPEATED.search(name) is not None
    return hashed_name(sample_id) if repeats else name


def why_invalid(sample_id: str) -> str | None:
    """Return why an id cannot be a place in the store, or None when it can."""
    if not sample_id:
        return "it is empty"
    parts = sample_id.split("/")
    try:
        sample_id.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not valid UTF-8"
    if "\\" in sample_id:
        return "its name holds a backslash, which some systems take for the end of a folder's"
    if not stays_inside(sample_id):
        return "its id would leave the store"
    if any(part.endswith(GROUP_SUFFIX) for part in parts[:-1]):
        return "its folder would lie in another sample's group"
    if parts[0] == PARTIAL_FOLDER:
        return f"{PARTIAL_FOLDER} is where unfinished groups are written"
    if len(parts) > 1 and is_beside_the_groups(parts[0]):
        return f"{parts[0]} is a file of every store, and cannot be a folder too"
    if max(len(part.encode()) for part in parts) > 250 or len(sample_id.encode()) > 900:
        return "its name is longer than file systems and object stores allow"
    return None
