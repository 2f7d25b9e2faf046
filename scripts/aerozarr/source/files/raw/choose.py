"""Which of a file's arrays the file map means."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from aerozarr.config.raw_keys import Association, RawKey
from aerozarr.messages import did_you_mean, printable

Names = Mapping[Literal["point", "cell"], Collection[str]]
"""The names of a file's arrays, by what they have rows for."""

_MOST_NAMES = 20


class Unreadable(Exception):
    """What is wrong with a raw file, as `BrokenSample` has it.

    Parameters
    ----------
    cause, remedy
        What is wrong, and what to do about it; without a final stop.
    is_certain
        False when it may not be the file's fault.
    """

    def __init__(self, cause: str, remedy: str, *, is_certain: bool = True) -> None:
        super().__init__(f"{cause}; {remedy}")
        self.cause = cause
        self.remedy = remedy
        self.is_certain = is_certain


def choose(key: RawKey, names: Names) -> Literal["point", "cell"]:
    """Return whether the array that a file map names is one of points or of cells.

    Raises
    ------
    Unreadable
        When there is none, or one of each.
    """
    found = [association for association in names if key.name in names[association]]
    asked: list[Association] = list(found) if key.association is None else [key.association]
    name = printable(key.name)
    if len(found) > 1 and key.association is None:
        raise Unreadable(
            f"it has a point array and a cell array {name!r}",
            f"say which in filemap: point:{name} or cell:{name}",
        )
    for association in found:
        if association in asked:
            return association
    if found:
        raise Unreadable(
            f"it has no {key.association} array {name!r}, but a {found[0]} array of that name",
            f"name it in filemap as {found[0]}:{name}, with positions that fit: "
            + ("points" if found[0] == "point" else "cell_centers"),
        )
    if not any(names.values()):
        raise Unreadable(
            f"it has no array {name!r}, nor any other",
            "name what its mesh gives in filemap: points, cell_centers, cell_normals or cell_areas",
        )
    every = sorted({one for of in names.values() for one in of})
    raise Unreadable(
        f"it has no array {name!r}; it has {listed(names)}",
        f"name one of them in filemap.{did_you_mean(key.name, every)}".removesuffix("."),
    )


def listed(names: Names) -> str:
    """Return the names of a file's arrays as a text."""
    texts = []
    for association, of in names.items():
        shown = [printable(name) for name in sorted(of)]
        more = " …" if len(shown) > _MOST_NAMES else ""
        if shown:
            texts.append(f"{association} arrays {', '.join(shown[:_MOST_NAMES])}{more}")
    return " and ".join(texts)
