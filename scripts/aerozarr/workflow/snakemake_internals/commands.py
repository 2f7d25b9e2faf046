"""How the command of a job is run: by what, and in which environment."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from aerozarr.workflow.snakemake_internals.attributes import Workflow, set_existing


def command_of(workflow: Workflow, rule: str) -> str:
    """Return the command of a rule, with the names of values in it (`shellcmd`, since 5)."""
    return str(workflow.get_rule(rule).shellcmd)


def do_commands_by(
    workflow: Workflow, rule: str, do: Callable[[Mapping[str, Any]], int | None]
) -> None:
    """Have a function do the command of a rule's jobs (`run_func`, since 5).

    A job's thread calls what Snakemake made of the rule, and that runs the command in a shell.

    Parameters
    ----------
    workflow, rule
        Snakemake's own, and the name of a rule with a `shell:`.
    do
        Takes what the command may name (`input`, `wildcards`, `log` …), and returns its exit code;
        None when it has to be run in a shell. It is not asked where the shell is needed: for
        conda, containers, modules and benchmarks.
    """
    made = workflow.get_rule(rule)
    run_in_shell = made.run_func
    names = [*inspect.signature(run_in_shell).parameters]  # the last has a default

    def run(*values: Any) -> None:
        given = dict(zip(names, values, strict=False))
        asks_for_shell = ("conda_env", "container_img", "env_modules", "bench_record")
        code = None if any(given[name] for name in asks_for_shell) else do(given)
        if code:
            from snakemake.exceptions import WorkflowError

            raise WorkflowError(f"the command of {rule} returned non-zero exit status {code}")
        if code is None:
            run_in_shell(*values)

    set_existing(made, "run_func", run)


def forget_conda(workflow: Workflow) -> None:
    """Leave out the conda environments of all rules (`conda_env`, since 5).

    Snakemake works out that of each job several times, also where none is used.
    """
    for rule in workflow.rules:
        set_existing(rule, "conda_env", None)
