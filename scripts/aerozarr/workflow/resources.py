"""What a conversion needs, estimated from the sample table before it runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from aerozarr.config.fields import Domain
from aerozarr.config.file_patterns import is_raw, whole_name
from aerozarr.source.files.download import AHEAD_BYTES
from aerozarr.source.samples import UNKNOWN_SIZE, Sample
from aerozarr.source.source import Source

# Measured, in MiB: Python with torch and the rest imported, and room for one chunk of everything.
BASE_MB = 400
# Of a sample whose files are not known (a class loads it).
UNKNOWN_MB = 1600
# A field as it is read and as it is stored, each at most as large as the largest file, and a
# reserve. (Mapped files are not held as they are read, nor long permutations: a local sample's
# positions take one time their file, and that is all.)
TIMES_LARGEST_FILE = 3
# What an array of a compressed file takes, in times the file: floats hardly shrink to a quarter.
TIMES_COMPRESSED = 4
COMPRESSED = (".npz", ".h5", ".hdf5", ".vtp", ".vtu")
# From so many bytes on, the arrays in a sample's raw files are looked up.
LARGE_RAW = 64 * 2**20
# The Snakemake that does a group's jobs on a node, measured at 130 MiB, and SLURM's own processes.
SNAKEMAKE_MB = 200

# Generous: a tenth of what a quiet machine converts in a second, for file systems that many share.
MB_PER_SECOND = 5
# What a sample takes besides: half a second would do.
SAMPLE_SECONDS = 2
# Of a sample whose files are not known.
UNKNOWN_MINUTES = 15
# What a group takes besides its samples: slow starts, and a reserve.
GROUP_MINUTES = 30


def memory_mb(
    sample: Sample,
    *,
    attempt: int,
    buffers_sample: bool = False,
    reads_ahead: bool = False,
    beside_snakemake: bool = False,
    arrays: Mapping[str, Sequence[int]] | None = None,
) -> int:
    """Return the memory to ask for, in MiB.

    Parameters
    ----------
    sample
        The sample's row of the table.
    attempt
        1 at first; a retry asks for more.
    buffers_sample
        Whether the compressed sample is held until it is whole, as for a store behind a URL.
    reads_ahead
        Whether its files are read before they are wanted, as from a source behind a URL.
    beside_snakemake
        Whether the same memory has to hold the Snakemake that runs the job, as on a cluster.
    arrays
        By file, the bytes of each array that is read in blocks, as `Source.array_sizes` has them:
        no more of these files is held.
    """
    base = BASE_MB + beside_snakemake * SNAKEMAKE_MB
    if not sample.sizes or UNKNOWN_SIZE in sample.sizes:
        return (base + UNKNOWN_MB) * attempt
    sizes = dict(zip(sample.files, sample.sizes, strict=True))
    held = {name: list((arrays or {}).get(name, [size])) for name, size in sizes.items()}
    size = TIMES_LARGEST_FILE * _largest(sizes, arrays or {})
    size += buffers_sample * sum(sum(of) for of in held.values())
    ahead = [size for name, size in sizes.items() if not is_raw(name)]
    if reads_ahead and ahead:
        # As bytes, beside the tensor that they hold; raw files are fetched to disk.
        size += max(ahead) + min(AHEAD_BYTES, sum(ahead))
    return (base + size // 2**20) * attempt


def _largest(sizes: Mapping[str, int], arrays: Mapping[str, Sequence[int]]) -> int:
    """Return the bytes of the largest array, or file that is held whole."""
    of_files: dict[str, int] = {}
    for name, size in sizes.items():
        whole = whole_name(name)
        times = TIMES_COMPRESSED if whole.lower().endswith(COMPRESSED) else 1
        of_files[whole] = of_files.get(whole, 0) + max(arrays.get(name, [size * times]))
    return max(of_files.values())


def arrays_of(
    source: Source, sample: Sample, domains: tuple[Domain, ...], *, is_whole: bool = False
) -> Mapping[str, Sequence[int]]:
    """Return `arrays` of `memory_mb` for a sample, looked up where its raw files are large.

    With `is_whole`, for a job that reads them by vtk.
    """
    sizes = zip(sample.files, sample.sizes, strict=True)
    is_large = sum(size for name, size in sizes if is_raw(name)) >= LARGE_RAW
    return source.array_sizes(sample, domains, is_whole=is_whole) if is_large else {}


def runtime_minutes(sample: Sample, *, group_size: int, attempt: int) -> int:
    """Return the time to ask for, in whole minutes, which are added up for a group of samples.

    Most samples take seconds, and a minute for each would be hours for a group. So what is not a
    whole minute is asked for by some of the samples only, as many as it takes; which, their keys
    decide. For a group of the usual size the sum is right to a few minutes, which `GROUP_MINUTES`
    covers; for one of very few samples it may be nothing.

    Parameters
    ----------
    sample
        The sample's row of the table.
    group_size
        How many samples are usually added up.
    attempt
        1 at first; a retry asks for more.
    """
    seconds = sum(sample.sizes) / 2**20 / MB_PER_SECOND + SAMPLE_SECONDS
    is_known = bool(sample.sizes) and UNKNOWN_SIZE not in sample.sizes
    own = seconds / 60 if is_known else UNKNOWN_MINUTES
    whole, part = divmod(own + GROUP_MINUTES / group_size, 1)
    draw = int.from_bytes(hashlib.sha256(sample.key.encode()).digest()[:4]) / 2**32
    return (int(whole) + (draw < part)) * attempt
