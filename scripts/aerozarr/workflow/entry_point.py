"""The scripts whose jobs the fork server does, or a plain process where there is no such server.

Such a script imports nothing but this before it knows that it has to.
"""

from __future__ import annotations

import os
import sys

from aerozarr.workflow import forkserver_client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aerozarr.workflow.forkserver import Job


def main(job: str) -> int:
    """Do a job with the options of the command line; with `--serve`, be the fork server.

    Parameters
    ----------
    job
        A name of `_jobs`.

    Returns
    -------
    int
        The exit code.
    """
    script, *arguments = sys.argv
    if arguments == ["--serve"]:
        # Here: a client needs none of it.
        from aerozarr.workflow.forkserver import serve

        serve(lambda: _load(job))
        return 0
    if arguments[:1] == ["--plain"]:
        return _load(job)([job, *arguments[1:]])
    try:
        code = forkserver_client.request([job, *arguments], server_command(script))
    except KeyboardInterrupt:
        return 130  # as shells count it; the worker ends the job
    if code is None and forkserver_client.parent_has_ended():
        print("aerozarr: the run has ended, so this job is not done", file=sys.stderr, flush=True)
        return 1
    if code is not None and code > 128:
        print(f"aerozarr: {why_killed(code - 128)}", file=sys.stderr, flush=True)
    if code is None:
        print("aerozarr: done in a plain process", file=sys.stderr, flush=True)
        os.execv(sys.executable, [sys.executable, script, "--plain", *arguments])
    return code


def why_killed(number: int) -> str:
    """Return what a worker most likely died of, and what to do, by the number of its signal."""
    if number == 9:
        return (
            "the process was killed, most likely because memory ran out. Run fewer jobs at the "
            "same time: with fewer --cores, or --resources mem_mb=N for N MiB in all"
        )
    if number == 7:
        return (
            "a file of the source was cut while it was read. Run snakemake again when the source "
            "is complete"
        )
    return f"the process was ended by signal {number}. Run snakemake again"


def server_command(script: str) -> list[str]:
    """Return the command that starts a fork server for the script's job and related ones."""
    return [sys.executable, script, "--serve"]


def in_this_process(job: str, options: Sequence[str]) -> int:
    """Do a job in this process, without a fork server; return its exit code."""
    return _load(job)([job, *options])


def _load(job: str) -> Job:
    """Import what a job and related ones need, and return the function that does one."""
    if job == "verify_sample":
        return _verifying()
    if job in ("adopt_sample", "adopt"):
        return _adopting()
    return _converting()


def _verifying() -> Job:
    from aerozarr.run_config import RunConfig
    from aerozarr.verify.sample import verify_sample

    RunConfig.from_environment()
    return _by_name(verify_sample=(verify_sample, ("key", "findings")))


def _adopting() -> Job:
    from aerozarr.adopt.sample import adopt_sample
    from aerozarr.adopt.store import adopt
    from aerozarr.run_config import RunConfig

    RunConfig.from_environment().prepare()
    return _by_name(
        adopt_sample=(adopt_sample, ("key", "findings")),
        adopt=(adopt, ("table", "incomplete", "merged", "report", "problems")),
    )


def _converting() -> Job:
    from aerozarr.convert.sample import convert_sample
    from aerozarr.merge.merge_manifest import merge_manifest
    from aerozarr.run_config import RunConfig

    RunConfig.from_environment().prepare()
    return _by_name(
        convert_sample=(convert_sample, ("table", "key", "fragment")),
        merge_manifest=(merge_manifest, ("table", "incomplete", "merged", "report")),
    )


def _by_name(**jobs: tuple[Callable[..., None], tuple[str, ...]]) -> Job:
    """Return what does any of some jobs, given with their options: the first text is its name."""
    from aerozarr.workflow.job import run_job

    def do(texts: list[str]) -> int:
        function, options = jobs[texts[0]]
        return run_job(function, texts[1:], function.__doc__, *options)

    return do
