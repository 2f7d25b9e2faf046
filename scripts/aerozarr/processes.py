"""What processes of ours ask of the operating system."""

from __future__ import annotations

import ctypes
import signal
import sys


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
