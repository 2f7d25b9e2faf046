"""Makes the table of what is wrong with a store, and the verdict, from what was found."""

from aerozarr.jobs import run
from aerozarr.verdicts import conclude

if __name__ == "__main__":
    run(conclude, __doc__, "table", "verdict")
