"""Which kind of source the settings stand for."""

from __future__ import annotations

from aerozarr.config.settings import Settings
from aerozarr.source.by_class import ClassSource
from aerozarr.source.datasets import Dataset
from aerozarr.source.prefix import PrefixSource
from aerozarr.source.root import RootSource
from aerozarr.source.source import Source


def open_source(settings: Settings, dataset: Dataset, url: str) -> Source:
    """Open the source that settings and dataset stand for.

    Parameters
    ----------
    settings, dataset
        The settings, and the dataset that they name.
    url
        The source: `source_url`, `source_root`, or the example's own folder.
    """
    if settings.source_root is None:
        return PrefixSource(settings, dataset, url)
    if dataset.sample_class is not None:
        return ClassSource(settings, dataset, url, dataset.sample_class)
    return RootSource(settings, dataset, url)
