"""The statistics of a store: those that it holds, and those that follow from its moments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aerozarr.errors import StoreError
from aerozarr.messages import printable
from aerozarr.store.format.layout import MANIFEST, MOMENTS, statistics_name
from aerozarr.store.format.moments_file import read_moments
from aerozarr.store.format.statistics import merged_statistics
from aerozarr.store.read.contents import Contents
from aerozarr.store.read.store_files import StoreFiles


class StoreStatistics(StoreFiles, Contents):
    """What a store that is opened says of its values."""

    def __init__(self) -> None:
        self._statistics: dict[str | None, Mapping[str, Any] | None] = {}

    def statistics(self, split: str | Iterable[str] | None = None) -> Mapping[str, Any]:
        """Return the statistics of the stored values.

        Parameters
        ----------
        split
            Of which split; or the ids of any samples, whose moments are then merged, each sample
            named once; None for all samples.

        Returns
        -------
        mapping
            `<canonical>_mean`, `_std`, `_min`, `_max`, `_logscale_mean`, `_logscale_std` (a number
            a component; None without finite values), `_count`, and `raw_pos_min`, `raw_pos_max`.

        Raises
        ------
        StoreError
            When the store has none; of a list, when a sample in it is not in the store or is named
            twice, or when the store does not keep the moments of its samples.
        """
        if split is not None and not isinstance(split, str):
            return self._merge_statistics(list(split))
        found = self._find_statistics(split)
        if found is None:
            raise StoreError(
                f"{self._name} holds no {statistics_name(split)}. Run snakemake with the store's "
                "settings to have it written; if another program wrote the store, snakemake adopt, "
                "which converts nothing."
            )
        return found

    def has_statistics(self, split: str | None = None) -> bool:
        """Whether the store holds the statistics of a split, or of all samples."""
        return self._find_statistics(split) is not None

    def _merge_statistics(self, samples: list[str]) -> Mapping[str, Any]:
        """Return the statistics of some samples, merged from their moments."""
        if not samples:
            raise StoreError("The list of samples is empty: there are no statistics of nothing.")
        wanted: set[str] = set()
        for sample in samples:
            self._sample(sample)
            if sample in wanted:
                raise StoreError(
                    f"The list of samples names {sample!r} twice, which would count it twice in "
                    "the statistics. Name each sample once."
                )
            wanted.add(sample)
        content = self._read_file(MOMENTS)
        if content is None:
            raise StoreError(
                f"{self._name} holds no {MOMENTS}, so there are statistics of its splits and of "
                "all samples alone. If you converted it, run snakemake with its settings, which "
                f"writes {MOMENTS} and converts nothing again."
            )
        domains = self.manifest.domains.values()
        widths = {name: array.dim for domain in domains for name, array in domain.arrays.items()}
        try:
            found = read_moments(content, wanted, widths)
        except ValueError as error:
            raise self._damaged(MOMENTS, str(error)) from None
        missing = next((sample for sample in samples if sample not in found), None)
        if missing is not None:
            raise self._damaged(MOMENTS, f"it lacks {printable(missing)}, which {MANIFEST} lists")
        positions = {domain.position for domain in domains}
        return merged_statistics(widths, positions, [found[sample] for sample in samples])

    def _find_statistics(self, split: str | None) -> Mapping[str, Any] | None:
        if split not in self._statistics:
            self._statistics[split] = self._read_json(statistics_name(split))
        return self._statistics[split]
