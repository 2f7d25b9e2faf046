# On a SLURM cluster (profiles/slurm): what is checked before jobs are submitted, and whose they are.
from snakemake.jobs import GroupJob, GroupJobFactory

from aerozarr.workflow.resources import GROUP_MINUTES
from aerozarr.workflow.slurm import begin_run, check_submission, end_run

if workflow.remote_exec:

    # On a node, a group of samples is one Snakemake with one warm worker. Without this it would
    # start one of each for every sample.
    localrules:
        convert_sample,
        verify_sample,


def new_group(_, id, jobs, resources):
    """Return a group that holds these jobs only."""
    return GroupJob(id, frozenset(jobs), resources)


# Snakemake groups the jobs twice before a run starts. Its own factory would return the groups of the
# first time, which have been put together since, to be put together once more: samples would be in
# two groups at once, and the run would end without having merged.
GroupJobFactory.new = new_group


def given(name):
    """Return a resource that every conversion is submitted with, as text, or None."""
    resources = workflow.get_rule("convert_sample").resources
    # As it was written; Snakemake evaluates it anew for each job.
    return str(resources[name].raw).strip("'\"") if name in resources else None


def begin_slurm():
    """Check what jobs are submitted with; make the run's jobs known by their name."""
    if workflow.executor_plugin.name != "slurm":
        return
    try:
        check_submission(given("slurm_account"), given("slurm_partition"))
    except AerozarrError as error:
        sys.exit(f"aerozarr: {error}")
    # Jobs take their settings from the environment. Snakemake would repeat --config, which may
    # hold credentials, in each job's command line.
    workflow.config_settings.config_args = None
    # For a group of so few samples that they add up to no time at all.
    os.environ.setdefault("SBATCH_TIMELIMIT", str(GROUP_MINUTES))
    begin_run(Path(WORKDIR), workflow.scheduler._executor.run_uuid)


def end_slurm():
    """Forget the run's jobs, which have all ended."""
    end_run(Path(WORKDIR))
