"""Removes from the store the groups that its manifest does not list."""

from aerozarr.merge.remove_orphans import remove_orphans
from aerozarr.workflow.job import run

if __name__ == "__main__":
    run(remove_orphans, __doc__, "merged")
