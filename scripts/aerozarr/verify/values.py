"""Whether the values that a group holds are the source's, shuffled and cast: all, bit by bit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from aerozarr.config.fields import Domain, Field
from aerozarr.convert.rounding import Rounding
from aerozarr.errors import BrokenSample
from aerozarr.source.files.rows import as_rows, check_whole, to_numpy
from aerozarr.source.source import Loader
from aerozarr.store.format.shuffle import count_kept, permutation, seed_of
from aerozarr.verify.bits import differs
from aerozarr.verify.expected import CONVERT_ANEW, MEND_SOURCE, Expected, Problem
from aerozarr.verify.group import Group

# Rows that are compared together.
_BLOCK = 2**18

Array = npt.NDArray[Any]


class Comparison:
    """Compares the values of a domain with the source."""

    def __init__(self, group: Group, expected: Expected, domain: Domain, shuffle_seed: int) -> None:
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
