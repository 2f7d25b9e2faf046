"""A dataset's own root, with its folders and splits: the setting `source_root`."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import PurePosixPath

from aerozarr.config.file_patterns import Wanted
from aerozarr.config.settings import Settings
from aerozarr.errors import SettingsError
from aerozarr.filesystems.location import Location
from aerozarr.messages import did_you_mean
from aerozarr.source.collect import Collector
from aerozarr.source.datasets import Dataset
from aerozarr.source.folders import FolderSource, skip_unreadable
from aerozarr.source.samples import Listing, why_invalid
from aerozarr.source.scan import Scan, files_of, names_in, near_misses, no_files, walk
from aerozarr.source.splits import (
    IdListsRule,
    category_of,
    check_categories,
    empty,
    families_of,
    no_split,
    parse_split,
    split_ids,
    twice,
)


class RootSource(FolderSource):
    """The samples of the splits asked for, each in the order of its own list."""

    @cached_property
    def base(self) -> Location:
        root, subfolder = super().base, self.dataset.subfolder
        # Each job asks this: no request for a root that is the subfolder already.
        if subfolder and root.path.rpartition("/")[2] != subfolder:
            below = root.below(subfolder)
            if below.is_folder():
                return below
        return root

    def blacklists(self) -> Mapping[str, str]:
        rule = self.dataset.rule
        if not isinstance(rule, IdListsRule):
            return {}
        texts = {PurePosixPath(name).name: self.base.read_text(name) for name in rule.blacklists}
        return {name: text for name, text in texts.items() if text is not None}

    def _list(self, place: Location) -> Listing:
        return _list_root(self.settings, self.dataset, place, self.base)


def _list_root(settings: Settings, dataset: Dataset, root: Location, base: Location) -> Listing:
    if dataset.rule is None and not settings.split_files and settings.split_manifest is None:
        if dataset.lacks:
            raise SettingsError(
                f"source_root: the class {dataset.name} brings no samples of its own: it has no "
                f"{dataset.lacks}. Add that. (For a folder of files, set split_files or "
                "split_manifest, or list every sample with source_url; then the class's file map "
                "alone is used.)"
            )
        raise SettingsError(
            f"source_root: dataset {dataset.name!r} brings no split rule. Set split_files, e.g. "
            "{train: train_ids.txt}, or split_manifest, or list every sample with source_url."
        )
    check_categories(settings, dataset.rule, dataset.name)
    _check_root(settings, dataset, base)
    requests = [parse_split(text) for text in settings.splits]
    families = families_of(settings, dataset.rule, root)
    ids_of = {
        request.name: split_ids(request.name, dataset.rule, base, root, settings, families)
        for request in requests
    }
    if settings.categories and isinstance(dataset.rule, IdListsRule):
        others = set(dataset.rule.files) - set(ids_of)
        known = [split_ids(split, dataset.rule, base, root, settings) for split in others]
        ids_of = _of_categories(ids_of, known, settings.categories)
    if all(ids is None for ids in ids_of.values()):
        raise SettingsError(
            f"splits: dataset {dataset.name!r} has none of {', '.join(settings.splits)}. "
            "Set splits to those that it has"
            + (f": {families.place} lists {families.names}." if families else ".")
        )
    collector = Collector(settings, dataset)
    wanted = Wanted(dataset.all_files)
    # Behind a URL, one listing of everything is far cheaper than one a sample.
    scan = None if base.is_local else walk(base, wanted)
    spellings = _Spellings(base, scan)
    for request in requests:
        collector.begin(request.name)
        ids = ids_of[request.name]
        if ids is None:
            there = [*settings.split_files, *(name for name in ids_of if ids_of[name])]
            collector.warn(no_split(request, dataset.name, settings, there))
            continue
        if not ids:
            collector.warn(empty(request, dataset.name))
        for sample_id in request.of(ids):
            if collector.is_in(sample_id, request.name):
                collector.warn(twice(sample_id))
            elif collector.is_known(sample_id):
                collector.add_again(sample_id, request.name)
            else:
                _add_of_root(collector, sample_id, request.name, base, wanted, scan, spellings)
    return collector.listing()


def _add_of_root(
    collector: Collector,
    sample_id: str,
    split: str,
    base: Location,
    wanted: Wanted,
    scan: Scan | None,
    spellings: _Spellings,
) -> None:
    """Take up a sample that a split of a dataset root names."""
    if why_invalid(sample_id) is not None:
        # Not looked for: no file system can be asked for a name with a NUL, say.
        collector.add(sample_id, split, {})
        return
    if scan is not None:
        files = scan.folders.get(sample_id, {})
        near = scan.near_misses.get(sample_id, {})
        spelt = None if files or near else spellings.of(sample_id)
        collector.add(sample_id, split, files, near=near, spelt=spelt)
        return
    try:
        files = files_of(base, sample_id, wanted)
        missing = wanted.missing_in(files)
        names = names_in(base, sample_id) if missing else []
    except OSError as error:
        skip_unreadable(collector, sample_id, split, error.strerror or type(error).__name__)
        return
    near = near_misses(names, missing) if missing else {}
    if names:
        near |= no_files(base.join(sample_id), missing)
    spelt = None if files or names else spellings.of(sample_id)
    collector.add(sample_id, split, files, near=near, spelt=spelt)


class _Spellings:
    """Folders whose names differ from an id in case, or in how Unicode composes them, alone.

    A list that was made on another system names them so, and none of its samples would be found.
    """

    def __init__(self, base: Location, scan: Scan | None) -> None:
        self._base = base
        self._of_scan = None if scan is None else _by_spelling(scan.folders)
        self._of_parent: dict[str, dict[str, str]] = {}

    def of(self, sample_id: str) -> str | None:
        """Return the folder that an id might mean, None where there is none."""
        if self._of_scan is not None:
            found = self._of_scan.get(_folded(sample_id))
            return None if found == sample_id else found
        parent, slash, name = sample_id.rpartition("/")
        if parent not in self._of_parent:
            folder = self._base.join(parent) if parent else self._base.path
            try:
                self._of_parent[parent] = _by_spelling(os.listdir(folder))
            except OSError:
                self._of_parent[parent] = {}
        found = self._of_parent[parent].get(_folded(name))
        # One of that very name is there, and is empty or no folder.
        return None if found in (None, name) else f"{parent}{slash}{found}"


def _by_spelling(names: Iterable[str]) -> dict[str, str]:
    return {_folded(name): name for name in names}


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


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
    if marks and base.entries().keys().isdisjoint(marks):
        raise SettingsError(
            f"source_root: {settings.source_root!r} is no {dataset.name} dataset: it has none of "
            f"{', '.join(marks[:3])}{' …' if len(marks) > 3 else ''}. Set source_root to the "
            "dataset's own folder, or list any folder with source_url."
        )
