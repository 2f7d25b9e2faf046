"""Makes one sample's Zarr group and its fragment from the sample's `.pt` files.

Started once a sample, so it imports next to nothing itself: a warm worker, shared by the jobs of a
run, does the work (see aerozarr/warm.py). When none is to be had, a plain process does.
"""

from __future__ import annotations

import os
import sys

from aerozarr import warm

OPTIONS = ("table", "key", "fragment")


def main(arguments: list[str]) -> int:
    """Convert the sample that the options name; with `--serve`, be the warm worker."""
    if arguments == ["--serve"]:
        warm.serve(load)
        return 0
    if arguments[:1] == ["--plain"]:
        return load()(arguments[1:])
    code = warm.request(arguments, [sys.executable, __file__, "--serve"])
    if code is None:
        print("aerozarr: converting in a plain process", file=sys.stderr, flush=True)
        os.execv(sys.executable, [sys.executable, __file__, "--plain", *arguments])
    return code


def load() -> warm.Job:
    """Import what a conversion needs; a client, started once a sample, does not."""
    from aerozarr.conversion import convert
    from aerozarr.jobs import run_job
    from aerozarr.project import Project

    Project.from_environment()
    return lambda arguments: run_job(convert, arguments, __doc__, *OPTIONS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
