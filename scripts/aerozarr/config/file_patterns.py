"""Which files of a sample an entry of a file map names: one by its name, a pattern, or parts.

A pattern (`boundary_*.vtp`) names the one file that it matches. A raw file of a simulation may lie
in numbered parts (`volume_1.vtu.00.part`, `volume_1.vtu.01.part`), which are one file.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

# The ends of the names of raw simulation files, which VTK reads.
RAW_FILES = (".vtp", ".vtu", ".vtk", ".stl")
_ANY = "*"
_PART = r"\.(?P<number>\d{1,6})\.part"


class NotOneFile(NamedTuple):
    """Why the files of a sample that an entry names are not one file.

    Attributes
    ----------
    is_missing
        Whether a part is missing; else several files are named.
    file
        What is missing, or the entry.
    cause, remedy
        What is wrong, and what to do about it.
    """

    is_missing: bool
    file: str
    cause: str
    remedy: str


@functools.lru_cache(maxsize=1024)  # asked of every file of every sample, by few names
def is_raw(file: str) -> bool:
    """Whether a file, or an entry of a file map, is a raw simulation file by its name."""
    return os.path.splitext(whole_name(file))[1].lower() in RAW_FILES


def whole_name(name: str) -> str:
    """Return the name of the file that a file is a part of; its own where it is none."""
    return re.sub(f"{_PART}$", "", name)


def is_pattern(entry: str) -> bool:
    """Whether an entry of a file map names a file by a pattern."""
    return _ANY in entry


def names_of(entry: str, names: Collection[str]) -> tuple[str, ...]:
    """Return those of the names of a sample's files that an entry of a file map names, in order.

    Parts are in the order of their numbers.
    """
    if not _may_name_others(entry):
        return (entry,) if entry in names else ()
    return tuple(sorted(filter(_expression(entry).fullmatch, names), key=_by_number))


def _by_number(name: str) -> tuple[str, int, str]:
    match = re.fullmatch(f"(?P<file>.*){_PART}", name, re.DOTALL)
    return (match["file"], int(match["number"]), name) if match else (name, -1, name)


def why_not_one(entry: str, names: Collection[str]) -> NotOneFile | None:
    """Return why the files that an entry names are not one; None where they are, or are none."""
    if not _may_name_others(entry):
        return None
    found = names_of(entry, names)
    if not found:
        return None
    if len({whole_name(name) for name in found}) > 1 or (len(found) > 1 and found[0] == entry):
        return _several(entry, found)
    numbers = [_by_number(name)[1] for name in found]
    if numbers[0] < 0:  # a file that is whole
        return None if len(found) == 1 else _several(entry, found)
    if len(set(numbers)) < len(numbers):
        return _several(entry, found)
    # From 0 or from 1 on.
    first = min(numbers[0], 1)
    missing = next((n for n, number in enumerate(numbers, first) if n != number), None)
    if missing is None:
        return None
    digits = len(found[0].rsplit(".", 2)[1])
    return NotOneFile(
        is_missing=True,
        file=f"{whole_name(found[0])}.{missing:0{digits}}.part",
        cause=f"this part is not there; there is {', '.join(found)}",
        remedy="get the missing part from where the dataset comes from",
    )


def _several(entry: str, found: Collection[str]) -> NotOneFile:
    shown = [*found][:10]
    return NotOneFile(
        is_missing=False,
        file=entry,
        cause=f"it names {len(found)} files of the sample: {', '.join(shown)}"
        + (" …" if len(found) > len(shown) else ""),
        remedy="write in filemap what names one of them, or move the others away",
    )


class Wanted:
    """The files of a file map, by which those of a folder are known.

    Parameters
    ----------
    entries
        What the file map names: file names, and patterns.

    Attributes
    ----------
    entries
        These, each once.
    uncertain
        Those that may name another file than the one of just their name.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self.entries = tuple(dict.fromkeys(entries))
        self._names = frozenset(self.entries)
        self.uncertain = tuple(entry for entry in self.entries if _may_name_others(entry))
        self._others = [_expression(entry) for entry in self.uncertain]

    @classmethod
    def of(cls, entries: Collection[str] | Wanted) -> Wanted:
        """Return what some entries ask for; what is that already, as it is."""
        return entries if isinstance(entries, Wanted) else cls(entries)

    def __contains__(self, name: str) -> bool:
        return name in self._names or any(one.fullmatch(name) for one in self._others)

    def missing_in(self, names: Collection[str]) -> list[str]:
        """Return the entries that name none of some files."""
        there = frozenset(names)
        if self._names <= there:
            return []
        return [entry for entry in self.entries if not names_of(entry, there)]

    def entries_in(self, names: Collection[str]) -> set[str]:
        """Return the entries that name one of some files."""
        return {*self.entries} - {*self.missing_in(names)}


def _may_name_others(entry: str) -> bool:
    """Whether an entry may name another file than the one of just its name."""
    return is_pattern(entry) or is_raw(entry)


@functools.lru_cache(maxsize=256)
def _expression(entry: str) -> re.Pattern[str]:
    text = ".*".join(re.escape(piece) for piece in entry.split(_ANY))
    parts = rf"({_PART})?" if is_raw(entry) else ""
    return re.compile(text + parts, re.DOTALL)
