"""Reading rows of one stored array: which bytes hold them, and how bytes become rows.

What aerozarr and its kin write (a shard index, chunks of little-endian values compressed by Blosc)
is read here, because zarr-python makes many more requests for it and takes a missing shard for
zeros. So are chunks that zstd or gzip compressed, or nothing; what is then left to do, where values
are transposed or big-endian, is handed to zarr-python. Other codecs are refused: nothing bounds the
memory that they would take for damaged or hostile bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from aerozarr.store.format.layout import ROOT_METADATA
from aerozarr.store.format.shard_index import (
    CHECKSUM_BYTES,
    DamagedIndexError,
    Index,
    decode_index,
    index_size,
)
from aerozarr.store.read.decompress import BLOSC_HEADER_BYTES, DAMAGED, DECODERS, MOST_BLOSC_BYTES

Array = npt.NDArray[Any]

_LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
_CHECKSUM = {"name": "crc32c"}
_INDEX_CODECS = [_LITTLE, _CHECKSUM]

# Chunks in a shard whose index is read: one of so many takes a gigabyte.
MOST_CHUNKS = 2**26


class Unreadable(Exception):
    """What is wrong with an array's stored bytes or metadata; the caller says where."""


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
        How a chunk is compressed: `blosc`, `zstd`, `gzip`, or not at all (``""``).
    has_checksums
        Whether each chunk ends in a checksum, which is checked before it is decoded.
    chunk_metadata
        The metadata of an array whose objects are this one's chunks, decompressed: for zarr-python;
        None where these are plain little-endian values.
    separator, fill
        Of the objects' keys; and the value of what a store leaves out.
    torch_dtype
        The dtype, where memory that holds its values as they are stored is a tensor of it.
    is_plain
        Whether a chunk is what Blosc made of the values as memory holds them, or just these.
    row_nbytes, chunk_nbytes
        Bytes of a row; and of a decoded chunk, with the padding of one that reaches past the
        array's end.
    header_nbytes, nbytes_as_stored
        Where values are stored as they are: bytes before those of a chunk, and of all the chunk in
        a shard.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    object_rows: int
    chunk_rows: int
    index_at_end: bool | None
    codec: str
    has_checksums: bool
    chunk_metadata: Mapping[str, Any] | None
    separator: str
    fill: float
    torch_dtype: torch.dtype | None = field(init=False)
    is_plain: bool = field(init=False)
    row_nbytes: int = field(init=False)
    chunk_nbytes: int = field(init=False)
    header_nbytes: int = field(init=False)
    nbytes_as_stored: int = field(init=False)

    def __post_init__(self) -> None:
        # Asked for with every chunk, so computed once. Not by cached_property, which in Python 3.11
        # has one lock for all instances: where a thread holds it while the process forks, the child
        # would wait for it for ever.
        known = self.dtype == self.dtype.newbyteorder("<")
        torch_dtype = torch.from_numpy(np.empty(0, self.dtype)).dtype if known else None
        is_known = self.chunk_metadata is None and torch_dtype is not None
        row = self.shape[1] * self.dtype.itemsize
        chunk = self.chunk_rows * row
        header = BLOSC_HEADER_BYTES if self.codec == "blosc" else 0
        checksum = CHECKSUM_BYTES if self.has_checksums else 0
        for name, value in {
            "torch_dtype": torch_dtype,
            "is_plain": is_known and self.codec in ("blosc", ""),
            "row_nbytes": row,
            "chunk_nbytes": chunk,
            "header_nbytes": header,
            "nbytes_as_stored": header + chunk + checksum,
        }.items():
            object.__setattr__(self, name, value)  # which is frozen for everybody else

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
            _check_extensions(metadata)
            return cls._of(metadata)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            # Cut, since the error may repeat a value of any length.
            raise Unreadable(f"its metadata cannot be read: {repr(error)[:200]}") from None

    @classmethod
    def _of(cls, metadata: Mapping[str, Any]) -> Layout:
        rows, width = _counts(metadata["shape"])
        object_shape = _counts(metadata["chunk_grid"]["configuration"]["chunk_shape"])
        encoding = metadata["chunk_key_encoding"]
        codecs: list[Any] = metadata["codecs"]
        chunk_shape, index_at_end = object_shape, None
        if codecs[0]["name"] == "sharding_indexed":
            sharding = codecs[0]["configuration"]
            chunk_shape = _counts(sharding["chunk_shape"])
            codecs = [*sharding["codecs"], *codecs[1:]]
            index_at_end = ("start", "end").index(sharding.get("index_location", "end")) == 1
            if _known(sharding["index_codecs"]) != _INDEX_CODECS or len(metadata["codecs"]) > 1:
                raise Unreadable("its shards are encoded in a way that this reader does not know")
        separator = encoding.get("configuration", {}).get("separator", "/")
        if (
            metadata["chunk_grid"]["name"] != "regular"
            or encoding["name"] != "default"
            or separator not in ("/", ".")  # of a path, which must not lead elsewhere
        ):
            raise Unreadable("its chunk grid or its keys are not the regular ones")
        dtype = np.dtype(metadata["data_type"])
        if dtype.kind not in "fiub":
            raise Unreadable(f"it holds {dtype.name}, which are no numbers")
        to_bytes, codec, has_checksums = _split_codecs(_known(codecs))
        if chunk_shape[1] != width or object_shape[1] != width:
            raise Unreadable("its chunks split the components")
        if object_shape[0] % chunk_shape[0]:
            raise Unreadable("its shards hold no whole number of chunks")
        chunk_metadata = {
            **metadata,
            "shape": chunk_shape,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk_shape}},
            "codecs": to_bytes,
        }
        layout = cls(
            shape=(rows, width),
            dtype=dtype,
            object_rows=object_shape[0],
            chunk_rows=chunk_shape[0],
            index_at_end=index_at_end,
            codec=codec,
            has_checksums=has_checksums,
            chunk_metadata=None if to_bytes == [_LITTLE] else chunk_metadata,
            separator=separator,
            fill=float(metadata["fill_value"]),
        )
        if layout.chunks_in_object > MOST_CHUNKS:
            raise Unreadable(
                f"it says that its shards hold {layout.chunks_in_object} chunks; at most "
                f"{MOST_CHUNKS} are read"
            )
        if codec == "blosc" and layout.chunk_nbytes > MOST_BLOSC_BYTES:
            raise Unreadable("it says that its chunks are larger than Blosc can make them")
        return layout

    def object_key(self, number: int) -> str:
        """Return where below the array an object lies."""
        return self.separator.join(("c", str(number), "0"))

    @property
    def chunks_in_object(self) -> int:
        """Number of chunks in an object, with those past the array's end."""
        return self.object_rows // self.chunk_rows

    @property
    def most_stored(self) -> int:
        """More bytes than any chunk has as it is stored: codecs hardly make chunks longer."""
        return 2 * self.chunk_nbytes + 4096

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

    def decode_slowly(self, content: Array) -> torch.Tensor:
        """Return the rows of a chunk as others store it, from memory of their own.

        Parameters
        ----------
        content
            The chunk as it is stored, without its checksum: of uint8, one axis.

        Raises
        ------
        Unreadable
            When the bytes are damaged.
        """
        try:
            raw = DECODERS[self.codec](content, self.chunk_nbytes)
            if len(raw) != self.chunk_nbytes:
                raise Unreadable(f"decodes to {len(raw)} bytes, which is not a chunk's size")
            if self.chunk_metadata is not None:
                chunk = _to_values(raw, self.chunk_metadata, self.separator)
            else:
                chunk = np.frombuffer(bytearray(raw), self.dtype.newbyteorder("<")).astype(
                    self.dtype, copy=False
                )
        except DAMAGED as error:
            raise Unreadable(f"cannot be decoded: {error}") from None
        return torch.from_numpy(chunk).view(self.chunk_rows, self.shape[1])


