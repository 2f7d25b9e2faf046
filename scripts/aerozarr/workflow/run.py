"""What the rules know of a run: made once, while Snakemake reads them."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import snakemake

from aerozarr.adopt.expected import adoption_folder
from aerozarr.convert.fragment import says_broken
from aerozarr.environment import TERM
from aerozarr.errors import AerozarrError, SettingsError
from aerozarr.filesystems.backends import silence_loggers
from aerozarr.messages import did_you_mean, printable, redacted
from aerozarr.run_config import MERGED, RunConfig
from aerozarr.source.samples import Sample
from aerozarr.verify.expected import (
    findings_say_problems,
    prepare_verification,
    verification_folder,
)
from aerozarr.verify.repair import plan_repair, repair_messages
from aerozarr.workflow import forkserver_client, snakemake_internals
from aerozarr.workflow.direct_jobs import DirectJobs, request_of
from aerozarr.workflow.display import Display, NoDisplay
from aerozarr.workflow.entry_point import server_command
from aerozarr.workflow.ownership import let_go
from aerozarr.workflow.prepare import acquire_workdir, prepare_run
from aerozarr.workflow.prepare_adoption import prepare_adoption
from aerozarr.workflow.progress import Kind
from aerozarr.workflow.slurm import check_run, prepare_submission
from aerozarr.workflow.snakemake_internals import Workflow

# All rules of `rules/` and the Snakefiles, by the names that they have there.
RULES = frozenset(
    {
        *("default", "all", "make_example", "list_samples", "convert_sample", "merge_manifest"),
        *("remove_orphans", "estimate", "verify", "verify_sample", "repair"),
        *("adopt", "adopt_sample"),
    }
)
# Those that can be a target.
TARGETS = (
    *("all", "verify", "repair", "estimate", "remove_orphans", "adopt"),
    *("make_example", "list_samples", "merge_manifest"),
)
# Those that do not go with others.
_ALONE = ("adopt", "repair")

# The job of a sample, for targets that have one of their own.
_JOBS = {"verify": "verify_sample", "adopt": "adopt_sample"}


@dataclass(frozen=True)
class Run:
    """A run of Snakemake.

    Attributes
    ----------
    config
        The configuration.
    workflow
        Snakemake's own object.
    scripts
        The folder of the rules' scripts.
    targets
        What the command line asks for.
    verified, adopted
        Rows of the samples to verify, by key, of a run that verifies; and to adopt, likewise.
    source_digest
        Changes when the source does.
    forecast
        What a run would do, where none is going to.
    graph
        Keys of the samples that the graph of jobs holds: those to be converted. None for all, which
        is what Snakemake's other ways to look at a workflow are asked about.
    has_nothing_to_do
        Whether there is nothing to convert, and nothing to merge.
    is_imported
        Whether another workflow has imported this one as a module.
    rule
        Gives the name by which Snakemake knows a rule: a module's are renamed.
    display
        What shows how far the run is.
    directory
        Where relative paths start from: Snakemake leaves `--directory` before the end.
    direct_jobs
        The jobs that this process gave to the fork server.
    """

    config: RunConfig
    workflow: Workflow
    scripts: Path
    targets: frozenset[str] = frozenset()
    verified: dict[str, Sample] = field(default_factory=dict)
    adopted: dict[str, Sample] = field(default_factory=dict)
    source_digest: str = ""
    forecast: str = ""
    graph: frozenset[str] | None = None
    has_nothing_to_do: bool = False
    is_imported: bool = False
    rule: Callable[[str], str] = str
    display: NoDisplay = field(default_factory=NoDisplay)
    directory: str = field(default_factory=os.getcwd)
    direct_jobs: DirectJobs = field(default_factory=DirectJobs)

    @property
    def verifies(self) -> bool:
        """Whether the store is to be verified, and nothing converted."""
        return "verify" in self.targets

    @property
    def adopts(self) -> bool:
        """Whether the store is to be adopted, and nothing converted."""
        return "adopt" in self.targets

    @property
    def repairs(self) -> bool:
        """Whether what a verification found is to be mended."""
        return "repair" in self.targets

    @property
    def adoption(self) -> Path:
        """The folder of an adoption, in the work folder."""
        return adoption_folder(self.config)

    @property
    def verification(self) -> Path:
        """The folder of a verification, in the work folder."""
        return verification_folder(self.config)

    def is_in_graph(self, key: str) -> bool:
        """Whether the graph of jobs holds a sample."""
        return self.graph is None or key in self.graph

    def script(self, name: str) -> str:
        """Return the path of a rule's script."""
        return str(self.scripts / f"{name}.py")

    def python(self) -> str:
        """Return the Python that runs the scripts."""
        return "python" if snakemake_internals.uses_conda(self.workflow) else sys.executable

    def begin(self) -> None:
        """Set what no option of Snakemake can, before the first job starts."""
        if self.config.settings.on_broken_sample == "fail":
            snakemake_internals.stop_at_first_failure(self.workflow)
            # Nor would the sample be less broken when it is tried again.
            snakemake_internals.never_try_again(self.workflow, self.rule("convert_sample"))
        if self.workflow.local_exec:
            snakemake_internals.do_not_limit_job_rate(self.workflow)
            if not self.is_imported:  # or the jobs may be those of the importing workflow alone
                cores = self.workflow.resource_settings.cores or 1
                snakemake_internals.schedule_among(self.workflow, max(16, 2 * cores))
                _start_fork_server(self.scripts, self.targets)
        snakemake_internals.end_cleanly_when_terminated(self.workflow)
        self.direct_jobs.end_when_interrupted()
        try:
            convert = self.rule("convert_sample")
            prepare_submission(self.workflow, Path(self.config.workdir), convert)
        except AerozarrError as error:
            self.display.close()
            sys.exit(f"aerozarr: {error}")

    def ask_fork_server(self, *rules: str) -> None:
        """Have this process ask the fork server for the jobs of some rules, and start no client.

        Rules of a module are left as they are: the importing workflow may have changed them.
        """
        for rule in () if self.is_imported else rules:
            command = snakemake_internals.command_of(self.workflow, rule)
            request = request_of(command, rule)
            if request is None:
                raise ValueError(f"the command of {rule} is not that of a client: {command}")
            do = functools.partial(self.direct_jobs.do, request)
            snakemake_internals.do_commands_by(self.workflow, rule, do)

    def spare_snakemake(self) -> None:
        """Leave out what Snakemake works out for each job, and nobody asked for."""
        options = snakemake_internals.command_line()
        looks = snakemake_internals.only_looks(options)
        if looks or self.is_imported:  # other workflows' rules are not ours to change
            return
        if not snakemake_internals.uses_conda(self.workflow):
            snakemake_internals.forget_conda(self.workflow)

    def give_up(self) -> None:
        """Let other runs write to the store: this one has failed."""
        let_go(self.config)


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
    imported = snakemake_internals.is_imported(workflow)
    if imported and snakemake_internals.moves_paths(workflow):
        raise SettingsError(
            "aerozarr is imported with prefix or replace_prefix, which its settings know nothing "
            "of. Leave that out of the module statement, and set store and workdir."
        )
    rule = snakemake_internals.rule_names(workflow)
    return functools.partial(
        Run, workflow=workflow, scripts=scripts, is_imported=imported, rule=rule
    )


