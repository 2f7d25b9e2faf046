"""What the person at the terminal reads of a run, and when: our lines come last.

Snakemake says last what it did with its jobs. What became of the store is said after that, also
after a run that had nothing to do, failed, or only looked.
"""

from __future__ import annotations

import atexit
import contextlib
from pathlib import Path

from aerozarr.errors import AerozarrError
from aerozarr.merge.remove_orphans import orphans_of
from aerozarr.merge.summary import read_summary
from aerozarr.messages import first_lines, plural, printable, tell
from aerozarr.run_config import MERGED, RunConfig
from aerozarr.verify.store import read_verdict
from aerozarr.workflow import snakemake_internals
from aerozarr.workflow.run import Run


class Outcome:
    """Says what came of a run when its process ends.

    Attributes
    ----------
    ended
        What Snakemake said of the run: `done` or `failed`; empty for one with nothing to do.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self.ended = ""
        if run.workflow.is_main_process:
            atexit.register(self.report)

    def report(self) -> None:
        """Say what came of the run, if it got as far as to have jobs."""
        run = self._run
        if not snakemake_internals.has_scheduler(run.workflow):
            return  # a mode that only looks, or an error that Snakemake has told
        with contextlib.chdir(run.directory):
            if snakemake_internals.is_dry_run(run.workflow):
                tell(*forecast_lines(run))
            elif self.ended == "failed":
                tell(*failure_lines(run))
            elif self.ended or snakemake_internals.had_nothing_to_do(run.workflow):
                tell(*result_lines(run))


def result_lines(run: Run) -> list[str]:
    """Return where the store is, how many samples it has, and what was skipped and why."""
    if "estimate" in run.targets:
        return _log_lines(run.config, "estimate")
    if run.verifies:
        verdict = read_verdict(run.verification / "verdict.json")
        return verdict.lines() if verdict is not None else []
    summary = read_summary(run.config.place(MERGED))
    lines = summary.lines() if summary is not None else []
    if "remove_orphans" in run.targets:
        return [*_log_lines(run.config, "remove_orphans"), *lines[-1:]]
    return lines


def failure_lines(run: Run) -> list[str]:
    """Return which jobs failed and why, and what to do after a run that did not finish."""
    if run.verifies and (run.verification / "verdict.json").exists():
        return result_lines(run)
    failed = [*snakemake_internals.failed_jobs(run.workflow)]
    reasons = [(job.name, reason_in(Path(log))) for job in failed for log in job.log]
    told = [[f"{name}: {head}", *below] for name, (head, *below) in filter(all, reasons)]
    return [
        # None failed when the run was interrupted.
        *([f"{plural(len(failed), 'job')} failed:"] if failed else []),
        *first_lines(line for lines in sorted(told) for line in lines),
        (
            f"not finished; more is above, and in {run.config.workdir}/logs. What is converted is "
            "kept: once the cause is mended, the same command goes on from here."
        ),
    ]


def forecast_lines(run: Run) -> list[str]:
    """Return what a run would do."""
    if "remove_orphans" in run.targets:
        try:
            orphans = sorted(map(printable, orphans_of(run.config.store)))
        except AerozarrError as error:
            return [str(error)]
        return [f"a run would remove {plural(len(orphans), 'group')}", *first_lines(orphans)]
    if run.verifies:
        return [f"a run would verify {plural(len(run.verified), 'sample')}"]
    return [run.forecast or "a run would make the example, or convert what it lacks"]


def reason_in(log: Path) -> list[str]:
    """Return why a job failed, which is the last in its log, with the lines indented below.

    Empty when the log says nothing.
    """
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return []
    lines = [line for line in lines if line.strip()]
    heads = [number for number, line in enumerate(lines) if not line.startswith(" ")]
    if not heads:
        return []
    head, *below = lines[heads[-1] :]
    return [head.removeprefix("aerozarr: "), *below]


def _log_lines(config: RunConfig, target: str) -> list[str]:
    """Return what the job of a target had to say, from its log."""
    log = config.place(f"logs/{target}.log")
    return log.read_text(encoding="utf-8", errors="replace").splitlines()
