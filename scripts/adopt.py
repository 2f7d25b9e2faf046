"""Makes the files beside a store's manifest from the fragments of the samples that were adopted."""

import sys

from aerozarr.workflow.entry_point import main

if __name__ == "__main__":
    sys.exit(main("adopt"))
