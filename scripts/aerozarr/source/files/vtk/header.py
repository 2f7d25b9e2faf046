"""What a VTK XML file says it holds: its elements, without their data.

The parser sees the file a block at a time, and nothing of the appended data. Document types and
entities are refused, and nothing that it keeps grows without bound.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, NoReturn
from xml.parsers import expat

import numpy as np

from aerozarr.messages import printable
from aerozarr.source.files.vtk.errors import DamagedVtk, NotInBlocks
from aerozarr.source.files.vtk.parts import CUT_SHORT, Parts

Encoding = Literal["raw", "base64"]

_READ = 2**16
# Of all elements and their attributes, in bytes: ten times what a file of thousands of pieces has.
_MOST_HEADER = 64 * 2**20
_AN_ELEMENT = 100
# Of one tag or comment; longer ones would be kept until they end.
_MOST_TOKEN = 2**20
_MOST_DEPTH = 32
_MOST_COMPONENTS = 2**16
_FILE_TYPES = ("UnstructuredGrid", "PolyData")
# In the order of the cell data of a PolyData.
POLY_SECTIONS = ("Verts", "Lines", "Polys", "Strips")
_SECTIONS = ("PointData", "CellData", "Points", "Cells", *POLY_SECTIONS)
COMPRESSORS = ("vtkZLibDataCompressor", "vtkLZ4DataCompressor", "vtkLZMADataCompressor")
_NUMBERS = {
    **{f"Int{8 * size}": f"i{size}" for size in (1, 2, 4, 8)},
    **{f"UInt{8 * size}": f"u{size}" for size in (1, 2, 4, 8)},
    **{f"Float{8 * size}": f"f{size}" for size in (4, 8)},
}


@dataclass(frozen=True)
class DataArray:
    """An array that the file has somewhere.

    Attributes
    ----------
    dtype
        The type of its values, in the file's byte order; None for one of no numbers.
    components
        How many values a tuple has.
    offset
        Where it begins: from the beginning of the appended data, or of the file when it is inline;
        None when it cannot be read in blocks.
    is_inline
        Whether it is written in its element, in base64.
    why_not
        Why it cannot be read in blocks, or an empty text.
    """

    dtype: np.dtype[Any] | None
    components: int
    offset: int | None
    is_inline: bool
    why_not: str


@dataclass
class Piece:
    """A piece of the grid: numbers of points and cells, and its sections' arrays by name."""

    n_points: int
    n_cells: dict[str, int]
    """How many cells there are, by the section that has them: `Cells`, or those of a PolyData."""
    sections: dict[str, dict[str, DataArray]] = field(default_factory=dict)

    def n_rows(self, association: Literal["point", "cell"]) -> int:
        """Return how many tuples its point or cell data has."""
        return self.n_points if association == "point" else sum(self.n_cells.values())

    def first_cell(self, section: str) -> int:
        """Return how many rows of its cell data precede those of a section's cells."""
        names = list(self.n_cells)
        return sum(self.n_cells[name] for name in names[: names.index(section)])


class Layout(NamedTuple):
    """How all arrays of a file are written.

    Attributes
    ----------
    byte_order
        `<` or `>`.
    word
        The type of the numbers that precede an array's data, in that byte order.
    compressor
        VTK's name of it, or None.
    appended
        Where the appended data begins in the file, and its encoding; None when there is none.
    """

    byte_order: Literal["<", ">"]
    word: np.dtype[Any]
    compressor: str | None
    appended: tuple[int, Encoding] | None


class Header(NamedTuple):
    """What a file says of itself."""

    kind: str
    layout: Layout
    pieces: list[Piece]


def read_header(parts: Parts) -> Header:
    """Read what a file says it holds.

    Raises
    ------
    DamagedVtk
        When it is not what a VTU or VTP file may be.
    NotInBlocks
        When it is another of VTK's XML files, or one with steps in time.
    """
    reader = _Reader()
    start = parts.read(0, 4).removeprefix(b"\xef\xbb\xbf")
    if not start:
        raise DamagedVtk("it is empty")
    if not start.lstrip().startswith(b"<"):
        raise DamagedVtk("it is no XML file", "name a VTU or VTP file")
    position = 0
    while not reader.is_done:
        block = parts.read(position, _READ)
        reader.feed(block, position + len(block), is_last=not block)
        position += len(block)
    return reader.header(parts)


