"""The environment variables by which the processes of a run know of each other.

Nothing is imported here: a process that is started once a sample imports this module.
"""

# The settings, as JSON: from a Snakemake process to its jobs.
SETTINGS = "AEROZARR_SETTINGS"
# When the run started, for the store's provenance.
STARTED = "AEROZARR_STARTED"
# The folder of the fork server's socket, lock and log; and the process that it serves.
FORKSERVER_FOLDER = "AEROZARR_FORKSERVER_FOLDER"
FORKSERVER_OWNER = "AEROZARR_FORKSERVER_OWNER"
# The name of the run whose SLURM job this process is in.
SLURM_RUN = "AEROZARR_SLURM_RUN"
