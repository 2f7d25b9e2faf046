"""The report of a store: one HTML file, without scripts and without anything from elsewhere."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from aerozarr.config.fields import Domain, Field
from aerozarr.convert.fragment import Fragment
from aerozarr.convert.rounding import Rounding
from aerozarr.merge.pictures import POINTS, StoredPoints
from aerozarr.merge.report_words import breakable, format_number, format_seconds, format_share
from aerozarr.merge.sidecars import provenance_of
from aerozarr.merge.summary import Summary
from aerozarr.merge.svg import COMPONENTS, colour_rules, histogram
from aerozarr.merge.unused_arrays import unused_arrays_here
from aerozarr.messages import SHOWN, format_bytes, plural, printable, redacted
from aerozarr.run_config import RunConfig
from aerozarr.source.samples import Sample, Skipped, ids_by_split
from aerozarr.store.format.layout import shard_folder

# Rows of a table: those that are seen, and with those that can be unfolded. So the page stays
# small: one of 10,000 samples has below 2 MB.
SEEN = 25
ROWS = 400
# Samples that are named of those that were skipped for the same reason.
NAMED = 5
# Components of a field that have numbers of their own.
SHOWN_COMPONENTS = 6
SHOWN_SPLITS = 12

# What is wrong with skipped samples, in words, the worst first.
_KINDS = {
    "unreadable": "unreadable",
    "broken": "broken",
    "invalid_id": "with an id that cannot be stored",
    "incomplete": "incomplete",
    "absent": "not there at all",
    "excluded": "excluded by the settings",
}


@dataclass(frozen=True)
class Outcome:
    """What a merge has merged.

    Attributes
    ----------
    samples, fragments
        The converted samples, in sample order, and their fragments.
    skipped
        The samples that were skipped.
    dataset_name
        The dataset's name.
    statistics
        Of all converted samples, as `merged_statistics` returns them.
    """

    samples: Sequence[Sample]
    fragments: Sequence[Fragment]
    skipped: Sequence[Skipped]
    dataset_name: str
    statistics: Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """What came of a conversion, in a sentence.

    Attributes
    ----------
    level
        `good`; `fair`, when samples are missing or there is something to know; `bad`, when samples
        are broken or could not be read.
    text
        The sentence.
    kinds
        Number of skipped samples by what is wrong with them, in words, the worst first.
    """

    level: str
    text: str
    kinds: Mapping[str, int]


def report_of(run_config: RunConfig, summary: Summary, outcome: Outcome) -> str:
    """Return the report, as HTML.

    Parameters
    ----------
    run_config
        The configuration; its store is read for the pictures, a few chunks of a few samples.
    summary, outcome
        What is told at the terminal, and what was merged.
    """
    template = files("aerozarr.merge").joinpath("report.html.jinja").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "size": format_bytes,
        "number": format_number,
        "share": format_share,
        "duration": format_seconds,
        "text": breakable,
        "printable": printable,
    }
    points = StoredPoints(run_config, [fragment.sample_id for fragment in outcome.fragments])
    coloured_by, pictures = points.pictures()
    made = provenance_of(run_config)
    fragments = outcome.fragments
    reasons = _reason_rows(outcome.skipped)
    splits = [(split, len(ids)) for split, ids in ids_by_split(outcome.samples).items()]
    seconds = [fragment.seconds for fragment in fragments]
    changed, usual = _settings(run_config)
    samples = _sample_rows(outcome)
    html: str = environment.from_string(template).render(
        name=outcome.dataset_name,
        store=redacted(run_config.settings.store),
        colours={scheme: Markup(colour_rules(scheme)) for scheme in ("light", "dark")},
        verdict=verdict_of(summary, outcome),
        notes=[*_notes(summary), *_not_used(run_config, outcome)],
        sample_count=len(fragments),
        point_count=sum(row["points"] for row in samples),
        kept_points=summary.kept_points,
        splits=splits[:SHOWN_SPLITS],
        more_splits=len(splits) - len(splits[:SHOWN_SPLITS]),
        source_bytes=summary.source_bytes,
        stored_bytes=summary.stored_bytes,
        reasons=reasons[:ROWS],
        reason_count=len(reasons),
        coloured_by=coloured_by,
        pictures=pictures,
        fields=_field_rows(run_config.domains, outcome, points),
        looked_into=len(points.samples),
        looked_at=POINTS,
        first_points=run_config.settings.chunk_points,
        samples=samples[:ROWS],
        seen=SEEN,
        total_seconds=sum(seconds),
        median_seconds=float(np.median(seconds)) if seconds else 0.0,
        adopted=sum(fragment.adopted for fragment in fragments),
        spread=_spread(samples),
        provenance=made,
        settings=changed,
        usual_settings=usual,
    )
    return html


def verdict_of(summary: Summary, outcome: Outcome) -> Verdict:
    """Return what came of a conversion.

    Parameters
    ----------
    summary, outcome
        What is told at the terminal, and what was merged.
    """
    found = Counter("absent" if row.is_absent else row.kind for row in outcome.skipped)
    kinds = {words: found[kind] for kind, words in _KINDS.items() if found[kind]}
    converted, wanted = len(outcome.fragments), len(outcome.fragments) + len(outcome.skipped)
    missing = wanted - converted - found["excluded"]
    if missing:
        broken = found["broken"] + found["unreadable"] + found["invalid_id"]
        absent = found["incomplete"] + found["absent"]
        parts = [f"{broken:,} cannot be converted"] if broken else []
        are = "is" if absent == 1 else "are"
        parts += [f"{absent:,} {are} missing or not complete"] if absent else []
        text = f"{converted:,} of {wanted:,} samples are in the store; {', '.join(parts)}."
    elif found["excluded"]:
        text = f"All samples but the excluded ones are in the store: {converted:,} of {wanted:,}."
    else:
        text = f"All {converted:,} samples are in the store."
        if converted == 1:
            text = "The one sample is in the store."
    if found["broken"] or found["unreadable"]:
        level = "bad"
    else:
        level = "fair" if missing or _notes(summary) else "good"
    return Verdict(level, text, kinds)


def _notes(summary: Summary) -> list[tuple[str, list[str]]]:
    """Return what should be known besides, each with the first few of what it is said of."""
    notes: list[tuple[str, list[str]]] = [(note, []) for note in summary.notes[:SHOWN]]
    if summary.unreadable:
        number = plural(len(summary.unreadable), "sample")
        notes.insert(0, (f"{number} could not be read; the next run tries again.", []))
    if summary.not_finite:
        have = "has" if len(summary.not_finite) == 1 else "have"
        number = plural(len(summary.not_finite), "sample")
        text = f"{number} {have} values that are not finite (NaN or infinite), kept as they are:"
        notes.append((text, _first(summary.not_finite)))
    if summary.orphans:
        number = plural(len(summary.orphans), "group")
        text = f"{number} in the store that the manifest does not list (snakemake remove_orphans):"
        notes.append((text, _first(summary.orphans)))
    return notes


def _not_used(run_config: RunConfig, outcome: Outcome) -> list[tuple[str, list[str]]]:
    """Return the arrays of raw files that the store leaves out, by those of one sample."""
    converted = {fragment.sample_id for fragment in outcome.fragments}
    sample = next((sample for sample in outcome.samples if sample.id in converted), None)
    lines = unused_arrays_here(run_config, sample) if sample is not None else []
    return [("The raw files hold arrays that no field is made of:", _first(lines))] if lines else []


def _first(items: Sequence[str]) -> list[str]:
    more = len(items) - SHOWN
    return [*items[:SHOWN], *([f"and {more:,} more"] if more > 0 else [])]


def _reason_rows(skipped: Sequence[Skipped]) -> list[dict[str, Any]]:
    """Return why samples were skipped, and which: the worst first, and what many share."""
    by_reason: dict[tuple[str, ...], list[str]] = {}
    for row in sorted(skipped, key=lambda row: (row.split, row.id)):
        kind = "absent" if row.is_absent else row.kind
        reason = (kind, row.field, row.file, row.cause, row.remedy)
        by_reason.setdefault(reason, []).append(row.id)
    names = ("kind", "field", "file", "cause", "remedy")
    rows = [
        {
            **dict(zip(names, reason, strict=True)),
            "count": len(ids),
            "ids": ids[:NAMED],
        }
        for reason, ids in by_reason.items()
    ]
    kinds = [*_KINDS]
    return sorted(rows, key=lambda row: (kinds.index(row["kind"]), -row["count"]))


def _field_rows(
    domains: tuple[Domain, ...], outcome: Outcome, points: StoredPoints
) -> list[dict[str, Any]]:
    numbers = outcome.statistics
    by_path: Counter[str] = Counter()  # the same few paths in each sample
    for fragment in outcome.fragments:
        for path, (size, _) in fragment.objects.items():
            by_path[path] += size
    stored: Counter[str] = Counter()
    for path, size in by_path.items():
        stored[path.rsplit("/", 2)[0]] += size  # without the shard's two numbers
    rows = []
    for field in (field for domain in domains for field in domain.fields):
        name = field.canonical
        in_store = stored[shard_folder(field.array_name)]
        rounding = Rounding.merged(f.fields[name].rounding for f in outcome.fragments)
        n_points = sum(f.domains[field.domain].n_points for f in outcome.fragments)
        raw = n_points * field.width * np.dtype(field.dtype).itemsize
        rows.append(
            {
                "name": name,
                "long_name": field.long_name,
                "unit": field.unit or "",
                "dtype": field.dtype,
                "points": n_points,
                "components": _component_rows(field, numbers),
                "more_components": max(0, field.width - SHOWN_COMPONENTS),
                "histogram": points.histogram(field),
                "stored": in_store,
                "raw": raw,
                "not_finite": sum(numbers.get(f"{name}_nans", []))
                + sum(numbers.get(f"{name}_infinities", [])),
                "rounding": rounding,
                "flushed": rounding.flushed / max(rounding.values, 1),
            }
        )
    return rows


def _component_rows(
    field: Field, numbers: Mapping[str, Any]
) -> list[tuple[str, list[float | None]]]:
    """Return name, least, mean, greatest and standard deviation of each component."""
    columns = [numbers[f"{field.canonical}_{key}"] for key in ("min", "mean", "max", "std")]
    names = COMPONENTS if field.width == len(COMPONENTS) else [str(n) for n in range(field.width)]
    if field.width == 1:
        names = [""]
    rows = [(name, list(row)) for name, *row in zip(names, *columns, strict=True)]
    return rows[:SHOWN_COMPONENTS]


def _sample_rows(outcome: Outcome) -> list[dict[str, Any]]:
    """Return what is said of each sample, the slowest first."""
    rows = [
        {
            "id": fragment.sample_id,
            "split": ", ".join(split for split, _ in sample.splits) or sample.split,
            "points": sum(grid.n_points for grid in fragment.domains.values()),
            "source": fragment.source_bytes,
            "stored": fragment.stored_bytes,
            "seconds": fragment.seconds,
            "memory": fragment.peak_memory_mb,
        }
        for sample, fragment in zip(outcome.samples, outcome.fragments, strict=True)
    ]
    return sorted(rows, key=lambda row: -row["seconds"])


def _spread(samples: Sequence[Mapping[str, Any]]) -> list[tuple[str, Markup]]:
    """Return histograms of the samples' times and sizes; none where they would say nothing."""
    if len(samples) < 3:
        return []
    drawn = []
    for caption, unit, values in (
        ("Time of a conversion", "s", [row["seconds"] for row in samples]),
        ("Size in the store", "MB", [row["stored"] / 1e6 for row in samples]),
    ):
        column = np.array(values, dtype=np.float64)[:, None]
        drawn.append((caption, Markup(histogram(column, caption, unit=unit))))
    return drawn


def _settings(run_config: RunConfig) -> tuple[dict[str, str], dict[str, str]]:
    """Return the settings that are not at their defaults, as JSON, and those that are."""
    settings = run_config.settings
    secret = {"storage_options"}
    all_of_them = redacted(settings.model_dump(mode="json", exclude=secret))
    changed = redacted(settings.model_dump(mode="json", exclude=secret, exclude_defaults=True))
    usual = {key: value for key, value in all_of_them.items() if key not in changed}
    as_json = [
        {key: json.dumps(value, ensure_ascii=False) for key, value in part.items()}
        for part in (changed, usual)
    ]
    return as_json[0], as_json[1]
