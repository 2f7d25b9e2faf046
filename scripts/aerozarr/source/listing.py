"""Listing a source: which samples it holds, in sample order, and which of them are incomplete.

Nothing here reads a `.pt` file, and nothing imports torch: this runs at every start of Snakemake.
"""

from __future__ import annotations

import os

from aerozarr.config.fields import files_in
from aerozarr.config.settings import Settings
from aerozarr.errors import SettingsError
from aerozarr.filesystems.location import Location, open_location
from aerozarr.messages import did_you_mean, redacted
from aerozarr.source.class_listing import list_class
from aerozarr.source.collect import Collector
from aerozarr.source.datasets import Dataset
from aerozarr.source.samples import Listing
from aerozarr.source.scan import Scan, files_of, names_in, near_misses, walk
from aerozarr.source.splits import (
    IdListsRule,
    category_of,
    no_split,
    parse_split,
    split_ids,
    twice,
)


def list_source(settings: Settings, dataset: Dataset, url: str) -> Listing:
    """List a source.

    Parameters
    ----------
    settings, dataset
        The settings, and the dataset that they name.
    url
        The source: `source_url`, `source_root`, or the example's own folder.

    Raises
    ------
    SettingsError
        When the source is not there, is not the dataset's, or holds no complete sample.
    """
    key = "source_root" if settings.source_root else "source_url"
    source = open_location(url, settings.storage_options, key=key)
    if source.is_local or settings.source_root is not None:
        _check_there(source)
    if settings.source_root is None:
        listing = _list_prefix(settings, dataset, source)
    elif dataset.sample_class is not None:
        _check_categories(settings, dataset)
        listing = list_class(settings, dataset, dataset.sample_class, url)
    else:
        listing = _list_root(settings, dataset, source)
    if not listing.samples:
        _check_there(source)
        why = _why_none(listing, dataset)
        raise SettingsError(f"{key}: no complete sample below {redacted(url)!r}. {why}")
    return listing


def _check_there(source: Location) -> None:
    if not source.is_folder():
        where = f"; a relative one is looked up from {os.getcwd()}" if source.is_local else ""
        raise SettingsError(
            f"{source.key}: {redacted(source.url)!r} is not there, or is no folder. "
            f"Check the path{where}."
        )


def _why_none(listing: Listing, dataset: Dataset) -> str:
    files = ", ".join(files_in(dataset.filemap))
    if listing.skipped:
        return (
            f"{len(listing.skipped)} were skipped; the first: {listing.skipped[0]}. "
            f"A sample of {dataset.name} is a folder with {files}."
        )
    return (
        f"A sample of {dataset.name} is a folder below it with {files}; check dataset and filemap."
    )


def sample_folder_base(settings: Settings, dataset: Dataset, url: str) -> Location:
    """Return the folder that sample ids are paths below."""
    key = "source_root" if settings.source_root else "source_url"
    source = open_location(url, settings.storage_options, key=key)
    subfolder = dataset.subfolder
    # Each job asks this: no request for a root that is the subfolder already.
    if settings.source_root and subfolder and source.path.rpartition("/")[2] != subfolder:
        below = source.below(subfolder)
        if below.is_folder():
            return below
    return source


def _list_prefix(settings: Settings, dataset: Dataset, source: Location) -> Listing:
    """List every folder below a prefix that holds files of the file map, by ascending id."""
    scan = walk(source, set(files_in(dataset.filemap)))
    scan.folders.pop("", None)  # the prefix itself is not a sample
    collector = Collector(settings, dataset)
    collector.begin("")
    for sample_id in sorted(scan.folders):
        collector.add(sample_id, "", scan.folders[sample_id], near=scan.near_misses.get(sample_id))
    for folder, why in sorted(scan.unreadable.items()):
        _skip_unreadable(collector, folder, "", why)
    collector.warn_of_ignored(scan.ignored)
    return collector.listing()


def _skip_unreadable(collector: Collector, folder: str, split: str, why: str) -> None:
    collector.skip(
        folder,
        split,
        "unreadable",
        f"its folder cannot be listed: {why}",
        "give the person who runs this the right to read it, or move it out of the source",
    )
    collector.warn(f"{folder} cannot be listed: {why}; what lies below it is skipped")


