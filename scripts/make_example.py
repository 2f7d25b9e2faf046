"""Makes the bundled example's source: ten bodies in potential flow, as `.pt` files."""

from pathlib import Path

from aerozarr.example import write_example
from aerozarr.run_config import RunConfig
from aerozarr.workflow.job import run


def make_example(_: RunConfig, *, folder: Path) -> None:
    """Write the example below a folder."""
    write_example(folder)


if __name__ == "__main__":
    run(make_example, __doc__, "folder")
