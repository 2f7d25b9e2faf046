"""VTU and VTP files, read a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from aerozarr.messages import printable
from aerozarr.source.files.vtk.appended import Payload
from aerozarr.source.files.vtk.cells import cell_centers
from aerozarr.source.files.vtk.errors import DamagedVtk, NotInBlocks
from aerozarr.source.files.vtk.header import POLY_SECTIONS, DataArray, Piece, read_header
from aerozarr.source.files.vtk.parts import CUT_SHORT, Parts
from aerozarr.source.files.vtk.points import PointAccess

Association = Literal["point", "cell"]
Block = npt.NDArray[Any]

ROWS = 2**16
"""Rows of a block, unless somebody says otherwise."""

_SECTIONS: dict[Association, str] = {"point": "PointData", "cell": "CellData"}
# A block of more bytes has fewer rows.
_BLOCK_BYTES = 16 * 2**20
_END = b"</VTKFile>"


class ArrayOf(NamedTuple):
    """What an array holds: the native dtype of its values, and how many a row has."""

    dtype: np.dtype[Any]
    components: int


class _Run(NamedTuple):
    """Rows of an array, by the first one and their number."""

    array: DataArray
    payload: Payload
    first: int
    n_rows: int


def open_xml(paths: Sequence[Path]) -> VtkXml:
    """Open a VTU or VTP file.

    Parameters
    ----------
    paths
        The file; or the parts in which it was cut, in their order, which are read as one.

    Raises
    ------
    DamagedVtk
        When it is not what such a file may be, or a part is missing.
    NotInBlocks
        When it has to be read with the library.
    OSError
        When it cannot be reached.
    """
    parts = Parts(paths)
    try:
        return VtkXml(parts)
    except BaseException:
        parts.close()
        raise


class VtkXml:
    """A VTU or VTP file. It is open until `close`, or as a context manager.

    Pieces follow one another, as vtk appends them: of a VTP with several, all vertices come before
    all lines, and so on. The numbers of points and cells were compared with what the file has of
    them.

    Attributes
    ----------
    n_points, n_cells
        Numbers of points and cells, of all pieces.
    arrays
        By `point` and `cell`, and by name: the arrays that can be read.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.kind, self._layout, pieces = read_header(parts)
        if parts.read(parts.size - 1024 if parts.size > 1024 else 0, 1024).rstrip()[-10:] != _END:
            raise DamagedVtk(CUT_SHORT)
        self._sections = POLY_SECTIONS if self.kind == "PolyData" else ("Cells",)
        self._pieces = [piece for piece in pieces if piece.n_points or piece.n_rows("cell")]
        self.n_points = sum(piece.n_points for piece in self._pieces)
        self.n_cells = sum(piece.n_rows("cell") for piece in self._pieces)
        for piece in self._pieces:
            self._check_counts(piece)
        self._why_not: dict[tuple[Association, str], str] = {}
        self.arrays: Mapping[Association, Mapping[str, ArrayOf]] = {
            "point": self._find_arrays("point"),
            "cell": self._find_arrays("cell"),
        }

    def __enter__(self) -> VtkXml:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; nothing can be read any more."""
        self._parts.close()

    def blocks(self, association: Association, name: str, rows: int = ROWS) -> Iterator[Block]:
        """Return an array's rows, a block at a time.

        What the file says of the array was compared with what it has when this returns.

        Parameters
        ----------
        association, name
            Which array: see `arrays`.
        rows
            The most rows of a block; fewer when they take more than 16 MiB, and at the end of a
            piece.

        Returns
        -------
        iterator of arrays, shape (k, components)
            In the dtype of `arrays`; each is the caller's own.

        Raises
        ------
        KeyError
            When there is no such array.
        DamagedVtk
            When the file is not what it says; also on the way.
        NotInBlocks
            When the array cannot be read in blocks.
        """
        if (association, name) in self._why_not:
            raise NotInBlocks(self._why_not[association, name])
        found = self.arrays[association][name]
        sources = []
        for piece in self._with(association):
            array = piece.sections[_SECTIONS[association]][name]
            count = piece.n_rows(association)
            sources.append((piece, array, self._payload(array, count, printable(name))))
        if association == "point":
            runs = [_Run(array, data, 0, piece.n_points) for piece, array, data in sources]
        else:
            runs = [
                _Run(array, data, piece.first_cell(section), piece.n_cells[section])
                for section in self._sections
                for piece, array, data in sources
            ]
        return _read(runs, found, rows)

    def points(self, rows: int = ROWS) -> Iterator[Block]:
        """Return the points, a block at a time; parameters and errors as for `blocks`."""
        runs = [
            _Run(_points_of(piece), self._payload_of_points(piece), 0, piece.n_points)
            for piece in self._with("point")
        ]
        return _read(runs, ArrayOf(self.points_dtype, 3), rows)

    @property
    def points_dtype(self) -> np.dtype[Any]:
        """The type of the points.

        Raises
        ------
        NotInBlocks
            When pieces differ in it.
        """
        dtypes = {_points_of(piece).dtype for piece in self._with("point")}
        if len(dtypes) > 1:
            raise NotInBlocks("its pieces have points of different types")
        dtype = next(iter(dtypes), None)
        return np.dtype(np.float32) if dtype is None else dtype.newbyteorder("=")

    def cell_centers(self, rows: int = ROWS) -> Iterator[npt.NDArray[np.float64]]:
        """Yield the cells' centres, as vtk's `vtkCellCenters` has them, a block at a time.

        Cells ask for points in any order, so those of one piece are kept at hand: up to 16 MiB in
        memory, more in a mapped file; see `PointAccess` for what that costs. Besides, a few
        thousand cells are computed together, which takes some MiB, and 15 for polyhedra.

        Parameters
        ----------
        rows
            The most rows of a block.

        Yields
        ------
        float64 array, shape (k, 3)

        Raises
        ------
        DamagedVtk, NotInBlocks
            As for `blocks`; also when a type of cell is not known here.
        OSError
            When there is no room for a temporary file with the points.
        """
        for section in self._sections:
            for piece in self._with("cell"):
                count = piece.n_cells[section]
                if count:
                    points = self._open_points(piece)
                    arrays = piece.sections.get(section, {})
                    some = cell_centers(section, count, arrays, points, self._payload)
                    yield from _regrouped(some, count, rows)

    def _with(self, association: Association) -> list[Piece]:
        """Return the pieces that have points, or cells."""
        return [piece for piece in self._pieces if piece.n_rows(association)]

    def _payload(self, array: DataArray, count: int = -1, name: str = "") -> Payload:
        """Return an array's data, compared with how many rows it should have."""
        payload = Payload(self._parts, self._layout, array)
        if count >= 0 and array.dtype is not None:
            expected = count * array.components * array.dtype.itemsize
            if payload.nbytes != expected:
                raise DamagedVtk(
                    f"{name} has {payload.nbytes} bytes, where {count} rows have {expected}"
                )
        return payload

    def _payload_of_points(self, piece: Piece) -> Payload:
        array = _points_of(piece)
        if array.components != 3 and not array.why_not:
            raise DamagedVtk(f"its points have {array.components} components")
        return self._payload(array, piece.n_points, "Points")

    def _open_points(self, piece: Piece) -> PointAccess:
        dtype = _points_of(piece).dtype
        assert dtype is not None  # those of points that can be read
        return PointAccess(self._parts, self._payload_of_points(piece), dtype)

    def _check_counts(self, piece: Piece) -> None:
        """Refuse numbers of points and cells of which the file does not have as many."""
        if piece.n_points:
            self._payload_of_points(piece)
        for section, count in piece.n_cells.items():
            if count:
                arrays = piece.sections.get(section, {})
                if "offsets" not in arrays:
                    raise DamagedVtk("it has no offsets of its cells")
                self._payload(arrays["offsets"], count, "offsets")

    def _find_arrays(self, association: Association) -> dict[str, ArrayOf]:
        """Return the arrays that all pieces have alike; note why others cannot be read."""
        sections = [
            piece.sections.get(_SECTIONS[association], {}) for piece in self._with(association)
        ]
        found: dict[str, ArrayOf] = {}
        for name, first in sections[0].items() if sections else ():
            others = [section.get(name) for section in sections]
            if None in others:
                continue  # as vtk, which keeps what all pieces have
            why_not = next((other.why_not for other in others if other and other.why_not), "")
            if len({(o.dtype, o.components) for o in others if o}) > 1:
                why_not = why_not or "its pieces have it in different types"
            if why_not or first.dtype is None:
                self._why_not[association, name] = f"{printable(name)}: {why_not}"
            else:
                found[name] = ArrayOf(first.dtype.newbyteorder("="), first.components)
        return found


