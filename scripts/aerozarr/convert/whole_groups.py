"""Which groups of a local store are whole, found by a process of its own.

A store of 10,000 samples has 170,000 files. To look at each of them takes a second, in which
another core can list the source, or merge.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from aerozarr.processes import die_with_parent
from aerozarr.source.samples import key_of
from aerozarr.store.format.layout import group_path
from aerozarr.store.write.local_files import LocalFiles

# Below so many fragments, the start of a process takes longer than to look.
_MANY = 1_000


class _Recorded(msgspec.Struct):
    """What matters here of a fragment."""

    sample_id: str
    status: str
    objects: dict[str, tuple[int, str]] = {}


_DECODER = msgspec.json.Decoder(_Recorded)


class Looking:
    """A process that looks at the groups of a store, while its starter does something else.

    Parameters
    ----------
    fragments
        Folder of the fragments.
    root
        Root of the store; None for one that is not local, at which none looks.
    """

    def __init__(self, fragments: str, root: str | None) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        if root is None or not _has_many(fragments):
            return
        # Without the working directory, in which anything may lie by the name of a module.
        command = [sys.executable, "-P", "-m", __name__, fragments, root]
        modules = {"PYTHONPATH": str(Path(__file__).parents[2])}
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **modules},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def whole(self) -> frozenset[str]:
        """Wait for the process, and return the groups that are whole, by path below the root.

        Not all that are: what is not among them is to be looked at.
        """
        if self._process is None:
            return frozenset()
        output, _ = self._process.communicate()
        if self._process.returncode != 0:
            return frozenset()
        return frozenset(output.decode("utf-8").split("\0"))


def find_whole(fragments: str, root: str) -> Iterator[str]:
    """Yield the groups of a store that hold every file that their fragments tell of, in its size.

    Parameters
    ----------
    fragments
        Folder of the fragments. What is none there is passed over, and so is one under another
        name than its own, which nobody asks about.
    root
        Root of the store.

    Yields
    ------
    str
        Path of a group below the root.
    """
    files = LocalFiles(root)
    with os.scandir(fragments) as entries:
        for entry in entries:
            if not entry.name.endswith(".json"):
                continue
            try:
                with open(entry.path, "rb") as file:
                    recorded = _DECODER.decode(file.read())
            except (OSError, ValueError, RecursionError):
                continue
            # A broken sample's tells of no files, and would be whole without any.
            if recorded.status != "converted" or not recorded.objects:
                continue
            if entry.name != f"{key_of(recorded.sample_id)}.json":
                continue
            group = group_path(recorded.sample_id)
            if files.holds(group, ((path, size) for path, (size, _) in recorded.objects.items())):
                yield group


def _has_many(folder: str) -> bool:
    try:
        with os.scandir(folder) as entries:
            return sum(1 for _ in entries) >= _MANY
    except OSError:
        return False


if __name__ == "__main__":
    die_with_parent()
    sys.stdout.buffer.write("\0".join(find_whole(*sys.argv[1:])).encode("utf-8"))
