"""Removes from the store the groups that its manifest does not list."""

from aerozarr.merge.remove_orphans import clear
from aerozarr.workflow.job import run

if __name__ == "__main__":
    run(clear, __doc__, "merged")
