"""What a conversion needs, estimated from the sample table before it runs."""

from __future__ import annotations

from aerozarr.readahead import AHEAD_BYTES
from aerozarr.samples import Sample

# Measured, in MiB: Python with torch and the rest imported, and room for one chunk of everything.
BASE_MB = 400
# Of a sample whose files are not known (a class loads it).
UNKNOWN_MB = 2000
# A field as it is read and as it is stored, its permutation (8 bytes a point beside the position's
# 12), and its compressed shard, each at most as large as the largest file.
TIMES_LARGEST_FILE = 4


def memory_mb(
    sample: Sample, *, buffers_sample: bool, reads_ahead: bool = False, attempt: int
) -> int:
    """Return the memory to ask for, in MiB.

    Parameters
    ----------
    sample
        The sample's row of the table.
    buffers_sample
        Whether the compressed sample is held until it is whole, as for a store behind a URL.
    reads_ahead
        Whether its files are read before they are wanted, as from a source behind a URL.
    attempt
        1 at first; a retry asks for more.
    """
    if not sample.sizes:
        return UNKNOWN_MB * attempt
    size = TIMES_LARGEST_FILE * max(sample.sizes) + buffers_sample * sum(sample.sizes)
    if reads_ahead:
        # As bytes, beside the tensor that they hold.
        size += max(sample.sizes) + min(AHEAD_BYTES, sum(sample.sizes))
    return (BASE_MB + size // 2**20) * attempt