def own_names(given: Iterable[str], rule: Callable[[str], str]) -> frozenset[str]:
    """Return names of rules and files of the command line as this workflow's own.

    Parameters
    ----------
    given
        What the command line has: `aerozarr_verify`, `train`.
    rule
        Gives the name that a rule has there, from its own.

    Returns
    -------
    frozenset of str
        A rule's own name, `verify`. What is another workflow's is left as it is, unless it could
        be taken for a rule of this one.
    """
    own = {rule(name): name for name in RULES}
    foreign = {name: f"{name}, of the importing workflow" for name in RULES}
    return frozenset(own.get(name, foreign.get(name, name)) for name in given)


def _display_of(workflow: Workflow, config: RunConfig, rule: Callable[[str], str]) -> NoDisplay:
    """Have a display show how far the run is, if this is one that runs jobs.

    Snakemake's own lines stay where `--verbose` asks for them, `--quiet all` for none, or a logger
    plugin shows something else; and where another workflow, with jobs of its own, imports this one.
    """
    quiet = snakemake_internals.quietness(workflow)
    if (
        not snakemake_internals.runs_jobs(workflow)
        or snakemake_internals.is_imported(workflow)
        or snakemake_internals.tells_everything(workflow)
        or "all" in quiet
    ):
        return NoDisplay()

    def display_for(inner: logging.StreamHandler[Any]) -> Display:
        return Display(
            inner,
            inner.stream,
            {rule(name): kind for name, kind in _kinds(config).items()},
            functools.partial(snakemake_internals.count_jobs, workflow),
            is_live=inner.stream.isatty() and os.environ.get(TERM) != "dumb",
            shows_progress="progress" not in quiet,
            looks=bool(workflow.remote_exec),
        )

    handler = snakemake_internals.wrap_stream_handler(display_for)
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
    options = snakemake_internals.command_line()
    rule = snakemake_internals.rule_names(workflow)
    targets = own_names(snakemake_internals.targets(options), rule)
    # A dry run, or a mode that only looks (--lint, --dag …), must not touch anything.
    runs_jobs = snakemake_internals.runs_jobs(workflow)
    verifies = "verify" in targets
    adopts = "adopt" in targets
    check_targets(targets, rule, is_imported=snakemake_internals.is_imported(workflow))
    if runs_jobs and (verifies or adopts or not config.place(MERGED).exists()):
        # There will be jobs: torch is imported while the samples are listed.
        _start_fork_server(scripts, targets)
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
    forced = own_names(snakemake_internals.forced_rules(options), rule)
    with display.phase(listing):
        prepared = prepare_run(
            config,
            runs_jobs=runs_jobs,
            targets=targets,
            forced=forced,
            last=own_names(snakemake_internals.last_rules(options), rule),
            repair=repair,
        )
    # What an importing workflow's rules want of this one's is not known: then all are there.
    is_usual = (
        targets <= {"all", "default", "repair"}
        and not forced
        and snakemake_internals.is_usual(workflow)
        and not snakemake_internals.is_imported(workflow)
    )
    display.tell(*snakemake_internals.version_warnings(snakemake.__version__), *prepared.messages)
    return make(
        config,
        targets=targets,
        source_digest=prepared.source_digest,
        forecast=prepared.forecast,
        graph=prepared.to_convert if is_usual else None,
        has_nothing_to_do=is_usual and prepared.has_nothing_to_do,
        display=display,
    )


