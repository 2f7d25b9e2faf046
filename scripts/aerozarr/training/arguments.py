"""What a `ChunkDataset` is asked for, checked against the store before anything is read.

An error here would otherwise come from some worker, late in an epoch.
"""

from __future__ import annotations

from collections.abc import Iterable

from aerozarr.errors import StoreError
from aerozarr.messages import did_you_mean
from aerozarr.store.read.contents import Points
from aerozarr.store.read.store import Store
from aerozarr.training.normalizer import Normalizer


def choose_samples(store: Store, split: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return the ids of the samples of a split, or those given, or all.

    Raises
    ------
    StoreError
        When the store has no such split or sample, or there is no sample at all.
    """
    if split is None:
        samples, what = tuple(store.samples), "The store"
    elif isinstance(split, str):
        samples, what = _samples_of_split(store, split), f"The split {split!r}"
    else:
        samples, what = tuple(split), "The list of samples"
        known = set(store.samples)
        unknown = [sample for sample in samples if sample not in known]
        if unknown:
            hint = did_you_mean(unknown[0], known) if isinstance(unknown[0], str) else ""
            raise StoreError(
                f"The store has no sample {unknown[0]!r}.{hint} Store.samples lists them."
            )
    if not samples:
        raise StoreError(f"{what} is empty: there is nothing to read.")
    return samples


def _samples_of_split(store: Store, split: str) -> tuple[str, ...]:
    if split in store.splits:
        samples, known = store.splits[split], set(store.samples)
        unknown = [sample for sample in samples if sample not in known]
        if unknown:
            raise StoreError(
                f"The split {split!r} has the sample {unknown[0]!r}, which is not in the store's "
                "manifest: they are of different runs. If the store is a copy, copy it again. If "
                "you converted it, run snakemake with its settings, which writes both anew."
            )
        return samples
    raise StoreError(
        f"The store has no split {split!r}.{did_you_mean(split, store.splits)} "
        + (
            f"Its splits are {', '.join(store.splits)}."
            if store.splits
            else "It has no splits: give the ids of samples, or nothing for all of them. (If "
            "another program wrote the store, snakemake adopt writes those of its dataset.)"
        )
    )


def choose_points(
    store: Store,
    samples: Iterable[str],
    points: Points | None,
    argument: str = "points",
) -> dict[str, int | None] | None:
    """Return points by domain as `Store.subsample` takes them.

    Raises
    ------
    StoreError
        When the store has no such domain, or a sample has fewer points than asked for.
    TypeError
        When `points` does not say how many by domain.
    """
    if points is None:
        return None
    chosen = store.counts_of(points, argument)
    for domain, count in chosen.items():
        if count is None:
            continue
        for sample in samples:
            n_points = store.n_points(sample, domain)
            if not 0 < count <= n_points:
                everything = f", or for all: {{{domain!r}: 'all'}}" if argument == "points" else ""
                raise StoreError(
                    f"{argument}: {count} points of the {domain} were asked for; {sample} has "
                    f"{n_points}. Ask for 1 to {n_points}{everything}, or leave the sample out."
                )
    return chosen


def choose_normalizer(
    store: Store, normalize: bool | Normalizer, split: str | Iterable[str] | None
) -> Normalizer | None:
    """Return what scales values; None when they stay as stored.

    Parameters
    ----------
    store
        The store.
    normalize
        True for the statistics of the train split: of the same family, for a split of one.
    split
        What is read.

    Raises
    ------
    TypeError
        When `normalize` is neither a bool nor a Normalizer.
    StoreError
        When the store has no statistics; of a family's split, none of the family's train split.
    """
    if isinstance(normalize, Normalizer):
        return normalize
    if not isinstance(normalize, bool):
        raise TypeError(
            f"normalize is {normalize!r}; give True for the store's statistics, False, or a "
            "Normalizer (such as Normalizer.of(store, 'train'))."
        )
    if not normalize:
        return None
    family = split.rpartition("/")[0] if isinstance(split, str) else ""
    if not family:
        return Normalizer.of(store)
    train = f"{family}/train"
    if store.has_statistics(train):
        return Normalizer.of(store, train)
    # The train split of another family, or all samples, may hold what this one keeps for its test.
    raise StoreError(
        f"normalize: the store has no statistics of {train!r}, by which {split!r} would be scaled, "
        "and others may be of samples that the family keeps for its test. Say which samples to go "
        "by: normalize=Normalizer.of(store, …), with the name of a split or the ids of samples. Or "
        f"convert {train!r} too (splits)."
    )
