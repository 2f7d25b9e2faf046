"""Makes the table of what is wrong with a store, and the verdict, from the findings."""

from aerozarr.verify.store import verify
from aerozarr.workflow.job import run

if __name__ == "__main__":
    run(verify, __doc__, "table", "verdict")
