"""Comparing a group that is there with what a conversion would write in its place.

The conversion itself runs, into a group that compares instead of writing: so what is adopted is
what would have been converted, row by row, and its statistics are computed by the same code. Only
the compressed bytes may be other ones.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from msgspec.structs import replace

from aerozarr.adopt.expected import (
    CONVERT_ANEW,
    MEND_SOURCE,
    MOVE_AWAY,
    AdoptionFindings,
    Listed,
    listed_path,
)
from aerozarr.config.fields import Domain, Field
from aerozarr.convert.encode import use_one_thread
from aerozarr.convert.fragment import Fragment
from aerozarr.convert.sample import convert_from_source
from aerozarr.errors import StoreError
from aerozarr.filesystems.byte_ranges import ByteRange, Fetcher, LocalFetcher
from aerozarr.filesystems.files import write_atomically
from aerozarr.messages import printable
from aerozarr.run_config import RunConfig
from aerozarr.store.format.layout import (
    MANIFEST,
    ROOT_METADATA,
    Grid,
    group_path,
    is_foreign_in_group,
    shard_folder,
)
from aerozarr.store.format.scalars import DESCRIPTIONS, VALUES
from aerozarr.store.read.array_decoder import Layout, Unreadable
from aerozarr.store.read.chunk_reader import ChunkReader
from aerozarr.store.read.group_metadata import UnreadableGroup, members_of
from aerozarr.store.read.subsample import ArrayRows, Subsample
from aerozarr.store.write.root import GroupWriter, Shard, StoredFile, StoreRoot
from aerozarr.verify.expected import Problem

# Rows that are read together, and bytes of a file that are.
_BLOCK = 2**18
_FILE_BLOCK = 2**24
# For the indexes and metadata of one sample.
_CACHE_BYTES = 2**26

Array = npt.NDArray[Any]


def adopt_sample(run_config: RunConfig, *, key: str, findings: Path) -> None:
    """Adopt one sample, if its group holds the source's values: the job of `adopt_sample`."""
    use_one_thread()
    listed = Listed.model_validate_json(listed_path(run_config, key).read_bytes())
    found, fragment = compare_sample(run_config, listed)
    for problem in found.problems:
        where = printable(f"{found.sample_id}: {problem.place}")
        print(f"{where}: {printable(problem.what)}; {problem.remedy}", file=sys.stderr)
    if fragment is not None:
        write_atomically(run_config.fragment(key), fragment.to_json())
    # Last: a job that was killed before is done again.
    write_atomically(findings, found.model_dump_json().encode("utf-8"))


def compare_sample(
    run_config: RunConfig, listed: Listed
) -> tuple[AdoptionFindings, Fragment | None]:
    """Compare a sample's group with what a conversion would write, and write nothing.

    Returns
    -------
    findings, fragment
        What was found; and the fragment of a sample that can be adopted, None for another.
    """
    sample = listed.sample
    if listed.relpath != group_path(sample.id):
        what = f"says that its group is {listed.relpath}, and the format {group_path(sample.id)}"
        return _refused(sample.id, [Problem(MANIFEST, what, CONVERT_ANEW)]), None
    compared = ComparedStore(run_config.store, listed, run_config.domains)
    fragment = convert_from_source(run_config, sample, compared)
    group = compared.group
    if fragment.skipped is not None:
        skipped = fragment.skipped
        what = f"the source's {skipped.file} cannot be converted: {skipped.cause}"
        return _refused(sample.id, [Problem(skipped.field, what, MEND_SOURCE)]), None
    if group.problems:
        return _refused(sample.id, group.problems), None
    notes = [*fragment.notes, *group.notes(run_config)]
    fragment = replace(fragment, adopted=True, notes=notes)
    found = AdoptionFindings(
        sample_id=sample.id,
        files=len(fragment.objects),
        stored_bytes=fragment.stored_bytes,
        values=sum(
            record.moments.rows * len(record.moments.finite) for record in fragment.fields.values()
        ),
    )
    return found, fragment


def _refused(sample_id: str, problems: list[Problem]) -> AdoptionFindings:
    return AdoptionFindings(sample_id=sample_id, problems=problems)


