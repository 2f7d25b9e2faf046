"""The raw files of a sample, each opened once, and what they hold for its fields."""

from __future__ import annotations

import contextlib
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from aerozarr.config.fields import Field
from aerozarr.config.file_patterns import whole_name
from aerozarr.config.raw_keys import Association, RawKey, parse_raw_key, surfaces_in
from aerozarr.errors import BrokenSample
from aerozarr.source.files.blocks import Blocks, Joined, regrouped
from aerozarr.source.files.raw.child import Child
from aerozarr.source.files.raw.choose import Names, Unreadable, choose
from aerozarr.source.files.raw.library import LibraryFile, import_vtk
from aerozarr.source.files.rows import broken
from aerozarr.source.files.vtk.errors import DamagedVtk, NotInBlocks
from aerozarr.source.files.vtk.xml import VtkXml, open_xml

_IN_BLOCKS = (".vtp", ".vtu")
# What is read in blocks there: arrays, and of what is derived, these.
_BLOCKS_OF = (None, "points", "cell_centers")


class RawFiles:
    """The raw files of one sample.

    Parameters
    ----------
    fetch
        Returns the path of a file by its name.
    names_of
        Returns the names of the files that an entry of a file map names: one, or its parts.
    fields
        What will be loaded. A file that vtk has read is let go after the last of its fields.
    seed_of
        Returns the seed of a domain, for what is random in it.
    by_library
        Whether everything is read by vtk, for verification.
    kept
        Fields that are stored already and not loaded: what is loaded has to go with them.
    """

    def __init__(
        self,
        fetch: Callable[[str], Path],
        names_of: Callable[[str], Sequence[str]],
        fields: Iterable[Field],
        seed_of: Callable[[str], int],
        *,
        by_library: bool = False,
        kept: Iterable[Field] = (),
    ) -> None:
        self._fetch, self._names_of, self._seed_of = fetch, names_of, seed_of
        self._by_library = by_library
        self._kept = [*kept]
        self._keys: dict[str, list[RawKey]] = {}
        for field in fields:
            for file, key in ((field.file, field.key), *(field.patches or ())):
                self._keys.setdefault(file, []).append(parse_raw_key(key or ""))
        self._wanted = Counter({file: len(keys) for file, keys in self._keys.items()})
        self._open: dict[str, _RawFile] = {}
        # By domain, what its first field has a row for, and that field.
        self._rows_for: dict[str, tuple[str, Field]] = {}

    def load(self, field: Field) -> torch.Tensor | Blocks:
        """Return what the sample's files hold for a field.

        Raises
        ------
        BrokenSample
            When they do not hold it, or cannot be read.
        SettingsError
            When vtk is needed, and is not installed.
        OSError
            When a file cannot be reached.
        """
        places = [(field.file, field.key), *(field.patches or ())]
        parts = [self._load(field, file, key or "") for file, key in places]
        if len(parts) == 1:
            return parts[0]
        columns = {part.columns if isinstance(part, Blocks) else _columns(part) for part in parts}
        if len(columns) > 1:
            raise broken(
                field,
                f"its patches have different numbers of columns: {sorted(columns)}",
                "write them alike, or name columns in filemap",
            )
        return Joined([p if isinstance(p, Blocks) else p.reshape(len(p), -1) for p in parts])

    def _load(self, field: Field, file: str, key: str) -> torch.Tensor | Blocks:
        opened, shown = self._opened(file)
        named = replace(field, file=shown)
        try:
            surfaces = [path for surface in surfaces_in(key) for path in self._paths_of(surface)]
            seed = self._seed_of(field.domain)
            association, value = opened.load(key, named, _Beside(seed, surfaces))
        except (Unreadable, DamagedVtk) as error:
            raise _broken(named, error) from None
        finally:
            self._wanted[file] -= 1
            if self._wanted[file] <= 0:
                opened.end_library()
        self._check_association(named, association)
        return value

    def names(self, files: Iterable[str]) -> dict[str, Names]:
        """Return the names of the arrays of those files that can be read.

        Parameters
        ----------
        files
            As the file map names them.
        """
        found: dict[str, Names] = {}
        for file in files:
            with contextlib.suppress(Unreadable, DamagedVtk, OSError):
                found[file] = self._opened(file)[0].names()
        return found

    def _opened(self, file: str) -> tuple[_RawFile, str]:
        names = self._names_of(file) or (file,)
        shown = whole_name(names[0])
        if file not in self._open:
            paths = self._paths_of(file)
            keys = self._keys.get(file)
            wanted = None if keys is None else {key.name for key in keys}
            self._open[file] = _RawFile(paths, shown, wanted, by_library=self._by_library)
        return self._open[file], shown

    def _paths_of(self, file: str) -> list[Path]:
        return [self._fetch(name) for name in self._names_of(file) or (file,)]

    def _check_association(self, field: Field, association: str) -> None:
        """Refuse fields of points and fields of cells in one domain."""
        if field.domain not in self._rows_for:
            self._look_at_kept(field.domain)
        before, first = self._rows_for.setdefault(field.domain, (association, field))
        if before == association:
            return
        raise broken(
            field,
            f"it is {_WHAT[association]}, and {first.canonical} ({first.file_and_key}) is "
            f"{_WHAT[before]}",
            "name fields of one kind in filemap; ::points are the positions of point data, "
            "::cell_centers those of cell data",
        )

    def _look_at_kept(self, domain: str) -> None:
        """Note what the fields of a domain that are not loaded have rows for."""
        keys = [(one, parse_raw_key(one.key or "")) for one in self._kept if one.domain == domain]
        # One is enough, since they go with each other. The file is opened if no key tells.
        for field, key in sorted(keys, key=lambda pair: pair[1].association is None):
            if key.derived is not None and key.association is None:
                continue  # a distance, which goes by another field
            named = replace(
                field, file=whole_name((self._names_of(field.file) or (field.file,))[0])
            )
            association = key.association or self._association_in_file(named, field.file, key)
            self._rows_for[domain] = association, named
            return

    def _association_in_file(self, named: Field, file: str, key: RawKey) -> Association:
        opened, _ = self._opened(file)
        try:
            return opened.association_of(key)
        except (Unreadable, DamagedVtk) as error:
            raise _broken(named, error) from None
        finally:
            if self._wanted[file] <= 0:
                opened.end_library()


