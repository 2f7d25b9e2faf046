"""Verifying one sample: its group, what the manifest says of it, and the values of its source."""

from __future__ import annotations

import sys
from pathlib import Path

from aerozarr.convert.encode import use_one_thread
from aerozarr.convert.rounding import Rounding
from aerozarr.filesystems.files import write_atomically
from aerozarr.messages import printable
from aerozarr.run_config import RunConfig
from aerozarr.store.format.layout import MANIFEST, ROOT_METADATA
from aerozarr.verify.expected import DROP, Expected, Findings, Problem, verification_folder
from aerozarr.verify.group import Group
from aerozarr.verify.layout import check_layout
from aerozarr.verify.scalars import check_scalars
from aerozarr.verify.values import Comparison


def verify_sample(run_config: RunConfig, *, key: str, findings: Path) -> None:
    """Verify one sample: the job of `verify_sample`."""
    path = verification_folder(run_config) / "expected" / f"{key}.json"
    expected = Expected.model_validate_json(path.read_bytes())
    use_one_thread()
    result = check_sample(expected, run_config)
    for problem in result.problems:
        where = f"{printable(expected.sample_id)}: {problem.place}"
        print(f"{where}: {problem.what}; {problem.remedy}", file=sys.stderr)
    write_atomically(findings, result.model_dump_json().encode("utf-8"))


def check_sample(expected: Expected, run_config: RunConfig) -> Findings:
    """Compare a sample's group with its checksums and, unless `verify` is `quick`, its source."""
    problems: list[Problem] = []
    group = Group(run_config.store, expected.sample_id)
    problems += group.check_files(expected)
    intact = bool(expected.objects) and not problems
    rounding: dict[str, Rounding] = {}
    if run_config.settings.verify == "full":
        problems += check_layout(group, expected, run_config.domains)
        if expected.source is None:
            what = "is not among the samples that source and settings (splits, limit) give"
            problems.append(Problem(MANIFEST, what, DROP))
        elif group.has(ROOT_METADATA):
            # By the formats' own libraries: a conversion may have misread a file.
            load = run_config.source.library_loader(expected.source, run_config.domains)
            scalars = run_config.source.scalars_of(expected.source)
            problems += check_scalars(group, load, scalars)
            for domain in run_config.domains:
                compared = Comparison(group, expected, domain, run_config.settings.shuffle_seed)
                compared.intact = intact
                problems += compared.run(load)
                rounding |= compared.rounding
    return Findings(
        sample_id=expected.sample_id,
        problems=problems,
        rounding=rounding,
        files=len(group.sizes),
        stored_bytes=group.read_bytes,
        values=sum(part.values for part in rounding.values()),
    )
