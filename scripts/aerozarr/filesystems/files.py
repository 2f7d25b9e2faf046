"""Local files: written whole or not at all, locked, and folders that can be written."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from aerozarr.errors import SettingsError, StoreError


def read_or_none(path: Path) -> bytes | None:
    """Return a file's content, None where it is not there."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: beside its place first, then put in place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name[:200]}.partial")
    aside.write_bytes(content)
    aside.replace(path)


def lock(path: Path) -> IO[str]:
    """Take a lock that ends with this process, however it ends.

    Returns
    -------
    file
        To be kept open for as long as the lock is wanted.

    Raises
    ------
    StoreError
        When another process has it.
    """
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise StoreError(
            f"another run (process {holder}) is at work in {path.parent}. Wait for it to end, or "
            "give this one a workdir and store of its own."
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def check_writable(key: str, folder: Path) -> None:
    """Check that a folder is one, or can be made.

    Raises
    ------
    SettingsError
        When it cannot.
    """
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not existing.is_dir():
        raise SettingsError(f"{key}: {str(folder)!r} cannot be a folder: {existing} is a file.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise SettingsError(
            f"{key}: {str(folder)!r} cannot be written: no permission in {existing}. "
            f"Set {key} to a folder of your own."
        )
