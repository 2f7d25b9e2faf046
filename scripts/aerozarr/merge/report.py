"""The report of a store: one HTML file of its own, with tables and pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from aerozarr.config.fields import Domain, Field
from aerozarr.convert.fragment import Fragment, rounding_lines
from aerozarr.convert.rounding import Rounding
from aerozarr.errors import StoreError
from aerozarr.merge.kept_points import kept_lines
from aerozarr.merge.sidecars import provenance_of
from aerozarr.merge.statistics import statistics
from aerozarr.merge.svg import histogram, scatter
from aerozarr.messages import format_bytes, printable, redacted
from aerozarr.run_config import RunConfig
from aerozarr.source.samples import Sample, Skipped
from aerozarr.store.format.layout import shard_folder
from aerozarr.store.read.store import Store

# Samples that are looked into for histograms, and drawn.
LOOKED_INTO = 8
DRAWN = 6
# Points drawn of a sample, and looked at of each domain.
DRAWN_POINTS = 1500
POINTS = 4096
# Rows of the table of samples.
ROWS = 1000


@dataclass(frozen=True)
class Outcome:
    """What a merge has merged: converted samples with their fragments, and what was skipped."""

    samples: Sequence[Sample]
    fragments: Sequence[Fragment]
    skipped: Sequence[Skipped]
    dataset_name: str


def report_of(run_config: RunConfig, outcome: Outcome) -> str:
    """Return the report, as HTML.

    Parameters
    ----------
    run_config
        The configuration; its store is read for the pictures, a few chunks of a few samples.
    outcome
        What was merged.
    """
    template = files("aerozarr.merge").joinpath("report.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"size": format_bytes, "number": _number, "printable": printable}
    looks = _Looks(run_config, outcome)
    rows = _sample_rows(outcome)
    made = provenance_of(run_config)
    html: str = environment.from_string(template).render(
        name=outcome.dataset_name,
        store=redacted(run_config.settings.store),
        rounding=rounding_lines(run_config.domains, outcome.fragments),
        fields=_field_rows(run_config.domains, outcome),
        histograms=looks.histograms(run_config.domains),
        looked_into=len(looks.samples),
        pictures=looks.pictures(run_config.domains),
        samples=rows[:ROWS],
        sample_count=len(rows),
        domains=[domain.name for domain in run_config.domains],
        seconds=_seconds(outcome),
        skipped=outcome.skipped,
        source_bytes=sum(fragment.source_bytes for fragment in outcome.fragments),
        stored_bytes=sum(fragment.stored_bytes for fragment in outcome.fragments),
        kept_points=kept_lines(run_config.domains, outcome.fragments),
        provenance=made,
        settings={k: json.dumps(v, ensure_ascii=False) for k, v in made["settings"].items()},
    )
    return html


def _field_rows(domains: tuple[Domain, ...], outcome: Outcome) -> list[dict[str, Any]]:
    numbers = statistics(domains, outcome.fragments)
    rows = []
    for field in (field for domain in domains for field in domain.fields):
        name, start = field.canonical, f"{shard_folder(field.array_name)}/"
        stored = sum(
            size
            for fragment in outcome.fragments
            for path, (size, _) in fragment.objects.items()
            if path.startswith(start)
        )
        count = numbers[f"{name}_count"]
        raw = count * field.width * np.dtype(field.dtype).itemsize
        rounding = Rounding.merged(f.fields[name].rounding for f in outcome.fragments)
        rows.append(
            {
                "name": name,
                "dtype": field.dtype,
                "points": count,
                "stored": stored,
                "ratio": raw / max(stored, 1),
                "statistics": {
                    key: numbers[f"{name}_{key}"] for key in ("min", "mean", "max", "std")
                },
                "not_finite": sum(numbers.get(f"{name}_nans", []))
                + sum(numbers.get(f"{name}_infinities", [])),
                "rounding": rounding,
                "flushed": rounding.flushed / max(rounding.values, 1),
            }
        )
    return rows


def _sample_rows(outcome: Outcome) -> list[dict[str, Any]]:
    return [
        {
            "id": fragment.sample_id,
            "split": ", ".join(split for split, _ in sample.splits) or sample.split,
            "points": {name: grid.n_points for name, grid in fragment.domains.items()},
            "source": fragment.source_bytes,
            "stored": fragment.stored_bytes,
            "seconds": fragment.seconds,
            "memory": fragment.peak_memory_mb,
        }
        for sample, fragment in zip(outcome.samples, outcome.fragments, strict=True)
    ]


def _seconds(outcome: Outcome) -> Markup:
    seconds = np.array([[fragment.seconds] for fragment in outcome.fragments])
    return Markup(histogram(seconds, "seconds of conversion, by sample"))


class _Looks:
    """A few points of a few samples, read back from the store.

    A sample that cannot be read is passed over, with a warning in the log: it is for `verify` to
    say what is wrong with a store, and not a reason to have no manifest.
    """

    def __init__(self, run_config: RunConfig, outcome: Outcome) -> None:
        store = Store(
            run_config.settings.store, storage_options=run_config.settings.storage_options
        )
        every = [fragment.sample_id for fragment in outcome.fragments]
        few = min(LOOKED_INTO, len(every))
        self.samples: list[str] = []
        self.values: list[Mapping[str, Any]] = []
        for number, sample in enumerate(every[n * len(every) // few] for n in range(few)):
            points = {
                domain.name: min(POINTS, store.n_points(sample, domain.name))
                for domain in run_config.domains
            }
            # The same points at every merge.
            generator = torch.Generator().manual_seed(number)
            try:
                read = store.read(sample, points, generator=generator, whole_chunks=True)
            except StoreError as error:
                print(f"aerozarr: not in the report's pictures: {error}", file=sys.stderr)
                continue
            self.samples.append(sample)
            self.values.append({name: value.double().numpy() for name, value in read.items()})

    def histograms(self, domains: tuple[Domain, ...]) -> list[tuple[str, Markup]]:
        """Return name and drawing of every field."""
        drawn = []
        for field in (field for domain in domains for field in domain.fields):
            looks = [values[field.canonical] for values in self.values]
            values = np.concatenate([np.empty((0, field.width)), *looks])
            drawing = histogram(values, f"distribution of {field.canonical}")
            drawn.append((field.canonical, Markup(drawing)))
        return drawn

    def pictures(self, domains: tuple[Domain, ...]) -> list[tuple[str, str, Markup]]:
        """Return id, what colours it, and a drawing of a few samples."""
        domain, colour = _to_draw(domains)
        drawn = []
        for sample, values in list(zip(self.samples, self.values, strict=True))[:DRAWN]:
            positions = values[domain.position.canonical][:DRAWN_POINTS]
            shades = None if colour is None else values[colour.canonical][:DRAWN_POINTS, 0]
            drawing = scatter(positions, shades, f"points of {sample}")
            name = "" if colour is None else colour.canonical
            drawn.append((sample, name, Markup(drawing)))
        return drawn


def _to_draw(domains: tuple[Domain, ...]) -> tuple[Domain, Field | None]:
    """Return the domain to draw and the field that colours it: pressure, or another scalar."""
    by_name = {domain.name: domain for domain in domains}
    ordered = [by_name[name] for name in ("surface", "volume") if name in by_name]
    for wanted in ("pressure", None):
        for domain in ordered:
            for field in domain.fields:
                if field.width == 1 and wanted in (field.name, None):
                    return domain, field
    return (ordered or list(domains))[0], None


def _number(value: float | Sequence[float | None] | None) -> str:
    """Return a number, or one a component, in few digits."""
    if value is None:
        return "–"
    if isinstance(value, int | float):
        return f"{value:.4g}"
    return ", ".join(_number(item) for item in value)
