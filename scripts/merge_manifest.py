"""Makes the store's manifest.json and skipped.tsv from the samples' fragments."""

from aerozarr.jobs import run
from aerozarr.merging import merge

if __name__ == "__main__":
    run(merge, __doc__, "table", "incomplete", "merged")
