"""Compares one sample's group with its checksums and its source."""

import sys

from aerozarr.workflow.entry_point import main

if __name__ == "__main__":
    sys.exit(main("verify_sample"))