def check_targets(
    targets: Collection[str], rule: Callable[[str], str], *, is_imported: bool
) -> None:
    """Refuse a target that is none, and one beside another with which it does not go.

    Parameters
    ----------
    targets
        As `own_names` returns them.
    rule
        Gives the name by which Snakemake knows a rule.
    is_imported
        Whether the command line may name targets of an importing workflow too.

    Raises
    ------
    SettingsError
        When one is so.
    """
    for name in sorted(targets):
        # Else Snakemake says, after the source is listed, that no rule produces it.
        is_file = set("/.") & set(name) or Path(name).exists()
        if not is_imported and name not in (*TARGETS, "default") and not is_file:
            raise SettingsError(
                f"there is no target {printable(name)!r}.{did_you_mean(name, TARGETS)} "
                "snakemake --list names all."
            )
        if name in _ALONE and len(targets) > 1:
            raise SettingsError(
                f"{rule(name)} is a target of its own. Give it alone on the command line."
            )


def _config_of_job(config: dict[str, Any]) -> RunConfig:
    """Return the configuration in a Snakemake that runs jobs for another, maybe on another node."""
    # An executor that takes no environment along gives the configuration on the command line.
    handed_over = RunConfig.is_in_environment()
    run_config = RunConfig.from_environment() if handed_over else RunConfig.from_config(config)
    check_run(Path(run_config.workdir))
    return run_config


def _start_fork_server(scripts: Path, targets: Collection[str]) -> None:
    """Have the fork server import torch before the first job asks for it."""
    own = [job for target, job in _JOBS.items() if target in targets]
    job = own[0] if own else "convert_sample"
    forkserver_client.start(server_command(str(scripts / f"{job}.py")))
