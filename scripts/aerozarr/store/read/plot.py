"""A picture of a sample's points. Needs matplotlib, which nothing else of a reader does."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from aerozarr.errors import StoreError
from aerozarr.messages import printable
from aerozarr.store.read.contents import Contents

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    from aerozarr.store.read.store import Store

# Inches, and dots in each, of a new figure.
_SIZE = (7.0, 5.0)
_DOTS = 110
# Letters of a label that are shown.
_LETTERS = 60
# Points between an axis' numbers and its name.
_LABEL_PAD = 10


def plot_sample(
    store: Store,
    sample: str,
    field: str | None,
    *,
    component: int | None,
    points: int,
    ax: Any,
) -> Figure:
    """Draw some points of a sample; see `Store.plot`."""
    figure_class = _import_matplotlib()
    field = _default_field(store) if field is None else field
    domain = store.domain_of(field)
    position = store.position_of(domain)
    width = store.manifest.domains[domain].arrays[field].dim
    _check_component(field, component, width)
    count = min(points, store.n_points(sample, domain))
    if count < 1:
        raise StoreError(f"points is {points!r}. Ask for 1 or more points.")
    read = store.read(sample, {domain: count}, {field, position}, torch.Generator().manual_seed(0))
    places = read[position].double().numpy()
    shades, what = _shades(read[field].double().numpy(), field, component)
    units = store.units_of(sample, {field, position})
    if ax is None:
        figure: Figure = figure_class(figsize=_SIZE, dpi=_DOTS, layout="constrained")
        ax = figure.add_subplot(projection="3d")
    _draw(ax, places, shades, f"{what}{_in(units.get(field))}", _in(units.get(position)))
    _plain(ax.set_title(_short(sample)))
    made: Figure = ax.get_figure(root=True)
    return made


def _import_matplotlib() -> Any:
    """Return the class of new figures, which notebooks show."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(
            "Store.plot draws with matplotlib, which is not installed. Install it: pip install "
            "matplotlib."
        ) from None

    class ShownFigure(Figure):
        """A figure that a notebook shows, also where pyplot was never imported."""

        def _repr_png_(self) -> bytes:
            content = io.BytesIO()
            self.savefig(content, format="png")
            return content.getvalue()

    return ShownFigure


def _default_field(store: Contents) -> str:
    """Return a pressure or another field of one component, of the surface before others."""
    arrays = [
        (domain != "surface", not field.endswith("_pressure"), array.dim > 1, number, field)
        for domain, entry in store.manifest.domains.items()
        for number, (field, array) in enumerate(entry.arrays.items())
        if field != entry.position
    ]
    # Positions alone are coloured by themselves.
    return min(arrays)[-1] if arrays else next(iter(store.manifest.domains.values())).position


def _check_component(field: str, component: int | None, width: int) -> None:
    if component is None:
        return
    if isinstance(component, bool) or not isinstance(component, int) or not 0 <= component < width:
        raise StoreError(
            f"component is {component!r}, and {field} has {width}. Give 0 to {width - 1}, or None "
            "for the magnitude."
        )


def _shades(
    values: np.ndarray[Any, Any], field: str, component: int | None
) -> tuple[np.ndarray[Any, Any], str]:
    """Return a number for each point, and what it is."""
    if values.shape[1] == 1:
        return values[:, 0], _short(field)
    if component is None:
        return np.linalg.norm(values, axis=1), f"|{_short(field)}|"
    return values[:, component], f"{_short(field)}, component {component}"


def _draw(
    ax: Any,
    places: np.ndarray[Any, Any],
    shades: np.ndarray[Any, Any],
    label: str,
    unit: str,
) -> None:
    shown = np.isfinite(places).all(axis=1) & np.isfinite(shades)
    if not shown.any():
        raise StoreError(f"{label}: none of these points has a finite value to be drawn.")
    places, shades = places[shown], shades[shown]
    # Larger where there are few, so that a body is seen and not dust.
    size = float(np.clip(4e4 / len(places), 1, 20))
    drawn = ax.scatter(*places.T, c=shades, s=size, linewidths=0, depthshade=False)
    ax.set_aspect("equal")
    extents = np.ptp(places, axis=0)
    for name, extent in zip("xyz", extents, strict=True):
        axis = getattr(ax, f"{name}axis")
        # So that numbers along a short side do not cover each other.
        axis.get_major_locator().set_params(
            nbins=max(2, round(6 * extent / max(extents.max(), 1e-300)))
        )
        axis.set_label_text(f"{name}{unit}")
        axis.labelpad = _LABEL_PAD
        _plain(axis.label)
    bar = ax.get_figure().colorbar(drawn, ax=ax, shrink=0.7, pad=0.14)
    bar.set_label(label)
    _plain(bar.ax.yaxis.label)


def _plain(text: Text) -> None:
    # Names and units come from the store: a dollar sign in them begins no formula.
    text.set_parse_math(False)


def _in(unit: str | None) -> str:
    return "" if unit is None else f" ({_short(unit)})"


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= _LETTERS else f"{text[:_LETTERS]}…"