class _DoneError(Exception):
    """The appended data begins."""


class _Reader:
    """Takes a file's text in blocks, and keeps what it says."""

    def __init__(self) -> None:
        self.is_done = False
        self._path: list[str] = []
        self._size = 0
        self._file: dict[str, str] = {}
        self._pieces: list[Piece] = []
        self._appended: tuple[int, str] | None = None
        # The array whose text is awaited, as an entry of its section.
        self._inline: tuple[dict[str, DataArray], str] | None = None
        self._parser = parser = expat.ParserCreate()
        parser.buffer_text = False
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.XmlDeclHandler = _check_declaration
        parser.StartDoctypeDeclHandler = _refuse
        parser.EntityDeclHandler = _refuse
        parser.ExternalEntityRefHandler = _refuse

    def feed(self, block: bytes, fed: int, *, is_last: bool) -> None:
        """Parse a block of the file, which ends `fed` bytes after the beginning."""
        try:
            self._parser.Parse(block, is_last)
        except _DoneError:
            self.is_done = True
            return
        except (expat.ExpatError, ValueError, UnicodeError) as error:
            if is_last and isinstance(error, expat.ExpatError):
                raise DamagedVtk(CUT_SHORT) from None
            raise DamagedVtk(f"its XML is damaged ({printable(str(error))})") from None
        self.is_done = is_last
        if fed - self._parser.CurrentByteIndex > _MOST_TOKEN + 2 * _READ:
            raise DamagedVtk(f"its XML has a tag of more than {_MOST_TOKEN} bytes")

    def header(self, parts: Parts) -> Header:
        """Return what was read."""
        kind, appended = self._file.get("type", ""), None
        if self._appended:
            appended = _find_appended(parts, *self._appended)
        if not self._file:
            raise DamagedVtk("it has no element VTKFile", "name a VTU or VTP file")
        return Header(kind, _layout(self._file, appended), self._pieces)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._size += _AN_ELEMENT + sum(len(key) + len(value) for key, value in attributes.items())
        self._inline = None
        depth = len(self._path)
        if self._size > _MOST_HEADER or depth >= _MOST_DEPTH:
            raise DamagedVtk(f"its XML has too many elements, or more than {_MOST_HEADER} bytes")
        if depth == 0:
            self._start_file(name, attributes)
        elif depth == 1 and name == "AppendedData":
            self._appended = self._parser.CurrentByteIndex, attributes.get("encoding", "base64")
            raise _DoneError
        elif depth == 1 and "TimeValues" in attributes:
            raise NotInBlocks("it has several steps in time")
        elif self._path[1:] == [self._file["type"]] and name == "Piece":
            self._start_piece(attributes)
        elif self._path[1:3] == [self._file["type"], "Piece"] and (depth, name) == (4, "DataArray"):
            self._start_array(self._path[3], attributes)
        self._path.append(name)

    def _start_file(self, name: str, attributes: dict[str, str]) -> None:
        if name != "VTKFile":
            raise DamagedVtk(f"its first element is {printable(name[:40])}, not VTKFile")
        kind = attributes.get("type", "")
        if kind not in _FILE_TYPES:
            raise NotInBlocks(f"its type is {printable(kind[:40])!r}")
        self._file = attributes

    def _start_piece(self, attributes: dict[str, str]) -> None:
        if self._file["type"] == "PolyData":
            cells = {name: _count(attributes, f"NumberOf{name}", 0) for name in POLY_SECTIONS}
        else:
            cells = {"Cells": _count(attributes, "NumberOfCells")}
        self._pieces.append(Piece(_count(attributes, "NumberOfPoints"), cells))

    def _start_array(self, section: str, attributes: dict[str, str]) -> None:
        if section not in _SECTIONS:
            return
        if "TimeStep" in attributes:
            raise NotInBlocks("it has several steps in time")
        arrays = self._pieces[-1].sections.setdefault(section, {})
        name = "Points" if section == "Points" else attributes.get("Name", "")
        if name in arrays:
            raise NotInBlocks(f"it has two arrays named {printable(name)!r} in {section}")
        arrays[name] = self._read_array(attributes)
        self._inline = (arrays, name) if arrays[name].is_inline else None

    def _read_array(self, attributes: dict[str, str]) -> DataArray:
        kind, form = attributes.get("type", ""), attributes.get("format", "ascii")
        why_not, offset, dtype = "", None, None
        if kind in _NUMBERS:
            dtype = np.dtype(_NUMBERS[kind]).newbyteorder(_byte_order(self._file))
        else:
            why_not = f"its values are of the type {printable(kind[:40])!r}"
        components = _count(attributes, "NumberOfComponents", 1)
        if not 1 <= components <= _MOST_COMPONENTS:
            why_not = f"it has {components} components"
        if form == "appended":
            offset = _count(attributes, "offset")
        elif form != "binary":
            why_not = why_not or f"it is written as text (the format {printable(form[:40])!r})"
        return DataArray(dtype, components, offset, form == "binary", why_not)

    def _text(self, text: str) -> None:
        """Find where the data of an inline array begins."""
        if self._inline is None:
            return
        begins = text.lstrip()
        if not begins:
            return
        arrays, name = self._inline
        array = arrays[name]
        # What is stripped is ASCII, so that it has as many bytes as characters.
        offset = self._parser.CurrentByteIndex + len(text) - len(begins)
        arrays[name] = DataArray(array.dtype, array.components, offset, True, array.why_not)
        self._inline = None

    def _end(self, name: str) -> None:
        self._path.pop()
        if name == "DataArray":
            self._inline = None


