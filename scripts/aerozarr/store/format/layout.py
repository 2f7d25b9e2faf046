"""Names, paths and versions of a store, and how an array is cut into chunks and shards."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote

from pydantic import Field, StrictInt

# Of the format that docs/store-format.md describes.
FORMAT_VERSION = 1

# Raise by hand when the same input would give other stored bytes: every sample is then converted
# again. (Snakemake does not see a change in an imported module.)
BYTES_VERSION = 2
# Without checksums of chunks, bytes are what they were before there were any.
BYTES_VERSION_WITHOUT_CHECKSUMS = 1

# The files beside the groups.
MANIFEST = "manifest.json"
SKIPPED = "skipped.tsv"
CHECKSUMS = "checksums.tsv"
PROVENANCE = "provenance.json"
STATISTICS = "statistics.json"
MOMENTS = "moments.jsonl"
SPLITS = "splits.json"

# The metadata of a group or an array.
ROOT_METADATA = "zarr.json"

# Where a local store writes groups before they are put in place.
PARTIAL_FOLDER = ".aerozarr-partial"

# What a store records of its runs: what they wrote, and which one is at work.
RECORDS_FOLDER = ".aerozarr"
WRITTEN = f"{RECORDS_FOLDER}/written.json"
LEASE = f"{RECORDS_FOLDER}/lease.json"


GROUP_SUFFIX = ".zarr"
_LIST_SUFFIX = "_design_ids.txt"

# File names are cut at so many characters, and made distinct by a hash.
LONGEST_NAME = 180

# More than any store holds; a manifest with larger numbers is damaged.
_MOST = 2**48
_Count = Annotated[StrictInt, Field(ge=1, le=_MOST)]


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

    n_points: _Count
    chunk_points: _Count
    shard_points: _Count
    n_chunks: _Count

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
    def is_consistent(self) -> bool:
        """Whether the numbers fit each other; those of a file may be damaged."""
        return (
            self.n_chunks == -(-self.n_points // self.chunk_points)
            and self.shard_points % self.chunk_points == 0
        )

    @property
    def is_sound(self) -> bool:
        """Whether the numbers are those of a grid, where they come from elsewhere than `of`."""
        return (
            0 < self.n_points <= _MOST
            and 0 < self.chunk_points <= _MOST
            and 0 < self.shard_points <= _MOST
            and 0 < self.n_chunks <= _MOST
            and self.is_consistent
        )

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return -(-self.n_points // self.shard_points)


def safe_name(text: str) -> str:
    """Return text as a file name of letters, digits and `_.-~%`; of two texts, two names.

    Long ones are cut, and made distinct by a hash.
    """
    # As quote does, in a tenth of its time.
    name = text.replace("/", "%2F") if _PLAIN.fullmatch(text) else quote(text, safe="")
    return name if len(name) <= LONGEST_NAME else hashed_name(text)


# What quote leaves as it is, and slashes.
_PLAIN = re.compile(r"[A-Za-z0-9_.~/-]*")


def hashed_name(text: str) -> str:
    """Return text as `safe_name` returns long ones, however long it is."""
    name = quote(text, safe="")
    # '%~' is in no quoted text: a cut name is never another's whole one.
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return f"{name[: LONGEST_NAME - 34]}%~{digest}"


def group_path(sample_id: str) -> str:
    """Return where a sample's group lies below the root of a store."""
    return f"{sample_id}{GROUP_SUFFIX}"


def split_path(path: str) -> tuple[str, str] | None:
    """Return the sample whose group a file lies in, and its path there; None when it is in none.

    Parameters
    ----------
    path
        The file's path below the root of a store.
    """
    # The first one: no folder above a group may end like a group.
    sample_id, inside, rest = path.partition(f"{GROUP_SUFFIX}/")
    return (sample_id, rest) if inside else None


def nested_stores(paths: Iterable[str]) -> set[str]:
    """Return the folders below the root of a store that have a manifest of their own.

    Parameters
    ----------
    paths
        Of all files below the root.
    """
    end = f"/{MANIFEST}"
    return {path.removesuffix(end) for path in paths if path.endswith(end) and not split_path(path)}


