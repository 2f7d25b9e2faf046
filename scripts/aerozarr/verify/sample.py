"""Comparing a sample's group with what was written, with what the manifest says, and its source."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.abc.store import Store as ZarrStore
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import LocalStore as LocalZarr
from zarr.storage import MemoryStore

from aerozarr.config.fields import Domain, Field
from aerozarr.config.scalars import Scalar
from aerozarr.convert.encode import use_one_thread
from aerozarr.convert.rounding import Rounding
from aerozarr.errors import BrokenSample
from aerozarr.filesystems.files import write_atomically
from aerozarr.messages import printable
from aerozarr.run_config import RunConfig
from aerozarr.source.files.rows import as_rows, check_whole, to_numpy
from aerozarr.source.files.scalars import as_scalar
from aerozarr.source.source import Loader
from aerozarr.store.format.layout import (
    CHECKSUMS,
    MANIFEST,
    ROOT_METADATA,
    Grid,
    group_path,
    is_foreign_in_group,
    is_shard,
    shard_path,
)
from aerozarr.store.format.scalars import DESCRIPTIONS, VALUES, scalar_attributes
from aerozarr.store.format.shuffle import count_kept, permutation, seed_of
from aerozarr.store.write.root import StoreRoot
from aerozarr.verify.bits import differs
from aerozarr.verify.expected import (
    ADOPT,
    CONVERT_ANEW,
    DROP,
    MEND_SOURCE,
    MERGE_ANEW,
    MOVE_AWAY,
    Expected,
    Findings,
    Problem,
    verification_folder,
)

# Rows that are compared together.
_BLOCK = 2**18
# What is to be known of a shard that is missing.
_ZEROS = ", and Zarr would read it as zeros"

Array = npt.NDArray[Any]


def verify_sample(run_config: RunConfig, *, key: str, findings: Path) -> None:
    """Verify one sample: the job of `verify_sample`."""
    path = verification_folder(run_config) / "expected" / f"{key}.json"
    expected = Expected.model_validate_json(path.read_bytes())
    use_one_thread()
    result = check_sample(expected, run_config)
    for problem in result.problems:
        where = f"{printable(expected.sample_id)}: {problem.place}"
        print(f"{where}: {problem.what}; {problem.remedy}", file=sys.stderr)
    write_atomically(findings, result.model_dump_json().encode("utf-8"))


def check_sample(expected: Expected, run_config: RunConfig) -> Findings:
    """Compare a sample's group with its checksums and, unless `verify` is `quick`, its source."""
    problems: list[Problem] = []
    group = _Group(run_config.store, expected.sample_id)
    problems += group.check_files(expected)
    intact = bool(expected.objects) and not problems
    rounding: dict[str, Rounding] = {}
    if run_config.settings.verify == "full":
        problems += _check_layout(group, expected, run_config.domains)
        if expected.source is None:
            what = "is not among the samples that source and settings (splits, limit) give"
            problems.append(Problem(MANIFEST, what, DROP))
        elif group.has(ROOT_METADATA):
            # By the formats' own libraries: a conversion may have misread a file.
            load = run_config.source.library_loader(expected.source, run_config.domains)
            scalars = run_config.source.scalars_of(expected.source)
            problems += _check_scalars(group, load, scalars)
            for domain in run_config.domains:
                compared = _Comparison(group, expected, domain, run_config.settings.shuffle_seed)
                compared.intact = intact
                problems += compared.run(load)
                rounding |= compared.rounding
    return Findings(
        sample_id=expected.sample_id,
        problems=problems,
        rounding=rounding,
        files=len(group.sizes),
        stored_bytes=group.read_bytes,
        values=sum(part.values for part in rounding.values()),
    )


