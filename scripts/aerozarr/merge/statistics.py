"""Statistics and moments of converted samples, from their fragments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aerozarr.config.fields import Domain
from aerozarr.convert.fragment import Fragment
from aerozarr.store.format.moments import Moments
from aerozarr.store.format.statistics import merged_statistics


def statistics(domains: tuple[Domain, ...], fragments: Sequence[Fragment]) -> dict[str, Any]:
    """Return the statistics of some samples, as `merged_statistics` does.

    Parameters
    ----------
    domains
        The dataset's domains.
    fragments
        Those of converted samples.
    """
    fields = [field.canonical for domain in domains for field in domain.fields]
    positions = {domain.position.canonical for domain in domains}
    return merged_statistics(fields, positions, [moments_of(fragment) for fragment in fragments])


def moments_of(fragment: Fragment) -> dict[str, Moments]:
    """Return the moments of a converted sample's fields, by canonical name."""
    return {name: record.moments for name, record in fragment.fields.items()}
