"""The files of a workflow whose rules Snakemake reads in a git repository, without a checkout.

As of a module from `github(…)` or `git+file:`. Snakemake fetches a file at a time, and only those
that rules name; the scripts import each other. This is run by itself, before anything else of
aerozarr is there.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any


def check_out(folder: Any, cache: Path) -> Path:
    """Write the files of a commit into a cache, and return the folder that was asked for there.

    Parameters
    ----------
    folder
        A folder in a repository: Snakemake's `LocalGitFile`, or a `HostingProviderFile`.
    cache
        Where Snakemake keeps what it fetched.

    Raises
    ------
    ValueError
        When it is in no repository: then files cannot be listed.
    """
    # A repository on this machine, or Snakemake's own clone of another.
    if hasattr(folder, "repo_path"):
        repository = folder.repo_path
    elif hasattr(folder, "hosted_repo"):
        folder.cache_path = cache
        repository = folder.hosted_repo.repo_clone
    else:
        raise ValueError(
            f"aerozarr: {folder} is neither a folder nor in a git repository. Clone aerozarr, and "
            "give the module statement the path of its Snakefile."
        )
    commit = _git(repository, "rev-parse", "--verify", f"{folder.ref}^{{commit}}").decode().strip()
    place = Path(cache, "aerozarr", commit)
    if not place.exists():
        _extract(_git(repository, "archive", "--format=tar", commit), place)
    return Path(os.path.normpath(place / folder.path))


def _git(repository: str | Path, *arguments: str) -> bytes:
    return subprocess.run(
        ["git", "-C", str(repository), *arguments], check=True, stdout=subprocess.PIPE
    ).stdout


def _extract(archive: bytes, place: Path) -> None:
    """Write an archive's files: all of them, or nothing."""
    place.parent.mkdir(parents=True, exist_ok=True)
    aside = tempfile.mkdtemp(prefix=".", dir=place.parent)
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(aside, filter="data")
        os.rename(aside, place)
    except OSError:
        # Another process may have been first.
        if not place.exists():
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
