"""Datasets that are given as the dotted path of a class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aerozarr.config.load_settings import load_settings
from aerozarr.source.datasets import Dataset, resolve_dataset
from unit.listing_helpers import FILEMAP

Module = Callable[[str], str]
"""The fixture `module`, which writes a module and returns its name."""

# A class that brings its samples.
SAMPLES = """
class Cars:
    FILEMAP = {map}
    def __init__(self, root, split):
        self.root, self.split = root, split
        self.names = {"train": ["t0", "t1", "t2"], "test": ["e0", "e1"]}[split]
    def __len__(self):
        return len(self.names)
    def sample_info(self, index):
        return {"run_name": self.names[index]}
    def _load(self, index, filename):
        return (self.root, self.split, index, filename)
""".replace("{map}", repr(FILEMAP))


def resolve(dataset: str, **config: Any) -> Dataset:
    """Resolve a dataset that is listed below a folder."""
    return resolve_dataset(load_settings({"dataset": dataset, "source_url": "/data", **config}))