def _read(runs: Sequence[_Run], of: ArrayOf, rows: int) -> Iterator[Block]:
    """Yield rows of arrays in native byte order."""
    rows = max(1, min(rows, _BLOCK_BYTES // (of.components * of.dtype.itemsize)))
    for array, payload, start, count in runs:
        readinto = payload.open(start * of.components * of.dtype.itemsize)
        for first in range(0, count, rows):
            block = np.empty((min(rows, count - first), of.components), array.dtype)
            readinto(block.reshape(-1).view(np.uint8).data)
            yield block if block.dtype.isnative else block.byteswap(inplace=True).view(of.dtype)


def _points_of(piece: Piece) -> DataArray:
    array = piece.sections.get("Points", {}).get("Points")
    if array is None:
        raise DamagedVtk("a piece of it has no points")
    if array.dtype is None:
        raise NotInBlocks("its points are no numbers")
    return array


def _regrouped(
    pieces: Iterator[npt.NDArray[np.float64]], count: int, rows: int
) -> Iterator[npt.NDArray[np.float64]]:
    """Yield rows of small blocks in larger ones, or in smaller ones."""
    left = count
    block = np.empty((min(rows, left), 3))
    filled = 0
    for piece in (piece.T for piece in pieces):
        while len(piece):
            part = piece[: len(block) - filled]
            block[filled : filled + len(part)] = part
            filled += len(part)
            piece = piece[len(part) :]
            if filled == len(block):
                yield block
                left -= filled
                block, filled = np.empty((min(rows, left), 3)), 0
