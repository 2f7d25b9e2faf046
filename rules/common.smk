# Settings, the start of a run, and the helpers of the rules.
import functools
import gc
import sys

sys.path.insert(0, os.path.join(workflow.basedir, "scripts"))

from snakemake.settings.types import DeploymentMethod

from aerozarr.verify.expected import prepare_verification, folder_of
from aerozarr.errors import AerozarrError
from aerozarr.filesystems.location import is_url
from aerozarr.workflow.resources import memory_mb, runtime_minutes
from aerozarr.run_config import RunConfig
from aerozarr.workflow.slurm import check_run
from aerozarr.run_config import MERGED
from aerozarr.workflow.prepare import begin, acquire_workdir
from aerozarr.source.sample_table import read_samples
from aerozarr.workflow.entry_point import serve_command
from aerozarr.workflow.forkserver_client import name_owner
from aerozarr.workflow.forkserver_client import start as start_worker

# Snakemake does not tell a Snakefile its targets while it is read.
ASKED = {*sys.argv[1:]} if workflow.is_main_process else set()
VERIFYING = "verify" in ASKED


def tell(*messages):
    """Say something to the person at the terminal."""
    for message in messages:
        print(f"aerozarr: {message}", file=sys.stderr, flush=True)


def start_early():
    """Have the warm worker import torch before the first job asks for it."""
    if workflow.local_exec:
        job = "verify_sample" if VERIFYING else "convert_sample"
        start_worker(
            serve_command(os.path.join(workflow.basedir, "scripts", f"{job}.py"))
        )


def start():
    """Check the settings and list the source; end with one clear message if that fails.

    Returns the run_config, what changes when the source does, the samples to verify by key, and what a
    run would do, if this is none.
    """
    # A dry run, or a mode that only looks (--lint, --dag …), must not touch anything.
    resources = workflow.resource_settings
    runs_jobs = not workflow.output_settings.dryrun and bool(
        resources.cores or resources.nodes
    )
    name_owner()
    try:
        if not workflow.is_main_process:
            return start_job(), "", {}, ""
        run_config = RunConfig.from_config(config)
        if runs_jobs and (VERIFYING or not run_config.place(MERGED).exists()):
            start_early()  # there will be jobs: have torch imported while the samples are listed
        if VERIFYING:
            if runs_jobs:
                tell(*acquire_workdir(run_config))
            return run_config, "", prepare_verification(run_config, write=runs_jobs), ""
        digest, messages, forecast = begin(run_config, runs_jobs=runs_jobs)
    # Not as a WorkflowError: Snakemake shows those with places in this file.
    except AerozarrError as error:
        sys.exit(f"aerozarr: {error}")
    except OSError as error:
        sys.exit(f"aerozarr: the source or the store cannot be reached: {error}")
    tell(*messages)
    return run_config, digest, {}, forecast


def start_job():
    """Return the run_config in a Snakemake that runs jobs for another, maybe on another machine."""
    # An executor that takes no environment along gives the configuration on the command line.
    sent = RunConfig.is_in_environment()
    run_config = RunConfig.from_environment() if sent else RunConfig.from_config(config)
    check_run(Path(run_config.workdir))
    return run_config


PROJECT, SOURCE_DIGEST, CLAIMED, FORECAST = start()
# All that is imported stays: collections, and the interpreter's end, need not look at it again.
gc.freeze()
WORKDIR = PROJECT.workdir
VERIFICATION = str(folder_of(PROJECT))
VERDICT = folder_of(PROJECT) / "verdict.json"


wildcard_constraints:
    key="[^/]+",


@functools.lru_cache(maxsize=2)
def sample_table(path, changed):
    """Return the samples of the table by key; read again when the table changed."""
    return {sample.key: sample for sample in read_samples(Path(path))}


def samples_by_key():
    """Return the samples that the checkpoint listed, by key and in sample order."""
    path = checkpoints.list_samples.get().output.table
    return sample_table(path, os.stat(path).st_mtime_ns)


def fragments(wildcards):
    """Return the fragments of all samples, in sample order."""
    return [f"{PROJECT.fragments}/{key}.json" for key in samples_by_key()]


def found_of_claimed(wildcards):
    """Return what is to be found of every sample that the store claims."""
    if not VERIFYING:
        raise WorkflowError("give verify on the command line, as a target of its own")
    return [f"{VERIFICATION}/found/{key}.json" for key in CLAIMED]


def sample_of(wildcards):
    """Return the sample that a job converts."""
    sample = samples_by_key().get(wildcards.key)
    if sample is None:
        raise WorkflowError(f"{wildcards.key} is no sample of {WORKDIR}/samples.tsv")
    return sample


def fingerprint(wildcards):
    """Return what changes when a file of the sample does."""
    return sample_of(wildcards).fingerprint


def memory(wildcards, attempt):
    """Return the memory that a sample's job needs, in MiB; a retry asks for more."""
    return memory_mb(
        CLAIMED.get(wildcards.key) or sample_of(wildcards),
        buffers_sample=is_url(PROJECT.settings.store),
        reads_ahead=is_url(PROJECT.source),
        beside_snakemake=not workflow.local_exec,
        attempt=attempt,
    )


def runtime(wildcards, attempt):
    """Return what a conversion adds to the time of its group, in minutes."""
    settings = workflow.group_settings
    group = settings.overwrite_groups.get("convert_sample")
    size = settings.group_components.get(group, 1)
    return runtime_minutes(sample_of(wildcards), group_size=size, attempt=attempt)


def cluster_needs():
    """Return what only a cluster has to be told about a conversion."""
    return dict(runtime=runtime) if workflow.resource_settings.nodes else {}


def untracked(value):
    """Return a parameter that is not compared with the last run's.

    Snakemake leaves out of its record what a function makes from `output`. Without that, another
    environment or checkout would convert everything again.
    """
    return lambda wildcards, output: value


def script(name):
    """Return the command that runs a script, as untracked parameters."""
    uses_conda = (
        DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
    )
    return dict(
        python=untracked("python" if uses_conda else sys.executable),
        script=untracked(os.path.join(workflow.basedir, "scripts", f"{name}.py")),
    )


def tune_scheduler():
    """Set what no option of Snakemake can, before the first job starts."""
    if PROJECT.settings.on_broken_sample == "fail":
        # Undo the profile's keep-going: stop at the first.
        workflow.scheduler.keepgoing = False
        # Nor would it be less broken when it is tried again.
        workflow.get_rule("convert_sample").restart_times = 0
    if workflow.local_exec:
        # The limit on jobs per timespan spares cluster schedulers. Here, every round of scheduling
        # would leave a timer that starts another round, for ever, and holds up the end.
        workflow.scheduler.job_rate_limiter = None
