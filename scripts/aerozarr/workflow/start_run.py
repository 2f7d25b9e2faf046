"""How a run starts: settings checked, source listed, work folder made ready."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import snakemake

from aerozarr.adopt.expected import adoption_folder
from aerozarr.config.repeated_keys import check_no_key_twice
from aerozarr.convert.fragment import says_broken
from aerozarr.environment import TERM
from aerozarr.errors import AerozarrError, SettingsError
from aerozarr.filesystems.backends import silence_loggers
from aerozarr.merge.summary import read_summary
from aerozarr.messages import redacted
from aerozarr.run_config import MERGED, RunConfig
from aerozarr.verify.expected import (
    findings_say_problems,
    prepare_verification,
    verification_folder,
)
from aerozarr.verify.repair import plan_repair, repair_messages
from aerozarr.workflow import forkserver_client
from aerozarr.workflow.display import Display, NoDisplay
from aerozarr.workflow.prepare import acquire_workdir, prepare_run
from aerozarr.workflow.prepare_adoption import prepare_adoption
from aerozarr.workflow.progress import Kind
from aerozarr.workflow.run import Run, start_fork_server
from aerozarr.workflow.slurm import check_run
from aerozarr.workflow.snakemake_internals import invocation, jobs, modules, output
from aerozarr.workflow.snakemake_internals.attributes import Workflow
from aerozarr.workflow.snakemake_internals.version import version_warnings
from aerozarr.workflow.targets import check_targets, own_names


def start_run(workflow: Workflow, config: dict[str, Any], scripts: Path) -> Run:
    """Check the settings, list the source, and make the work folder ready if jobs will run.

    Ends the process with one clear message if that fails: as a `WorkflowError`, Snakemake would
    show it with places in a Snakefile.

    Parameters
    ----------
    workflow, config
        Snakemake's own, as they stand in a Snakefile.
    scripts
        The folder of the rules' scripts.
    """
    silence_loggers()
    display = NoDisplay()
    try:
        for known, run in _runs:
            if run.workflow is workflow:
                return _once_more(known, config, run)
        forkserver_client.become_parent()
        make = _maker(workflow, scripts)
        if workflow.is_main_process:
            if not modules.is_imported(workflow):  # else much of a file is not ours
                check_no_key_twice(invocation.config_files(workflow))
            run_config = RunConfig.from_config(config)
            display = _display_of(workflow, run_config, make.keywords["rule"])
            run = _start(make, workflow, run_config, scripts, display)
        else:
            run = make(_config_of_job(config))
        _runs.append((dict(config), run))
        return run
    except AerozarrError as error:
        display.close()
        sys.exit(f"aerozarr: {error}")
    except OSError as error:
        display.close()
        sys.exit(f"aerozarr: the source or the store cannot be reached: {error}")


# Of this process, each with the settings that it was given.
_runs: list[tuple[dict[str, Any], Run]] = []


def _once_more(known: dict[str, Any], config: dict[str, Any], run: Run) -> Run:
    """Return the run that was started already: a module is read anew for each `use rule`.

    Raises
    ------
    SettingsError
        When the settings are others: jobs take theirs from the environment, which is one.
    """
    if config != known:
        raise SettingsError(
            "a workflow imports aerozarr twice, with different settings. One run converts one "
            "dataset: write a workflow for each, or start each by a snakemake of its own."
        )
    return run


def _maker(workflow: Workflow, scripts: Path) -> functools.partial[Run]:
    """Return what makes a run of what is known of its workflow."""
    imported = modules.is_imported(workflow)
    if imported and modules.moves_paths(workflow):
        raise SettingsError(
            "aerozarr is imported with prefix or replace_prefix, which its settings know nothing "
            "of. Leave that out of the module statement, and set store and workdir."
        )
    rule = modules.rule_names(workflow)
    return functools.partial(
        Run, workflow=workflow, scripts=scripts, is_imported=imported, rule=rule
    )


def _display_of(workflow: Workflow, config: RunConfig, rule: Callable[[str], str]) -> NoDisplay:
    """Have a display show how far the run is, if this is one that runs jobs.

    Snakemake's own lines stay where `--verbose` asks for them, `--quiet all` for none, or a logger
    plugin shows something else; and where another workflow, with jobs of its own, imports this one.
    """
    quiet = output.quietness(workflow)
    if (
        not invocation.runs_jobs(workflow)
        or modules.is_imported(workflow)
        or output.tells_everything(workflow)
        or "all" in quiet
    ):
        return NoDisplay()

    def display_for(inner: logging.StreamHandler[Any]) -> Display:
        return Display(
            inner,
            inner.stream,
            {rule(name): kind for name, kind in _kinds(config).items()},
            functools.partial(jobs.count_jobs, workflow),
            is_live=inner.stream.isatty() and os.environ.get(TERM) != "dumb",
            shows_progress="progress" not in quiet,
            looks=bool(workflow.remote_exec),
        )

    handler = output.wrap_stream_handler(display_for)
    return handler if isinstance(handler, Display) else NoDisplay()


def _kinds(config: RunConfig) -> dict[str, Kind]:
    """Return what the jobs of one sample each do, by rule."""
    verified = (verification_folder(config) / "findings").absolute()
    adopted = (adoption_folder(config) / "findings").absolute()
    has_problems = findings_say_problems
    return {
        "convert_sample": Kind(
            "converting", "converted", Path(config.fragments).absolute(), "broken", says_broken
        ),
        "verify_sample": Kind("verifying", "verified", verified, "with problems", has_problems),
        "adopt_sample": Kind("comparing", "compared", adopted, "with problems", has_problems),
    }


def _start(
    make: Callable[..., Run],
    workflow: Workflow,
    config: RunConfig,
    scripts: Path,
    display: NoDisplay,
) -> Run:
    options = invocation.command_line()
    rule = modules.rule_names(workflow)
    targets = own_names(invocation.targets(options), rule)
    # A dry run, or a mode that only looks (--lint, --dag …), must not touch anything.
    runs_jobs = invocation.runs_jobs(workflow)
    verifies = "verify" in targets
    adopts = "adopt" in targets
    if runs_jobs and invocation.leaves_out_hooks(options):
        raise SettingsError(
            "--no-hooks leaves out what aerozarr does before the first job and after the last. "
            "Leave it out; an importing workflow can do without hooks of its own."
        )
    check_targets(targets, rule, is_imported=modules.is_imported(workflow))
    if runs_jobs and (verifies or adopts or not _is_merged(config)):
        # There will be jobs: torch is imported while the samples are listed.
        start_fork_server(scripts, targets)
    listing = f"listing {redacted(config.source_url)}"
    if verifies:
        if runs_jobs:
            display.tell(*acquire_workdir(config))
        with display.phase(listing):
            verified = prepare_verification(config, write=runs_jobs)
        return make(config, targets=targets, verified=verified, display=display)
    if adopts:
        with display.phase(listing):
            adoption = prepare_adoption(config, runs_jobs=runs_jobs)
        display.tell(*adoption.messages)
        return make(
            config,
            targets=targets,
            adopted=adoption.rows,
            source_digest=adoption.source_digest,
            display=display,
        )
    repair = None
    if "repair" in targets:
        repair = plan_repair(config)
        display.tell(*repair_messages(repair))
    forced = own_names(invocation.forced_rules(options), rule)
    with display.phase(listing):
        prepared = prepare_run(
            config,
            runs_jobs=runs_jobs,
            targets=targets,
            forced=forced,
            last=own_names(invocation.last_rules(options), rule),
            repair=repair,
        )
    # What an importing workflow's rules want of this one's is not known: then all are there.
    is_usual = (
        targets <= {"all", "default", "repair"}
        and not forced
        and invocation.is_usual(workflow)
        and not modules.is_imported(workflow)
    )
    if is_usual and runs_jobs and workflow.local_exec and not prepared.has_nothing_to_do:
        start_fork_server(scripts, targets)  # which imports torch while Snakemake makes its graph
    display.tell(*version_warnings(snakemake.__version__), *prepared.messages)
    return make(
        config,
        targets=targets,
        source_digest=prepared.source_digest,
        forecast=prepared.forecast,
        graph=prepared.to_convert if is_usual else None,
        has_nothing_to_do=is_usual and prepared.has_nothing_to_do,
        display=display,
    )


def _is_merged(config: RunConfig) -> bool:
    """Whether the last merge was with these settings, so that there may be nothing to do."""
    summary = read_summary(config.place(MERGED))
    return summary is not None and summary.is_of(config.listed_as, {})


def _config_of_job(config: dict[str, Any]) -> RunConfig:
    """Return the configuration in a Snakemake that runs jobs for another, maybe on another node."""
    # An executor that takes no environment along gives the configuration on the command line.
    handed_over = RunConfig.is_in_environment()
    run_config = RunConfig.from_environment() if handed_over else RunConfig.from_config(config)
    check_run(Path(run_config.workdir))
    return run_config
