"""Compares one sample's group with its source, and makes its fragment if both are the same."""

import sys

from aerozarr.workflow.entry_point import main

if __name__ == "__main__":
    sys.exit(main("adopt_sample"))
