"""Makes the store's manifest.json and skipped.tsv from the samples' fragments."""

import sys

from aerozarr.workflow.entry_point import main

if __name__ == "__main__":
    sys.exit(main("merge_manifest"))
