# What the person at the terminal reads last: after Snakemake's own last lines, and also after a run
# that had nothing to do, or only looked.
import atexit
import contextlib

from aerozarr.merge.remove_orphans import orphans_of
from aerozarr.messages import printable
from aerozarr.messages import plural, first_lines
from aerozarr.merge.summary import read_summary, reason_in
from aerozarr.verify.store import read_verdict

# What Snakemake said of the run: "done" or "failed"; nothing of one that had nothing to do.
ENDED = []
# Relative paths are below it, and Snakemake leaves it (--directory) before the end.
WORKING_DIRECTORY = os.getcwd()


def words_of(target):
    """Return what the job of a target had to say, from its log."""
    return Path(f"{WORKDIR}/logs/{target}.log").read_text("utf-8").splitlines()


def tell_result():
    """Say where the store is, how many samples it has, and what was skipped and why."""
    if "estimate" in ASKED:
        return tell(*words_of("estimate"))
    result = VERDICT if VERIFYING else PROJECT.place(MERGED)
    summary = read_verdict(result) if VERIFYING else read_summary(result)
    lines = summary.lines() if summary is not None else []
    if "remove_orphans" in ASKED:
        lines = [*words_of("remove_orphans"), *lines[-1:]]
    tell(*lines)


def tell_failure():
    """Say which jobs failed and why, and what to do after a run that did not finish."""
    if VERIFYING and VERDICT.exists():
        return tell_result()
    failed = [
        job
        for jobs in workflow.scheduler.failed
        for job in (jobs if jobs.is_group() else [jobs])
    ]
    reasons = [(job.name, reason_in(Path(log))) for job in failed for log in job.log]
    told = [
        [f"{name}: {head}", *below] for name, (head, *below) in filter(all, reasons)
    ]
    tell(
        # None, when the run was interrupted.
        *([f"{plural(len(failed), 'job')} failed:"] if failed else []),
        *first_lines(line for lines in sorted(told) for line in lines),
        f"not finished; more is above, and in {WORKDIR}/logs. What is converted is kept: once the "
        "cause is mended, the same command goes on from here.",
    )


def tell_forecast():
    """Say what a run would do."""
    if "remove_orphans" in ASKED:
        try:
            orphans = sorted(map(printable, orphans_of(PROJECT.store)))
        except AerozarrError as error:
            return tell(error)
        tell(
            f"a run would remove {plural(len(orphans), 'group')}", *first_lines(orphans)
        )
    elif not VERIFYING:
        tell(FORECAST or "a run would make the example, or convert what it lacks")


def tell_the_end():
    """Say what came of the run, if it got as far as to have jobs."""
    if workflow.scheduler is None:
        return  # a mode that only looks, or an error that Snakemake has told
    with contextlib.chdir(WORKING_DIRECTORY):
        if workflow.dryrun:
            tell_forecast()
        elif "failed" in ENDED:
            tell_failure()
        elif ENDED or not len(workflow.dag):
            tell_result()


if workflow.is_main_process:
    atexit.register(tell_the_end)
