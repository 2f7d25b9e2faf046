"""Listing a source: which samples it holds, in sample order, and which of them are incomplete.

Nothing here reads a `.pt` file, and nothing imports torch: this runs at every start of Snakemake.
"""

from __future__ import annotations

import os

from aerozarr.config.fields import files_in
from aerozarr.config.settings import Settings
from aerozarr.errors import SettingsError
from aerozarr.filesystems.location import Location, open_location
from aerozarr.messages import did_you_mean, printable, redacted
from aerozarr.source.datasets import Dataset, class_ids
from aerozarr.source.samples import (
    FileInfo,
    Listing,
    Sample,
    Skipped,
    fingerprint,
    key_of,
    why_invalid,
)
from aerozarr.source.scan import files_of, walk
from aerozarr.source.splits import IdListsRule, SplitRequest, category_of, parse_split, split_ids


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
        listing = _list_class(settings, dataset, dataset.sample_class, url)
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
    wanted = set(files_in(dataset.filemap))
    listing = Listing()
    folders = walk(source, wanted)
    folders.pop("", None)  # the prefix itself is not a sample
    for sample_id in sorted(folders):
        _add(listing, sample_id, "", folders[sample_id], dataset)
    _cut(listing, 0, settings)
    return listing


def _cut(listing: Listing, first: int, settings: Settings) -> None:
    """Apply the setting `limit` to the samples from position `first` on."""
    if settings.limit is not None:
        del listing.samples[first + settings.limit :]


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
    wanted = set(files_in(dataset.filemap))
    listing = Listing()
    asked: set[str] = set()
    requests = [parse_split(text) for text in settings.splits]
    ids_of = {
        request.name: split_ids(request.name, dataset.rule, base, root, settings)
        for request in requests
    }
    if settings.categories and isinstance(dataset.rule, IdListsRule):
        others = set(dataset.rule.files) - set(ids_of)
        known = [split_ids(split, dataset.rule, base, root, settings) for split in others]
        ids_of = _of_categories(ids_of, known, settings.categories)
    # Behind a URL, one listing of everything is far cheaper than one a sample.
    folders = None if base.is_local else walk(base, wanted)
    for request in requests:
        ids = ids_of[request.name]
        if ids is None:
            listing.warnings.append(_no_split(request, dataset))
            continue
        first = len(listing.samples)
        for sample_id in request.of(ids):
            if sample_id in asked:
                listing.warnings.append(_twice(sample_id))
                continue
            asked.add(sample_id)
            files = (
                files_of(base, sample_id, wanted) if folders is None else folders.get(sample_id, {})
            )
            _add(listing, sample_id, request.name, files, dataset)
        _cut(listing, first, settings)
    if all(ids is None for ids in ids_of.values()):
        raise SettingsError(
            f"splits: dataset {dataset.name!r} has none of {', '.join(settings.splits)}. "
            "Set splits to those that it has."
        )
    return listing


def _no_split(request: SplitRequest, dataset: Dataset) -> str:
    return printable(f"splits: {dataset.name} has no split {request.name!r}; it is skipped")


def _twice(sample_id: str) -> str:
    return printable(f"{sample_id} is asked for twice; it is converted once")


def _same_id(sample_id: str) -> str:
    return printable(f"{sample_id} names several samples; the first is converted")


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


def _list_class(settings: Settings, dataset: Dataset, found: type, root: str) -> Listing:
    """List the samples that a class brings for each split asked for."""
    _check_categories(settings, dataset)
    if settings.split_files:
        raise SettingsError(
            f"split_files: {settings.dataset!r} brings its own samples and splits. "
            "Leave split_files out."
        )
    listing = Listing()
    failed: list[str] = []
    asked: dict[str, tuple[str, int]] = {}
    requests = [parse_split(text) for text in settings.splits]
    several_splits = len({request.name for request in requests}) > 1
    for request in requests:
        try:
            ids = class_ids(found, root, request.name, dataset.filemap)
        except (ValueError, KeyError) as error:
            # What a class says to a split that it does not know.
            failed.append(f"{request.name}: {type(error).__name__}: {error}")
            ids = []
        if not ids:
            listing.warnings.append(_no_split(request, dataset))
            continue
        first = len(listing.samples)
        positions = request.of([str(position) for position in range(len(ids))])
        for position in map(int, positions):
            sample_id = ids[position]
            if several_splits and sample_id == str(position):
                # Known by its index alone, which other splits have too.
                sample_id = f"{request.name}/{position}"
            if sample_id in asked:
                other = asked[sample_id] != (request.name, position)
                if other:
                    cause, remedy = "another sample of the class has its id", "give it its own"
                    same_id = Skipped(sample_id, request.name, "invalid_id", "", "", cause, remedy)
                    listing.skipped.append(same_id)
                listing.warnings.append(_same_id(sample_id) if other else _twice(sample_id))
                continue
            asked[sample_id] = (request.name, position)
            salt = (root, request.name, str(position))
            _add(listing, sample_id, request.name, None, dataset, position=position, salt=salt)
        _cut(listing, first, settings)
    if len(failed) == len(requests):
        raise SettingsError(
            f"dataset: {settings.dataset!r} could be built for none of the splits "
            f"({'; '.join(failed)}). Set splits to those that it has."
        )
    return listing


def _add(
    listing: Listing,
    sample_id: str,
    split: str,
    files: dict[str, FileInfo] | None,
    dataset: Dataset,
    *,
    position: int = -1,
    salt: tuple[str, ...] = (),
) -> None:
    """Add a sample to a listing, or to its skipped samples.

    `files` is None for a sample that a class loads: there is nothing to look for.
    """
    reason = why_invalid(sample_id)
    if reason is not None:
        remedy = "rename its folder"
        listing.skipped.append(Skipped(sample_id, split, "invalid_id", "", "", reason, remedy))
        return
    if files is not None:
        missing = [file for file in files_in(dataset.filemap) if file not in files]
        if missing:
            cause = "is not there" if len(missing) == 1 else "are not there"
            if not files:
                cause = "are not there, nor is any other file of the sample"
            remedy = "add what is missing, or leave its field out of the file map"
            listing.skipped.append(
                Skipped(sample_id, split, "incomplete", "", ", ".join(missing), cause, remedy)
            )
            return
    found = files or {}
    names = tuple(sorted(found))
    listing.samples.append(
        Sample(
            id=sample_id,
            key=key_of(sample_id),
            split=split,
            position=position,
            files=names,
            sizes=tuple(found[name].size for name in names),
            fingerprint=fingerprint(found, *salt),
        )
    )
