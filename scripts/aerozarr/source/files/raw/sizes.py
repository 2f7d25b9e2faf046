"""What a sample's fields take that are read of raw files in blocks; torch is not needed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from aerozarr.config.fields import Field
from aerozarr.config.raw_keys import parse_raw_key
from aerozarr.source.files.raw.choose import Unreadable, choose
from aerozarr.source.files.vtk.errors import DamagedVtk, NotInBlocks
from aerozarr.source.files.vtk.xml import VtkXml, open_xml

# What vtk takes for a cell besides its arrays, about: eight corners, an offset, a type.
_CELL = 73


def array_sizes(
    fields: Iterable[Field],
    names_of: Callable[[str], Sequence[str]],
    path_of: Callable[[str], Path],
    *,
    is_whole: bool = False,
) -> dict[str, list[int]]:
    """Return the bytes of each array that is read in blocks, by the file's name.

    Of a file in parts by the name of the first, with nothing for the others. Files that vtk reads
    whole are left out, and so are those that cannot be read.

    Parameters
    ----------
    fields
        What is read of raw files.
    names_of
        Returns the names of the files that an entry of a file map names.
    path_of
        Returns the path of a file.
    is_whole
        Whether vtk reads the file instead: then with all that it holds of it, as one array.
    """
    wanted: dict[str, list[str]] = {}
    for field in fields:
        for file, key in ((field.file, field.key), *(field.patches or ())):
            wanted.setdefault(file, []).append(key or "")
    sizes: dict[str, list[int]] = {}
    for file, keys in wanted.items():
        names = names_of(file)
        if not names or not names[0].lower().endswith((".vtp", ".vtu", ".part")):
            continue
        try:
            paths = [path_of(name) for name in names]
            with open_xml(paths) as xml:
                if is_whole:
                    of_file = [_size_by_vtk(xml, keys)]
                    # Parts are joined in memory.
                    of_file[0] += sum(path.stat().st_size for path in paths if len(paths) > 1)
                else:
                    of_file = [_size(xml, key) for key in keys]
        except (NotInBlocks, DamagedVtk, Unreadable, OSError):
            continue
        sizes |= {names[0]: of_file, **{name: [0] for name in names[1:]}}
    return sizes


def _size_by_vtk(xml: VtkXml, keys: Iterable[str]) -> int:
    size = xml.n_points * 3 * xml.points_dtype.itemsize + xml.n_cells * _CELL
    for key in keys:
        with contextlib.suppress(NotInBlocks, Unreadable):
            size += _size(xml, key)
    return size


def _size(xml: VtkXml, text: str) -> int:
    """Return the bytes of an array; `NotInBlocks` when it is not read in blocks."""
    key = parse_raw_key(text)
    if key.derived == "points":
        return xml.n_points * 3 * xml.points_dtype.itemsize
    if key.derived == "cell_centers":
        # And the points, which are mapped meanwhile.
        return xml.n_cells * 3 * np.dtype(np.float64).itemsize + xml.n_points * 12
    if key.derived is not None:
        raise NotInBlocks("it is made by vtk")
    association = choose(key, xml.arrays)
    array = xml.arrays[association][key.name]
    rows = xml.n_points if association == "point" else xml.n_cells
    return rows * array.components * array.dtype.itemsize
