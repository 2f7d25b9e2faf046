# On a SLURM cluster (profiles/slurm): how samples are put together to jobs.
from aerozarr.workflow.snakemake_internals.cluster import group_jobs_anew

group_jobs_anew()
