"""Ending an adoption: what was found, told, and the files beside the manifest written."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from aerozarr.adopt.expected import (
    CONVERT_ANEW,
    NOT_IN_SOURCE,
    TAKE_OVER,
    AdoptionFindings,
    AdoptionPlan,
    findings_path,
    outcome_path,
    plan_path,
)
from aerozarr.convert.known_arrays import known_arrays
from aerozarr.errors import StoreError
from aerozarr.filesystems.files import write_atomically
from aerozarr.merge.merge_manifest import merge_manifest
from aerozarr.messages import first_lines, format_bytes, plural, printable, redacted
from aerozarr.run_config import RunConfig
from aerozarr.store.format.layout import MANIFEST
from aerozarr.store.format.tables import table_text
from aerozarr.store.write.records import Written, read_written

Row = tuple[str, str, str, str]
"""Sample, place, what is wrong, and what to do about it."""


def adopt(
    run_config: RunConfig,
    *,
    table: Path,
    incomplete: Path,
    merged: Path,
    report: Path,
    problems: Path,
) -> None:
    """Merge what was adopted, if it is all that the manifest lists: the job of `adopt`.

    Parameters
    ----------
    run_config
        The configuration.
    table, incomplete, merged, report
        As for `merge_manifest`.
    problems
        Where the table of what was not adopted, and why, goes.

    Raises
    ------
    StoreError
        When not all of it could be adopted: then the manifest and what is beside it stay as they
        are. Also as `merge_manifest` does.
    """
    plan = AdoptionPlan.model_validate_json(plan_path(run_config).read_bytes())
    found = [
        AdoptionFindings.model_validate_json(findings_path(run_config, key).read_bytes())
        for key in plan.adopt
    ]
    rows = [(one.sample_id, *problem) for one in found for problem in one.problems]
    absent = "is in the manifest, and not among the samples that source and settings give"
    rows += [(sample_id, MANIFEST, absent, NOT_IN_SOURCE) for sample_id in plan.not_in_source]
    adopted = [one for one in found if not one.problems]
    written = read_written(run_config.store)
    if not (adopted or plan.keep) and (written is None or not written.dataset):
        rows = [(*row[:3], TAKE_OVER if row[3] == CONVERT_ANEW else row[3]) for row in rows]
    columns = ("sample", "place", "problem", "remedy")
    write_atomically(problems, table_text(rows, columns).encode("utf-8"))
    if adopted or plan.keep:
        run_config.check_lease()
        # Only now: until a sample holds this source's values, nothing says that they are of it.
        arrays = known_arrays(run_config, written)
        written = Written(
            run_config.settings.dataset,
            tuple(plan.sources),
            frozenset(plan.groups),
            run_config.writer,
            arrays,
        )
        run_config.record_written(written)
    if not rows:
        keys = {*plan.adopt, *plan.keep}
        merge_manifest(
            run_config,
            table=table,
            incomplete=incomplete,
            merged=merged,
            report=report,
            keys=keys,
        )
    lines = outcome_lines(run_config, plan, adopted, rows)
    write_atomically(outcome_path(run_config), "\n".join(lines).encode("utf-8"))
    if rows:
        raise StoreError(f"not everything was adopted; {problems} has the list")


def outcome_lines(
    run_config: RunConfig, plan: AdoptionPlan, adopted: list[AdoptionFindings], rows: list[Row]
) -> list[str]:
    """Return what came of an adoption, for the person at the terminal; the last line is the result.

    Parameters
    ----------
    run_config, plan
        The configuration, and what there was to do.
    adopted
        What was found of the samples that were adopted.
    rows
        Why others were not.
    """
    store = redacted(run_config.settings.store).rstrip("/")
    looked_at = (
        f"{plural(sum(one.files for one in adopted), 'file')}, "
        f"{format_bytes(sum(one.stored_bytes for one in adopted))}, "
        f"{sum(one.values for one in adopted):,} values compared with the source"
    )
    head = f"{plural(len(adopted), 'sample')} of {store} adopted"
    if adopted:
        head += f" ({looked_at})"
    if plan.keep:
        head += f"; {plural(len(plan.keep), 'sample')} adopted or converted before"
    if not rows:
        return [head]
    lines = first_lines(
        printable(f"{sample_id}: {place}: {problem}") for sample_id, place, problem, _ in rows
    )
    counts = Counter(remedy for *_, remedy in rows)
    lines += [
        f"what to do about {plural(count, 'problem')}: {remedy}"
        for remedy, count in counts.most_common()
    ]
    if not (adopted or plan.keep):
        lines.append(
            "no sample holds what this source and these settings give, so nothing was recorded: is "
            "it the right source, and was the store shuffled as the format says?"
        )
    else:
        lines.append(head)
    wrong = len({sample_id for sample_id, *_ in rows})
    lines.append(
        f"{store} is NOT adopted as a whole: {plural(wrong, 'sample')} cannot be. Its {MANIFEST} "
        "and all groups are as they were"
    )
    return [f"not adopted ({plural(wrong, 'sample')}):", *lines]
