"""Fragments, one a sample: what became of it, and what was learnt of its fields.

A fragment is this workflow's own record, and no part of the store format.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Literal

import msgspec

from aerozarr.config.fields import Domain
from aerozarr.convert.rounding import Rounding, rounding_warnings
from aerozarr.errors import StoreError
from aerozarr.messages import plural
from aerozarr.run_config import FRAGMENT_VERSION
from aerozarr.source.samples import Skipped
from aerozarr.store.format.layout import Grid, group_path
from aerozarr.store.format.moments import Moments
from aerozarr.store.write.local_files import LocalFiles


class FieldRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a conversion learnt of one field.

    Attributes
    ----------
    moments
        Of the values as stored.
    rounding
        What the cast changed, in the points of the first chunk: a uniform sample of them.
    note
        What the person should know of the field; each text is told once a run.
    made_of
        A hash over its file and the settings that decide its bytes. Absent from fragments of
        earlier versions, until the next run that finds nothing changed writes it.
    change
        What changes when its file is replaced by another, whatever its time says; empty where that
        is not told.
    """

    moments: Moments
    rounding: Rounding
    note: str = ""
    made_of: str = ""
    change: str = ""


class Fragment(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"skipped": "left_out"},  # by the name that fragments have had for it
):
    """What became of one sample.

    Attributes
    ----------
    sample_id
        The sample's id.
    status
        `converted`, or `broken`: then it says nothing of a group that may be there from before.
    fragment_version
        Version of this record.
    fingerprint, stored_as
        Of the sample's files, and of the settings, at the time; no fingerprint when the next run
        should try again.
    domains, source_points
        For a converted sample: grid by domain; and number of points in the source, of the domains
        of which fewer are stored (`keep_points`).
    fields, objects
        Likewise: what was learnt of each field, by canonical name, and size and SHA-256 of each of
        the group's files, by path.
    skipped
        For a broken one: what is wrong.
    stamp, content
        Hashes over inode and ctime of its files, and over the checksums in them; empty where they
        are not local, and in fragments of earlier versions.
    notes
        What the person should know of the sample besides what is said of each field; fragments of
        earlier versions say that here, too.
    adopted
        Whether the group is one that was there already, with bytes of whoever wrote it; its values
        are those of the source. Absent from fragments of earlier versions.
    source_bytes
        Bytes read from the source.
    seconds, peak_memory_mb
        Wall time of the conversion, and the process's peak resident memory in MiB.
    """

    sample_id: str
    status: Literal["converted", "broken"]
    fragment_version: int = FRAGMENT_VERSION
    fingerprint: str = ""
    stored_as: str = ""
    domains: dict[str, Grid] = {}
    source_points: dict[str, int] = {}
    fields: dict[str, FieldRecord] = {}
    objects: dict[str, tuple[int, str]] = {}
    skipped: Skipped | None = None
    stamp: str = ""
    content: str = ""
    notes: list[str] = []
    adopted: bool = False
    source_bytes: int = 0
    seconds: float = 0.0
    peak_memory_mb: float = 0.0

    def points_in_source(self, domain: str) -> int:
        """Return how many points a domain of a converted sample has in the source."""
        return self.source_points.get(domain, self.domains[domain].n_points)

    @property
    def stored_bytes(self) -> int:
        """Bytes of the group's files."""
        return sum(map(itemgetter(0), self.objects.values()))

    def to_json(self) -> bytes:
        """Return the fragment as text."""
        of_fields = (record.moments for record in self.fields.values())
        squares = (value for of in of_fields for value in (*of.m2, *of.log_m2))
        if all(map(math.isfinite, squares)):
            return msgspec.json.encode(self)
        # JSON has no numbers for those that are not finite, and msgspec would write null.
        return json.dumps(msgspec.to_builtins(self)).encode("utf-8")


_DECODER = msgspec.json.Decoder(Fragment)


def read_fragment(path: str | Path) -> Fragment:
    """Read a fragment.

    Raises
    ------
    StoreError
        When it is not there, is of another version, or is no fragment.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        raise StoreError(f"{path} is not there. Run snakemake again.") from None
    fragment = _decoded(content)
    if fragment is not None and fragment.fragment_version == FRAGMENT_VERSION:
        return fragment
    version = fragment.fragment_version if fragment is not None else _version_in(content)
    if version not in (None, FRAGMENT_VERSION):
        raise StoreError(
            f"{path} is a fragment of version {version}, this aerozarr reads version "
            f"{FRAGMENT_VERSION}. Delete it and run snakemake again."
        )
    raise StoreError(f"{path} is no fragment, or damaged. Delete it and run snakemake again.")


def _decoded(content: bytes) -> Fragment | None:
    """Return what a file holds, None where that is no fragment."""
    try:
        fragment = _DECODER.decode(content)
    except msgspec.ValidationError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Of numbers that are not finite, in words that are JavaScript's and not JSON's.
        try:
            fragment = msgspec.convert(json.loads(content), Fragment)
        except (ValueError, RecursionError):
            return None
    sound = all(grid.is_sound for grid in fragment.domains.values())
    return fragment if sound else None


def _version_in(content: bytes) -> object:
    """Return the version that a file says; one of another version may have other fields."""
    try:
        return json.loads(content).get("fragment_version")
    except (ValueError, AttributeError, RecursionError):
        return None


# A fragment's status comes after its sample's id, which is no longer than a path may be.
_STATUS_WITHIN = 8192
_BROKEN = re.compile(rb'"status": ?"broken"')


def says_broken(path: Path) -> bool:
    """Whether a fragment says that its sample is broken; without reading all of it.

    False where there is none.
    """
    try:
        with path.open("rb") as file:
            # In a text of JSON the marks would be escaped.
            return _BROKEN.search(file.read(_STATUS_WITHIN)) is not None
    except OSError:
        return False


def told_once(fragments: Iterable[Fragment]) -> list[str]:
    """Return the notes of all samples, each once, with the number of samples that it is of."""
    counts = Counter(note for fragment in fragments for note in _notes(fragment))
    return [f"{note} ({plural(count, 'sample')})" for note, count in counts.items()]


def _notes(fragment: Fragment) -> list[str]:
    of_fields = [record.note for record in fragment.fields.values() if record.note]
    return [*fragment.notes, *of_fields]


def rounding_lines(domains: Iterable[Domain], fragments: Sequence[Fragment]) -> list[str]:
    """Return a line for each field that loses much by rounding, as `rounding_warnings` does."""
    dtypes = {field.canonical: field.dtype for domain in domains for field in domain.fields}
    roundings = {
        name: [f.fields[name].rounding for f in fragments if name in f.fields] for name in dtypes
    }
    return rounding_warnings({name: parts for name, parts in roundings.items() if parts}, dtypes)


def is_whole(fragment: Fragment, files: Mapping[str, int | None]) -> bool:
    """Whether a store holds every file of a converted sample, in its size.

    Parameters
    ----------
    fragment
        The sample's.
    files
        What the store holds: path to size, None where that is not told.
    """
    group = group_path(fragment.sample_id)
    sizes = ((path, size) for path, (size, _) in fragment.objects.items())
    if isinstance(files, LocalFiles):
        return files.holds(group, sizes)
    return all(files.get(f"{group}/{path}", -1) in (size, None) for path, size in sizes)
