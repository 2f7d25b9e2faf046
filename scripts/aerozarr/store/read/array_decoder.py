"""Reading rows of one stored array: which bytes hold them, and how bytes become rows.

What aerozarr and its kin write (a shard index, chunks of little-endian values compressed by Blosc)
is read here, because zarr-python makes many more requests for it and takes a missing shard for
zeros. Chunks of any other codec are handed to zarr-python, but only after they were fetched whole.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numcodecs import blosc, zstd

from aerozarr.store.format.layout import ROOT_METADATA
from aerozarr.store.format.shard_index import (
    NO_CHUNK,
    DamagedIndexError,
    Index,
    decode_index,
    index_size,
)
from aerozarr.store.read.subsample import Rows

Array = npt.NDArray[Any]

Place = tuple[int, int, int]
"""Where rows of a chunk go: the first row there, the first of them in the chunk, and how many."""

_LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
_INDEX_CODECS = [_LITTLE, {"name": "crc32c"}]

# What codecs raise on damaged bytes; they have no error of their own in common.
_DAMAGED = (ValueError, TypeError, RuntimeError, OSError, EOFError, zlib.error, struct.error)


class Unreadable(Exception):
    """What is wrong with an array's stored bytes or metadata; the caller says where."""


Stored = tuple[int, int, int]
"""A chunk in a shard: its number there, its first byte, and before which byte it ends."""


@dataclass(frozen=True)
class Layout:
    """How one array is stored.

    Attributes
    ----------
    shape
        Rows and components.
    dtype
        Of its values, in the machine's byte order.
    object_rows, chunk_rows
        Rows in one stored object (a shard; without sharding, a chunk), and in one chunk.
    index_at_end
        Where in a shard its index is; None when objects are not shards.
    codec
        How a chunk is compressed: `blosc`, `zstd`, none (``""``), or None when only zarr-python
        knows.
    chunk_metadata
        The metadata of an array whose objects are this one's chunks, for zarr-python.
    separator, fill
        Of the objects' keys; and the value of what a store leaves out.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    object_rows: int
    chunk_rows: int
    index_at_end: bool | None
    codec: str | None
    chunk_metadata: Mapping[str, Any]
    separator: str
    fill: float

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Layout:
        """Read an array's Zarr v3 metadata.

        Raises
        ------
        Unreadable
            When it is no such metadata, or of an array that this reader cannot cut into rows.
        """
        try:
            if metadata["zarr_format"] != 3 or metadata["node_type"] != "array":
                raise Unreadable("it is no Zarr v3 array")
            return cls._of(metadata)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise Unreadable(f"its metadata cannot be read: {error!r}") from None

    @classmethod
    def _of(cls, metadata: Mapping[str, Any]) -> Layout:
        rows, width = metadata["shape"]
        object_shape = metadata["chunk_grid"]["configuration"]["chunk_shape"]
        encoding = metadata["chunk_key_encoding"]
        codecs: list[Any] = metadata["codecs"]
        chunk_shape, index_at_end = object_shape, None
        if codecs[0]["name"] == "sharding_indexed":
            sharding = codecs[0]["configuration"]
            chunk_shape, codecs = sharding["chunk_shape"], [*sharding["codecs"], *codecs[1:]]
            index_at_end = sharding.get("index_location", "end") == "end"
            if _known(sharding["index_codecs"]) != _INDEX_CODECS or len(metadata["codecs"]) > 1:
                raise Unreadable("its shards are encoded in a way that this reader does not know")
        if metadata["chunk_grid"]["name"] != "regular" or encoding["name"] != "default":
            raise Unreadable("its chunk grid or its keys are not the regular ones")
        if chunk_shape[1] != width or object_shape[1] != width:
            raise Unreadable("its chunks split the components")
        if object_shape[0] % chunk_shape[0]:
            raise Unreadable("its shards hold no whole number of chunks")
        return cls(
            shape=(rows, width),
            dtype=np.dtype(metadata["data_type"]),
            object_rows=object_shape[0],
            chunk_rows=chunk_shape[0],
            index_at_end=index_at_end,
            codec=_compressor(codecs),
            chunk_metadata={
                **metadata,
                "shape": chunk_shape,
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk_shape}},
                "codecs": codecs,
            },
            separator=encoding.get("configuration", {}).get("separator", "/"),
            fill=float(metadata["fill_value"]),
        )

    def object_key(self, number: int) -> str:
        """Return where below the array an object lies."""
        return self.separator.join(("c", str(number), "0"))

    @property
    def chunks_in_object(self) -> int:
        """Number of chunks in an object, with those past the array's end."""
        return self.object_rows // self.chunk_rows

    @cached_property
    def torch_dtype(self) -> torch.dtype | None:
        """The dtype, where memory that holds its values as they are stored is a tensor of it."""
        known = self.dtype == self.dtype.newbyteorder("<")
        return torch.from_numpy(np.empty(0, self.dtype)).dtype if known else None

    @cached_property
    def chunk_nbytes(self) -> int:
        """Bytes of a decoded chunk, with the padding of one that reaches past the array's end."""
        return self.chunk_rows * self.shape[1] * self.dtype.itemsize

    def index_span(self) -> tuple[int, int | None]:
        """Return where in a shard its index is, as `fetching.ByteRange` says it."""
        length = index_size(self.chunks_in_object)
        return (-length, None) if self.index_at_end else (0, length)

    def read_index(self, content: bytes) -> Index:
        """Check a shard's index.

        Returns
        -------
        array of uint64, shape (chunks in a shard, 2)
            Place and length of each chunk.

        Raises
        ------
        Unreadable
            When it is cut short, or its checksum does not fit.
        """
        try:
            return decode_index(content, self.chunks_in_object)
        except DamagedIndexError as error:
            raise Unreadable(str(error)) from None

    def new(self, rows: int) -> torch.Tensor:
        """Make a tensor for some rows, in stored dtype; its values are yet to be set."""
        return torch.from_numpy(np.empty((rows, self.shape[1]), self.dtype))

    def decode(
        self,
        content: bytes | memoryview,
        places: Sequence[Place],
        values: torch.Tensor,
        scratch: Scratch,
    ) -> None:
        """Decode one chunk, and put rows of it where they are wanted.

        Parameters
        ----------
        content
            The chunk as it is stored.
        places
            Which of its rows go where.
        values
            Where they go: contiguous, of shape (rows, components), to whose dtype they are cast.
        scratch
            Memory to decode into.

        Raises
        ------
        Unreadable
            When the bytes are damaged.
        """
        try:
            if self.codec == "blosc":
                self._check_blosc(content)
                place, _, count = places[0]
                if count == self.chunk_rows and values.dtype == self.torch_dtype:
                    # ArrayRows whole, and as it is stored.
                    blosc.decompress(content, values[place : place + count].numpy())
                    return
                rows, raw = scratch.of(self)
                blosc.decompress(content, raw)
            else:
                rows = self._decode_slowly(content)
        except _DAMAGED as error:
            raise Unreadable(f"cannot be decoded: {error}") from None
        # By torch, since numpy casts float16 many times slower.
        for place, first, count in places:
            values[place : place + count].copy_(rows[first : first + count])

    def _decode_slowly(self, content: bytes | memoryview) -> torch.Tensor:
        """Return the rows of a chunk that is not compressed by Blosc, from memory of their own."""
        if self.codec is None:
            chunk = self._decode_with_zarr(content)
        else:
            raw = bytearray(_DECODERS[self.codec](content))
            if len(raw) != self.chunk_nbytes:
                raise Unreadable(f"decodes to {len(raw)} bytes, which is not a chunk's size")
            chunk = np.frombuffer(raw, self.dtype.newbyteorder("<")).astype(self.dtype, copy=False)
        return torch.from_numpy(chunk).view(self.chunk_rows, self.shape[1])

    def _check_blosc(self, content: bytes | memoryview) -> None:
        """Check the sizes that Blosc's header gives: the library takes them as they are."""
        size, stored = struct.unpack_from("<I4xI", content, 4)
        if (size, stored) != (self.chunk_nbytes, len(content)):
            raise ValueError("the sizes in its header do not fit")

    def _decode_with_zarr(self, content: bytes | memoryview) -> Array:
        # Imported here: most stores need none of it, and each worker would take a while for it.
        import zarr
        from zarr.core.buffer import default_buffer_prototype
        from zarr.storage import MemoryStore

        buffer = default_buffer_prototype().buffer.from_bytes
        key = self.separator.join(("c", "0", "0"))
        files = {ROOT_METADATA: json.dumps(self.chunk_metadata).encode(), key: bytes(content)}
        store = MemoryStore({path: buffer(data) for path, data in files.items()})
        array = zarr.open_array(store, mode="r", zarr_format=3)
        return np.asarray(array[:])


