"""The data of one array: where it lies, and its bytes in their order, a block at a time.

An array is preceded by numbers of the file's `header_type`: without a compressor, how many bytes it
has; with one, how many blocks, the size of a block and of the last one (0 when it is like the
others), and each block's size as it is stored. In base64 those of a compressor are encoded by
themselves; offsets count characters.
"""

from __future__ import annotations

import binascii
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from aerozarr.source.files.vtk.errors import DamagedVtk, NotInBlocks
from aerozarr.source.files.vtk.header import DataArray, Encoding, Layout
from aerozarr.source.files.vtk.parts import CUT_SHORT, Parts

# Blocks are unpacked whole. VTK writes 32 kB; whoever asks for more than this must have meant
# something else than to read it block by block.
_MOST_BLOCK = 64 * 2**20
# Compressed bytes that are read together, and numbers of the table of blocks.
_READ = 2**18
_TABLE = 2**14
# What the format can unpack a byte to, at most, with some margin: zlib's is known to be 1032 and
# LZ4's 255; of LZMA, a megabyte of zeros takes 200 bytes.
_MOST_RATIO = {
    "vtkZLibDataCompressor": 1100,
    "vtkLZ4DataCompressor": 260,
    "vtkLZMADataCompressor": 20000,
}
# What unpacking LZMA may use: a little more than its largest preset needs.
_LZMA_MEMORY = 80 * 2**20


