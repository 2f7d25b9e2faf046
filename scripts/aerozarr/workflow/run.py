"""What the rules know of a run: made once, while Snakemake reads them."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from aerozarr.adopt.expected import adoption_folder
from aerozarr.errors import AerozarrError
from aerozarr.run_config import RunConfig
from aerozarr.source.samples import Sample
from aerozarr.verify.expected import verification_folder
from aerozarr.workflow import forkserver_client, snakemake_shortcuts
from aerozarr.workflow.direct_jobs import DirectJobs, request_of
from aerozarr.workflow.display import NoDisplay
from aerozarr.workflow.entry_point import server_command
from aerozarr.workflow.ownership import let_go
from aerozarr.workflow.slurm import end_run, prepare_submission
from aerozarr.workflow.snakemake_internals import commands, invocation, scheduling
from aerozarr.workflow.snakemake_internals.attributes import Workflow

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
    is_interrupted
        Set when Ctrl-C or SIGTERM came while jobs ran.
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
    is_interrupted: threading.Event = field(default_factory=threading.Event)

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
        return "python" if invocation.uses_conda(self.workflow) else sys.executable

    def begin(self) -> None:
        """Set what no option of Snakemake can, before the first job starts."""
        if invocation.only_touches(self.workflow):
            return  # there are no jobs, and nothing in the work folder is this run's
        if self.config.settings.on_broken_sample == "fail":
            scheduling.stop_at_first_failure(self.workflow)
            # Nor would the sample be less broken when it is tried again.
            scheduling.never_try_again(self.workflow, self.rule("convert_sample"))
        if self.workflow.local_exec:
            scheduling.do_not_limit_job_rate(self.workflow)
            if not self.is_imported:  # or the jobs may be those of the importing workflow alone
                cores = self.workflow.resource_settings.cores or 1
                scheduling.schedule_among(self.workflow, max(16, 2 * cores))
                start_fork_server(self.scripts, self.targets)
        scheduling.end_cleanly_when_terminated(self.workflow, self.is_interrupted.set)
        self.direct_jobs.end_when_interrupted(self.is_interrupted.set)
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
            command = commands.command_of(self.workflow, rule)
            request = request_of(command, rule)
            if request is None:
                raise ValueError(f"the command of {rule} is not that of a client: {command}")
            do = functools.partial(self.direct_jobs.do, request)
            commands.do_commands_by(self.workflow, rule, do)

    def spare_snakemake(self) -> None:
        """Leave out what Snakemake works out for each job, and nobody asked for."""
        options = invocation.command_line()
        looks = invocation.only_looks(options)
        if looks or self.is_imported:  # other workflows' rules are not ours to change
            return
        if not invocation.uses_conda(self.workflow):
            commands.forget_conda(self.workflow)
        snakemake_shortcuts.take_shortcuts()

    def end(self) -> None:
        """Forget what was written down of the jobs of this run: all of them are done."""
        if not invocation.only_touches(self.workflow):
            end_run(Path(self.config.workdir))

    def give_up(self) -> None:
        """Let other runs write to the store: this one has failed."""
        if not invocation.only_touches(self.workflow):
            let_go(self.config)


def start_fork_server(scripts: Path, targets: Collection[str]) -> None:
    """Have the fork server import torch before the first job asks for it."""
    own = [job for target, job in _JOBS.items() if target in targets]
    job = own[0] if own else "convert_sample"
    forkserver_client.start(server_command(str(scripts / f"{job}.py")))