class _Group:
    """A sample's group as it lies in the store; a remote one is fetched once, whole."""

    def __init__(self, store: StoreRoot, sample_id: str) -> None:
        self.sizes = store.files_of(sample_id)
        self.read_bytes = 0
        self._digests: dict[str, str] = {}
        self._lengths: dict[str, int] = {}
        base = group_path(sample_id)
        self.zarr: ZarrStore
        if store.location.is_local:
            folder = Path(store.location.path) / base
            for path in self.sizes:
                with (folder / path).open("rb") as file:
                    self._digests[path] = hashlib.file_digest(file, "sha256").hexdigest()
                    self._lengths[path] = file.seek(0, io.SEEK_END)
            self.zarr = LocalZarr(folder, read_only=True)
        else:
            contents = {path: store.read(f"{base}/{path}") for path in self.sizes}
            there = {path: content for path, content in contents.items() if content is not None}
            self._digests = {p: hashlib.sha256(c).hexdigest() for p, c in there.items()}
            self._lengths = {path: len(content) for path, content in there.items()}
            from_bytes = default_buffer_prototype().buffer.from_bytes
            buffers = {path: from_bytes(content) for path, content in there.items()}
            self.zarr = MemoryStore(buffers, read_only=True)
        self.read_bytes = sum(self._lengths.values())

    def check_files(self, expected: Expected) -> Iterable[Problem]:
        """Yield what is missing, too much, or other than what was written."""
        if not expected.objects:
            remedy = ADOPT if expected.is_foreign else MERGE_ANEW
            yield Problem(CHECKSUMS, "says nothing of this sample", remedy)
        for path in sorted({*self._digests, *expected.objects}):
            if path not in self._digests:
                what = f"is missing{_ZEROS if is_shard(path) else ''}"
                yield Problem(path, what, CONVERT_ANEW)
            elif path not in expected.objects:
                if expected.objects:
                    remedy = MOVE_AWAY if is_foreign_in_group(path) else CONVERT_ANEW
                    yield Problem(path, "is not a file that was written", remedy)
            else:
                size, digest = expected.objects[path]
                what = ""
                if self._lengths[path] != size:
                    what = f"has {self._lengths[path]} bytes, {size} were written"
                elif self._digests[path] != digest:
                    what = "its bytes are not those that were written (SHA-256)"
                if what:
                    yield Problem(path, what, CONVERT_ANEW)

    def has(self, path: str) -> bool:
        """Whether a file is there."""
        return path in self._digests

    def missing_shards(self, field: Field, grid: Grid) -> list[str]:
        """Return the paths of a field's shards that are not there."""
        paths = (shard_path(field.array_name, number) for number in range(grid.n_shards))
        return [path for path in paths if not self.has(path)]

    def array(self, name: str) -> zarr.Array[Any]:
        """Open an array by the group's consolidated metadata."""
        node = zarr.open_group(self.zarr, mode="r", use_consolidated=True)[name]
        if not isinstance(node, zarr.Array):
            raise KeyError(name)
        return node


def _check_layout(
    group: _Group, expected: Expected, domains: tuple[Domain, ...]
) -> Iterable[Problem]:
    """Yield where names, shapes, dtypes or grids are not what manifest and settings say."""
    if not group.has(ROOT_METADATA):
        yield Problem(ROOT_METADATA, "is missing, so the group does not open", CONVERT_ANEW)
        return
    wanted = {field.array_name for domain in domains for field in domain.fields}
    try:
        root = zarr.open_group(group.zarr, mode="r", use_consolidated=True)
        arrays = {name for name, item in root.members(max_depth=None) if _is_array(item)}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        yield Problem(ROOT_METADATA, f"cannot be read: {type(error).__name__}", CONVERT_ANEW)
        return
    for name in sorted(wanted - arrays):
        yield Problem(name, "is not in the group's metadata", CONVERT_ANEW)
    for name in sorted(arrays - wanted):
        yield Problem(name, "is no array of the dataset", CONVERT_ANEW)
    for domain in domains:
        grid = expected.domains.get(domain.name)
        if grid is None:
            yield Problem(domain.name, "is not in the manifest's entry", MERGE_ANEW)
            continue
        for field in domain.fields:
            if field.array_name in arrays:
                yield from _check_array(group, field, grid)
                for path in group.missing_shards(field, grid):
                    if path not in expected.objects:  # else it is said of the file
                        yield Problem(path, f"is missing{_ZEROS}", CONVERT_ANEW)


def _is_array(item: object) -> bool:
    return isinstance(item, zarr.Array)


def _check_array(group: _Group, field: Field, grid: Grid) -> Iterable[Problem]:
    array = group.array(field.array_name)
    expected = {
        "shape": (grid.n_points, field.width),
        "chunks": (grid.chunk_points, field.width),
        "shards": (grid.shard_points, field.width),
        "dtype": np.dtype(field.dtype),
    }
    for name, value in expected.items():
        if getattr(array, name) != value:
            what = f"its {name} is {getattr(array, name)}, and should be {value}"
            yield Problem(field.array_name, what, CONVERT_ANEW)
    for name, text in {"units": field.unit, "long_name": field.long_name}.items():
        found = array.attrs.asdict().get(name)
        if found != text:
            what = f"its attribute {name} is {_said(found)}, and should be {_said(text)}"
            yield Problem(field.array_name, what, CONVERT_ANEW)


def _said(attribute: object) -> str:
    return "not there" if attribute is None else printable(repr(attribute))[:80]