def _to_values(raw: bytes | bytearray, metadata: Mapping[str, Any], separator: str) -> Array:
    """Return the values of a decompressed chunk, by zarr-python."""
    # Imported here: most stores need none of it, and each worker would take a while for it.
    import zarr
    from zarr.buffer import cpu
    from zarr.storage import MemoryStore

    key = separator.join(("c", "0", "0"))
    files = {ROOT_METADATA: json.dumps(metadata).encode(), key: bytes(raw)}
    store = MemoryStore({path: cpu.Buffer.from_bytes(data) for path, data in files.items()})
    array = zarr.open_array(store, mode="r", zarr_format=3)
    return np.asarray(array[:])


# Of an array's metadata, in Zarr's specification.
_KEYS = frozenset(
    {
        "zarr_format",
        "node_type",
        "shape",
        "data_type",
        "chunk_grid",
        "chunk_key_encoding",
        "codecs",
        "fill_value",
        "attributes",
        "dimension_names",
        "storage_transformers",
    }
)


def _check_extensions(metadata: Mapping[str, Any]) -> None:
    """Refuse what Zarr says has to be understood, and is not here."""
    for name, value in metadata.items():
        ignorable = isinstance(value, Mapping) and value.get("must_understand") is False
        if name not in _KEYS and not ignorable:
            raise Unreadable(f"it uses {name[:40]!r}, which this reader does not know")
    if metadata.get("storage_transformers"):
        raise Unreadable("it has storage transformers, which this reader does not know")


def _known(codecs: list[Any]) -> list[Any]:
    """Return codecs without configurations that are empty, which is how some write them."""
    return [{key: value for key, value in codec.items() if value} for codec in codecs]


def _split_codecs(codecs: list[Any]) -> tuple[list[Any], str, bool]:
    """Return the codecs that make bytes of values, the compressor's name, and whether checksums."""
    first = [codec["name"] for codec in codecs].index("bytes") + 1
    to_bytes, others = codecs[:first], codecs[first:]
    has_checksums = others[-1:] == [_CHECKSUM]
    names = [codec["name"] for codec in others][: len(others) - has_checksums] or [""]
    unknown = {codec["name"] for codec in to_bytes} - {"bytes", "transpose"}
    if len(names) > 1 or names[0] not in DECODERS or unknown:
        listed = ", ".join(str(codec["name"])[:40] for codec in codecs[:10])
        raise Unreadable(f"its chunks are encoded by {listed}; this reader does not know how")
    return to_bytes, names[0], has_checksums


def _counts(shape: Any) -> tuple[int, int]:
    """Return rows and components of a shape, both at least 1."""
    rows, width = shape
    for count in (rows, width):
        if type(count) is not int or not 1 <= count <= 2**48:
            raise ValueError(f"{count!r} is no size")
    return rows, width
