"""Every use of what Snakemake does not document: one function each, and a test each.

Tried with Snakemake up to the version `TESTED`; the Snakefile asks for no older one. A function
whose attribute is gone raises `AttributeError` with its name, and so does its test, before any user
meets it.
"""

from __future__ import annotations

import inspect
import itertools
import logging
import signal
import sys
import threading
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FrameType
from typing import Any

TESTED = (9, 27)

Workflow = Any
"""Snakemake's `Workflow`, which is not imported here: it is handed over by the rules."""


def version_warnings(version: str) -> list[str]:
    """Return a warning when a version of Snakemake, such as `9.27.1`, is newer than those tried."""
    parts = version.split(".")[:2]
    if not all(part.isdigit() for part in parts) or tuple(map(int, parts)) <= TESTED:
        return []
    tested = ".".join(map(str, TESTED))
    return [
        (
            f"warning: Snakemake {version} is newer than {tested}, with which this aerozarr was "
            f"tried. If something fails, install that: pip install 'snakemake=={tested}.*'"
        )
    ]


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


def is_imported(workflow: Workflow) -> bool:
    """Whether the Snakefile that is read is a module of another (`modifier`, since 6)."""
    return not workflow.modifier.is_main_snakefile()


def rule_names(workflow: Workflow) -> Callable[[str], str]:
    """Return what gives the name of a rule of the Snakefile that is read, as all others know it.

    `use rule * from aerozarr as aerozarr_*` renames them (`modifier.modify_rulename`, since 6).
    """
    rename: Callable[[str], str] = workflow.modifier.modify_rulename
    return rename


def moves_paths(workflow: Workflow) -> bool:
    """Whether a module's `prefix:` or `replace_prefix:` changes the paths of files.

    `modifier.path_modifier`, and those around it: `prefix`, `modifies_prefixes`, since 9.
    """
    modifier = workflow.modifier.path_modifier
    while modifier is not None:
        if modifier.prefix or modifier.modifies_prefixes:
            return True
        modifier = modifier.inner_modifier
    return False


def chain_handlers(workflow: Workflow, *handlers: Callable[[], object]) -> None:
    """Have Snakemake call a module's `onstart`, `onsuccess` and `onerror` before the importer's.

    It leaves those of modules out (`_onstart`, `_onsuccess`, `_onerror`, since 5). Those of the
    importing workflow are there already, or come later, by the method of the name.
    """
    for name, own in zip(("onstart", "onsuccess", "onerror"), handlers, strict=True):
        _chain(workflow, name, own)


def _chain(workflow: Workflow, name: str, own: Callable[[], object]) -> None:
    register = getattr(workflow, name)

    def both(theirs: Callable[[object], object]) -> Callable[[object], None]:
        def call(log: object) -> None:
            own()
            theirs(log)

        return call

    def register_later(theirs: Callable[[object], object]) -> None:
        register(theirs)
        if not is_imported(workflow):
            _set(workflow, f"_{name}", both(theirs))

    _set(workflow, f"_{name}", both(getattr(workflow, f"_{name}")))
    setattr(workflow, name, register_later)


def checkpoint_output(workflow: Workflow, rule: str) -> Any:
    """Return the output of a checkpoint that has run (`Checkpoint`, since 9).

    As `checkpoints.<rule>.get().output`, which is not there where a module's rule is used a second
    time, `use rule … with:`. Where it has not run, what Snakemake raises tells it to do so.
    """
    from snakemake.checkpoints import Checkpoint

    return Checkpoint(workflow.get_rule(rule), workflow.checkpoints).get().output


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


def is_usual(workflow: Workflow) -> bool:
    """Whether this is a run or a dry run of all, without Snakemake's own report of all jobs."""
    options = command_line()
    in_part = options is not None and bool(options.report or options.until or options.omit_from)
    # While the rules are read, `workflow.dryrun` is not set yet.
    is_run = bool(workflow.output_settings.dryrun) or runs_jobs(workflow)
    return is_run and not only_looks(options) and not in_part


