"""Makes one sample's Zarr group and its fragment from the sample's `.pt` files."""

import sys

from aerozarr.workflow.entry_point import main

if __name__ == "__main__":
    sys.exit(main("convert_sample"))
