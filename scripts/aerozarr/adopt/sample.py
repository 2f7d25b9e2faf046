"""One sample is adopted, or not: its group is compared with what a conversion would write there.

The conversion itself runs, into a group that compares instead of writing (`compared_group`): so
what is adopted is what would have been converted, row by row, and its statistics are computed by
the same code. Only the compressed bytes may be other ones.
"""

from __future__ import annotations

import sys
from pathlib import Path

from msgspec.structs import replace

from aerozarr.adopt.compared_store import ComparedStore
from aerozarr.adopt.expected import (
    CONVERT_ANEW,
    MEND_SOURCE,
    AdoptionFindings,
    Listed,
    listed_path,
)
from aerozarr.convert.encode import use_one_thread
from aerozarr.convert.fragment import Fragment
from aerozarr.convert.sample import convert_from_source
from aerozarr.filesystems.files import write_atomically
from aerozarr.messages import printable
from aerozarr.run_config import RunConfig
from aerozarr.store.format.layout import MANIFEST, group_path
from aerozarr.verify.expected import Problem


def adopt_sample(run_config: RunConfig, *, key: str, findings: Path) -> None:
    """Adopt one sample, if its group holds the source's values: the job of `adopt_sample`."""
    use_one_thread()
    listed = Listed.model_validate_json(listed_path(run_config, key).read_bytes())
    found, fragment = compare_sample(run_config, listed)
    for problem in found.problems:
        where = printable(f"{found.sample_id}: {problem.place}")
        print(f"{where}: {printable(problem.what)}; {problem.remedy}", file=sys.stderr)
    if fragment is not None:
        write_atomically(run_config.fragment(key), fragment.to_json())
    # Last: a job that was killed before is done again.
    write_atomically(findings, found.model_dump_json().encode("utf-8"))


def compare_sample(
    run_config: RunConfig, listed: Listed
) -> tuple[AdoptionFindings, Fragment | None]:
    """Compare a sample's group with what a conversion would write, and write nothing.

    Returns
    -------
    findings, fragment
        What was found; and the fragment of a sample that can be adopted, None for another.
    """
    sample = listed.sample
    if listed.relpath != group_path(sample.id):
        what = f"says that its group is {listed.relpath}, and the format {group_path(sample.id)}"
        return _refused(sample.id, [Problem(MANIFEST, what, CONVERT_ANEW)]), None
    compared = ComparedStore(run_config.store, listed, run_config.domains)
    fragment = convert_from_source(run_config, sample, compared)
    group = compared.group
    if fragment.skipped is not None:
        skipped = fragment.skipped
        what = f"the source's {skipped.file} cannot be converted: {skipped.cause}"
        return _refused(sample.id, [Problem(skipped.field, what, MEND_SOURCE)]), None
    if group.problems:
        return _refused(sample.id, group.problems), None
    notes = [*fragment.notes, *group.notes(run_config)]
    fragment = replace(fragment, adopted=True, notes=notes)
    found = AdoptionFindings(
        sample_id=sample.id,
        files=len(fragment.objects),
        stored_bytes=fragment.stored_bytes,
        values=sum(
            record.moments.rows * len(record.moments.finite) for record in fragment.fields.values()
        ),
    )
    return found, fragment


def _refused(sample_id: str, problems: list[Problem]) -> AdoptionFindings:
    return AdoptionFindings(sample_id=sample_id, problems=problems)