def _list_root(settings: Settings, dataset: Dataset, root: Location) -> Listing:
    """List the splits asked for, each in the order of its own list."""
    base = sample_folder_base(settings, dataset, root.url)
    if dataset.rule is None and not settings.split_files:
        raise SettingsError(
            f"source_root: dataset {dataset.name!r} brings no split rule. Set split_files, e.g. "
            "{train: train_ids.txt}, or list every sample with source_url."
        )
    _check_categories(settings, dataset)
    _check_root(settings, dataset, base)
    requests = [parse_split(text) for text in settings.splits]
    ids_of = {
        request.name: split_ids(request.name, dataset.rule, base, root, settings)
        for request in requests
    }
    if settings.categories and isinstance(dataset.rule, IdListsRule):
        others = set(dataset.rule.files) - set(ids_of)
        known = [split_ids(split, dataset.rule, base, root, settings) for split in others]
        ids_of = _of_categories(ids_of, known, settings.categories)
    if all(ids is None for ids in ids_of.values()):
        raise SettingsError(
            f"splits: dataset {dataset.name!r} has none of {', '.join(settings.splits)}. "
            "Set splits to those that it has."
        )
    collector = Collector(settings, dataset)
    wanted = set(files_in(dataset.filemap))
    # Behind a URL, one listing of everything is far cheaper than one a sample.
    scan = None if base.is_local else walk(base, wanted)
    for request in requests:
        collector.begin(request.name)
        ids = ids_of[request.name]
        if ids is None:
            collector.warn(no_split(request, dataset.name))
            continue
        for sample_id in request.of(ids):
            if collector.is_in(sample_id, request.name):
                collector.warn(twice(sample_id))
            elif collector.is_known(sample_id):
                collector.add_again(sample_id, request.name)
            else:
                _add_of_root(collector, sample_id, request.name, base, wanted, scan)
    return collector.listing()


def _add_of_root(
    collector: Collector,
    sample_id: str,
    split: str,
    base: Location,
    wanted: set[str],
    scan: Scan | None,
) -> None:
    """Take up a sample that a split of a dataset root names."""
    if scan is not None:
        files = scan.folders.get(sample_id, {})
        collector.add(sample_id, split, files, near=scan.near_misses.get(sample_id))
        return
    try:
        files = files_of(base, sample_id, wanted)
        near = {} if files.keys() == wanted else near_misses(names_in(base, sample_id), wanted)
    except OSError as error:
        _skip_unreadable(collector, sample_id, split, error.strerror or type(error).__name__)
        return
    collector.add(sample_id, split, files, near=near)


def _check_categories(settings: Settings, dataset: Dataset) -> None:
    if settings.categories and not (
        isinstance(dataset.rule, IdListsRule) and dataset.rule.categories
    ):
        raise SettingsError(
            f"categories: dataset {dataset.name!r} has none. Leave it out; DrivAerNet has them."
        )


def _of_categories(
    ids_of: dict[str, list[str] | None], others: list[list[str] | None], categories: list[str]
) -> dict[str, list[str] | None]:
    """Keep the designs of some categories, each of which must have some in any split."""
    known = {category_of(design) for ids in [*ids_of.values(), *others] for design in ids or []}
    for category in categories:
        if category not in known:
            raise SettingsError(
                f"categories: {category!r} has no design.{did_you_mean(category, known)} "
                f"There are {', '.join(sorted(known))}."
            )
    return {
        split: ids and [design for design in ids if category_of(design) in categories]
        for split, ids in ids_of.items()
    }


def _check_root(settings: Settings, dataset: Dataset, base: Location) -> None:
    """Refuse a root that holds nothing by which its dataset is known."""
    if settings.split_files or dataset.rule is None:
        return
    marks = dataset.rule.marks()
    if base.entries().keys().isdisjoint(marks):
        raise SettingsError(
            f"source_root: {settings.source_root!r} is no {dataset.name} dataset: it has none of "
            f"{', '.join(marks[:3])}{' …' if len(marks) > 3 else ''}. Set source_root to the "
            "dataset's own folder, or list any folder with source_url."
        )
