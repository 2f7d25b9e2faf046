"""What the person at the terminal reads of a run, and when: our lines come last.

Snakemake says last what it did with its jobs. What became of the store is said after that, also
after a run that had nothing to do, failed, or only looked.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

from aerozarr import __version__
from aerozarr.adopt.expected import outcome_path
from aerozarr.environment import STARTED
from aerozarr.errors import AerozarrError
from aerozarr.filesystems.files import read_or_none, write_atomically
from aerozarr.merge.remove_orphans import foreign_files, kept_groups, orphans_of
from aerozarr.merge.summary import read_summary
from aerozarr.messages import SHOWN, first_lines, plural, printable, redacted, tell
from aerozarr.run_config import MERGED, REPORT, RUN_JSON, RunConfig
from aerozarr.store.format.layout import MANIFEST
from aerozarr.verify.repair import outcome_path as repaired_path
from aerozarr.verify.store import read_verdict
from aerozarr.workflow.run import Run
from aerozarr.workflow.snakemake_internals import invocation, jobs, modules


class Outcome:
    """Says what came of a run when its process ends.

    Attributes
    ----------
    ended
        What became of the run: `done`, `failed`, `interrupted`, or `nothing to do`; empty until
        that is known.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._follows = False
        self.ended = ""
        if run.workflow.is_main_process:
            atexit.register(self.report)

    @classmethod
    def of(cls, run: Run) -> Outcome:
        """Return the outcome of a run: one, however often Snakemake reads the rules."""
        known = [one for one in _outcomes if one._run is run]
        if not known:
            _outcomes.append(cls(run))
        return (known or _outcomes)[-1]

    def follow(self, *handlers: Callable[[], object]) -> None:
        """Have Snakemake call the handlers of a module, `onstart`, `onsuccess` and `onerror`."""
        if not self._follows:
            modules.chain_handlers(self._run.workflow, *handlers)
        self._follows = True

    def report(self) -> None:
        """Say what came of the run, if it got as far as to have jobs."""
        run = self._run
        run.display.close()
        if not jobs.has_scheduler(run.workflow):
            return  # a mode that only looks, or an error that Snakemake has told
        with contextlib.chdir(run.directory):
            if invocation.is_dry_run(run.workflow):
                tell(*forecast_lines(run))
                return
            if invocation.only_touches(run.workflow):
                tell(*([] if run.is_imported else [_TOUCHED]))
                return
            nothing_to_do = jobs.had_nothing_to_do(run.workflow)
            if not self.ended and nothing_to_do:
                self.ended = "nothing to do"
            if self.ended == "failed":
                tell(*failure_lines(run))
                if run.is_interrupted.is_set():
                    self.ended = "interrupted"
            elif self.ended:
                tell(*result_lines(run))
            try:
                write_run_json(run, self.ended or "interrupted")
            except OSError as error:
                tell(f"{run.config.place(RUN_JSON)} cannot be written: {error.strerror}")


# What a run with `--touch` comes to, whatever its target.
_TOUCHED = (
    "--touch gave files in the work folder new times, and nothing was listed, converted or looked "
    "at: what a run does is not decided by times. Give the same command without --touch"
)

# Of this process's runs.
_outcomes: list[Outcome] = []


def write_run_json(run: Run, result: str) -> None:
    """Write what came of the run for programs: `run.json` in the work folder.

    Parameters
    ----------
    run
        The run.
    result
        `done`, `nothing to do`, `failed` or `interrupted`.
    """
    config = run.config
    summary = read_summary(config.place(MERGED))
    verdict = read_verdict(run.verification / "verdict.json") if run.verifies else None
    content = {
        "result": result,
        "exit_code": 0 if result in ("done", "nothing to do") else 1,
        "targets": sorted(run.targets),
        "aerozarr": __version__,
        "started": os.environ.get(STARTED, ""),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "store": redacted(config.settings.store).rstrip("/"),
        "dataset_name": config.settings.dataset_name or config.dataset.name,
        "samples": None if summary is None else summary.samples,
        "skipped": None if summary is None else summary.kinds,
        "absent": None if summary is None else summary.absent,
        "problems": None if verdict is None else len(verdict.problems),
        "failed_jobs": [asdict(one) for one in failures(run)] if result == "failed" else [],
    }
    text = json.dumps(content, indent=2, ensure_ascii=False)
    write_atomically(config.place(RUN_JSON), f"{text}\n".encode("utf-8", "backslashreplace"))


# With the options of the run: alone, it would be another dataset's that it looks at.
_VERIFY = "next: the same command with the target verify (snakemake verify …)"


