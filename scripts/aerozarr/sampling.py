"""Reading rows of a sample's arrays: few requests, all of a kind at once, and no byte too many.

Three rounds, of which the first two are cached: the group's metadata; the indexes of the shards
that are touched; and the chunks that are, those that follow each other in a shard as one range.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from aerozarr.arrays import Array, Index, Layout, Unreadable, is_left_out, runs_of
from aerozarr.caching import Cache
from aerozarr.draws import Rows
from aerozarr.errors import StoreError
from aerozarr.fetching import Fetcher, Span
from aerozarr.groups import ROOT_METADATA

# What a parsed array takes in memory, about: its own metadata, and Python's objects for it.
_LAYOUT_BYTES = 4096

Shards = dict[int, list[int]]
"""The chunks wanted of each object of an array, by their numbers within the array."""


@dataclass(frozen=True)
class Wanted:
    """Rows wanted of an array.

    Attributes
    ----------
    name
        The array's name in its group: `volume/velocity`.
    shape
        Its rows and components, as the manifest has them.
    rows
        The rows wanted.
    """

    name: str
    shape: tuple[int, int]
    rows: Rows


@dataclass(frozen=True)
class _Piece:
    """Chunks of an array that lie in one span."""

    array: str
    shard: int
    span: Span
    chunks: tuple[tuple[int, int, int], ...]  # number, and from where to where in the span


class SampleReader:
    """Reads rows of the arrays of one sample.

    Parameters
    ----------
    fetcher
        Reads the store.
    sample, group
        The sample's id, for messages, and the path of its group below the store root.
    fill_missing
        Whether chunks and shards that are not there hold the fill value; otherwise they are errors.
    layouts, indexes
        Where the arrays' metadata and the shards' indexes are kept from one reading to the next.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        sample: str,
        group: str,
        *,
        fill_missing: bool,
        layouts: Cache[tuple[str, str], Layout],
        indexes: Cache[tuple[str, str, int], Index],
    ) -> None:
        self._fetcher = fetcher
        self._sample = sample
        self._group = group
        self._fill_missing = fill_missing
        self._layout_cache = layouts
        self._index_cache = indexes

    def read(self, wanted: Iterable[Wanted]) -> dict[str, Array]:
        """Read rows of arrays.

        Returns
        -------
        dict of str to array of shape (rows, components)
            By array name, in stored dtype, the rows in the order asked for.

        Raises
        ------
        StoreError
            When something is missing or damaged.
        """
        arrays = {array.name: array for array in wanted}
        layouts = self._find_layouts(arrays)
        shards = {name: _shards(layouts[name], arrays[name].rows) for name in arrays}
        indexes = self._find_indexes(layouts, shards)
        chunks: dict[str, dict[int, Array | None]] = {name: {} for name in arrays}
        pieces = []
        for name in arrays:
            for piece in self._pieces(name, layouts[name], shards[name], indexes):
                if isinstance(piece, _Piece):
                    pieces.append(piece)
                else:
                    chunks[name][piece] = None
        contents = self._fetcher.fetch([piece.span for piece in pieces])
        for piece, content in zip(pieces, contents, strict=True):
            chunks[piece.array].update(self._decoded(piece, layouts[piece.array], content))
        return {name: layouts[name].gather(arrays[name].rows, chunks[name]) for name in arrays}

    def _fail(self, array: str, what: str, shard: int | None = None) -> NoReturn:
        where = f"{self._sample}, {array}" + ("" if shard is None else f", shard {shard}")
        raise StoreError(
            f"{where}: {what}. The store is incomplete or damaged: remove {self._group} and run "
            "snakemake again, or copy it anew."
        )

    # Metadata

    def _find_layouts(self, arrays: Mapping[str, Wanted]) -> dict[str, Layout]:
        found: dict[str, Layout] = {}
        for name in arrays:
            layout = self._layout_cache.get((self._group, name))
            if layout is None:
                return self._read_layouts(arrays)
            found[name] = layout
        return found

    def _read_layouts(self, arrays: Mapping[str, Wanted]) -> dict[str, Layout]:
        """Read the metadata of arrays: consolidated in the group's root, or each its own."""
        root = self._metadata(ROOT_METADATA, *self._fetch_metadata([ROOT_METADATA]))
        consolidated = root.get("consolidated_metadata") or {}
        members: dict[str, Any] = dict(consolidated.get("metadata", {}))
        apart = [name for name in arrays if name not in members]
        if apart:
            paths = [f"{name}/{ROOT_METADATA}" for name in apart]
            for name, path, content in zip(apart, paths, self._fetch_metadata(paths), strict=True):
                members[name] = self._metadata(path, content)
        found = {}
        for name, array in arrays.items():
            try:
                layout = Layout.of(members[name])
            except Unreadable as error:
                self._fail(name, str(error))
            if layout.shape != array.shape:
                self._fail(name, f"its shape is {layout.shape}, the manifest says {array.shape}")
            self._layout_cache.put((self._group, name), layout, _LAYOUT_BYTES)
            found[name] = layout
        return found

    def _fetch_metadata(self, paths: list[str]) -> list[bytes | None]:
        return self._fetcher.fetch([Span(f"{self._group}/{path}") for path in paths])

    def _metadata(self, path: str, content: bytes | None) -> dict[str, Any]:
        if content is None:
            self._fail(path, "it is not there")
        try:
            metadata = json.loads(content)
        except ValueError as error:
            self._fail(path, f"it is no JSON: {error}")
        if not isinstance(metadata, dict):
            self._fail(path, "it is no JSON object")
        return metadata

    # Shard indexes

    def _find_indexes(
        self, layouts: Mapping[str, Layout], shards: Mapping[str, Shards]
    ) -> dict[tuple[str, int], Index]:
        """Return the indexes of shards; without those that are not there but may be missing."""
        found: dict[tuple[str, int], Index] = {}
        unknown: list[tuple[str, int]] = []
        spans: list[Span] = []
        for name, layout in layouts.items():
            if layout.index_at_end is None:
                continue
            for shard in shards[name]:
                index = self._index_cache.get((self._group, name, shard))
                if index is not None:
                    found[name, shard] = index
                    continue
                unknown.append((name, shard))
                spans.append(Span(self._path(name, layout, shard), *layout.index_span()))
        for (name, shard), content in zip(unknown, self._fetch_some(spans), strict=True):
            if content is None:
                self._check_missing(name, shard)
                continue
            try:
                index = layouts[name].read_index(content)
            except Unreadable as error:
                self._fail(name, f"it {error}", shard)
            self._index_cache.put((self._group, name, shard), index, index.nbytes + 200)
            found[name, shard] = index
        return found

    def _fetch_some(self, spans: list[Span]) -> list[bytes | None]:
        return self._fetcher.fetch(spans) if spans else []

    def _path(self, name: str, layout: Layout, shard: int) -> str:
        return f"{self._group}/{name}/{layout.object_key(shard)}"

    def _check_missing(self, name: str, shard: int, what: str = "it is not there") -> None:
        if not self._fill_missing:
            self._fail(
                name,
                f"{what} (if its writer leaves out what is all zeros, open the store with "
                "fill_missing=True)",
                shard,
            )

    # Chunks

    def _pieces(
        self,
        name: str,
        layout: Layout,
        shards: Shards,
        indexes: Mapping[tuple[str, int], Index],
    ) -> Iterator[_Piece | int]:
        """Yield what to fetch of an array, and the numbers of chunks that hold the fill value."""
        for shard, numbers in shards.items():
            path = self._path(name, layout, shard)
            if layout.index_at_end is None:
                yield _Piece(name, shard, Span(path), ((numbers[0], 0, -1),))
                continue
            index = indexes.get((name, shard))
            if index is None:
                yield from numbers
                continue
            first = shard * layout.chunks_in_object
            slots = [number - first for number in numbers]
            stored = []
            for slot in slots:
                if is_left_out(index, slot):
                    self._check_missing(name, shard, f"it leaves out chunk {slot}")
                    yield first + slot
                else:
                    stored.append(slot)
            for run in runs_of(index, stored):
                places = [tuple(map(int, index[slot])) for slot in run]
                start = places[0][0]
                yield _Piece(
                    name,
                    shard,
                    Span(path, start, sum(places[-1])),
                    tuple(
                        (first + slot, place - start, place - start + length)
                        for slot, (place, length) in zip(run, places, strict=True)
                    ),
                )

    def _decoded(
        self, piece: _Piece, layout: Layout, content: bytes | None
    ) -> Iterator[tuple[int, Array | None]]:
        """Yield the chunks of a piece with their numbers."""
        if content is None:
            self._check_missing(piece.array, piece.shard)
            yield from ((number, None) for number, _, _ in piece.chunks)
            return
        span = piece.span
        if span.stop is not None and len(content) != span.stop - span.start:
            self._fail(piece.array, "it ends before its chunks do", piece.shard)
        view = memoryview(content)
        for number, start, stop in piece.chunks:
            try:
                yield number, layout.decode(view[start:stop] if stop >= 0 else view)
            except Unreadable as error:
                self._fail(piece.array, f"chunk {number} {error}", piece.shard)


def _shards(layout: Layout, rows: Rows) -> Shards:
    shards: Shards = {}
    for number in layout.chunks_of(rows):
        shards.setdefault(number // layout.chunks_in_object, []).append(number)
    return shards