class ComparedStore(StoreRoot):
    """A store that a conversion can be run into, which it compares with and does not change.

    Parameters
    ----------
    store
        The store that is there.
    listed
        What its manifest lists of the sample.
    domains
        The dataset's domains.
    """

    def __init__(self, store: StoreRoot, listed: Listed, domains: tuple[Domain, ...]) -> None:
        super().__init__(store.location)
        self._store = store
        self.group = ComparedGroup(store, listed, domains)

    def write_group(self, sample_id: str) -> GroupWriter:
        """Return the one group that there is."""
        return self.group

    def has_group(self, sample_id: str) -> bool:
        """Say that there is none: that of a broken sample stays as it is."""
        return False

    def remove_group(self, sample_id: str) -> None:
        """Refuse: nothing is removed."""
        raise _read_only()

    def group_ids(self) -> set[str]:
        """Return the ids of all groups."""
        return self._store.group_ids()

    def files_of(self, sample_id: str) -> dict[str, int | None]:
        """Return the files of a group."""
        return self._store.files_of(sample_id)

    def all_files(self) -> Mapping[str, int | None]:
        """Return all files."""
        return self._store.all_files()

    def groups_among(self, files: Mapping[str, int | None]) -> set[str]:
        """Return the ids of all groups."""
        return self._store.groups_among(files)

    def files_among(
        self, files: Mapping[str, int | None], sample_ids: Collection[str]
    ) -> Iterator[tuple[str, str]]:
        """Yield the files of some groups."""
        return self._store.files_among(files, sample_ids)

    def publish(self, name: str, content: bytes) -> None:
        """Refuse: nothing is written."""
        raise _read_only()

    def read(self, name: str) -> bytes | None:
        """Return a file."""
        return self._store.read(name)

    def withdraw(self, name: str) -> None:
        """Refuse: nothing is removed."""
        raise _read_only()


def _read_only() -> TypeError:
    return TypeError("a store that is compared is not written to")


