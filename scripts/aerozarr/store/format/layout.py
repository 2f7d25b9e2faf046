"""Names, paths and versions of a store, and how an array is cut into chunks and shards."""

from __future__ import annotations

from dataclasses import dataclass

# Of the format that docs/store-format.md describes.
FORMAT_VERSION = 1

# Raise by hand when the same input would give other stored bytes: every sample is then converted
# again. (Snakemake does not see a change in an imported module.)
BYTES_VERSION = 1

# The files beside the groups.
MANIFEST = "manifest.json"
SKIPPED = "skipped.tsv"
CHECKSUMS = "checksums.tsv"
PROVENANCE = "provenance.json"
STATISTICS = "statistics.json"
SPLITS = "splits.json"

# The metadata of a group or an array.
ROOT_METADATA = "zarr.json"

# Where a local store writes groups before they are put in place.
PARTIAL_FOLDER = ".aerozarr-partial"


@dataclass(frozen=True)
class Grid:
    """How the points of a sample's domain are cut into chunks and shards.

    Attributes
    ----------
    n_points
        Number of points.
    chunk_points, shard_points
        Points in a chunk and in a shard, as used.
    n_chunks
        Number of chunks that hold points.
    """

    n_points: int
    chunk_points: int
    shard_points: int
    n_chunks: int

    @classmethod
    def of(cls, n_points: int, chunk_points: int, shard_points: int | None) -> Grid:
        """Return the grid of `n_points` points for the settings of those names."""
        chunk = min(chunk_points, n_points)
        n_chunks = -(-n_points // chunk)
        in_shard = (
            n_chunks if shard_points is None else max(1, min(n_chunks, shard_points // chunk))
        )
        return cls(n_points, chunk, in_shard * chunk, n_chunks)

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return -(-self.n_points // self.shard_points)


def group_path(sample_id: str) -> str:
    """Return where a sample's group lies below the root of a store."""
    return f"{sample_id}.zarr"


def shard_path(array_name: str, shard: int) -> str:
    """Return where in the group a shard of an array lies."""
    return f"{array_name}/c/{shard}/0"
