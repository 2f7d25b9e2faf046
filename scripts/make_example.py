"""Makes the bundled example's source: ten bodies in potential flow, as `.pt` files."""

from pathlib import Path

from aerozarr.example import write_example
from aerozarr.jobs import run
from aerozarr.project import Project


def make_example(_: Project, *, folder: Path) -> None:
    """Write the example below a folder."""
    write_example(folder)


if __name__ == "__main__":
    run(make_example, __doc__, "folder")
