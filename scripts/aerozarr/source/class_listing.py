"""Listing the samples that a dataset class brings."""

from __future__ import annotations

from aerozarr.config.settings import Settings
from aerozarr.errors import SettingsError
from aerozarr.source.collect import Collector
from aerozarr.source.datasets import Dataset, class_ids
from aerozarr.source.samples import Listing
from aerozarr.source.splits import no_split, parse_split, twice


def list_class(settings: Settings, dataset: Dataset, found: type, root: str) -> Listing:
    """List the samples that a class brings for each split asked for.

    Raises
    ------
    SettingsError
        When it can be built for none of them.
    """
    if settings.split_files:
        raise SettingsError(
            f"split_files: {settings.dataset!r} brings its own samples and splits. "
            "Leave split_files out."
        )
    collector = Collector(settings, dataset)
    failed: list[str] = []
    asked: dict[tuple[str, str], int] = {}
    requests = [parse_split(text) for text in settings.splits]
    several_splits = len({request.name for request in requests}) > 1
    for request in requests:
        collector.begin(request.name)
        try:
            ids = class_ids(found, root, request.name, dataset.filemap)
        except (ValueError, KeyError) as error:
            # What a class says to a split that it does not know.
            failed.append(f"{request.name}: {type(error).__name__}: {error}")
            ids = []
        if not ids:
            collector.warn(no_split(request, dataset.name))
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
            elif collector.is_known(sample_id):
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
