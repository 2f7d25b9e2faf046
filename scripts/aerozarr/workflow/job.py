"""How a script of a rule runs: options in, exit code out.

Whatever goes wrong ends in the rule's log, which is the job's standard error: a message for what a
person can mend, a traceback for what they cannot.
"""

from __future__ import annotations

import argparse
import errno
import functools
import sys
from collections.abc import Callable
from pathlib import Path

from aerozarr.errors import AerozarrError
from aerozarr.filesystems.backends import silence_loggers
from aerozarr.run_config import RunConfig

# Options that are no paths.
TEXTS = ("key", "cores")


def run(job: Callable[..., None], description: str | None, *options: str) -> None:
    """Run a job with the options of the command line, and end the process with its exit code.

    Parameters
    ----------
    job
        Called with the run_config, and one keyword argument an option.
    description
        For `--help`.
    options
        Names of the options, all required: paths, except those of `TEXTS`.
    """
    sys.exit(run_job(job, sys.argv[1:], description, *options))


def run_job(
    job: Callable[..., None], arguments: list[str], description: str | None, *options: str
) -> int:
    """Run a job with the given command line, as `run` does, and return its exit code."""
    values = vars(_parser(description, *options).parse_args(arguments))
    silence_loggers()
    try:
        job(RunConfig.from_environment(), **values)
    except AerozarrError as error:
        print(f"aerozarr: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        place = f" for {error.filename}" if error.filename else ""
        print(
            f"aerozarr: no space is left{place} ({error.strerror}). Free some on the disks of "
            "store and workdir, or set them to other places; then run snakemake again",
            file=sys.stderr,
        )
        return 1
    return 0


@functools.cache  # a worker does one job after another
def _parser(description: str | None, *options: str) -> argparse.ArgumentParser:
    # Written --key=value, because a key may begin with a dash.
    parser = argparse.ArgumentParser(description=description)
    for option in options:
        kind = str if option in TEXTS else Path
        parser.add_argument(f"--{option}", required=True, type=kind)
    return parser