def result_lines(run: Run) -> list[str]:
    """Return where the store is, how many samples it has, and what was skipped and why."""
    if "estimate" in run.targets:
        return _log_lines(run.config, "estimate")
    if run.verifies:
        verdict = read_verdict(run.verification / "verdict.json")
        return verdict.lines() if verdict is not None else []
    summary = read_summary(run.config.place(MERGED))
    lines = summary.lines() if summary is not None else []
    if run.adopts:
        return [*_written(outcome_path(run.config)), *lines]
    if run.repairs:
        check = f"{_VERIFY} says whether all is as it should be"
        return [*_written(repaired_path(run.config)), *lines[:-1], check, *lines[-1:]]
    if "remove_orphans" in run.targets:
        return [*_log_lines(run.config, "remove_orphans"), *lines[-1:]]
    if summary is None:
        return [_not_merged(run)]
    return [*lines[:-1], *_next_lines(run), *lines[-1:]]


def _not_merged(run: Run) -> str:
    """Return what a run came to that ended well before its merge: it was told to."""
    store = redacted(run.config.settings.store).rstrip("/")
    return (
        "nothing was merged: by its targets, or --until, --omit-from or --batch, this run was to "
        f"end before. {store}/{MANIFEST} is that of an earlier run, or not there; snakemake with "
        "the other options goes on from here"
    )


def _next_lines(run: Run) -> list[str]:
    """Return where to look, and what to do, after a run that brought the store up to date."""
    report = run.config.place(REPORT)
    lines = [f"pictures, ranges and times: {report}"] if report.exists() else []
    return [*lines, f"{_VERIFY} compares the store with its source"]


def failure_lines(run: Run) -> list[str]:
    """Return which jobs failed and why, and what to do after a run that did not finish."""
    if run.verifies and (run.verification / "verdict.json").exists():
        return result_lines(run)
    if run.adopts and outcome_path(run.config).exists():
        return _written(outcome_path(run.config))
    if run.repairs and repaired_path(run.config).exists():
        return result_lines(run)
    failed = failures(run)
    if run.is_interrupted.is_set() and not failed:
        if run.verifies or run.adopts:
            return ["interrupted; nothing came of it, and the same command begins anew"]
        return ["interrupted; what is converted is kept: the same command goes on from here"]
    told = [[f"{one.rule}: {one.reason[0]}", *one.reason[1:]] for one in failed]
    # What a single job says has a head, and tells itself how much more there is.
    most = SHOWN + 2 if len(failed) == 1 else SHOWN
    return [
        *([f"{plural(len(failed), 'job')} failed:"] if failed else []),
        *first_lines((printable(line) for lines in sorted(told) for line in lines), most),
        (
            f"not finished; more is above, and in {run.config.workdir}/logs. What is converted is "
            "kept: once the cause is mended, the same command goes on from here."
        ),
    ]


@dataclass(frozen=True)
class Failure:
    """A job that failed.

    Attributes
    ----------
    rule, sample
        Its rule, and the id or key of its sample; empty where it is not of one.
    log
        The path of its log.
    reason
        What the log says of it: a line, and those that belong to it.
    """

    rule: str
    sample: str
    log: str
    reason: list[str]


def failures(run: Run) -> list[Failure]:
    """Return the jobs that failed, and why."""
    found = []
    for job in jobs.failed_jobs(run.workflow):
        sample = unquote(str(job.wildcards.get("key", "")))
        log = str(next(iter(job.log), ""))
        reason = reason_in(Path(log)) if log else []
        if not reason:
            reason = [
                f"its log {log} says nothing: it was killed, or the log not written (disk full?)"
            ]
        if sample and not reason[0].startswith(sample):
            reason = [f"{sample}: {reason[0]}", *reason[1:]]
        found.append(Failure(job.name, sample, log, reason))
    return found


def forecast_lines(run: Run) -> list[str]:
    """Return what a run would do."""
    if "remove_orphans" in run.targets:
        try:
            orphans = orphans_of(run.config.store)
            kept = foreign_files(run.config, orphans)
        except AerozarrError as error:
            return [str(error)]
        removed = sorted(printable(each) for each in orphans if each not in kept)
        head = f"a run would remove {plural(len(removed), 'group')}"
        lines = [head, *(f"  {orphan}" for orphan in removed)]
        return [*lines, *kept_groups(kept).split("\n")] if kept else lines
    if run.verifies:
        return [f"a run would verify {plural(len(run.verified), 'sample')}"]
    if run.adopts:
        samples = plural(len(run.adopted), "sample")
        return [f"a run would compare {samples} with the source, and adopt what is the same"]
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


def _written(outcome: Path) -> list[str]:
    """Return what came of an adoption or a repair that got to its end; nothing where none did."""
    content = read_or_none(outcome)
    return [] if content is None else content.decode("utf-8").splitlines()


def _log_lines(config: RunConfig, target: str) -> list[str]:
    """Return what the job of a target had to say, from its log."""
    log = config.place(f"logs/{target}.log")
    return log.read_text(encoding="utf-8", errors="replace").splitlines()
