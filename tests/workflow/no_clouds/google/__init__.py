"""Not installed, as far as runs without URLs can tell: see `workflow.harness`."""

raise ImportError("kept out of runs that need no cloud's packages")
