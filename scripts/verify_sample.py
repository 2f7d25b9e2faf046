"""Compares one sample's group with its checksums and its source."""

import sys

from aerozarr.served import main

if __name__ == "__main__":
    sys.exit(main("verify_sample"))
