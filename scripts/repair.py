"""Says what of a verification's problems was mended, and what is left."""

from aerozarr.verify.repair import repair
from aerozarr.workflow.job import run

if __name__ == "__main__":
    run(repair, __doc__, "table")