class _Encoded:
    """Bytes that are stored from a position on, raw or in base64."""

    def __init__(self, parts: Parts, position: int, encoding: Encoding) -> None:
        self._parts, self.position, self.encoding = parts, position, encoding

    def stored(self, size: int) -> int:
        """Return how many bytes of the file a number of bytes takes."""
        return size if self.encoding == "raw" else -(-size // 3) * 4

    def check(self, size: int) -> None:
        """Refuse a number of bytes that the file cannot have."""
        if self.position + self.stored(size) > self._parts.size:
            raise DamagedVtk(CUT_SHORT)

    def read(self, first: int, size: int) -> bytes:
        """Return bytes, counted from the position."""
        if self.encoding == "raw":
            content = self._parts.read(self.position + first, size)
        else:
            quads = first // 3, -(-(first + size) // 3)
            text = self._parts.read(self.position + 4 * quads[0], 4 * (quads[1] - quads[0]))
            try:
                content = binascii.a2b_base64(text, strict_mode=True)
            except binascii.Error:
                raise DamagedVtk("its data is no base64, or cut short") from None
            content = content[first - 3 * quads[0] :][:size]
        if len(content) < size:
            raise DamagedVtk(CUT_SHORT)
        return content

    def readinto(self, first: int, view: memoryview) -> None:
        """Fill a buffer with bytes, counted from the position."""
        if self.encoding == "raw":
            self._parts.readinto(self.position + first, view)
            return
        for start in range(0, len(view), _READ):
            part = view[start : start + _READ]
            part[:] = self.read(first + start, len(part))

    def behind(self, size: int) -> _Encoded:
        """Return what is encoded by itself after a number of bytes."""
        return _Encoded(self._parts, self.position + self.stored(size), self.encoding)


class _Table(NamedTuple):
    """The blocks of a compressed array."""

    blocks: int
    block_size: int
    last_size: int

    def size(self, number: int) -> int:
        """Return what a block unpacks to."""
        return self.last_size if number == self.blocks - 1 else self.block_size


class Payload:
    """The data of an array: what precedes it, which was compared with the file.

    Parameters
    ----------
    parts, layout, array
        The file, how its arrays are written, and the array.

    Attributes
    ----------
    nbytes
        How many bytes it has, unpacked. The file has at least as many as they can be packed in.

    Raises
    ------
    DamagedVtk
        When the numbers before it cannot be.
    NotInBlocks
        When it is not read in blocks.
    """

    def __init__(self, parts: Parts, layout: Layout, array: DataArray) -> None:
        if array.why_not:
            raise NotInBlocks(array.why_not)
        self._word, self._compressor = layout.word, layout.compressor
        self._table = _Table(0, 0, 0)
        self.nbytes = 0
        self._data: _Encoded | None = None
        if array.offset is None:  # an element without content
            return
        if array.is_inline:
            self._before = _Encoded(parts, array.offset, "base64")
        elif layout.appended is None:
            raise DamagedVtk("it has no appended data: it was cut short, or a part is missing")
        else:
            start, encoding = layout.appended
            self._before = _Encoded(parts, start + array.offset, encoding)
        if layout.compressor is None:
            self.nbytes = int(self._words(0, 1)[0])
            self._before.check(self._word.itemsize + self.nbytes)
        else:
            self._unpack = _unpacker(layout.compressor)
            self._read_table(layout.compressor)

    def _words(self, first: int, count: int) -> np.ndarray[Any, np.dtype[Any]]:
        size = self._word.itemsize
        return np.frombuffer(self._before.read(first * size, count * size), self._word)

    def _read_table(self, compressor: str) -> None:
        """Read how many blocks there are and of which sizes, and compare that with the file."""
        blocks = int(self._words(0, 1)[0])
        if blocks == 0:
            return
        self._before.check((3 + blocks) * self._word.itemsize)
        block_size, last_size = map(int, self._words(1, 2))
        if not last_size <= block_size or not block_size:
            raise DamagedVtk(f"it says that a block of {block_size} bytes has {last_size}")
        if block_size > _MOST_BLOCK:
            raise NotInBlocks(f"its blocks have {block_size} bytes, more than {_MOST_BLOCK}")
        self._table = _Table(blocks, block_size, last_size or block_size)
        self.nbytes = (blocks - 1) * block_size + self._table.last_size
        packed = sum(sum(sizes) for sizes in self._packed_sizes())
        self._data = self._before.behind((3 + blocks) * self._word.itemsize)
        self._data.check(packed)
        if self.nbytes > packed * _MOST_RATIO[compressor]:
            raise DamagedVtk(f"it says that {packed} bytes unpack to {self.nbytes}")

    def _packed_sizes(self) -> Iterator[list[int]]:
        """Yield the blocks' sizes as they are stored, many at a time."""
        most = 2 * self._table.block_size + 1024
        for first in range(0, self._table.blocks, _TABLE):
            words = self._words(3 + first, min(_TABLE, self._table.blocks - first))
            if int(words.max()) > most or not words.all():
                raise DamagedVtk(f"a compressed block has {words.max()} bytes, or none")
            yield words.tolist()

    def open(self, first: int = 0) -> Callable[[memoryview], None]:
        """Return a function that fills one buffer after the other, from a byte on."""
        if self._compressor is not None:
            return _Unpacked(self._unpacked(first)).readinto
        position = self._word.itemsize + first

        def readinto(view: memoryview) -> None:
            nonlocal position
            self._before.readinto(position, view)
            position += len(view)

        return readinto

    def plain(self) -> int | None:
        """Return where the bytes lie in the file, if they are there as they are."""
        if self._compressor is not None or not self.nbytes or self._before.encoding != "raw":
            return None
        return self._before.position + self._word.itemsize

    def _unpacked(self, first: int) -> Iterator[bytes]:
        """Yield the blocks from the one with some byte on, without what precedes that byte."""
        number, position = 0, 0
        skipped, within = divmod(first, self._table.block_size or 1)
        for sizes in self._packed_sizes():
            at = min(skipped - number, len(sizes)) if number < skipped else 0
            position, number = position + sum(sizes[:at]), number + at
            while at < len(sizes):
                stop, total = at, 0
                while stop < len(sizes) and (stop == at or total < _READ):
                    total += sizes[stop]
                    stop += 1
                assert self._data is not None  # there are blocks
                content = memoryview(self._data.read(position, total))
                for size in sizes[at:stop]:
                    block = self._unpack(content[:size], self._table.size(number))
                    yield block[within:] if within else block
                    content, number, within = content[size:], number + 1, 0
                position, at = position + total, stop


class _Unpacked:
    """Bytes that come in pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, memoryview(b"")

    def readinto(self, view: memoryview) -> None:
        """Fill a buffer with what follows."""
        done = 0
        while done < len(view):
            if not self._rest:
                self._rest = memoryview(next(self._pieces))
            part = self._rest[: len(view) - done]
            view[done : done + len(part)] = part
            self._rest = self._rest[len(part) :]
            done += len(part)


_Unpack = Callable[[memoryview, int], bytes]


def _unpacker(compressor: str) -> _Unpack:
    """Return what unpacks a block, and checks its size: never more than it announces."""
    if compressor == "vtkZLibDataCompressor":
        return _unpack_zlib
    if compressor == "vtkLZMADataCompressor":
        return _unpack_lzma
    try:
        import lz4.block
    except ImportError:
        raise NotInBlocks(
            "it is compressed with LZ4, which the package lz4 unpacks; install it: "
            "pip install -r requirements-vtk.txt"
        ) from None

    def unpack_lz4(content: memoryview, size: int) -> bytes:
        try:
            block: bytes = lz4.block.decompress(content, uncompressed_size=size)
        except (lz4.block.LZ4BlockError, ValueError):
            raise _damaged_block() from None
        return _checked(block, size)

    return unpack_lz4


def _unpack_zlib(content: memoryview, size: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        # One more than there should be, so that the checksum is reached and compared.
        block = stream.decompress(content, size + 1)
    except zlib.error:
        raise _damaged_block() from None
    return _checked(block, size, is_whole=stream.eof)


def _unpack_lzma(content: memoryview, size: int) -> bytes:
    stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, _LZMA_MEMORY)
    try:
        block = stream.decompress(content, size + 1)
    except (lzma.LZMAError, EOFError):
        raise _damaged_block() from None
    return _checked(block, size, is_whole=stream.eof)


def _checked(block: bytes, size: int, *, is_whole: bool = True) -> bytes:
    if len(block) != size or not is_whole:
        raise _damaged_block()
    return block


def _damaged_block() -> DamagedVtk:
    return DamagedVtk("a compressed block of its data is damaged")
