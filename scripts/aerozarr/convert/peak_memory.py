"""The peak memory of a job, in a process that does one job after another."""

from __future__ import annotations

import contextlib
import re
import resource
import sys
from pathlib import Path

_PEAK = re.compile(r"^VmHWM:\s*(\d+) kB$", re.MULTILINE)


def reset_peak_memory() -> None:
    """Have `peak_memory_mb` tell of what comes after this, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak resident set size


def peak_memory_mb() -> float:
    """Return the most memory, in MiB, that this process has had resident since `reset_peak_memory`.

    Mapped files count. Where the system has no such figure, it is the peak since the process began.
    """
    with contextlib.suppress(OSError):
        found = _PEAK.search(Path("/proc/self/status").read_text())
        if found is not None:
            return round(int(found[1]) / 2**10, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
