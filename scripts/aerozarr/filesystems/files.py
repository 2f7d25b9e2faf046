"""Local files: written whole or not at all, locked, and folders that can be written."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from aerozarr.errors import SettingsError, StoreError


def read_or_none(path: Path) -> bytes | None:
    """Return a file's content, None where it is not there."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def write_atomically(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a file whole or not at all: under another name first, then renamed.

    That name is always the same, so two processes that may write one file need a lock.

    Parameters
    ----------
    path, content
        The file, and what is to be in it.
    durable
        Whether it is on the disk on return. Not needed where a file that a power loss emptied or
        cut is noticed and made again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name[:200]}.partial")
    with partial.open("wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    partial.replace(path)
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder reach the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(folder: Path) -> None:
    """Have all that was written to the file system of a folder reach its disk.

    One call for thousands of small files: as many calls of fsync would take seconds.

    Raises
    ------
    OSError
        When something could not be written.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syncfs"):  # Linux alone has it
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)


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


@contextlib.contextmanager
def held(path: Path, *, alone: bool) -> Iterator[None]:
    """Wait for a lock, and hold it; it ends with this process, however that ends.

    Parameters
    ----------
    path
        The lock's file, which is made where it is not there.
    alone
        Whether no other process or thread may hold it meanwhile; else others may share it.

    Raises
    ------
    SettingsError
        When the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        except OSError as error:
            raise SettingsError(
                f"workdir: {str(path)!r} cannot be locked ({error.strerror}). Give a workdir on "
                "a file system that has locks of files."
            ) from error
        try:
            yield
        finally:
            # Closing it would not do where a fork of this process has it open, too.
            fcntl.flock(file, fcntl.LOCK_UN)


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