_WHAT = {"point": "point data", "cell": "cell data", "sample": "a resampling"}


def _columns(value: torch.Tensor) -> int:
    return value.shape[1] if value.ndim > 1 else 1


def _broken(field: Field, error: Unreadable | DamagedVtk) -> BrokenSample:
    is_certain = not isinstance(error, Unreadable) or error.is_certain
    return BrokenSample(
        field=field.canonical,
        file=field.file,
        cause=error.cause,
        remedy=error.remedy,
        is_certain=is_certain,
    )


class _Beside(NamedTuple):
    """What some of what is derived depends on besides the file.

    Attributes
    ----------
    seed
        Of what is random.
    surface
        The file of a surface, or its parts.
    """

    seed: int = 0
    surface: Sequence[Path] = ()


class _RawFile:
    """One raw file: in blocks where that can be, and else by vtk, in a process of its own."""

    def __init__(
        self,
        paths: Sequence[Path],
        shown: str,
        wanted: Collection[str] | None,
        *,
        by_library: bool,
    ) -> None:
        self._paths, self._shown, self._wanted = paths, shown, wanted
        self._in_blocks = not by_library and Path(shown).suffix.lower() in _IN_BLOCKS
        self._xml: VtkXml | None = None
        self._child: Child | None = None

    def load(self, text: str, field: Field, beside: _Beside) -> tuple[str, torch.Tensor | Blocks]:
        """Return what an array has a row for, and the array.

        Parameters
        ----------
        text
            What of the file is wanted, as a value of a file map says it after its `::`.
        field
            The field, with the file's own name.
        beside
            What it may depend on besides the file.
        """
        key = parse_raw_key(text)
        xml = self._opened_xml() if key.derived in _BLOCKS_OF else None
        if xml is not None:
            try:
                return self._in_turn(xml, key, text, field)
            except NotInBlocks:
                pass
        return self.by_library(text, beside)

    def by_library(self, text: str, beside: _Beside | None = None) -> tuple[str, torch.Tensor]:
        """Return what `load` does, as vtk reads it."""
        seed, surface = beside or _Beside()
        said, array = self._asked(text, seed, [str(path) for path in surface])
        assert array is not None
        return said["association"], torch.from_numpy(array)

    def names(self) -> Names:
        """Return the names of its arrays."""
        xml = self._opened_xml()
        if xml is not None:
            return {kind: list(of) for kind, of in xml.arrays.items()}
        names: Mapping[Literal["point", "cell"], list[str]] = self._asked("names")[0]["names"]
        return names

    def association_of(self, key: RawKey) -> Literal["point", "cell"]:
        """Return what the array that a file map names has rows for."""
        xml = self._opened_xml()
        if xml is not None:
            with contextlib.suppress(NotInBlocks):
                return choose(key, _all_names(xml, key.name))
        return choose(key, self._asked("names")[0]["names"])

    def end_library(self) -> None:
        """End the process that reads it, if there is one."""
        child, self._child = self._child, None
        if child is not None:
            child.close()

    def _asked(self, *question: Any) -> tuple[dict[str, Any], npt.NDArray[Any] | None]:
        if self._child is None:
            import_vtk(self._shown)
            paths, wanted = self._paths, self._wanted
            self._child = Child(lambda: LibraryFile(paths, wanted).answer, self._shown)
            weakref.finalize(self, self._child.close)
        return self._child.ask(*question)

    def _opened_xml(self) -> VtkXml | None:
        """Return the file as it is read in blocks, None when it is not."""
        if self._xml is None and self._in_blocks:
            try:
                self._xml = open_xml(self._paths)
                weakref.finalize(self, self._xml.close)
            except NotInBlocks:
                self._in_blocks = False
        return self._xml

    def _in_turn(self, xml: VtkXml, key: RawKey, text: str, field: Field) -> tuple[str, Blocks]:
        """Return what `load` does, as blocks that are read when they are wanted."""
        if key.derived == "points":
            shape = xml.n_points, 3, xml.points_dtype
            xml.points()  # which compares what the file says with what it has
            return "point", _XmlBlocks(self, field, text, shape, xml.points)
        if key.derived == "cell_centers":
            shape = xml.n_cells, 3, np.dtype(np.float64)
            return "cell", _XmlBlocks(self, field, text, shape, xml.cell_centers)
        name, association = key.name, choose(key, _all_names(xml, key.name))
        array = xml.arrays[association][name]
        xml.blocks(association, name)
        rows = xml.n_points if association == "point" else xml.n_cells
        shape = rows, array.components, array.dtype
        read = partial(xml.blocks, association, name)
        return association, _XmlBlocks(self, field, text, shape, read)