def _check_declaration(version: str, encoding: str | None, standalone: int) -> None:
    """Refuse encodings in which a character of XML is not a byte."""
    del version, standalone
    if (encoding or "utf-8").lower() not in ("utf-8", "us-ascii", "ascii", "iso-8859-1"):
        raise NotInBlocks(f"its XML has the encoding {printable(str(encoding)[:40])!r}")


def _refuse(*arguments: object) -> NoReturn:
    """Refuse what no VTK file has, and what makes a small file a large one."""
    del arguments
    raise DamagedVtk("its XML has a document type or entities, which no VTK file has")


def _find_appended(parts: Parts, tag: int, encoding: str) -> tuple[int, Encoding]:
    """Return where the appended data begins, behind its tag and an underscore; and its encoding."""
    if encoding not in ("raw", "base64"):
        raise NotInBlocks(f"its appended data has the encoding {printable(encoding[:40])!r}")
    match = re.match(rb"<AppendedData[^<>]*>\s*_", parts.read(tag, 4096))
    if match is None:
        raise DamagedVtk("its appended data does not begin with an underscore")
    return tag + match.end(), "raw" if encoding == "raw" else "base64"


def _layout(attributes: dict[str, str], appended: tuple[int, Encoding] | None) -> Layout:
    """Return how the arrays are written, as the attributes of the file's first element say."""
    order = _byte_order(attributes)
    word = attributes.get("header_type", "UInt32")
    if word not in ("UInt32", "UInt64"):
        raise NotInBlocks(f"its header_type is {printable(word[:40])!r}")
    compressor = attributes.get("compressor") or None
    if compressor not in (None, *COMPRESSORS):
        raise NotInBlocks(f"its compressor is {printable(compressor[:40])!r}")
    return Layout(order, np.dtype(f"{order}u{int(word[4:]) // 8}"), compressor, appended)


def _byte_order(attributes: dict[str, str]) -> Literal["<", ">"]:
    order = attributes.get("byte_order", "LittleEndian")
    if order not in ("LittleEndian", "BigEndian"):
        raise DamagedVtk(f"its XML says that byte_order is {printable(order[:40])!r}")
    return "<" if order == "LittleEndian" else ">"


def _count(attributes: dict[str, str], name: str, otherwise: int | None = None) -> int:
    """Return a number that an attribute says, or what it is when the attribute is missing."""
    text = attributes.get(name)
    if text is None and otherwise is not None:
        return otherwise
    if text is None or not re.fullmatch(r"\s*[0-9]{1,18}\s*", text):
        raise DamagedVtk(f"its XML says that {name} is {printable(str(text)[:40])!r}")
    return int(text)
