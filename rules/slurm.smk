# On a SLURM cluster (profiles/slurm): how samples are put together to jobs.
from aerozarr.workflow.snakemake_internals import group_jobs_anew

if workflow.remote_exec:

    # On a node, a group of samples is one Snakemake with one fork server. Without this it would
    # start one of each for every sample.
    localrules:
        convert_sample,
        verify_sample,
        adopt_sample,


group_jobs_anew()