def without_nested(paths: Iterable[str]) -> list[str]:
    """Return the paths of a store's own files: none of its records, and none of other stores."""
    paths = list(paths)
    hidden = {*nested_stores(paths), PARTIAL_FOLDER, RECORDS_FOLDER}
    if hidden == {PARTIAL_FOLDER, RECORDS_FOLDER}:
        return [path for path in paths if path.partition("/")[0] not in hidden]
    return [path for path in paths if not _lies_in(path, hidden)]


def _lies_in(path: str, folders: set[str]) -> bool:
    parts = path.split("/")
    return any("/".join(parts[:count]) in folders for count in range(1, len(parts)))


def groups_in(paths: Iterable[str]) -> set[str]:
    """Return the samples whose groups are visible, from the paths of a store's files."""
    places = map(split_path, paths)
    return {place[0] for place in places if place and place[1] == ROOT_METADATA}


def shard_folder(array_name: str) -> str:
    """Return where in a group the shards of an array lie."""
    return f"{array_name}/c"


def shard_path(array_name: str, shard: int) -> str:
    """Return where in a group a shard of an array lies."""
    return f"{shard_folder(array_name)}/{shard}/0"


# What aerozarr and other Zarr writers put into a group: metadata, and chunks or shards by number.
_OF_A_GROUP = re.compile(r"([^/]+/){0,2}zarr\.json|[^/]+/[^/]+/c/\d+/\d+")
# What desktops and network file systems put into any folder.
_LITTER = re.compile(r"\._.*|\.DS_Store|Thumbs\.db|desktop\.ini|\.nfs[0-9a-f]+", re.IGNORECASE)


def array_of(path: str) -> str:
    """Return the array whose metadata or shard a file of a group is; empty for another file."""
    name = path.partition("/c/")[0].removesuffix(f"/{ROOT_METADATA}")
    return name if name.count("/") == 1 else ""


def is_foreign_in_group(path: str, arrays: Collection[str]) -> bool:
    """Whether a file of a group is one that no run of the store wrote.

    Nothing that is foreign is removed with a group; what operating systems leave in folders is.

    Parameters
    ----------
    path
        The file's path in the group.
    arrays
        Names of the arrays that runs of the store ever wrote.
    """
    if _LITTER.fullmatch(path.rpartition("/")[2]):
        return False
    if not _OF_A_GROUP.fullmatch(path):
        return True
    if path == ROOT_METADATA:
        return False
    name = array_of(path)
    if name:
        return name not in arrays
    start = path.removesuffix(ROOT_METADATA)
    return not any(array.startswith(start) for array in arrays)


def is_shard(path: str) -> bool:
    """Whether a file of a group is a shard, by its path in the group."""
    return "/c/" in path


def statistics_name(split: str | None = None) -> str:
    """Return the name of the file with the statistics of a split; None stands for all samples."""
    return STATISTICS if split is None else f"statistics.{safe_name(split)}.json"


def id_list_name(split: str) -> str:
    """Return the name of the file with the ids of a split, one a line."""
    return f"{safe_name(split)}{_LIST_SUFFIX}"


def is_id_list(name: str) -> bool:
    """Whether a name is that of a file with the ids of some split."""
    return name.endswith(_LIST_SUFFIX)


_BESIDE = frozenset(
    {MANIFEST, SKIPPED, CHECKSUMS, PROVENANCE, STATISTICS, MOMENTS, SPLITS, RECORDS_FOLDER}
)


def is_beside_the_groups(name: str) -> bool:
    """Whether a name at the root is that of a file, or of a folder of records, of a store."""
    if name in _BESIDE:
        return True
    return is_id_list(name) or (name.startswith("statistics.") and name.endswith(".json"))


def stays_inside(path: str) -> bool:
    """Whether a relative path leads to a place below the folder that it starts from."""
    parts = path.split("/")
    return not any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts)
