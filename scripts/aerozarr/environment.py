"""The environment variables that aerozarr's processes, and the programs it uses, go by.

And what tells a process from a later one of the same number. Nothing is imported here: a process
that is started once a sample imports this module. The table in docs/design.md says who sets and who
reads each variable.
"""

# The settings, as JSON: from a Snakemake process to its jobs.
SETTINGS = "AEROZARR_SETTINGS"
# When the run started, for the store's provenance.
STARTED = "AEROZARR_STARTED"
# The folder of the fork server's socket, lock and log; the process whose jobs it does, and when
# that was started.
FORKSERVER_FOLDER = "AEROZARR_FORKSERVER_FOLDER"
FORKSERVER_PARENT = "AEROZARR_FORKSERVER_PARENT"
FORKSERVER_PARENT_STARTED = "AEROZARR_FORKSERVER_PARENT_STARTED"
# The name of the run whose SLURM job this process is in.
SLURM_RUN = "AEROZARR_SLURM_RUN"

# What kind of terminal there is: on a `dumb` one no line can be drawn anew.
TERM = "TERM"

# Set by torchrun: which of several training processes this is.
RANK = "RANK"

# Read by sbatch: the time of a job that asks for none.
SBATCH_TIMELIMIT = "SBATCH_TIMELIMIT"
# Read by gcsfs: whether it asks for each bucket's kind before it uses it.
GCSFS_ZONAL_BUCKETS = "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"


def process_started(pid: int) -> str:
    """Return when a process was started, in ticks; empty where there is none (or no /proc)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            # After the command's name, which is in parentheses and may hold anything.
            return stat.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""
