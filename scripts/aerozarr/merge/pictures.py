"""What the report shows of a few samples' stored points: histograms, and pictures of bodies."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from markupsafe import Markup

from aerozarr.config.fields import Domain, Field
from aerozarr.errors import StoreError
from aerozarr.merge.svg import View, body, colouring, histogram
from aerozarr.messages import printable
from aerozarr.run_config import RunConfig
from aerozarr.store.read.store import Store

Array = npt.NDArray[np.float64]

# Samples that are looked into for histograms, and drawn.
LOOKED_INTO = 8
DRAWN = 4
# Points looked at of each domain of a sample, and drawn.
POINTS = 4096


@dataclass(frozen=True)
class Picture:
    """A body, drawn.

    Attributes
    ----------
    sample_id
        Of which sample.
    points
        How many points were drawn.
    drawing
        SVG.
    """

    sample_id: str
    points: int
    drawing: Markup


class StoredPoints:
    """A few points of a few samples, read back from the store.

    A sample that cannot be read is passed over, with a warning in the log: it is for `verify` to
    say what is wrong with a store, and not a reason to have no manifest.

    Attributes
    ----------
    samples
        The ids of the samples that were read, spread evenly over the manifest.
    """

    def __init__(self, run_config: RunConfig, sample_ids: Sequence[str]) -> None:
        store = Store(
            run_config.settings.store, storage_options=run_config.settings.storage_options
        )
        self._domains = run_config.domains
        few = min(LOOKED_INTO, len(sample_ids))
        self.samples: list[str] = []
        self._values: list[Mapping[str, Array]] = []
        evenly = (sample_ids[n * len(sample_ids) // few] for n in range(few))
        for number, sample in enumerate(evenly):
            # The same points at every merge.
            generator = torch.Generator().manual_seed(number)
            try:
                points = {
                    domain.name: min(POINTS, store.n_points(sample, domain.name))
                    for domain in self._domains
                }
                read = store.read(sample, points, generator=generator, whole_chunks=True)
            except StoreError as error:
                print(f"aerozarr: not in the report's pictures: {error}", file=sys.stderr)
                continue
            self.samples.append(sample)
            self._values.append({name: value.double().numpy() for name, value in read.items()})

    def histogram(self, field: Field) -> Markup:
        """Draw the distribution of a field's values, of all samples that were read."""
        parts = [values[field.canonical] for values in self._values]
        values = np.concatenate([np.empty((0, field.width)), *parts])
        label = f"distribution of {field.canonical}"
        return Markup(histogram(values, label, unit=field.unit or ""))

    def pictures(self) -> tuple[str, list[Picture]]:
        """Return what colours the bodies, and a few of them, seen from one side."""
        domain, field = _to_draw(self._domains)
        few = min(DRAWN, len(self.samples))
        drawn = [n * len(self.samples) // few for n in range(few)]
        bodies = [self._values[number][domain.position.canonical] for number in drawn]
        shades = [
            None if field is None else _shade(self._values[n][field.canonical]) for n in drawn
        ]
        name, title = _what_colours(field)
        known = [shade for shade in shades if shade is not None]
        colours = colouring(np.concatenate(known), title) if known else None
        view = View.of(bodies)
        pictures = []
        for number, points, shade in zip(drawn, bodies, shades, strict=True):
            sample = self.samples[number]
            drawing = body(
                points,
                shade,
                f"points of {printable(sample)}",
                view=view,
                colours=colours,
                unit=domain.position.unit or "",
            )
            pictures.append(Picture(sample, len(points), Markup(drawing)))
        return name, pictures


def _to_draw(domains: tuple[Domain, ...]) -> tuple[Domain, Field | None]:
    """Return the domain to draw and the field that colours it.

    Pressure, or another scalar, or the length of a vector; on the surface where there is one.
    """
    by_name = {domain.name: domain for domain in domains}
    known = [by_name[name] for name in ("surface", "volume") if name in by_name]
    ordered = [*known, *(domain for domain in domains if domain not in known)]
    coloured = [(domain, field) for domain in ordered for field in domain.fields[1:]]
    for domain, field in coloured:
        if field.name == "pressure" and field.width == 1:
            return domain, field
    for domain, field in coloured:
        if field.width == 1:
            return domain, field
    for domain, field in coloured:
        if field.name != "normals":  # all of length 1
            return domain, field
    return ordered[0], None


def _shade(values: Array) -> Array:
    """Return a number a row of shape (n, components): the value, or the length of the vector."""
    if values.shape[1] == 1:
        return values[:, 0]
    with np.errstate(over="ignore"):
        length: Array = np.linalg.norm(values, axis=1)
    return length


def _what_colours(field: Field | None) -> tuple[str, str]:
    """Return the name of what colours the bodies, and what stands above a colour bar."""
    if field is None:
        return "", ""
    name, title = field.canonical, field.name
    if field.width > 1:
        name, title = f"the length of {name}", f"|{title}|"
    return name, f"{title} ({field.unit})" if field.unit else title
