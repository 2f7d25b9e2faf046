"""Says what a run would read, write and take, from the listing and a few samples."""

from aerozarr.workflow.estimate import estimate
from aerozarr.workflow.job import run

if __name__ == "__main__":
    run(estimate, __doc__, "cores")
