"""What a conversion needs, estimated from the sample table before it runs."""

from __future__ import annotations

import math

from aerozarr.samples import Sample

# Measured, in MiB: Python with torch and the rest imported, and room for one chunk of everything.
BASE_MB = 400
# Of a sample whose files are not known (a class loads it).
UNKNOWN_MB = 1600
# A field as it is read and as it is stored, its permutation (8 bytes a point beside the position's
# 12), and its compressed shard, each at most as large as the largest file.
TIMES_LARGEST_FILE = 4
# The Snakemake that does a group's jobs on a node, measured at 130 MiB, and SLURM's own processes.
SNAKEMAKE_MB = 200

# Generous: a tenth of what a quiet machine converts in a second, for file systems that many share.
MB_PER_SECOND = 5
# Of a sample whose files are not known.
UNKNOWN_MINUTES = 15


def memory_mb(sample: Sample, *, buffers_sample: bool, beside_snakemake: bool, attempt: int) -> int:
    """Return the memory to ask for, in MiB.

    Parameters
    ----------
    sample
        The sample's row of the table.
    buffers_sample
        Whether the compressed sample is held until it is whole, as for a store behind a URL.
    beside_snakemake
        Whether the same memory has to hold the Snakemake that runs the job, as on a cluster.
    attempt
        1 at first; a retry asks for more.
    """
    base = BASE_MB + beside_snakemake * SNAKEMAKE_MB
    if not sample.sizes:
        return (base + UNKNOWN_MB) * attempt
    size = TIMES_LARGEST_FILE * max(sample.sizes) + buffers_sample * sum(sample.sizes)
    return (base + size // 2**20) * attempt


def runtime_minutes(sample: Sample, *, attempt: int) -> int:
    """Return the time to ask for, in minutes: at least one, the least that can be asked for.

    Parameters
    ----------
    sample
        The sample's row of the table.
    attempt
        1 at first; a retry asks for more.
    """
    if not sample.sizes:
        return UNKNOWN_MINUTES * attempt
    return math.ceil(sum(sample.sizes) / (MB_PER_SECOND * 2**20 * 60) + 0.1) * attempt