def _check_scalars(group: _Group, load: Loader, scalars: tuple[Scalar, ...]) -> Iterable[Problem]:
    """Yield the scalars that are not the source's, or are not said of as the settings do."""
    try:
        found = zarr.open_group(group.zarr, mode="r").attrs.asdict()
    except (ValueError, KeyError, TypeError, RecursionError):
        return  # which is said of the metadata itself
    expected: dict[str, Any] = {}
    for scalar in scalars:
        try:
            values = scalar_attributes({scalar: as_scalar(load(scalar), scalar)})
        except BrokenSample as error:
            what = f"the source's file cannot be read: {error.cause}"
            yield Problem(scalar.name, what, MEND_SOURCE)
            # Of this one nothing is known.
            values = {key: {scalar.name: _entry(found, key, scalar.name)} for key in _SCALARS}
        for key, entries in values.items():
            expected.setdefault(key, {}).update(entries)
    names = dict.fromkeys(
        name
        for attributes in (expected, found)
        for key in _SCALARS
        for name in _entries(attributes, key)
    )
    for name in names:
        for key, called in _SCALARS.items():
            stored, source = _entry(found, key, name), _entry(expected, key, name)
            # As JSON has them: numbers are written with all their digits.
            if json.dumps(stored) != json.dumps(source):
                what = f"{called} stored is {_shown(stored)}, the source's is {_shown(source)}"
                yield Problem(printable(name), what, CONVERT_ANEW)


# The attributes of a group that hold scalars, and what is in each.
_SCALARS = {VALUES: "the scalar", DESCRIPTIONS: "what is said of the scalar"}


def _entries(attributes: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = attributes.get(key)
    return found if isinstance(found, dict) else {}


def _entry(attributes: Mapping[str, Any], key: str, name: str) -> Any:
    return _entries(attributes, key).get(name)


def _shown(value: Any) -> str:
    text = "missing" if value is None else printable(json.dumps(value))
    return text if len(text) <= 80 else f"{text[:80]} …"


class _Comparison:
    """Compares the values of a domain with the source."""

    def __init__(
        self, group: _Group, expected: Expected, domain: Domain, shuffle_seed: int
    ) -> None:
        self.group = group
        self.domain = domain
        self.grid = expected.domains.get(domain.name)
        self.seed = seed_of(shuffle_seed, expected.sample_id, domain.name)
        self.intact = False  # whether the group's files are those that were written
        self.rounding: dict[str, Rounding] = {}

    def run(self, load: Loader) -> Iterable[Problem]:
        """Yield the fields that do not hold the source's values, and how many of them."""
        perm: npt.NDArray[np.int64] | None = None
        for field in self.domain.fields:
            try:
                value = load(field)
                check_whole(value, field)
                source = to_numpy(as_rows(value, field))
            except BrokenSample as error:
                what = f"the source's file cannot be read: {error.cause}"
                yield Problem(field.canonical, what, MEND_SOURCE)
                continue
            if perm is None:
                n_points = len(source)
                perm = permutation(n_points, self.seed)
                perm = perm[: count_kept(n_points, self.domain.keep_points)]
            if len(source) != n_points:
                what = f"the source has {len(source)} rows, not {n_points}"
                yield Problem(field.canonical, what, MEND_SOURCE)
                continue
            yield from self._compare(field, source, perm)

    def _compare(
        self, field: Field, source: Array, perm: npt.NDArray[np.int64]
    ) -> Iterable[Problem]:
        parts = []
        different = 0
        if self.grid is not None and self.group.missing_shards(field, self.grid):
            return  # which is said of the shards themselves
        try:
            array = self.group.array(field.array_name)
            expected = (len(perm), *source.shape[1:])
            if array.shape != expected:
                what = f"has shape {array.shape}, the source's is {source.shape}"
                if expected != source.shape:
                    what += f", of which keep_points leaves {expected}"
                yield Problem(field.canonical, what, CONVERT_ANEW)
                return
            for first in range(0, len(perm), _BLOCK):
                rows = np.take(source, perm[first : first + _BLOCK], axis=0)
                stored = np.asarray(array[first : first + _BLOCK])
                different += _count_different(rows, stored)
                parts.append(Rounding.of(rows, stored))
        except (ValueError, KeyError, RuntimeError, TypeError) as error:
            # What zarr-python and its codecs raise for bytes that are none of theirs.
            what = f"cannot be decoded: {type(error).__name__}"
            yield Problem(field.canonical, what, CONVERT_ANEW)
            return
        if not different:
            self.rounding[field.canonical] = Rounding.merged(parts)
            return
        why = (
            "; the files are as they were written, so the source has changed" if self.intact else ""
        )
        values = len(perm) * source.shape[1]
        what = f"{different} of {values} values are not the source's, shuffled and cast{why}"
        yield Problem(field.canonical, what, CONVERT_ANEW)


def _count_different(source: Array, stored: Array) -> int:
    """Count the values whose bits are not those of the source's cast; any NaN is like another."""
    with np.errstate(over="ignore", invalid="ignore"):
        # By numpy, which rounds to nearest even, and not by the code that converted.
        expected = source.astype(stored.dtype)
    return int(np.count_nonzero(differs(expected, stored)))
