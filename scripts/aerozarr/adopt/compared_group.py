"""A group that compares what would be written to it with what it holds.

Three things are compared as the conversion hands them over: metadata, the rows of each shard, and,
at the end, which files there are. A problem is told once for an array, and nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from aerozarr.adopt.expected import CONVERT_ANEW, MOVE_AWAY, Listed
from aerozarr.adopt.stored_group import StoredGroup
from aerozarr.config.fields import Domain, Field
from aerozarr.errors import StoreError
from aerozarr.run_config import RunConfig
from aerozarr.store.format.layout import (
    MANIFEST,
    ROOT_METADATA,
    Grid,
    is_foreign_in_group,
    shard_folder,
)
from aerozarr.store.format.scalars import DESCRIPTIONS, VALUES
from aerozarr.store.read.array_decoder import Layout, Unreadable
from aerozarr.store.read.group_metadata import UnreadableGroup, members_of
from aerozarr.store.write.root import GroupWriter, Shard, StoredFile, StoreRoot
from aerozarr.verify.bits import differs
from aerozarr.verify.expected import Problem

Array = npt.NDArray[Any]


def read_only() -> TypeError:
    """Return what is raised where something that is compared would be changed."""
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
        self._listed = listed
        self._group = StoredGroup(store, listed.sample.id)
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
        if self._of_root or path not in self._group.files:
            return
        wanted = json.loads(content)
        try:
            found = self._group.metadata(path)
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
            stored = self._group.chunks(field, shard.grid, first, stop)
            for number, (expected, found) in enumerate(zip(shard.rows(), stored, strict=True)):
                differing.compare(expected[: len(found)], found, first + number * chunk)
        except StoreError as error:
            what = error.why if isinstance(error, UnreadableGroup) else str(error)
            self._of_field[field.canonical] = Problem(field.canonical, what, CONVERT_ANEW)

    def keep(self, files: Mapping[str, StoredFile]) -> None:
        """Refuse: all is compared."""
        raise read_only()

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
        for path in sorted(self._wanted - self._group.files.keys()):
            # What is missing of an array was told of with it.
            if path not in named and not any(path.startswith(f"{name}/") for name in arrays):
                self._of_root.append(Problem(path, "is missing", CONVERT_ANEW))
        known = {field.array_name for field, _ in self._fields.values()}
        for path in sorted(self._group.files.keys() - self._wanted):
            remedy = MOVE_AWAY if is_foreign_in_group(path, known) else CONVERT_ANEW
            self._of_root.append(Problem(path, "is no file of such a group", remedy))
        if not self.problems:
            self.stored = {path: self._group.stored_file(path) for path in sorted(self._wanted)}

    def discard(self) -> None:
        """Leave everything as it is."""

    def _read_members(self) -> dict[str, Any]:
        """Return the metadata of the group's arrays and inner groups by path."""
        try:
            root = self._group.metadata(ROOT_METADATA)
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
            if Layout.of(self._group.metadata(path)) != layout:
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
