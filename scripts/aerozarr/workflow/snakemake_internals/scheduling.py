"""When jobs start, whether they are tried again, and how a run ends early."""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Callable
from typing import Any

from aerozarr.workflow.snakemake_internals.attributes import Workflow, set_existing


def stop_at_first_failure(workflow: Workflow) -> None:
    """Undo `--keep-going`, which the default profile sets (`scheduler.keepgoing`, since 5)."""
    set_existing(workflow.scheduler, "keepgoing", False)


def never_try_again(workflow: Workflow, rule: str) -> None:
    """Have no job of a rule tried again when it fails (`restart_times`, since 5).

    A `retries:` directive would do it for good; whether to is known when the settings are read.
    """
    set_existing(workflow.get_rule(rule), "restart_times", 0)


def do_not_limit_job_rate(workflow: Workflow) -> None:
    """Start jobs as soon as there are cores for them (`scheduler.job_rate_limiter`, since 8.0).

    The limit spares cluster schedulers. Locally, every round of scheduling leaves a timer that
    starts another round, for ever, and holds up the end.
    """
    set_existing(workflow.scheduler, "job_rate_limiter", None)


def schedule_among(workflow: Workflow, jobs: int) -> None:
    """Choose the next jobs among some that are ready, and not all (`open_jobs`, since 5).

    Snakemake copies the set of all that are ready several times whenever a job has ended: of
    10,000, that takes more than their conversion.

    Parameters
    ----------
    workflow
        Snakemake's own.
    jobs
        How many, at least as many as may run at the same time.
    """
    scheduler = type(workflow.scheduler)

    def some(self: Any) -> list[Any]:
        return [*itertools.islice(self.workflow.dag.ready_jobs, jobs)]

    set_existing(scheduler, "open_jobs", property(some))


def end_cleanly_when_terminated(workflow: Workflow, note: Callable[[], object]) -> None:
    """End after the jobs that run when SIGTERM comes (`scheduler.exit_gracefully`, since 7).

    Snakemake's own handler takes a lock that the main thread may hold at that moment, and then
    waits for itself for ever. Here a thread calls it, and the main thread goes on. `note` is called
    first.
    """
    end = workflow.scheduler.exit_gracefully

    def hand_over(*_: object) -> None:
        note()
        threading.Thread(target=end, daemon=True).start()

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, hand_over)
