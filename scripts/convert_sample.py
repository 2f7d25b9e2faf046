"""Makes one sample's Zarr group and its fragment from the sample's `.pt` files."""

from aerozarr.conversion import convert
from aerozarr.jobs import run

if __name__ == "__main__":
    run(convert, __doc__, "table", "key", "fragment")
