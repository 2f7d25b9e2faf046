"""What executor plugins for clusters are told, and how jobs are put into groups for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aerozarr.workflow.snakemake_internals.attributes import Workflow, set_existing


def executor_name(workflow: Workflow) -> str:
    """Return the name of the executor, `local` or `slurm` (`executor_plugin.name`, since 8.0)."""
    return str(workflow.executor_plugin.name)


def run_name(workflow: Workflow) -> str:
    """Return the name of all SLURM jobs of a run (`scheduler._executor.run_uuid`, since 8)."""
    return str(workflow.scheduler._executor.run_uuid)


def keep_config_off_command_lines(workflow: Workflow) -> None:
    """Leave `--config` out of the commands of jobs (`config_settings.config_args`, since 8.0).

    Jobs take their settings from the environment. Snakemake would repeat what may hold credentials
    in each job's command line.
    """
    set_existing(workflow.config_settings, "config_args", None)


def given_resource(workflow: Workflow, rule: str, name: str) -> str | None:
    """Return a resource of a rule as it was written, None where it is not set.

    `resources[name].raw`, since 9.0: evaluated, it would be another for each job.
    """
    resources = workflow.get_rule(rule).resources
    return str(resources[name].raw).strip("'\"") if name in resources else None


def jobs_in_group(workflow: Workflow, rule: str) -> int:
    """Return how many jobs of a rule are put into a group (`group_settings`, since 8.0)."""
    settings = workflow.group_settings
    group = settings.overwrite_groups.get(rule)
    return int(settings.group_components.get(group, 1))


def group_jobs_anew() -> None:
    """Have Snakemake make each group of the jobs that it holds now (`GroupJobFactory.new`).

    Since 5. Snakemake groups the jobs twice before a run starts. Its own factory would return the
    groups of the first time, which have been put together since, to be put together once more:
    samples would be in two groups at once, and the run would end without having merged.
    """
    from snakemake.jobs import GroupJob, GroupJobFactory

    def new(_: Any, id: str, jobs: Iterable[Any], resources: Any) -> Any:
        return GroupJob(id, frozenset(jobs), resources)

    set_existing(GroupJobFactory, "new", new)