def _all_names(xml: VtkXml, wanted: str) -> Names:
    """Return the names of a file's arrays.

    Raises
    ------
    NotInBlocks
        When there is one of the name that is wanted, and it is not read in blocks.
    """
    for association in xml.arrays:
        with contextlib.suppress(KeyError):
            xml.blocks(association, wanted)
    return {association: list(of) for association, of in xml.arrays.items()}


class _XmlBlocks(Blocks):
    """What is read of a file in blocks; by vtk from where that turns out not to be possible."""

    def __init__(
        self,
        file: _RawFile,
        field: Field,
        text: str,
        shape: tuple[int, int, np.dtype[Any]],
        read: Callable[[int], Iterator[npt.NDArray[Any]]],
    ) -> None:
        self.n_rows, self.columns, self.dtype = shape
        self._file, self._field, self._text, self._read = file, field, text, read

    def blocks(self, rows: int) -> Iterator[npt.NDArray[Any]]:
        """Yield the values, as `Blocks.blocks` does."""
        return regrouped(self._pieces(rows), rows, self)

    def _pieces(self, rows: int) -> Iterator[npt.NDArray[Any]]:
        done = 0
        try:
            try:
                for block in self._read(rows):
                    yield block
                    done += len(block)
            except NotInBlocks:
                _, whole = self._file.by_library(self._text)
                self._file.end_library()
                yield whole.numpy()[done:]
        except (Unreadable, DamagedVtk) as error:
            raise _broken(self._field, error) from None
