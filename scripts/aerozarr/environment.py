"""The environment variables that aerozarr's processes, and the programs it uses, go by.

Nothing is imported here: a process that is started once a sample imports this module. The table in
docs/design.md says who sets and who reads each.
"""

# The settings, as JSON: from a Snakemake process to its jobs.
SETTINGS = "AEROZARR_SETTINGS"
# When the run started, for the store's provenance.
STARTED = "AEROZARR_STARTED"
# The folder of the fork server's socket, lock and log; and the process whose jobs it does.
FORKSERVER_FOLDER = "AEROZARR_FORKSERVER_FOLDER"
FORKSERVER_PARENT = "AEROZARR_FORKSERVER_PARENT"
# The name of the run whose SLURM job this process is in.
SLURM_RUN = "AEROZARR_SLURM_RUN"

# Read by sbatch: the time of a job that asks for none.
SBATCH_TIMELIMIT = "SBATCH_TIMELIMIT"
# Read by gcsfs: whether it asks for each bucket's kind before it uses it.
GCSFS_ZONAL_BUCKETS = "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"
