"""Makes the files beside a store's manifest from the fragments of the samples that were adopted."""

from aerozarr.adopt.store import adopt
from aerozarr.workflow.job import run

if __name__ == "__main__":
    run(adopt, __doc__, "table", "incomplete", "merged", "report", "problems")
