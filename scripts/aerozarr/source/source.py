"""Where a run's samples come from: what every kind of source can do.

`prefix`, `root` and `by_class` are the kinds there are; `open_source` chooses among them, and
nothing else asks which one it is.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal, NamedTuple

from aerozarr.config.fields import Domain, Field
from aerozarr.config.scalars import Scalar
from aerozarr.config.settings import Settings
from aerozarr.errors import SettingsError
from aerozarr.filesystems.location import Location, open_location
from aerozarr.messages import redacted
from aerozarr.source.datasets import Dataset
from aerozarr.source.samples import Listing, Sample
from aerozarr.source.scalar_tables import with_cells

Loader = Callable[[Field | Scalar], object]
"""Returns what a sample holds for a field or a scalar, not yet checked.

See `files.rows.as_rows` and `files.scalars.as_scalar`."""

ArrayNames = Mapping[Literal["point", "cell"], Collection[str]]
"""The names of a raw file's arrays, by what they have a row for."""


class Signs(NamedTuple):
    """By what a sample that was replaced is known again; empty where a source cannot tell.

    Attributes
    ----------
    stamp
        A hash over what changes with any writing to its files: inode and ctime.
    content
        A hash over the checksums in them.
    changes
        By file, what `stamp` is a hash over.
    """

    stamp: str = ""
    content: str = ""
    changes: Mapping[str, str] = {}


class Source(ABC):
    """A source of samples.

    Parameters
    ----------
    settings, dataset
        The settings, and the dataset that they name.
    url
        The source: `source_url`, `source_root`, or the example's own folder.
    """

    def __init__(self, settings: Settings, dataset: Dataset, url: str) -> None:
        self.settings = settings
        self.dataset = dataset
        self.url = url
        self.key = "source_root" if settings.source_root else "source_url"

    @property
    def class_name(self) -> str | None:
        """The class whose code decides what is stored, None where files alone do."""
        return None

    def list(self) -> Listing:
        """List the samples, in order, with their fingerprints.

        Raises
        ------
        SettingsError
            When the source is not there, is not the dataset's, or holds no complete sample; or a
            table of scalars is not there.
        """
        place = open_location(self.url, self.settings.storage_options, key=self.key)
        if place.is_local or self.settings.source_root is not None:
            _check_there(place)
        listing = self._list(place)
        if not listing.samples:
            _check_there(place)
            why = self._why_none(listing)
            raise SettingsError(
                f"{self.key}: no complete sample below {redacted(self.url)!r}. {why}"
            )
        listing.samples, warnings = with_cells(
            listing.samples, self.dataset.scalars, place, self.settings.storage_options
        )
        listing.warnings += warnings
        return listing

    @abstractmethod
    def _list(self, place: Location) -> Listing:
        """List what there is; samples may be none."""

    @abstractmethod
    def loader(
        self,
        sample: Sample,
        domains: tuple[Domain, ...] = (),
        read_sizes: dict[str, int] | None = None,
        kept: Collection[str] = (),
    ) -> Loader:
        """Return how the fields and scalars of a sample are loaded.

        Parameters
        ----------
        sample
            The sample's row of the table.
        domains
            What will be loaded, after the scalars and in this order; behind a URL it is then read
            ahead.
        read_sizes
            Where the bytes read of each file behind a URL are noted, by its name.
        kept
            Canonical names of fields of these domains that will not be loaded, because they are
            stored already.
        """

    def library_loader(self, sample: Sample, domains: tuple[Domain, ...]) -> Loader:
        """Return `loader`, whose fields are read by the libraries of their formats alone."""
        return self.loader(sample, domains)

    def array_names(self, sample: Sample, domains: tuple[Domain, ...]) -> dict[str, ArrayNames]:
        """Return the names of the arrays in a sample's raw files; of other files, nothing.

        Returns
        -------
        dict
            By the file as the file map names it.

            Files that cannot be read are left out.
        """
        return {}

    def array_sizes(
        self, sample: Sample, domains: tuple[Domain, ...], *, is_whole: bool = False
    ) -> Mapping[str, Sequence[int]]:
        """Return the bytes of each array that is read in blocks, by the file's name.

        Files that are not here are held in memory whole, or mapped. With `is_whole`, of the same
        files what vtk holds of them, as `library_loader` reads them.
        """
        return {}

    def scalars_of(self, sample: Sample) -> tuple[Scalar, ...]:
        """Return the scalars that a sample has: all but optional ones that it lacks."""
        return tuple(
            scalar
            for scalar in self.dataset.scalars
            if not scalar.is_optional or self._has(sample, scalar)
        )

    def _has(self, sample: Sample, scalar: Scalar) -> bool:
        """Whether a sample has an optional scalar: its file, or its row of a table."""
        if scalar.is_of_table:
            return sample.cell_of(scalar.name) is not None
        return bool(sample.names_of(scalar.file))

    def signs(self, sample: Sample) -> Signs:
        """Return by what a sample that is replaced from now on is known again."""
        return Signs()

    def content(self, sample: Sample) -> str:
        """Return `signs` of a sample's content alone."""
        return ""

    def still_holds(self, sample_id: str) -> bool:
        """Whether the source holds a sample, be it listed or not; True where that is not known."""
        return True

    def which_are_there(self, files: Collection[str]) -> set[str]:
        """Return which of some files any sample has; all of them where that is not known.

        Raises
        ------
        SettingsError
            As `list` does.
        """
        return {*files}

    def blacklists(self) -> Mapping[str, str]:
        """Return the dataset's own blacklists by name, which code that trains on it may open."""
        return {}

    def _why_none(self, listing: Listing) -> str:
        name = self.settings.dataset_name or self.dataset.name
        files = ", ".join(self.dataset.files)
        told = "".join(f" {warning}." for warning in listing.warnings[:1])
        if listing.skipped:
            return (
                f"{len(listing.skipped)} were skipped; the first: {listing.skipped[0]}. "
                f"A sample of {name} is a folder with {files}.{told}"
            )
        return (
            f"A sample of {name} is a folder below it with {files}; check dataset and "
            f"filemap.{told}"
        )


def _check_there(place: Location) -> None:
    if not place.is_folder():
        where = f"; a relative one is looked up from {os.getcwd()}" if place.is_local else ""
        raise SettingsError(
            f"{place.key}: {redacted(place.url)!r} is not there, or is no folder. "
            f"Check the path{where}."
        )
