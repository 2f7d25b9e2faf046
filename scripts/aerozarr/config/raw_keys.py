"""What of a raw simulation file is a field: a value of a file map after its `::`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Association = Literal["point", "cell", "sample"]
"""What there is a row of an array for: each point, each cell, or each point of a resampling."""

Derived = Literal[
    "points", "cell_centers", "cell_normals", "cell_areas", "resampled", "signed_distance"
]

# What is not an array in the file and needs no more said, and what there is a row of it for.
_PLAIN: dict[Derived, Association] = {
    "points": "point",
    "cell_centers": "cell",
    "cell_normals": "cell",
    "cell_areas": "cell",
}
_RESAMPLED = re.compile(r"resampled\((?P<count>[1-9]\d{0,9})\)")
_DISTANCE = re.compile(r"((?P<association>point|cell):)?signed_distance\((?P<file>.+)\)")
_PREFIXED = re.compile(r"(?P<association>point|cell):(?P<name>.+)", re.DOTALL)


@dataclass(frozen=True)
class RawKey:
    """What of a raw file is a field.

    Attributes
    ----------
    name
        The array's name; empty for what is derived.
    association
        Which of the file's arrays of that name; None where the file says.
    derived
        What is no array in the file, or None.
    count
        Of `resampled`, how many points.
    surface
        Of `signed_distance`, the file of the surface, as a file map names it.
    """

    name: str = ""
    association: Association | None = None
    derived: Derived | None = None
    count: int = 0
    surface: str | None = None

    def is_of(self, association: Association, name: str) -> bool:
        """Whether an array of a file is the one that is meant."""
        return self.name == name and self.association in (None, association)


def parse_raw_key(text: str) -> RawKey:
    """Return what a value of a file map says after its `::`, for a raw file.

    `points`, `cell_centers`, `cell_normals`, `cell_areas` and `resampled(n)` are derived from the
    mesh, and `cell:signed_distance(body.stl)` from it and another file. Anything else is the name
    of an array, with `point:` or `cell:` before it where a file has one of each; `point:points` is
    an array of that name.
    """
    match = _RESAMPLED.fullmatch(text)
    if match is not None:
        return RawKey(derived="resampled", association="sample", count=int(match["count"]))
    for derived, association in _PLAIN.items():
        if text == derived:
            return RawKey(derived=derived, association=association)
    match = _DISTANCE.fullmatch(text)
    if match is not None:
        return RawKey(
            derived="signed_distance",
            association=_association(match),
            surface=match["file"],
        )
    match = _PREFIXED.fullmatch(text)
    if match is not None:
        return RawKey(match["name"], _association(match))
    return RawKey(text)


def _association(match: re.Match[str]) -> Association | None:
    by_name: dict[str, Association] = {"point": "point", "cell": "cell"}
    return by_name.get(match["association"] or "")


def surfaces_in(key: str | None) -> list[str]:
    """Return the other file that a value of a file map needs after its `::`, if it does."""
    surface = parse_raw_key(key).surface if key else None
    return [surface] if surface else []
