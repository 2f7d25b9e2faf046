"""Reading a store for training: a few random points of a sample, and nothing else of it.

A draw costs one metadata read a sample and one index read a shard, both at once and kept for the
next draw of the same sample, and then one byte range an array (two where the run crosses a shard's
border or the end). All reads of a kind are under way at once. What is missing or damaged is an
error, never zeros.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from aerozarr.errors import StoreError
from aerozarr.messages import printable, redacted
from aerozarr.store.format.layout import (
    MANIFEST,
    ROOT_METADATA,
    SKIPPED,
    SPLITS,
)
from aerozarr.store.format.manifest import Manifest, SampleEntry
from aerozarr.store.format.scalars import ScalarValue
from aerozarr.store.format.tables import read_table
from aerozarr.store.read.contents import Contents, Points
from aerozarr.store.read.describe import described, described_in_html
from aerozarr.store.read.group_metadata import members_of, parse_metadata
from aerozarr.store.read.plot import plot_sample
from aerozarr.store.read.store_files import StoreFiles
from aerozarr.store.read.store_statistics import StoreStatistics
from aerozarr.store.read.subsample import Subsample

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from obstore.store import ObjectStore


class Store(StoreStatistics):
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
    cache
        A folder of this machine that keeps what is read of a remote store, chunk by chunk, for all
        processes and later ones. What was written anew since is never read from it by a store that
        is opened then.
    cache_size
        Bytes that the folder may take on the disk, or a text such as "50 GB"; what was used longest
        ago goes first.

    Attributes
    ----------
    manifest
        The content of `manifest.json`.
    dataset_name
        The dataset's name, as the manifest has it.

    Raises
    ------
    StoreError
        When there is no manifest, or one that is damaged or of another format version; with
        `cache`, when there are no checksums.
    SettingsError
        When the URL cannot be opened, or the cache's folder or size cannot be used.
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
        cache: str | os.PathLike[str] | None = None,
        cache_size: int | str = "50 GB",
    ) -> None:
        StoreFiles.__init__(
            self,
            place,
            storage_options,
            fill_missing=fill_missing,
            cache_bytes=cache_bytes,
            cache=cache,
            cache_size=cache_size,
        )
        Contents.__init__(self, self._read_manifest())
        StoreStatistics.__init__(self)
        self._splits: Mapping[str, tuple[str, ...]] | None = None

    def __repr__(self) -> str:
        return described(self, redacted(self._name))

    def _repr_html_(self) -> str:
        return described_in_html(self, redacted(self._name))

    def _read_manifest(self) -> Manifest:
        content = self._read_file(MANIFEST)
        if content is None:
            raise StoreError(
                f"{self._name} holds no {MANIFEST}. Check the path; a store whose conversion did "
                "not end has none until snakemake is run again, of a StoreWriter until finish()."
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

    def plot(
        self,
        sample: str,
        field: str | None = None,
        *,
        component: int | None = None,
        points: int = 20_000,
        ax: Axes | None = None,
    ) -> Figure:
        """Draw some points of a sample, coloured by a field.

        Needs matplotlib. Nothing is left open: the figure is not one of pyplot's, and goes when you
        let go of it. A notebook shows it; elsewhere save it: `figure.savefig("body.png")`.

        Parameters
        ----------
        sample
            The sample's id.
        field
            The canonical name of the field; by default a pressure, or the first field with one
            component, of the surface before others.
        component
            Of a field with several components, which one, counted from 0; by default their
            magnitude.
        points
            At most so many points of the field's domain: the same ones in each call.
        ax
            Axes with projection "3d" to draw into; by default those of a new figure.

        Returns
        -------
        Figure
            Its axes are `figure.axes[0]`.

        Raises
        ------
        StoreError
            When sample or field are not in the store, or cannot be read; when the field has no such
            component, or `points` is no number above 0.
        ImportError
            When matplotlib is not installed.
        """
        return plot_sample(self, sample, field, component=component, points=points, ax=ax)

    def units_of(self, sample: str, fields: Iterable[str]) -> dict[str, str]:
        """Return the units of fields, as the metadata of a sample's arrays says them; else nothing.

        Raises
        ------
        StoreError
            When sample or field are not in the store, or the group's metadata cannot be read.
        """
        drawn = Subsample(sample, self._sample(sample).relpath, {})
        path = f"{drawn.group}/{ROOT_METADATA}"
        members = members_of(parse_metadata(drawn, ROOT_METADATA, self._read_file(path)))
        found: dict[str, str] = {}
        for field in fields:
            domain = self.manifest.domains[self.domain_of(field)]
            member = members.get(domain.arrays[field].array_name)
            attributes = member.get("attributes") if isinstance(member, dict) else None
            unit = attributes.get("units") if isinstance(attributes, dict) else None
            if isinstance(unit, str):
                found[field] = unit
        return found

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
