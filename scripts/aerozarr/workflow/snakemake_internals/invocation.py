"""What Snakemake was asked for: targets, rules and modes of its command line, and of profiles.

A Snakefile is told of little of it while it is read.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from types import FrameType

from aerozarr.workflow.snakemake_internals.attributes import Workflow


def command_line() -> Namespace | None:
    """Return the options of Snakemake's command line, profiles included; None without one.

    Snakemake tells a Snakefile neither its targets nor most options while it is read. The words of
    `sys.argv` do not do: in `--directory verify` the word is no target. So the options are taken
    from the function of Snakemake that parsed them, which is running while the Snakefile is read
    (`snakemake.cli.args_to_api`, since 8.0).
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if (
            frame.f_code.co_name == "args_to_api"
            and frame.f_globals.get("__name__") == "snakemake.cli"
        ):
            args = frame.f_locals["args"]
            return args if isinstance(args, Namespace) else None
        frame = frame.f_back
    return None


def targets(options: Namespace | None) -> frozenset[str]:
    """Return the targets that the command line asks for (`targets`, since 5)."""
    return frozenset() if options is None else frozenset(map(str, options.targets or ()))


def config_files(workflow: Workflow) -> list[Path]:
    """Return the Snakefile's files of settings, and `--configfile`'s (`configfiles`, since 5)."""
    return [Path(path) for path in workflow.configfiles]


# Options with which Snakemake does something else than run jobs, by their names since 8.0.
_OTHER_MODES = (
    *("touch", "unlock", "cleanup_metadata", "cleanup_shadow", "delete_all_output"),
    *("delete_temp_output", "archive", "containerize", "export_cwl", "generate_unit_tests"),
    *("lint", "list_rules", "list_target_rules", "list_changes", "list_input_changes"),
    *("list_params_changes", "list_untracked", "summary", "detailed_summary"),
    *("dag", "rulegraph", "filegraph", "d3dag"),
    *("list_conda_envs", "conda_cleanup_envs", "conda_create_envs_only"),
)


def only_looks(options: Namespace | None) -> bool:
    """Whether Snakemake was asked for something else than to run jobs."""
    if options is None:
        return False
    given = any(getattr(options, name) not in (None, False) for name in _OTHER_MODES)
    return given or (options.report is not None and not options.report_after_run)


def forced_rules(options: Namespace | None) -> frozenset[str]:
    """Return the rules and files that `--forcerun` names; `{"*"}` for `--forceall`."""
    if options is None:
        return frozenset()
    if options.forceall:
        return frozenset({"*"})
    forced = set(options.forcerun or ())
    if options.force:
        forced |= targets(options)
    return frozenset(map(str, forced))


def last_rules(options: Namespace | None) -> frozenset[str]:
    """Return the rules that `--until` names: nothing that depends on them is run."""
    return frozenset() if options is None else frozenset(map(str, options.until or ()))


def runs_jobs(workflow: Workflow) -> bool:
    """Whether jobs are going to run: no dry run, and no mode that only looks.

    `output_settings.dryrun` and `resource_settings` are public for executor plugins (since 8.0).
    """
    resources = workflow.resource_settings
    wanted = bool(resources.cores or resources.nodes) and not workflow.output_settings.dryrun
    return wanted and not only_looks(command_line())


def is_dry_run(workflow: Workflow) -> bool:
    """Whether this is a dry run (`dryrun`, since 8.0)."""
    return bool(workflow.dryrun)


def only_touches(workflow: Workflow) -> bool:
    """Whether `--touch` is given, which runs no command of any job (`touch`, since 5)."""
    return bool(workflow.touch)


def leaves_out_hooks(options: Namespace | None) -> bool:
    """Whether `--no-hooks` leaves out `onstart`, `onsuccess`, `onerror` (`no_hooks`, since 5)."""
    return options is not None and bool(options.no_hooks)


def is_usual(workflow: Workflow) -> bool:
    """Whether this is a run or a dry run of all, without Snakemake's own report of all jobs."""
    options = command_line()
    in_part = options is not None and bool(options.report or options.until or options.omit_from)
    # While the rules are read, `workflow.dryrun` is not set yet.
    is_run = bool(workflow.output_settings.dryrun) or runs_jobs(workflow)
    return is_run and not only_looks(options) and not in_part


def uses_conda(workflow: Workflow) -> bool:
    """Whether jobs run in conda environments (`deployment_settings`, since 8.0)."""
    from snakemake.settings.types import DeploymentMethod

    return DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
