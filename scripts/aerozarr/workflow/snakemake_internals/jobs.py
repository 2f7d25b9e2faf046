"""Which jobs a run has, and which of them failed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aerozarr.workflow.snakemake_internals.attributes import Workflow


def has_scheduler(workflow: Workflow) -> bool:
    """Whether a run came as far as to schedule jobs (`scheduler`, since 5)."""
    return workflow.scheduler is not None


def count_jobs(workflow: Workflow, rule: str) -> int:
    """Return how many jobs of a rule are to be run (`dag.needrun_jobs`, since 5)."""
    return sum(job.rule.name == rule for job in workflow.dag.needrun_jobs())


def had_nothing_to_do(workflow: Workflow) -> bool:
    """Whether no job was to be run (`dag`, whose length is the number of jobs to run, since 5)."""
    return not len(workflow.dag)


def failed_jobs(workflow: Workflow) -> Iterator[Any]:
    """Yield the jobs that failed, those of a group one by one (`scheduler.failed`, since 5)."""
    for jobs in workflow.scheduler.failed:
        if jobs.is_group():
            yield from jobs
        else:
            yield jobs
