"""What a store's manifest says is in it, and which rows a draw of it takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import index as to_int
from typing import Any, Literal

import torch

from aerozarr.errors import StoreError
from aerozarr.messages import did_you_mean
from aerozarr.store.format.manifest import ArrayEntry, Manifest, SampleEntry
from aerozarr.store.read.subsample import ArrayRows, Subsample, choose_rows

PointCount = int | Literal["all"] | None
"""Points of a domain: a number; "all" or None for all of them, in the order they are stored in."""

Points = Mapping[str, PointCount]
"""Points to draw by domain."""

Chosen = dict[str, tuple[int | None, list[str]]]
"""By domain, points to draw (None for all) and the fields to read."""


class Contents:
    """The samples, domains and fields of a store.

    Parameters
    ----------
    manifest
        The content of its `manifest.json`.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.dataset_name = manifest.dataset_name
        self._fields: dict[str, tuple[str, ArrayEntry]] = {
            canonical: (domain, array)
            for domain, entry in manifest.domains.items()
            for canonical, array in entry.arrays.items()
        }

    @property
    def samples(self) -> list[str]:
        """The ids of all samples, in the manifest's order."""
        return list(self.manifest.samples)

    @property
    def domains(self) -> list[str]:
        """The domains: `surface`, `volume` …, in the manifest's order."""
        return list(self.manifest.domains)

    @property
    def fields(self) -> list[str]:
        """The canonical names of all fields: `surface_position`, `volume_velocity` …."""
        return list(self._fields)

    def domain_of(self, field: str) -> str:
        """Return the domain of a field.

        Raises
        ------
        StoreError
            When the store has no such field.
        """
        if field not in self._fields:
            raise StoreError(
                f"The store has no field {field!r}.{did_you_mean(field, self._fields)} "
                f"It has {', '.join(self._fields)}."
            )
        return self._fields[field][0]

    def position_of(self, domain: str) -> str:
        """Return the canonical name of a domain's position field.

        Raises
        ------
        StoreError
            When the store has no such domain.
        """
        domains = self.manifest.domains
        if domain not in domains:
            raise StoreError(
                f"The store has no domain {domain!r}.{did_you_mean(domain, domains)} "
                f"It has {', '.join(domains)}."
            )
        return domains[domain].position

    def n_points(self, sample: str, domain: str) -> int:
        """Return how many points a sample has in a domain.

        Raises
        ------
        StoreError
            When the store has no such sample or domain.
        """
        self.position_of(domain)
        return self._sample(sample).domains[domain].n_points

    def _sample(self, sample: str) -> SampleEntry:
        samples = self.manifest.samples
        if sample not in samples:
            raise StoreError(
                f"The store has no sample {sample!r}.{did_you_mean(sample, samples)} "
                "Store.samples lists them."
            )
        return samples[sample]

    def subsample(
        self,
        sample: str,
        points: Points | None = None,
        fields: Iterable[str] | None = None,
        generator: torch.Generator | None = None,
        *,
        whole_chunks: bool = False,
    ) -> Subsample:
        """Choose points of a sample, without reading them; for `Store.read_subsamples`.

        Parameters and errors are those of `Store.read`.
        """
        self._sample(sample)  # first: without the sample, what is asked of it does not matter
        chosen = self.choose(points, fields)
        return self.subsample_of(sample, chosen, generator, whole_chunks=whole_chunks)

    def subsample_of(
        self,
        sample: str,
        chosen: Chosen,
        generator: torch.Generator | None = None,
        *,
        whole_chunks: bool = False,
    ) -> Subsample:
        """Choose points of a sample, as `subsample` does, of what `choose` returned.

        Other parameters and errors are those of `Store.read`.
        """
        entry = self._sample(sample)
        wanted: dict[str, ArrayRows] = {}
        for domain, (count, canonicals) in chosen.items():
            grid = entry.domains[domain]
            n_points = grid.n_points
            count = n_points if count is None else count
            if not 0 < count <= n_points:
                raise StoreError(
                    f"{count} points of the {domain} of {sample} were asked for; it has "
                    f"{n_points}. Ask for 1 to {n_points}, or for all: {{{domain!r}: 'all'}}."
                )
            chunk = grid.chunk_points
            rows = choose_rows(n_points, count, generator, chunk if whole_chunks else None)
            for canonical in canonicals:
                array = self._fields[canonical][1]
                wanted[canonical] = ArrayRows(
                    array.array_name,
                    (n_points, array.dim),
                    array.dtype,
                    rows,
                    chunk_rows=chunk,
                    object_rows=grid.shard_points,
                )
        return Subsample(sample, entry.relpath, wanted)

    def counts_of(self, points: Points | None, argument: str = "points") -> dict[str, int | None]:
        """Return points by domain as numbers, None for all; of no domain all of every domain.

        Parameters
        ----------
        points
            What the caller asked for.
        argument
            Its name, for error messages.

        Raises
        ------
        StoreError
            When the store has no such domain, or it is no number.
        TypeError
            When `points` does not say how many by domain.
        """
        if points is None:
            return dict.fromkeys(self.domains)
        if not isinstance(points, Mapping):
            example = ", ".join(f"{domain!r}: 4096" for domain in self.domains)
            raise TypeError(
                f"{argument} is {points!r}; it takes a number, or 'all', by domain: "
                f"{argument}={{{example}}}."
            )
        for domain in points:
            self.position_of(domain)
        return {domain: _count(argument, domain, count) for domain, count in points.items()}

    def choose(self, points: Points | None, fields: Iterable[str] | None) -> Chosen:
        """Return points and fields by domain, in the manifest's order.

        Parameters and errors are those of `Store.read`.
        """
        asked = self.counts_of(points)
        names = None if fields is None else set(field_names(fields))
        for field in names or ():
            domain = self.domain_of(field)
            if domain not in asked:
                raise StoreError(
                    f"{field} is of the domain {domain}, of which no points are asked for. "
                    f"Add {domain!r} to points."
                )
        chosen: Chosen = {}
        for field, (domain, _) in self._fields.items():
            if domain in asked and (names is None or field in names):
                chosen.setdefault(domain, (asked[domain], []))[1].append(field)
        return chosen


def field_names(fields: Iterable[str], argument: str = "fields") -> tuple[str, ...]:
    """Return names of fields that the caller gave.

    Raises
    ------
    TypeError
        When it is a single name, whose letters would be taken for names, or no names at all.
    """
    if isinstance(fields, str | bytes) or not isinstance(fields, Iterable):
        raise TypeError(
            f"{argument} is {fields!r}; it takes several names: {argument}=['surface_pressure']."
        )
    return tuple(fields)


def _count(argument: str, domain: str, count: Any) -> int | None:
    if count is None or (isinstance(count, str) and count == "all"):
        return None
    try:
        if isinstance(count, bool):
            raise TypeError
        return to_int(count)
    except TypeError:
        raise StoreError(
            f"{argument}: {count!r} is no number of points of the {domain}. Give a whole number, "
            "or 'all'."
        ) from None