def _known(codecs: list[Any]) -> list[Any]:
    """Return codecs without configurations that are empty, which is how some write them."""
    return [{key: value for key, value in codec.items() if value} for codec in codecs]


def _compressor(codecs: list[Any]) -> str | None:
    """Return how chunks are compressed, by the names of `Layout.codec`."""
    first, *others = _known(codecs)
    if first != _LITTLE or len(others) > 1:
        return None
    name = str(others[0]["name"]) if others else ""
    return name if name in _DECODERS else None


_DECODERS: Mapping[str, Any] = {"": bytes, "blosc": blosc.decompress, "zstd": zstd.decompress}


class Scratch:
    """Memory that chunks are decoded into, one after the other."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, int, np.dtype[Any]], tuple[torch.Tensor, Array]] = {}

    def of(self, layout: Layout) -> tuple[torch.Tensor, Array]:
        """Return memory for a chunk of an array: its rows, and the same as bytes to be set."""
        key = layout.chunk_rows, layout.shape[1], layout.dtype
        if key not in self._made:
            stored = np.empty(key[:2], layout.dtype)
            self._made[key] = torch.from_numpy(stored), stored.reshape(-1).view(np.uint8)
        return self._made[key]


def places_of(rows: Rows, chunk_rows: int) -> dict[int, list[Place]]:
    """Return the chunks that hold the rows, and where the rows of each go."""
    places: dict[int, list[Place]] = {}
    done = 0
    for first, stop in rows:
        while first < stop:
            number, offset = divmod(first, chunk_rows)
            taken = min(stop - first, chunk_rows - offset)
            places.setdefault(number, []).append((done, offset, taken))
            first, done = first + taken, done + taken
    return places


def runs_of(index: Index, slots: Sequence[int]) -> tuple[list[list[Stored]], list[int]]:
    """Find chunks in a shard by its index.

    Parameters
    ----------
    index
        Of shape (chunks in the shard, 2).
    slots
        Numbers of chunks within the shard.

    Returns
    -------
    runs
        Chunks whose bytes follow each other without a gap.
    skipped
        The slots of chunks that are not stored.
    """
    runs: list[list[Stored]] = []
    skipped: list[int] = []
    end = -1
    for slot, (start, length) in zip(slots, index[slots].tolist(), strict=True):
        if start == NO_CHUNK:
            skipped.append(slot)
            continue
        if start != end:
            runs.append([])
        runs[-1].append((slot, start, start + length))
        end = start + length
    return runs, skipped
