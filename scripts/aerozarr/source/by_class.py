"""A source whose samples a dataset class of the person's own brings, with their splits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from aerozarr.config.fields import Domain, Field
from aerozarr.config.filemap import FileMap
from aerozarr.config.scalars import Scalar
from aerozarr.config.settings import DEFAULT_SPLITS, Settings
from aerozarr.errors import BrokenSample, SettingsError, SkipSample, SourceChangedError
from aerozarr.filesystems.location import Location
from aerozarr.source.class_samples import ClassSamples
from aerozarr.source.collect import Collector
from aerozarr.source.datasets import Dataset
from aerozarr.source.samples import Listing, Sample
from aerozarr.source.source import Loader, Source
from aerozarr.source.splits import check_categories, empty, no_split, parse_split, twice


class ClassSource(Source):
    """The samples that a class brings for each split asked for.

    Parameters
    ----------
    settings, dataset, url
        As for `Source`; the URL is the root that the class is built with.
    found
        The class.
    """

    def __init__(self, settings: Settings, dataset: Dataset, url: str, found: type) -> None:
        super().__init__(settings, dataset, url)
        self._class = found

    @property
    def class_name(self) -> str | None:
        return self.settings.dataset

    def _list(self, place: Location) -> Listing:
        check_categories(self.settings, self.dataset.rule, self.dataset.name)
        return _list_class(self.settings, self.dataset, self._class, self.url)

    def _has(self, sample: Sample, scalar: Scalar) -> bool:
        # Nobody can tell what a class lacks before it is asked.
        return super()._has(sample, scalar) if scalar.is_of_table else True

    def loader(
        self,
        sample: Sample,
        domains: tuple[Domain, ...] = (),
        read_sizes: dict[str, int] | None = None,
        kept: Collection[str] = (),
    ) -> Loader:
        # Imported here: it takes torch, and listing needs none.
        from aerozarr.source.files.scalars import load_cell

        samples = ClassSamples(
            self._class,
            self.url,
            sample.split,
            self.dataset.filemap,
            self.settings.dataset_args,
        )
        _check_same(samples, sample)

        def load(one: Field | Scalar) -> object:
            if isinstance(one, Scalar) and one.is_of_table:
                return load_cell(sample, one)
            return _load_by_class(samples, sample.position, one)

        return load


def _check_same(samples: ClassSamples, sample: Sample) -> None:
    """Check that a class has the sample at the place at which it was listed.

    It is built anew for each job, and its samples are known by their places.

    Raises
    ------
    SourceChangedError
        When it has another one there, or none.
    """
    place = sample.position
    found = samples.sample_id(place) if place < len(samples) else "nothing"
    # Where its place is all that a sample is known by, it says nothing.
    if found in (sample.id, str(place)):
        return
    raise SourceChangedError(
        f"the dataset class has {found!r} at place {place} of the split {sample.split!r}, and had "
        f"{sample.id!r} when the source was listed. If the source has changed, run snakemake "
        "again. If not, the class has another order whenever it is built: have it sort what it "
        "lists."
    )


def _load_by_class(samples: ClassSamples, position: int, field: Field | Scalar) -> object:
    """Return what a class loads for a field; whatever it raises costs this sample alone."""
    try:
        loaded = samples.load(position, field.file)
        return loaded if field.key is None else loaded[field.key]
    except SkipSample as error:
        raise BrokenSample(
            field=field.canonical,
            file=field.file,
            cause=f"the dataset class skips it: {_first_line(error) or 'without a reason'}",
            remedy="mend the sample, or leave it to the class",
        ) from error
    except MemoryError:
        raise
    except Exception as error:
        # Nothing tells a fault of the sample from one of the class or the disk, so the next run
        # tries it again.
        raise BrokenSample(
            field=field.canonical,
            file=field.file,
            cause=f"the dataset class raised {type(error).__name__}: {_first_line(error)}",
            remedy="mend the sample or the class; the next run tries it again",
            is_certain=False,
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]


def _list_class(settings: Settings, dataset: Dataset, found: type, root: str) -> Listing:
    """List the samples that a class brings for each split asked for; an error when for none."""
    for key in ("split_files", "split_manifest"):
        if getattr(settings, key):
            raise SettingsError(
                f"{key}: {settings.dataset!r} brings its own samples and splits. Leave {key} out."
            )
    collector = Collector(settings, dataset)
    failed: list[str] = []
    asked: dict[tuple[str, str], int] = {}
    requests = [parse_split(text) for text in settings.splits]
    several_splits = len({request.name for request in requests}) > 1
    for request in requests:
        collector.begin(request.name)
        try:
            ids = class_ids(found, root, request.name, dataset.filemap, settings.dataset_args)
        except (ValueError, KeyError) as error:
            # What a class says to a split that it does not know; and many a fault of its own.
            why = f"{type(error).__name__}: {_first_line(error)}"
            is_about_splits = request.name in str(error) or "split" in str(error).lower()
            if settings.splits != DEFAULT_SPLITS or not is_about_splits:
                raise SettingsError(
                    f"dataset: {settings.dataset!r} cannot be built for the split "
                    f"{request.name!r}: {why}. Mend what it says, here maybe in dataset_args; if "
                    "the dataset has no such split, set splits to those that it has."
                ) from error
            failed.append(f"{request.name}: {why}")
            collector.warn(f"{no_split(request, dataset.name, settings)} ({why})")
            continue
        if not ids:
            collector.warn(empty(request, dataset.name))
            continue
        positions = request.of([str(position) for position in range(len(ids))])
        for position in map(int, positions):
            sample_id = ids[position]
            if several_splits and sample_id == str(position):
                # Known by its index alone, which other splits have too.
                sample_id = f"{request.name}/{position}"
            before = asked.setdefault((request.name, sample_id), position)
            if before != position:
                cause, remedy = "another sample of the class has its id", "give it its own"
                collector.skip(sample_id, request.name, "invalid_id", cause, remedy)
                collector.warn(f"{sample_id} names several samples; the first is converted")
            elif collector.is_in(sample_id, request.name):
                collector.warn(twice(sample_id))
            elif collector.is_known(sample_id) and not collector.is_left_over(sample_id):
                collector.add_again(sample_id, request.name)
            else:
                salt = (root, request.name, str(position))
                collector.add(sample_id, request.name, None, position=position, salt=salt)
    if len(failed) == len(requests):
        raise SettingsError(
            f"dataset: {settings.dataset!r} could be built for none of the splits "
            f"({'; '.join(failed)}). Set splits to those that it has."
        )
    return collector.listing()


def class_ids(
    found: type, root: str, split: str, filemap: FileMap, arguments: Mapping[str, Any]
) -> list[str]:
    """Return the ids of the samples that a class brings for a split, in its order.

    Raises
    ------
    ValueError, KeyError
        As the class raises them, for a split that it does not know.
    SettingsError
        When it raises anything else, or cannot be built for a split.
    """
    try:
        samples = ClassSamples(found, root, split, filemap, arguments)
        return [samples.sample_id(index) for index in range(len(samples))]
    except (ValueError, KeyError, SettingsError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever a person's own class raises
        raise SettingsError(
            f"dataset: {found.__name__} failed for source_root {root!r} and split {split!r}: "
            f"{type(error).__name__}: {error}. Check source_root, or the class."
        ) from None
