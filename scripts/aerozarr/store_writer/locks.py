"""Who may do what in a StoreWriter's workdir: many write, each sample once, and one finishes.

The locks are files of the workdir, so they hold between all processes that share it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from aerozarr.filesystems.files import held


class Locks:
    """The locks of a workdir.

    Parameters
    ----------
    workdir
        The workdir.
    """

    def __init__(self, workdir: str) -> None:
        folder = Path(workdir, "locks")
        self._entry, self._writing = folder / "entry", folder / "writing"
        self._keys = folder / "samples"

    @contextmanager
    def writing(self, key: str) -> Iterator[None]:
        """Hold what writing a sample takes: its own lock, and a share of that of all writers."""
        with ExitStack() as stack:
            with held(self._entry, alone=True):
                stack.enter_context(held(self._writing, alone=False))
            stack.enter_context(held(self._keys / key, alone=True))
            yield

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """Hold what finishing takes: nobody writes meanwhile; who would begin to waits."""
        # Who writes passes the entry, so that a finish gets its turn among many who write.
        with held(self._entry, alone=True), held(self._writing, alone=True):
            shutil.rmtree(self._keys, ignore_errors=True)  # nobody holds one, or waits for it
            yield
