"""Reading drawn rows of samples' arrays: few requests, all of a kind at once, no byte too many.

Two rounds, of which the first is cached: the groups' metadata, together with the indexes of the
shards that are touched, where these lie in a store as aerozarr writes it (in another, they are a
round of their own); and the chunks that are touched, those that follow each other in a shard as
one range. What is read of an array is decoded, cast and put in its place before the next is read,
while it is in the processor's cache.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch

from aerozarr.errors import StoreError
from aerozarr.filesystems.byte_ranges import ByteRange, Content, Fetcher
from aerozarr.store.format.layout import ROOT_METADATA, shard_path
from aerozarr.store.format.scalars import ScalarValue
from aerozarr.store.format.shard_index import index_size
from aerozarr.store.read.array_decoder import MOST_CHUNKS, Layout, Unreadable
from aerozarr.store.read.cache import Cache
from aerozarr.store.read.chunk_places import (
    Run,
    ShardChunks,
    TouchedChunks,
    UnlikelyChunkError,
    places_of,
)
from aerozarr.store.read.group_metadata import fail, members_of, parse_metadata, scalars_in
from aerozarr.store.read.memory import check_memory
from aerozarr.store.read.run_decoder import DamagedChunkError, Scratch, decode_run, is_for_numpy
from aerozarr.store.read.subsample import ArrayRows, Rows, Subsample, count_of

# What a parsed array takes in memory, about: its own metadata, and Python's objects for it.
_LAYOUT_BYTES = 4096
# What a scalar takes, or a number of one that is a vector, about.
_SCALAR_BYTES = 40

ShardId = tuple[str, str, int]
"""A shard: path of its group, name of its array, and number."""


@dataclass
class _Part:
    """The rows of one array in one draw."""

    draw: Subsample
    wanted: ArrayRows
    into: torch.Tensor | None
    values: torch.Tensor = field(init=False)
    layout: Layout = field(init=False)
    touched: TouchedChunks = field(init=False)

    @property
    def group(self) -> str:
        return self.draw.group

    @property
    def name(self) -> str:
        return self.wanted.name

    def fail(self, what: str, shard: int | None = None) -> NoReturn:
        fail(self.draw, self.name, what, shard)

    def path(self, shard: int) -> str:
        return f"{self.group}/{self.name}/{self.layout.object_key(shard)}"


class _Piece(NamedTuple):
    """Chunks of an array that lie in one span."""

    part: _Part
    shard: int
    span: ByteRange
    run: Run  # numbers within the array; bounds within the shard


class ChunkReader:
    """Reads draws of a store's samples.

    Parameters
    ----------
    fetcher
        Reads the store.
    fill_missing
        Whether chunks and shards that are not there hold the fill value; otherwise they are errors.
    cache_bytes
        Memory for the arrays' metadata, the shards' indexes and scalars, kept from one reading to
        the next.
    """

    def __init__(self, fetcher: Fetcher, *, fill_missing: bool, cache_bytes: int) -> None:
        self.fetcher = fetcher
        self.layouts: Cache[tuple[str, str], Layout] = Cache(cache_bytes // 2)
        self.indexes: Cache[ShardId, ShardChunks] = Cache(cache_bytes // 16 * 7)
        self.scalars: Cache[str, dict[str, ScalarValue]] = Cache(cache_bytes // 16)
        self._fill_missing = fill_missing
        self._scratch = Scratch()
        self._guesses = True

    def read(
        self,
        subsamples: Sequence[Subsample],
        into: Sequence[Mapping[str, torch.Tensor]] | None = None,
    ) -> list[dict[str, torch.Tensor]]:
        """Read subsamples, with all requests of a kind under way at once.

        Parameters
        ----------
        subsamples
            What to read; the same sample may come several times.
        into
            Where the values of each draw go, by canonical name: contiguous tensors of shape
            (points, components), to whose dtype the values are cast. By default new ones.

        Returns
        -------
        list of dict of str to tensor
            For each draw its values by canonical name, of shape (points, components): in the order
            of the draw's rows; in stored dtype unless `into` says otherwise.

        Raises
        ------
        StoreError
            When something is missing or damaged, also when it is read once more.
        """
        parts = [
            {
                name: _Part(draw, wanted, None if into is None else into[number][name])
                for name, wanted in draw.wanted.items()
            }
            for number, draw in enumerate(subsamples)
        ]
        wanted = [part for of_draw in parts for part in of_draw.values()]
        check_memory(subsamples, is_new=into is None)
        try:
            self._read(wanted)
        except StoreError:
            # What was kept of the sample may be of a group that was converted anew since.
            for part in wanted:
                self._forget(part)
                self.fetcher.forget(part.group)
            self._read(wanted)
        return [{name: part.values for name, part in of_draw.items()} for of_draw in parts]

    def read_scalars(self, samples: Sequence[Subsample]) -> list[dict[str, ScalarValue]]:
        """Return the scalars of samples; of those whose points were read, without a request.

        Raises
        ------
        StoreError
            When a group's metadata is missing or damaged, or its scalars are malformed, also when
            it is read once more.
        """
        found = {sample.group: self.scalars.get(sample.group) for sample in samples}
        unknown = {one.group: one for one in samples if found[one.group] is None}
        if unknown:
            try:
                found |= self._fetch_scalars(unknown)
            except StoreError:
                for group in unknown:
                    self.fetcher.forget(group)
                found |= self._fetch_scalars(unknown)
        return [found[sample.group] or {} for sample in samples]

    def _fetch_scalars(self, samples: Mapping[str, Subsample]) -> dict[str, dict[str, ScalarValue]]:
        spans = [ByteRange(f"{group}/{ROOT_METADATA}") for group in samples]
        found: dict[str, dict[str, ScalarValue]] = {}
        for (group, sample), content in zip(
            samples.items(), self.fetcher.fetch(spans), strict=True
        ):
            found[group] = scalars_in(sample, parse_metadata(sample, ROOT_METADATA, content))
            self._keep_scalars(group, found[group])
        return found

    def _keep_scalars(self, group: str, scalars: dict[str, ScalarValue]) -> None:
        count = sum(len(value) if isinstance(value, list) else 1 for value in scalars.values())
        self.scalars.put(group, scalars, _SCALAR_BYTES * (count + len(scalars) + 4))

    def _forget(self, part: _Part) -> None:
        self.scalars.drop(part.group)
        self.layouts.drop((part.group, part.name))
        for shard in places_of(part.wanted.rows, part.wanted.object_rows):
            self.indexes.drop((part.group, part.name, shard))

    def _read(self, parts: Sequence[_Part]) -> None:
        guessed = self._find_layouts(parts)
        touched: dict[tuple[Rows, int, int], TouchedChunks] = {}
        for part in parts:
            key = part.wanted.rows, part.layout.chunk_rows, part.layout.chunks_in_object
            if key not in touched:
                touched[key] = TouchedChunks(*key)
            part.touched = touched[key]
        indexes = self._find_indexes(parts, guessed)
        for part in parts:
            into, new = part.into, part.layout.new
            if into is not None and is_for_numpy(into):
                part.values = into
            else:
                part.values = new(count_of(part.wanted.rows))
        pieces = [piece for part in parts for piece in self._pieces(part, indexes)]
        contents = self.fetcher.fetch_in_turn([piece.span for piece in pieces])
        for piece, content in zip(pieces, contents, strict=True):
            self._place(piece, content)
        for part in parts:
            if part.into is not None and part.into is not part.values:
                part.values = part.into.copy_(part.values)

    # Metadata

    def _find_layouts(self, parts: Sequence[_Part]) -> dict[ByteRange, bytes | None]:
        """Set the layouts of arrays; return what was fetched besides, in the hope of indexes."""
        found: dict[tuple[str, str], Layout] = {}
        unknown: dict[str, list[_Part]] = {}
        for part in parts:
            layout = self.layouts.get((part.group, part.name))
            if layout is None:
                unknown.setdefault(part.group, []).append(part)
            else:
                found[part.group, part.name] = layout
        guessed: dict[ByteRange, bytes | None] = {}
        if unknown:
            guesses = self._guess(part for of_group in unknown.values() for part in of_group)
            roots = [ByteRange(f"{group}/{ROOT_METADATA}") for group in unknown]
            contents = list(self.fetcher.fetch([*roots, *guesses]))
            guessed = dict(zip(guesses, contents[len(roots) :], strict=True))
            found |= self._read_layouts(unknown, contents[: len(roots)])
        for part in parts:
            part.layout = found[part.group, part.name]
        return guessed

    def _guess(self, parts: Iterable[_Part]) -> list[ByteRange]:
        """Return where the indexes of shards are, if the store is as aerozarr writes it."""
        spans: dict[ByteRange, None] = {}
        for part in parts if self._guesses else ():
            wanted = part.wanted
            chunks = wanted.object_rows // wanted.chunk_rows
            if chunks > MOST_CHUNKS:
                continue
            length = index_size(chunks)
            for shard in places_of(wanted.rows, wanted.object_rows):
                spans[ByteRange(f"{part.group}/{shard_path(part.name, shard)}", 0, length)] = None
        return list(spans)

    def _read_layouts(
        self, parts: Mapping[str, list[_Part]], roots: Sequence[bytes | None]
    ) -> dict[tuple[str, str], Layout]:
        """Read the metadata of arrays: consolidated in their group's root, or each its own."""
        members: dict[tuple[str, str], Any] = {}
        apart: dict[tuple[str, str], _Part] = {}
        for (group, of_group), content in zip(parts.items(), roots, strict=True):
            root = parse_metadata(of_group[0].draw, ROOT_METADATA, content)
            # Malformed ones are told where they are asked for.
            with contextlib.suppress(StoreError):
                self._keep_scalars(group, scalars_in(of_group[0].draw, root))
            consolidated = members_of(root)
            for part in of_group:
                key = group, part.name
                if part.name in consolidated:
                    members[key] = consolidated[part.name]
                else:
                    apart[key] = part
        if apart:
            paths = [f"{name}/{ROOT_METADATA}" for _, name in apart]
            spans = [ByteRange(f"{group}/{name}/{ROOT_METADATA}") for group, name in apart]
            for (key, part), path, content in zip(
                apart.items(), paths, self.fetcher.fetch(spans), strict=True
            ):
                members[key] = parse_metadata(part.draw, path, content)
        return {
            (group, part.name): self._read_layout(part, members[group, part.name])
            for group, of_group in parts.items()
            for part in of_group
        }

    def _read_layout(self, part: _Part, metadata: Any) -> Layout:
        try:
            layout = Layout.of(metadata)
        except Unreadable as error:
            part.fail(str(error))
        if layout.shape != part.wanted.shape:
            part.fail(f"its shape is {layout.shape}, the manifest says {part.wanted.shape}")
        if layout.dtype.name != part.wanted.dtype:
            part.fail(f"it holds {layout.dtype.name}, the manifest says {part.wanted.dtype}")
        if layout.chunk_rows > part.wanted.chunk_rows:
            part.fail(
                f"its chunks have {layout.chunk_rows} points, the manifest says "
                f"{part.wanted.chunk_rows}"
            )
        self.layouts.put((part.group, part.name), layout, _LAYOUT_BYTES)
        return layout

    # Shard indexes

    def _find_indexes(
        self, parts: Sequence[_Part], guessed: Mapping[ByteRange, bytes | None]
    ) -> dict[ShardId, ShardChunks]:
        """Return the indexes of shards; without those that are not there but may be missing."""
        found: dict[ShardId, ShardChunks] = {}
        unknown: dict[ShardId, tuple[_Part, ByteRange]] = {}
        for part in parts:
            if part.layout.index_at_end is None:
                continue
            for shard in part.touched.shards:
                key = part.group, part.name, shard
                index = self.indexes.get(key)
                if index is None:
                    unknown[key] = part, ByteRange(part.path(shard), *part.layout.index_span())
                else:
                    found[key] = index
        spans = [span for _, span in unknown.values() if span not in guessed]
        if spans and guessed:
            self._guesses = False  # another writer's store: what was guessed was fetched in vain
        contents = dict(guessed)
        if spans:
            contents |= zip(spans, self.fetcher.fetch(spans), strict=True)
        for key, (part, span) in unknown.items():
            index = self._read_index(part, key, contents[span])
            if index is not None:
                found[key] = index
        return found

    def _read_index(self, part: _Part, key: ShardId, content: bytes | None) -> ShardChunks | None:
        shard = key[-1]
        if content is None:
            self._check_missing(part, shard)
            return None
        try:
            index = ShardChunks(part.layout.read_index(content), part.layout.most_stored)
        except Unreadable as error:
            part.fail(f"it {error}", shard)
        self.indexes.put(key, index, index.nbytes + 200)
        return index

    def _check_missing(self, part: _Part, shard: int, what: str = "it is not there") -> None:
        if not self._fill_missing:
            part.fail(
                f"{what} (if its writer leaves out what is all zeros, open the store with "
                "fill_missing=True)",
                shard,
            )

    # Chunks

    def _pieces(self, part: _Part, indexes: Mapping[ShardId, ShardChunks]) -> Iterator[_Piece]:
        """Yield what to fetch of an array; put the fill value where nothing is stored."""
        for shard, numbers in part.touched.shards.items():
            if part.layout.index_at_end is None:
                yield _Piece(part, shard, ByteRange(part.path(shard)), Run(numbers, ()))
                continue
            index = indexes.get((part.group, part.name, shard))
            if index is None:
                self._fill(part, numbers)
                continue
            first = shard * part.layout.chunks_in_object
            try:
                runs, skipped = index.runs_of([number - first for number in numbers])
            except UnlikelyChunkError as error:
                part.fail(str(error), shard)
            for slot in skipped:
                self._check_missing(part, shard, f"it leaves out chunk {slot}")
                self._fill(part, [first + slot])
            path = part.path(shard)
            if self.fetcher.by_chunk:
                runs = [one for run in runs for one in run.apart()]
            for slots, bounds in runs:
                whole = slots if first == 0 else [first + slot for slot in slots]
                span = ByteRange(path, bounds[0], bounds[-1])
                yield _Piece(part, shard, span, Run(whole, bounds))

    def _fill(self, part: _Part, numbers: Iterable[int]) -> None:
        for number in numbers:
            for place, _, count in part.touched.places[number]:
                part.values[place : place + count] = part.layout.fill

    def _place(self, piece: _Piece, content: Content | None) -> None:
        """Decode the chunks of a piece, each to its place."""
        part, span = piece.part, piece.span
        if content is None:
            self._check_missing(part, piece.shard)
            self._fill(part, piece.run.numbers)
            return
        if span.stop is not None and len(content) != span.stop - span.start:
            part.fail("it ends before its chunks do", piece.shard)
        # An array, whose parts are views that every library takes.
        view, (numbers, bounds) = np.frombuffer(content, np.uint8), piece.run
        bounds = [bound - span.start for bound in bounds] or [0, len(view)]
        spans = part.touched.spans_of(numbers)
        try:
            decode_run(part.layout, view, Run(numbers, bounds), spans, part.values, self._scratch)
        except DamagedChunkError as error:
            part.fail(str(error), piece.shard)
