"""Reading a store for training: a few random points of a sample, and nothing else of it.

A draw costs one metadata read a sample and one index read a shard, both at once and kept for the
next draw of the same sample, and then one byte range an array (two where the run crosses a shard's
border or the end). All reads of a kind are under way at once. What is missing or damaged is an
error, never zeros.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from aerozarr.errors import StoreError
from aerozarr.filesystems.byte_ranges import (
    ByteRange,
    Fetcher,
    FsspecFetcher,
    LocalFetcher,
    ObstoreFetcher,
)
from aerozarr.filesystems.location import open_location, options_by_protocol
from aerozarr.messages import printable
from aerozarr.store.format.layout import MANIFEST, MOMENTS, SKIPPED, SPLITS, statistics_name
from aerozarr.store.format.manifest import Manifest, SampleEntry
from aerozarr.store.format.moments_file import read_moments
from aerozarr.store.format.scalars import ScalarValue
from aerozarr.store.format.statistics import merged_statistics
from aerozarr.store.format.tables import read_table
from aerozarr.store.read.chunk_reader import ChunkReader
from aerozarr.store.read.contents import Contents, Points
from aerozarr.store.read.subsample import Subsample

if TYPE_CHECKING:
    from obstore.store import ObjectStore


class Store(Contents):
    """A converted store, opened for reading.

    Parameters
    ----------
    place
        The store root: a folder, any fsspec URL, or a store of the package obstore whose root it
        is.
    storage_options
        Options for fsspec's file systems by protocol, as the setting of that name:
        `{"s3": {"endpoint_url": "https://minio.example"}}`. Options alone are those of the URL's
        own protocol: `{"endpoint_url": "https://minio.example"}`.
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
        When there is no manifest, or one that is damaged or of another format version.
    SettingsError
        When the URL cannot be opened.
    TypeError
        When `place` or `storage_options` is of another type.
    RemoteError
        When what is behind it cannot be reached, or refuses.

    Notes
    -----
    A store can be pickled, and used after a fork: each process opens connections of its own.
    (obstore's cannot be used after a fork; with it, workers have to be spawned.)
    """

    def __init__(
        self,
        place: str | os.PathLike[str] | ObjectStore,
        storage_options: Mapping[str, Any] | None = None,
        *,
        fill_missing: bool = False,
        cache_bytes: int = 2**27,
    ) -> None:
        self._place = _checked_place(place)
        self._options = options_by_protocol(self._place, storage_options or {})
        self._fill_missing = fill_missing
        self._cache_bytes = cache_bytes
        self._open()
        super().__init__(self._read_manifest())
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
        fetcher: Fetcher
        if not isinstance(self._place, str):
            fetcher = ObstoreFetcher(self._place)
            self._name = repr(self._place)
        else:
            try:
                location = open_location(self._place, self._options, key="place")
            except FileNotFoundError as error:  # an archive that is to be read in
                raise StoreError(f"{error}. Check the path.") from None
            fetcher = LocalFetcher(location.path) if location.is_local else FsspecFetcher(location)
            self._name = location.url
        self._reader = ChunkReader(
            fetcher, fill_missing=self._fill_missing, cache_bytes=self._cache_bytes
        )
        # Last, for other threads: until then they see that they have to open it themselves.
        self._pid = os.getpid()

    def refresh(self) -> None:
        """See that connections belong to this process: open new ones after a fork."""
        if self._pid == os.getpid():
            return
        # After a fork the thread that serves connections is the parent's.
        if not isinstance(self._place, str):
            raise StoreError(
                "A store of obstore cannot be used in a forked process. Give the DataLoader "
                'multiprocessing_context="spawn".'
            )
        self._open()

    def _read_manifest(self) -> Manifest:
        content = self._read_file(MANIFEST)
        if content is None:
            raise StoreError(
                f"{self._name} holds no {MANIFEST}. Check the path; a store whose conversion did "
                "not end has none until snakemake is run again."
            )
        self._manifest_digest = _digest(content)
        return Manifest.parse(content, f"{MANIFEST} of {self._name}")

    def _sample(self, sample: str) -> SampleEntry:
        if sample in self.manifest.samples:
            return self.manifest.samples[sample]
        skipped = self._read_file(SKIPPED)
        rows = read_table(skipped, SKIPPED, ("id", "cause")) if skipped is not None else []
        for row in rows:
            if row["id"] == sample:
                raise StoreError(
                    f"The store has no sample {sample!r}: it was skipped when the store was made, "
                    f"because {row['cause'] or row.get('kind')}. {SKIPPED} of the store says more."
                )
        return super()._sample(sample)

    def _read_file(self, name: str) -> bytes | None:
        self.refresh()
        (content,) = self._reader.fetcher.fetch([ByteRange(name)])
        return content

    def _read_json(self, name: str) -> dict[str, Any] | None:
        content = self._read_file(name)
        if content is None:
            return None
        try:
            parsed = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self._damaged(name, str(error)) from None
        if not isinstance(parsed, dict):
            raise self._damaged(name, "it is no object")
        return parsed

    def _damaged(self, name: str, why: str) -> StoreError:
        return StoreError(
            f"{name} of {self._name} is damaged: {why}. If the store is a copy, copy the file "
            "again. If you converted it, run snakemake with its settings, which writes it again."
        )

    @property
    def is_local(self) -> bool:
        """Whether it is read as a folder of this machine, where reading ahead gains nothing."""
        return isinstance(self._reader.fetcher, LocalFetcher)

    @property
    def splits(self) -> Mapping[str, tuple[str, ...]]:
        """The ids of each split in order; empty when the store does not say."""
        if self._splits is None:
            content = self._read_json(SPLITS) or {}
            for name, ids in content.items():
                if not isinstance(ids, list) or not all(isinstance(id_, str) for id_ in ids):
                    raise self._damaged(SPLITS, f"{printable(name)!r} is no list of ids")
                if len({*ids}) < len(ids):
                    raise self._damaged(SPLITS, f"{printable(name)!r} names a sample twice")
            self._splits = {name: tuple(ids) for name, ids in content.items()}
        return self._splits

    def statistics(self, split: str | Iterable[str] | None = None) -> Mapping[str, Any]:
        """Return the statistics of the stored values.

        Parameters
        ----------
        split
            Of which split; or the ids of any samples, whose moments are then merged, each sample
            named once; None for all samples.

        Returns
        -------
        mapping
            `<canonical>_mean`, `_std`, `_min`, `_max`, `_logscale_mean`, `_logscale_std` (a number
            a component; None without finite values), `_count`, and `raw_pos_min`, `raw_pos_max`.

        Raises
        ------
        StoreError
            When the store has none; of a list, when a sample in it is not in the store or is named
            twice, or when the store does not keep the moments of its samples.
        """
        if split is not None and not isinstance(split, str):
            return self._merge_statistics(list(split))
        found = self._find_statistics(split)
        if found is None:
            raise StoreError(
                f"{self._name} holds no {statistics_name(split)}. Run snakemake with the store's "
                "settings to have it written; if another program wrote the store, snakemake adopt, "
                "which converts nothing."
            )
        return found

    def has_statistics(self, split: str | None = None) -> bool:
        """Whether the store holds the statistics of a split, or of all samples."""
        return self._find_statistics(split) is not None

    def _merge_statistics(self, samples: list[str]) -> Mapping[str, Any]:
        """Return the statistics of some samples, merged from their moments."""
        if not samples:
            raise StoreError("The list of samples is empty: there are no statistics of nothing.")
        wanted: set[str] = set()
        for sample in samples:
            self._sample(sample)
            if sample in wanted:
                raise StoreError(
                    f"The list of samples names {sample!r} twice, which would count it twice in "
                    "the statistics. Name each sample once."
                )
            wanted.add(sample)
        content = self._read_file(MOMENTS)
        if content is None:
            raise StoreError(
                f"{self._name} holds no {MOMENTS}, so there are statistics of its splits and of "
                "all samples alone. If you converted it, run snakemake with its settings, which "
                f"writes {MOMENTS} and converts nothing again."
            )
        domains = self.manifest.domains.values()
        widths = {name: array.dim for domain in domains for name, array in domain.arrays.items()}
        try:
            found = read_moments(content, wanted, widths)
        except ValueError as error:
            raise self._damaged(MOMENTS, str(error)) from None
        missing = next((sample for sample in samples if sample not in found), None)
        if missing is not None:
            raise self._damaged(MOMENTS, f"it lacks {printable(missing)}, which {MANIFEST} lists")
        positions = {domain.position for domain in domains}
        return merged_statistics(widths, positions, [found[sample] for sample in samples])

    def _find_statistics(self, split: str | None) -> Mapping[str, Any] | None:
        if split not in self._statistics:
            self._statistics[split] = self._read_json(statistics_name(split))
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
        """Subsample points of a sample.

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
            of stored rows (wrapping around from the last row to the first) whose start may be any
            row. So they mix with others at every draw, but the chunks at both ends are
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
        drawn = self.subsample(sample, points, fields, generator, whole_chunks=whole_chunks)
        return self.read_subsamples([drawn])[0]

    def read_subsamples(
        self,
        subsamples: Sequence[Subsample],
        into: Sequence[Mapping[str, torch.Tensor]] | None = None,
    ) -> list[dict[str, torch.Tensor]]:
        """Read several subsamples, from a remote store with the requests of all under way at once.

        Parameters
        ----------
        subsamples
            What `draw` returned, of any samples.
        into
            Where the values of each draw go, by canonical name: contiguous tensors of shape
            (points, components), to whose dtype they are cast. By default new ones of the stored
            dtype.

        Returns
        -------
        list of dict of str to tensor
            What `read` returns, for each draw.

        Raises
        ------
        StoreError
            When something stored is missing or damaged, or the store was written anew since it
            was opened, so that the manifest is not its own any more.
        """
        self.refresh()
        with self._telling_of_another_run():
            return self._reader.read(subsamples, into)

    def scalars(self, sample: str) -> dict[str, ScalarValue]:
        """Return what a sample has once, such as design parameters or forces.

        Parameters
        ----------
        sample
            The sample's id.

        Returns
        -------
        dict of str to float, bool, str or list of float
            By name, in the order of the settings; empty where the sample has none. A number that is
            not finite is a float as well.

        Raises
        ------
        StoreError
            When the store has no such sample, or its group's metadata is missing or damaged.
        """
        (found,) = self.read_scalars([sample])
        return found

    def read_scalars(self, samples: Iterable[str]) -> list[dict[str, ScalarValue]]:
        """Return the scalars of several samples, with the requests of all under way at once.

        Those of a sample whose points were read lately take no request. Errors are those of
        `scalars`.
        """
        self.refresh()
        asked = [Subsample(sample, self._sample(sample).relpath, {}) for sample in samples]
        with self._telling_of_another_run():
            read = self._reader.read_scalars(asked)
        # Copies, so that nobody changes what is kept.
        return [
            {name: [*value] if isinstance(value, list) else value for name, value in of_one.items()}
            for of_one in read
        ]

    @contextlib.contextmanager
    def _telling_of_another_run(self) -> Iterator[None]:
        """Say of an error that the store is not the one that was opened, where it is not."""
        try:
            yield
        except StoreError:
            content = self._read_file(MANIFEST)
            if content is not None and _digest(content) == self._manifest_digest:
                raise
            raise StoreError(
                f"{self._name} was written anew since it was opened, or is being written"
                f"{'' if content else f' (it has no {MANIFEST})'}. Open it again, once the run "
                "that writes it has ended."
            ) from None


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _checked_place(place: Any) -> Any:
    """Return a path that holds in any working directory; a URL or a store of obstore as it is."""
    path = os.fspath(place) if isinstance(place, os.PathLike) else place
    if isinstance(path, str):
        if "\0" in path:
            raise StoreError(f"{path!r} is no path of a store: it holds a NUL character.")
        return path if "://" in path else os.path.abspath(os.path.expanduser(path))
    if not any(base.__module__.partition(".")[0] == "obstore" for base in type(place).__mro__):
        raise TypeError(
            f"place is {place!r}; give the path or URL of a store, or a store of the package "
            "obstore."
        )
    return place


# What is left behind when a store is pickled.
_OF_PROCESS = frozenset({"_pid", "_reader"})