class ComparedGroup(GroupWriter):
    """A group that is there: what would be written to it is compared with what it holds.

    Attributes
    ----------
    problems
        In what it differs, once the conversion has ended; one for an array at most.
    stored
        Its files as they are, likewise.
    """

    def __init__(self, store: StoreRoot, listed: Listed, domains: tuple[Domain, ...]) -> None:
        super().__init__()
        self._sample_id, self._listed = listed.sample.id, listed
        self._path = group_path(listed.sample.id)
        self._files = store.files_of(listed.sample.id)
        self._fetcher = _fetcher_of(store)
        self._reader = ChunkReader(self._fetcher, fill_missing=False, cache_bytes=_CACHE_BYTES)
        self._fields = {
            shard_folder(field.array_name): (field, listed.domains.get(domain.name))
            for domain in domains
            for field in domain.fields
        }
        self._keep_points = {domain.name: domain.keep_points for domain in domains}
        self._wanted: set[str] = set()  # the files that a conversion would write
        self._of_field: dict[str, Problem] = {}
        self._differing: dict[str, _Differing] = {}
        self._layouts: dict[str, Layout] = {}
        self._of_root: list[Problem] = []
        self._attributes: dict[str, Any] = {}
        self._members = self._read_members()

    @property
    def problems(self) -> list[Problem]:
        """In what the group differs from what would be written."""
        differing = [
            Problem(name, found.described(), CONVERT_ANEW)
            for name, found in self._differing.items()
            if found.count
        ]
        return [*self._of_root, *self._of_field.values(), *differing]

    def notes(self, run_config: RunConfig) -> list[str]:
        """Return what the person should know of a group that is adopted."""
        notes = []
        layouts = self._layouts.values()
        if run_config.settings.chunk_checksums and not all(one.has_checksums for one in layouts):
            notes.append(
                "adopted without checksums of chunks (chunk_checksums): a reader notices damage "
                "within a chunk only where it cannot be decoded"
            )
        others = sorted({one.codec or "nothing" for one in layouts} - {"blosc"})
        if others:
            notes.append(
                f"adopted with chunks compressed by {', '.join(others)}, where {MANIFEST} says "
                f"{self._listed.compressor}"
            )
        return notes

    def put(self, path: str, content: bytes) -> None:
        """Note that the group has to have a file, of metadata: it need not be the same text.

        What it says of units, and that inner groups are groups, has to be the same.
        """
        self._wanted.add(path)
        if self._of_root or path not in self._files:
            return
        wanted = json.loads(content)
        try:
            found = self._json(path)
            if found.get("node_type") != wanted["node_type"]:
                raise Unreadable(f"is of no {wanted['node_type']}")
            texts = [found, self._members.get(path.rpartition("/")[0])]
            for name in ("units", "long_name"):
                said = [_attributes(text).get(name) for text in texts if text is not None]
                if any(one != _attributes(wanted).get(name) for one in said):
                    raise Unreadable(f"its attribute {name} is not what the settings say")
        except Unreadable as error:
            self._of_root.append(Problem(path, str(error), CONVERT_ANEW))

    def put_shard(self, path: str, shard: Shard) -> None:
        """Compare a shard's rows with those that are stored."""
        self._wanted.add(path)
        field, grid = self._fields[path.rpartition("/c/")[0] + "/c"]
        if self._of_root or field.canonical in self._of_field:
            return  # there is nothing to compare with
        what = self._other_layout(field, grid, shard.grid)
        if what is not None:
            self._of_field[field.canonical] = Problem(field.canonical, what, CONVERT_ANEW)
            return
        differing = self._differing.setdefault(field.canonical, _Differing())
        first = shard.number * shard.grid.shard_points
        stop = min(first + shard.grid.shard_points, shard.grid.n_points)
        chunk = shard.grid.chunk_points
        try:
            stored = self._stored_chunks(field, shard.grid, first, stop)
            for number, (expected, found) in enumerate(zip(shard.rows(), stored, strict=True)):
                differing.compare(expected[: len(found)], found, first + number * chunk)
        except StoreError as error:
            what = error.why if isinstance(error, UnreadableGroup) else str(error)
            self._of_field[field.canonical] = Problem(field.canonical, what, CONVERT_ANEW)

    def keep(self, files: Mapping[str, StoredFile]) -> None:
        """Refuse: all is compared."""
        raise _read_only()

    def commit(self, root_metadata: bytes) -> None:
        """Look at the files as a whole: each that would be written is there, and no other."""
        self._wanted.add(ROOT_METADATA)
        wanted = json.loads(root_metadata)["attributes"]
        for name in (VALUES, DESCRIPTIONS):
            if not self._of_root and self._attributes.get(name) != wanted.get(name):
                what = f"the group's attribute {name} is not what the source and the settings say"
                self._of_root.append(Problem(ROOT_METADATA, what, CONVERT_ANEW))
        named = {problem.place for problem in self.problems}
        arrays = [f.array_name for f, _ in self._fields.values() if f.canonical in named]
        for path in sorted(self._wanted - self._files.keys()):
            # What is missing of an array was told of with it.
            if path not in named and not any(path.startswith(f"{name}/") for name in arrays):
                self._of_root.append(Problem(path, "is missing", CONVERT_ANEW))
        for path in sorted(self._files.keys() - self._wanted):
            remedy = MOVE_AWAY if is_foreign_in_group(path) else CONVERT_ANEW
            self._of_root.append(Problem(path, "is no file of such a group", remedy))
        if not self.problems:
            self.stored = {path: self._as_it_is(path) for path in sorted(self._wanted)}

    def discard(self) -> None:
        """Leave everything as it is."""

    def _read_members(self) -> dict[str, Any]:
        """Return the metadata of the group's arrays and inner groups by path."""
        try:
            root = self._json(ROOT_METADATA)
            attributes = root.get("attributes")
            self._attributes = attributes if isinstance(attributes, dict) else {}
            members = dict(members_of(root))
            if not members:
                raise Unreadable("does not hold the metadata of its arrays, consolidated")
        except Unreadable as error:
            self._of_root.append(Problem(ROOT_METADATA, str(error), CONVERT_ANEW))
            return {}
        known = {field.array_name for field, _ in self._fields.values()}
        for name, metadata in members.items():
            is_array = isinstance(metadata, dict) and metadata.get("node_type") == "array"
            if is_array and name not in known:
                self._of_root.append(Problem(name, "is no array of the dataset", CONVERT_ANEW))
        return members

    def _json(self, path: str) -> dict[str, Any]:
        """Return the content of a file of the group; `Unreadable` says what is wrong with it."""
        (content,) = self._fetcher.fetch([ByteRange(f"{self._path}/{path}")])
        if content is None:
            raise Unreadable("is missing")
        try:
            parsed = json.loads(content)
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            raise Unreadable("is no JSON object")
        return parsed

    def _other_layout(self, field: Field, listed: Grid | None, grid: Grid) -> str | None:
        """Return why a field cannot be compared: as its metadata says, it is stored otherwise."""
        if listed is None:
            return f"its domain {field.domain} is not in {MANIFEST}"
        if listed.n_points != grid.n_points:
            what = f"has {listed.n_points} points, and the source {grid.n_points}"
            keep = self._keep_points.get(field.domain)
            return what if keep is None else f"{what} with keep_points {keep}"
        if field.canonical in self._layouts:
            return None
        metadata = self._members.get(field.array_name)
        if metadata is None:
            return "is not in the group's metadata"
        try:
            layout = Layout.of(metadata)
        except Unreadable as error:
            return str(error)
        path = f"{field.array_name}/{ROOT_METADATA}"
        try:
            if Layout.of(self._json(path)) != layout:
                return f"its {ROOT_METADATA} says otherwise than that of the group"
        except Unreadable as error:
            return f"{path}: {error}"
        if layout.index_at_end is None:
            return "is not stored in shards"
        wanted = {
            "shape": ((grid.n_points, field.width), layout.shape),
            "dtype": (field.dtype, layout.dtype.name),
            "number of points in a chunk": (grid.chunk_points, layout.chunk_rows),
            "number of points in a shard": (grid.shard_points, layout.object_rows),
        }
        for name, (expected, found) in wanted.items():
            if found != expected:
                return f"its {name} is {found}, and should be {expected}"
        self._layouts[field.canonical] = layout
        return None

    def _stored_chunks(self, field: Field, grid: Grid, first: int, stop: int) -> Iterator[Array]:
        """Yield the rows from `first` to before `stop`, chunk by chunk, as they are stored."""
        chunk = grid.chunk_points
        block = max(1, _BLOCK // chunk) * chunk
        for start in range(first, stop, block):
            end = min(start + block, stop)
            rows = ArrayRows(
                field.array_name,
                (grid.n_points, field.width),
                field.dtype,
                ((start, end),),
                chunk_rows=chunk,
                object_rows=grid.shard_points,
            )
            wanted = Subsample(self._sample_id, self._path, {field.canonical: rows})
            values: torch.Tensor = self._reader.read([wanted])[0][field.canonical]
            for low in range(0, end - start, chunk):
                yield values[low : low + chunk].numpy()

    def _as_it_is(self, path: str) -> StoredFile:
        """Return size and digest of a file, which is read piece by piece."""
        size, digest = 0, hashlib.sha256()
        while True:
            span = ByteRange(f"{self._path}/{path}", size, size + _FILE_BLOCK)
            (content,) = self._fetcher.fetch([span])
            if content is None:
                raise StoreError(
                    f"{printable(self._path)}/{path} is gone while it was read. Run snakemake "
                    "adopt again, and let nothing else write to the store."
                )
            digest.update(content)
            size += len(content)
            if len(content) < _FILE_BLOCK:
                return StoredFile(size, digest.hexdigest())


def _attributes(metadata: Any) -> Mapping[str, Any]:
    found = metadata.get("attributes") if isinstance(metadata, dict) else None
    return found if isinstance(found, dict) else {}


class _Differing:
    """The values of an array that are not those expected: how many, and the first of them."""

    def __init__(self) -> None:
        self.count = self.total = 0
        self.first = ""

    def compare(self, expected: Array, stored: Array, first_row: int) -> None:
        """Compare rows bit by bit; any NaN is like another."""
        self.total += stored.size
        is_other = differs(expected, stored)
        count = int(np.count_nonzero(is_other))
        if count and not self.count:
            row, component = np.argwhere(is_other)[0].tolist()
            self.first = (
                f"row {first_row + row}, component {component}, is {stored[row, component]} and "
                f"should be {expected[row, component]}"
            )
        self.count += count

    def described(self) -> str:
        """Say how many values differ, and where the first one is."""
        values = f"{self.count} of {self.total} values are not the source's, shuffled and cast"
        return f"{values}: the first, {self.first}"


def differs(expected: Array, stored: Array) -> npt.NDArray[np.bool_]:
    """Return where values of one float dtype and shape differ in their bits; no NaN from another.

    So a zero differs from one of another sign, as the format has it.
    """
    kind = f"u{stored.dtype.itemsize}"
    bits = (np.ascontiguousarray(each).view(kind) for each in (expected, stored))
    is_other: npt.NDArray[np.bool_] = np.not_equal(*bits)
    if is_other.any():
        is_other &= ~(np.isnan(expected) & np.isnan(stored))
    return is_other


class _HeldFetcher(Fetcher):
    """Reads objects of a remote store, each with one request, and keeps them for its lifetime."""

    def __init__(self, store: StoreRoot) -> None:
        self._store = store
        self._held: dict[str, bytes | None] = {}

    def fetch(self, spans: Sequence[ByteRange]) -> Iterator[bytes | None]:
        """Yield spans of what is held, and fetch what is not."""
        for span in spans:
            if span.path not in self._held:
                self._held[span.path] = self._store.read(span.path)
            content = self._held[span.path]
            yield None if content is None else content[span.start : span.stop]


def _fetcher_of(store: StoreRoot) -> Fetcher:
    if store.location.is_local:
        return LocalFetcher(store.location.path)
    return _HeldFetcher(store)
