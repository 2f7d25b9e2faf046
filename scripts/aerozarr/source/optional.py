"""Optional fields of a file map: a store has them in all of its samples, or in none."""

from __future__ import annotations

from dataclasses import replace

from aerozarr.config.filemap import is_optional, parse_files, with_optional
from aerozarr.config.settings import Settings
from aerozarr.source.datasets import Dataset
from aerozarr.source.open_source import open_source


def settle_optional(settings: Settings, dataset: Dataset, url: str) -> Settings:
    """Return settings whose file map says which optional fields the source has.

    A field that any sample has is one of all: a sample without it is incomplete. Asked once, when a
    run begins; its jobs go by the answer.

    Parameters
    ----------
    settings, dataset
        The settings, and the dataset that they name.
    url
        The source.

    Raises
    ------
    SettingsError
        When the source cannot be listed.
    """
    optional = [text for text in dataset.filemap.values() if is_optional(text)]
    files = {part.file for text in optional for part in parse_files(text)}
    if not files:
        return settings
    without = replace(dataset, filemap=with_optional(dataset.filemap, ()))
    found = open_source(settings, without, url).which_are_there(files)
    filemap = with_optional(dataset.filemap, found)
    return settings.model_copy(update={"filemap": filemap})
