"""Removes from the store the groups that its manifest does not list."""

from aerozarr.jobs import run
from aerozarr.merging import clear

if __name__ == "__main__":
    run(clear, __doc__, "merged")
