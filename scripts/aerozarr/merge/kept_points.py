"""What to say of a store that holds a part of its source's points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aerozarr.config.fields import Domain
from aerozarr.convert.fragment import Fragment


def kept_lines(domains: Iterable[Domain], fragments: Sequence[Fragment]) -> list[str]:
    """Return a line for each domain of which not all points are stored (`keep_points`).

    Parameters
    ----------
    domains
        The dataset's domains.
    fragments
        Those of converted samples.

    Returns
    -------
    list of str
        `volume: 10 % of the points (1,200 of 12,000)`, of all samples together.
    """
    lines = []
    for name in (domain.name for domain in domains):
        stored = sum(fragment.domains[name].n_points for fragment in fragments)
        there = sum(fragment.points_in_source(name) for fragment in fragments)
        if stored < there:
            share = 100 * stored / there
            lines.append(f"{name}: {share:.3g} % of the points ({stored:,} of {there:,})")
    return lines
