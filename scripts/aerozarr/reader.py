"""Reading a store for training: a few random points of a sample, and nothing else of it.

A draw costs one metadata read a sample and one index read a shard, both kept for the next draw of
the same sample, and one byte range an array (two where the run crosses a shard's border or the
end). All reads of a kind are under way at once. What is missing or damaged is an error, never
zeros.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import torch

from aerozarr.arrays import Index, Layout
from aerozarr.caching import Cache
from aerozarr.draws import draw_rows
from aerozarr.errors import StoreError, did_you_mean
from aerozarr.fetching import Fetcher, FsspecFetcher, LocalFetcher, ObstoreFetcher, Span
from aerozarr.locations import open_location
from aerozarr.manifest import FORMAT_VERSION
from aerozarr.sampling import SampleReader, Wanted
from aerozarr.stores import MANIFEST

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SPLITS = "splits.json"

Points = Mapping[str, int | None]
"""Points to draw by domain; None for all of them, in the order they are stored in."""


class Store:
    """A converted store, opened for reading.

    Parameters
    ----------
    place
        The store root: a folder, any fsspec URL, or a store of the package obstore whose root it
        is.
    storage_options
        Options for fsspec's file systems by protocol, as the setting of that name:
        `{"s3": {"endpoint_url": "https://minio.example"}}`.
    fill_missing
        Read a chunk or shard that is not there as the array's fill value, which is what Zarr says.
        By default that is an error: aerozarr stores every chunk, so one that is missing is lost.
        Other writers may leave out chunks of nothing but zeros.
    cache_bytes
        Memory for shard indexes and metadata, in each process: a sample of DrivAerNet size takes
        some 30 kB.

    Attributes
    ----------
    manifest
        The content of `manifest.json`.
    dataset_name
        The dataset's name, as the manifest has it.

    Raises
    ------
    StoreError
        When there is no manifest, or one of another format version.
    SettingsError
        When the URL cannot be opened.

    Notes
    -----
    A store can be pickled, and used after a fork: each process opens connections of its own.
    (obstore's cannot be used after a fork; with it, workers have to be spawned.)
    """

    def __init__(
        self,
        place: str | os.PathLike[str] | ObjectStore,
        storage_options: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        fill_missing: bool = False,
        cache_bytes: int = 2**27,
    ) -> None:
        self._place = _absolute(place) if isinstance(place, str | os.PathLike) else place
        self._options = {name: dict(own) for name, own in (storage_options or {}).items()}
        self._fill_missing = fill_missing
        self._cache_bytes = cache_bytes
        self._open()
        self.manifest: Mapping[str, Any] = self._read_manifest()
        self.dataset_name: str = self.manifest["dataset_name"]
        self._fields: dict[str, tuple[str, Mapping[str, Any]]] = {
            canonical: (domain, array)
            for domain, entry in self.manifest["domains"].items()
            for canonical, array in entry["arrays"].items()
        }
        self._splits: Mapping[str, tuple[str, ...]] | None = None
        self._statistics: dict[str | None, Mapping[str, Any] | None] = {}

    def __repr__(self) -> str:
        return f"<aerozarr.Store {self._name!r}: {len(self.samples)} samples>"

    def __getstate__(self) -> dict[str, Any]:
        # Connections and what they brought stay behind.
        return {key: value for key, value in self.__dict__.items() if key not in _OF_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def _open(self) -> None:
        """Open connections, and forget what was cached: for a new process."""
        self._pid = os.getpid()
        self._layouts: Cache[tuple[str, str], Layout] = Cache(self._cache_bytes // 2)
        self._indexes: Cache[tuple[str, str, int], Index] = Cache(self._cache_bytes // 2)
        self._fetcher: Fetcher
        if not isinstance(self._place, str):
            self._fetcher = ObstoreFetcher(self._place)
            self._name = repr(self._place)
            return
        location = open_location(self._place, self._options, key="place")
        self._name = location.url
        self._fetcher = (
            LocalFetcher(location.path) if location.is_local else FsspecFetcher(location)
        )

    def _refresh(self) -> None:
        """See that connections belong to this process."""
        if self._pid == os.getpid():
            return
        # After a fork the thread that serves connections is the parent's.
        if not isinstance(self._place, str):
            raise StoreError(
                "A store of obstore cannot be used in a forked process. Give the DataLoader "
                'multiprocessing_context="spawn".'
            )
        self._open()

    def _read_manifest(self) -> Mapping[str, Any]:
        content = self._read_json(MANIFEST)
        if content is None:
            raise StoreError(
                f"{self._name} holds no {MANIFEST}. Check the path; a store whose conversion did "
                "not end has none until snakemake is run again."
            )
        version = content.get("format_version")
        if version != FORMAT_VERSION:
            raise StoreError(
                f"{self._name} is a store of format version {version}, this aerozarr reads version "
                f"{FORMAT_VERSION}. Use the aerozarr that wrote it, or convert again."
            )
        return content

    def _read_json(self, name: str) -> dict[str, Any] | None:
        self._refresh()
        (content,) = self._fetcher.fetch([Span(name)])
        if content is None:
            return None
        try:
            parsed = json.loads(content)
        except ValueError as error:
            raise StoreError(
                f"{name} of {self._name} is damaged: {error}. Convert again."
            ) from None
        if not isinstance(parsed, dict):
            raise StoreError(f"{name} of {self._name} is damaged: it is no object. Convert again.")
        return parsed

    @property
    def samples(self) -> list[str]:
        """The ids of all samples, in the manifest's order."""
        return list(self.manifest["samples"])

    @property
    def domains(self) -> list[str]:
        """The domains: `surface`, `volume` …, in the manifest's order."""
        return list(self.manifest["domains"])

    @property
    def fields(self) -> list[str]:
        """The canonical names of all fields: `surface_position`, `volume_velocity` …."""
        return list(self._fields)

    @property
    def splits(self) -> Mapping[str, tuple[str, ...]]:
        """The ids of each split in order; empty when the store does not say."""
        if self._splits is None:
            content = self._read_json(SPLITS) or {}
            self._splits = {name: tuple(ids) for name, ids in content.items()}
        return self._splits

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
        domains = self.manifest["domains"]
        if domain not in domains:
            raise StoreError(
                f"The store has no domain {domain!r}.{did_you_mean(domain, domains)} "
                f"It has {', '.join(domains)}."
            )
        return str(domains[domain]["position"])

    def n_points(self, sample: str, domain: str) -> int:
        """Return how many points a sample has in a domain.

        Raises
        ------
        StoreError
            When the store has no such sample or domain.
        """
        self.position_of(domain)
        return int(self._sample(sample)["domains"][domain]["n_points"])

    def _sample(self, sample: str) -> Mapping[str, Any]:
        samples: Mapping[str, Mapping[str, Any]] = self.manifest["samples"]
        if sample not in samples:
            raise StoreError(
                f"The store has no sample {sample!r}.{did_you_mean(sample, samples)} "
                "Store.samples lists them."
            )
        return samples[sample]

    def statistics(self, split: str | None = None) -> Mapping[str, Any]:
        """Return the statistics of the stored values.

        Parameters
        ----------
        split
            Of which split; None for all samples.

        Returns
        -------
        mapping
            `<canonical>_mean`, `_std`, `_min`, `_max`, `_logscale_mean`, `_logscale_std` (a number
            a component; None without finite values), `_count`, and `raw_pos_min`, `raw_pos_max`.

        Raises
        ------
        StoreError
            When the store has none.
        """
        found = self._find_statistics(split)
        if found is None:
            raise StoreError(
                f"{self._name} holds no {_statistics_name(split)}. Run snakemake with the store's "
                "settings to have it written."
            )
        return found

    def has_statistics(self, split: str | None = None) -> bool:
        """Whether the store holds the statistics of a split, or of all samples."""
        return self._find_statistics(split) is not None

    def _find_statistics(self, split: str | None) -> Mapping[str, Any] | None:
        if split not in self._statistics:
            self._statistics[split] = self._read_json(_statistics_name(split))
        return self._statistics[split]

    def read(
        self,
        sample: str,
        points: Points | None = None,
        fields: Iterable[str] | None = None,
        generator: torch.Generator | None = None,
        *,
        whole_chunks: bool = False,
    ) -> dict[str, torch.Tensor]:
        """Draw points of a sample.

        Parameters
        ----------
        sample
            The sample's id.
        points
            How many points to draw by domain: `{"surface": 4096, "volume": 16384}`. Domains that
            are not named are not read. None for a number: all points of the domain, as stored. By
            default, all points of all domains.
        fields
            Canonical names of the fields to read; by default all of those domains.
        generator
            Where chance comes from; by default torch's own. Domains draw in the manifest's order.
        whole_chunks
            Fetch fewer bytes, for less varied draws. By default, the points of a domain are one run
            of stored rows (on a circle: it goes on at the first row after the last) whose start may
            be any row. So they mix with others at every draw, but the chunks at both ends are
            fetched for a part of their rows. With `whole_chunks`, the draw touches as few chunks as
            it can: for as many points as a chunk holds, it is most often one. Either way each point
            is exactly as likely as any other.

        Returns
        -------
        dict of str to tensor
            By canonical name, in the manifest's order: shape (points, components), in the stored
            dtype (float16 for most). Rows of a domain's fields belong to the same points.

        Raises
        ------
        StoreError
            When sample, domain or field are not in the store, when the sample has fewer points than
            asked for, or when something stored is missing or damaged.
        """
        entry = self._sample(sample)
        chosen = self._choose(points, fields)
        wanted: list[Wanted] = []
        for domain, (count, canonicals) in chosen.items():
            grid = entry["domains"][domain]
            n_points = grid["n_points"]
            count = n_points if count is None else count
            if not 0 < count <= n_points:
                raise StoreError(
                    f"{count} points of the {domain} of {sample} were asked for; it has "
                    f"{n_points}. Ask for at most as many, or for all: {{{domain!r}: None}}."
                )
            chunk = grid["chunk_points"] if whole_chunks else None
            rows = draw_rows(n_points, count, generator, chunk)
            for canonical in canonicals:
                array = self._fields[canonical][1]
                wanted.append(Wanted(array["array_name"], (n_points, array["dim"]), rows))
        self._refresh()
        reader = SampleReader(
            self._fetcher,
            sample,
            entry["relpath"],
            fill_missing=self._fill_missing,
            layouts=self._layouts,
            indexes=self._indexes,
        )
        values = reader.read(wanted)
        names = [canonical for _, canonicals in chosen.values() for canonical in canonicals]
        return {
            canonical: torch.from_numpy(values[self._fields[canonical][1]["array_name"]])
            for canonical in names
        }

    def _choose(
        self, points: Points | None, fields: Iterable[str] | None
    ) -> dict[str, tuple[int | None, list[str]]]:
        """Return points and fields by domain, in the manifest's order."""
        asked = dict.fromkeys(self.domains, None) if points is None else points
        for domain in asked:
            self.position_of(domain)
        names = None if fields is None else set(fields)
        for field in names or ():
            domain = self.domain_of(field)
            if domain not in asked:
                raise StoreError(
                    f"{field} is of the domain {domain}, of which no points are asked for. "
                    f"Add {domain!r} to points."
                )
        chosen: dict[str, tuple[int | None, list[str]]] = {}
        for field, (domain, _) in self._fields.items():
            if domain in asked and (names is None or field in names):
                chosen.setdefault(domain, (asked[domain], []))[1].append(field)
        return chosen


def _absolute(place: str | os.PathLike[str]) -> str:
    """Return a path that holds in any working directory; a URL as it is."""
    path = os.fspath(place)
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))


def _statistics_name(split: str | None) -> str:
    return "statistics.json" if split is None else f"statistics.{quote(split, safe='')}.json"


# What is left behind when a store is pickled.
_OF_PROCESS = frozenset({"_pid", "_fetcher", "_layouts", "_indexes"})
