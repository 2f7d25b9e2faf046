"""Whether a group's metadata say what the manifest and the settings do: names, shapes, units."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import zarr

from aerozarr.config.fields import Domain, Field
from aerozarr.messages import printable
from aerozarr.store.format.layout import ROOT_METADATA, Grid
from aerozarr.verify.expected import CONVERT_ANEW, MERGE_ANEW, MOVE_AWAY, Expected, Problem
from aerozarr.verify.group import ZEROS, Group


def check_layout(
    group: Group, expected: Expected, domains: tuple[Domain, ...]
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
        remedy = CONVERT_ANEW if name in expected.arrays else MOVE_AWAY
        yield Problem(name, "is no array of the dataset", remedy)
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
                        yield Problem(path, f"is missing{ZEROS}", CONVERT_ANEW)


def _is_array(item: object) -> bool:
    return isinstance(item, zarr.Array)


def _check_array(group: Group, field: Field, grid: Grid) -> Iterable[Problem]:
    array = group.array(field.array_name)
    expected = {
        "shape": (grid.n_points, field.width),
        "chunks": (grid.chunk_points, field.width),
        "shards": (grid.shard_points, field.width),
        "dtype": np.dtype(field.dtype),
    }
    for name, value in expected.items():
        if getattr(array, name) != value:
            verb = "are" if name in ("chunks", "shards") else "is"
            what = f"its {name} {verb} {getattr(array, name)}, and should be {value}"
            yield Problem(field.array_name, what, CONVERT_ANEW)
    for name, text in {"units": field.unit, "long_name": field.long_name}.items():
        found = array.attrs.asdict().get(name)
        if found != text:
            what = f"its attribute {name} is {_said(found)}, and should be {_said(text)}"
            yield Problem(field.array_name, what, CONVERT_ANEW)


def _said(attribute: object) -> str:
    return "not there" if attribute is None else printable(repr(attribute))[:80]