def quietness(workflow: Workflow) -> frozenset[str]:
    """Return what `--quiet` names, in small letters: `all`, `host`, `progress`, `reason`, `rules`.

    `output_settings.quiet` is public for logger plugins (since 9.0).
    """
    return frozenset(one.name.lower() for one in workflow.output_settings.quiet or ())


def tells_everything(workflow: Workflow) -> bool:
    """Whether `--verbose` or `--debug-dag` is given (`output_settings`, as above)."""
    settings = workflow.output_settings
    return bool(settings.verbose or settings.debug_dag)


def wrap_stream_handler(
    wrap: Callable[[logging.StreamHandler[Any]], logging.Handler],
) -> logging.Handler | None:
    """Put another handler in the place of the one with which Snakemake writes to the terminal.

    It is the handler `DefaultStreamHandler` of the logger `snakemake.logging` (since 9.0). Nothing
    is done, and None returned, where there is none, because a logger plugin writes to the terminal.
    """
    logger = logging.getLogger("snakemake.logging")
    for handler in logger.handlers:
        if handler.name == "DefaultStreamHandler" and isinstance(handler, logging.StreamHandler):
            new = wrap(handler)
            logger.removeHandler(handler)
            logger.addHandler(new)
            return new
    return None


def count_jobs(workflow: Workflow, rule: str) -> int:
    """Return how many jobs of a rule are to be run (`dag.needrun_jobs`, since 5)."""
    return sum(job.rule.name == rule for job in workflow.dag.needrun_jobs())


def has_scheduler(workflow: Workflow) -> bool:
    """Whether a run came as far as to schedule jobs (`scheduler`, since 5)."""
    return workflow.scheduler is not None


def is_dry_run(workflow: Workflow) -> bool:
    """Whether this is a dry run (`dryrun`, since 8.0)."""
    return bool(workflow.dryrun)


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


def stop_at_first_failure(workflow: Workflow) -> None:
    """Undo `--keep-going`, which the default profile sets (`scheduler.keepgoing`, since 5)."""
    _set(workflow.scheduler, "keepgoing", False)


def never_try_again(workflow: Workflow, rule: str) -> None:
    """Have no job of a rule tried again when it fails (`restart_times`, since 5).

    A `retries:` directive would do it for good; whether to is known when the settings are read.
    """
    _set(workflow.get_rule(rule), "restart_times", 0)


def do_not_limit_job_rate(workflow: Workflow) -> None:
    """Start jobs as soon as there are cores for them (`scheduler.job_rate_limiter`, since 8.0).

    The limit spares cluster schedulers. Locally, every round of scheduling leaves a timer that
    starts another round, for ever, and holds up the end.
    """
    _set(workflow.scheduler, "job_rate_limiter", None)


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


def run_name(workflow: Workflow) -> str:
    """Return the name of all SLURM jobs of a run (`scheduler._executor.run_uuid`, since 8)."""
    return str(workflow.scheduler._executor.run_uuid)


def executor_name(workflow: Workflow) -> str:
    """Return the name of the executor, `local` or `slurm` (`executor_plugin.name`, since 8.0)."""
    return str(workflow.executor_plugin.name)


def keep_config_off_command_lines(workflow: Workflow) -> None:
    """Leave `--config` out of the commands of jobs (`config_settings.config_args`, since 8.0).

    Jobs take their settings from the environment. Snakemake would repeat what may hold credentials
    in each job's command line.
    """
    _set(workflow.config_settings, "config_args", None)


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

    _set(GroupJobFactory, "new", new)


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

    _set(made, "run_func", run)


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

    _set(scheduler, "open_jobs", property(some))


def forget_conda(workflow: Workflow) -> None:
    """Leave out the conda environments of all rules (`conda_env`, since 5).

    Snakemake works out that of each job several times, also where none is used.
    """
    for rule in workflow.rules:
        _set(rule, "conda_env", None)


def uses_conda(workflow: Workflow) -> bool:
    """Whether jobs run in conda environments (`deployment_settings`, since 8.0)."""
    from snakemake.settings.types import DeploymentMethod

    return DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method


def _set(holder: Any, name: str, value: object) -> None:
    """Set an attribute that is there; setting one that is not would do nothing, unnoticed."""
    getattr(holder, name)
    setattr(holder, name, value)
