"""What is shown of a run while it goes on: one line that moves, or few lines in a log.

Snakemake says some six lines for each job. `Display` takes the place of the handler that writes
them to the terminal. It counts samples by Snakemake's events, which are those that logger plugins
get, and hands on to that handler what is no routine: every warning and error, whole, and whatever
it does not know. Snakemake's own log file (`.snakemake/log`) has all lines as ever.

A logger plugin would have to be installed: Snakemake looks for them among the packages that can be
imported before it knows of any Snakefile, and a clone's `scripts` is not among these.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

from aerozarr.messages import columns_of, format_duration, plural, printable, tell
from aerozarr.workflow.progress import Kind, Progress

# Events, and beginnings of messages without one, that are routine.
_ROUTINE_EVENTS = frozenset(
    {
        *("job_info", "job_started", "job_finished", "group_info"),
        *("progress", "run_info", "resources_info"),
    }
)
_PLANNING = ("Building DAG of jobs", "Updating checkpoint dependencies")
_ROUTINE = (
    *_PLANNING,
    *("Select jobs to execute", "Execute ", "DAG of jobs will be updated", "Using shell: "),
    *("Conda environments: ignored", "Singularity containers: ignored", "Elapsed time: "),
)
_LOG_FILE = "Complete log(s): "

# What the jobs do that are not of one sample, by rule.
_OTHER_JOBS = {
    "make_example": "making the example",
    "list_samples": "listing the samples",
    "merge_manifest": "merging",
    "verify": "summarizing",
    "adopt": "merging",
    "estimate": "converting a few samples",
    "remove_orphans": "removing groups",
    "repair": "looking at what was mended",
}

# Seconds between two drawings of the line, and between two looks at what jobs elsewhere have done.
_DRAW_SECONDS = 0.5
_LOOK_SECONDS = 10.0
# In a log: at every tenth of the samples, but not more often than this; and at least so often.
_LINE_SECONDS = 3.0
# Files of a job that failed, in its error; the log file names all.
_FILES_SHOWN = 5
_HOUR = 3600.0


def _shortened(record: logging.LogRecord) -> logging.LogRecord:
    """Return the record of a job's error with no more than a few of its files named.

    The job that sums a verification up has an input for each sample, 10,000 perhaps.
    """
    short = copy.copy(record)
    for name in ("input", "output"):
        files = list(vars(record).get(name) or ())
        if len(files) > _FILES_SHOWN:
            more = f"… and {len(files) - _FILES_SHOWN} more"
            vars(short)[name] = [*files[:_FILES_SHOWN], more]
    return short


class NoDisplay:
    """Shows nothing besides what is told: Snakemake's own lines are shown."""

    def tell(self, *messages: str) -> None:
        """Say something to the person at the terminal."""
        tell(*messages)

    @contextlib.contextmanager
    def phase(self, doing: str) -> Iterator[None]:
        """Show what is done, in a few words, for as long as it takes."""
        yield

    def close(self) -> None:
        """End the display."""


class Display(logging.Handler, NoDisplay):
    """Shows how far a run is, in the place of Snakemake's own lines.

    Parameters
    ----------
    inner
        Snakemake's own handler, which shows what is no routine.
    stream
        Where that writes.
    kinds
        What the rules do that have a job for each sample.
    count_jobs
        Returns how many jobs of a rule there are to run.
    is_live
        Whether the stream is a terminal, on which a line can be drawn anew.
    shows_progress
        False for errors alone.
    looks
        Whether to look in the folders of `kinds` for what is done: jobs that are submitted in
        groups are reported only when all of their group is done.
    clock
        Returns the time in seconds.
    """

    def __init__(
        self,
        inner: logging.Handler,
        stream: TextIO,
        kinds: Mapping[str, Kind],
        count_jobs: Callable[[str], int],
        *,
        is_live: bool,
        shows_progress: bool = True,
        looks: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._inner, self._stream, self._kinds = inner, stream, kinds
        self._count_jobs, self._clock = count_jobs, clock
        self._is_live, self._shows_progress = is_live and shows_progress, shows_progress
        self._guard = threading.RLock()
        # Of jobs that were started and not reported as finished: rule and key, by number.
        self._running: dict[int, tuple[str, str]] = {}
        self._done: set[str] = set()
        self._progress: Progress | None = None
        self._phase, self._phase_began = "", clock()
        self._failed = False
        self._drawn, self._drawn_at, self._said_at = False, -_HOUR, clock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        if shows_progress:
            self._thread = threading.Thread(target=self._watch, args=(looks,), daemon=True)
            self._thread.start()

    # Called by Snakemake and by aerozarr

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of a record, and show it unless it is routine."""
        event = str(getattr(record, "event", None) or "")
        with self._guard:
            self._note(event, record)
            if self._is_routine(event, record):
                if self._clock() - self._drawn_at >= _DRAW_SECONDS:
                    self._draw()
                return
            self._clear()
            self._inner.handle(_shortened(record) if event == "job_error" else record)
            self._draw()

    def tell(self, *messages: str) -> None:
        """Say something to the person at the terminal."""
        with self._guard:
            self._clear()
            tell(*messages)
            self._draw()

    @contextlib.contextmanager
    def phase(self, doing: str) -> Iterator[None]:
        """Show what is done, in a few words, for as long as it takes."""
        self._begin(printable(doing))
        try:
            yield
        finally:
            self._begin("")

    def close(self) -> None:
        """End the display; what is logged later is shown by nobody."""
        self._ended.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(2)  # unless a file system hangs
        with self._guard:
            self._phase, self._progress = "", None
            self._clear()
        super().close()

    # What happens

    def _note(self, event: str, record: Any) -> None:
        if event == "job_info":
            self._job_starts(record.rule_name, record.jobid, record.wildcards)
        elif event == "job_finished":
            self._job_finished(record.job_id)
        elif record.levelno >= logging.ERROR:
            self._failed = True
        elif not event and str(record.msg).startswith(_PLANNING):
            self._begin("planning")

    def _job_starts(self, rule: str, number: int, wildcards: Mapping[str, str]) -> None:
        kind = self._kinds.get(rule)
        if kind is None:
            self._begin(_OTHER_JOBS.get(rule, ""))
            return
        self._running[number] = rule, str(wildcards.get("key", ""))
        if self._progress is None or self._progress.kind is not kind:
            self._begin("")
            self._done.clear()
            self._progress = Progress(kind, self._count_jobs(rule), self._clock())
            self._say(f"{kind.doing} {plural(self._progress.total, 'sample')}")

    def _job_finished(self, number: int) -> None:
        rule, key = self._running.pop(number, ("", ""))
        if rule:
            self._is_done(self._kinds[rule], key)
        else:
            self._begin("")

    def _is_done(self, kind: Kind, key: str) -> None:
        progress = self._progress
        if progress is None or progress.kind is not kind or key in self._done:
            return
        self._done.add(key)
        tenths = progress.done * 10 // max(progress.total, 1)
        progress.done += 1
        progress.total = max(progress.total, progress.done)
        progress.bad += kind.is_bad(kind.folder / f"{key}.json")
        now = self._clock()
        if progress.done == progress.total:
            self._progress = None
            self._clear()
            if self._shows_progress:
                tell(progress.end(now))
        elif progress.done * 10 // progress.total > tenths and now - self._said_at >= _LINE_SECONDS:
            self._say(progress.line(now))

    def _is_routine(self, event: str, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            return False
        if event:
            return event in _ROUTINE_EVENTS
        text = str(record.msg)
        return text.startswith(_ROUTINE) or (text.startswith(_LOG_FILE) and not self._failed)

    # What is shown

    def _begin(self, phase: str) -> None:
        with self._guard:
            self._phase, self._phase_began = phase, self._clock()
            self._clear()
            self._draw()

    def _say(self, message: str) -> None:
        """Say how far it is, where no line shows it."""
        if self._shows_progress and not self._is_live:
            self._said_at = self._clock()
            tell(message)

    def _draw(self) -> None:
        if not self._is_live or self._ended.is_set():
            return
        now = self._drawn_at = self._clock()
        width = columns_of(self._stream)
        if self._phase:
            seconds = now - self._phase_began
            text = f"{self._phase}  {format_duration(seconds)}" if seconds >= 1 else self._phase
        elif self._progress is not None:
            text = self._progress.bar(now, width, marks=self._marks)
        else:
            return
        self._write(f"\r\x1b[2K{text[: width - 1]}")
        self._drawn = True

    def _clear(self) -> None:
        if self._drawn:
            self._write("\r\x1b[2K")
            self._drawn = False

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody looks any more
            self._stream.write(text)
            self._stream.flush()

    @property
    def _marks(self) -> str:
        try:
            "━─".encode(self._stream.encoding or "ascii")
        except (UnicodeError, LookupError):
            return "#-"
        return "━─"

    def _watch(self, looks: bool) -> None:
        """Keep the line's times going, and look for what jobs elsewhere have done."""
        looked = self._clock()
        while not self._ended.wait(_DRAW_SECONDS if self._is_live else _LOOK_SECONDS):
            if looks and self._clock() - looked >= _LOOK_SECONDS:
                self._look()
                looked = self._clock()
            with self._guard:
                now = self._clock()
                if self._progress is not None and now - self._said_at >= _HOUR:
                    self._say(self._progress.line(now))
                self._draw()

    def _look(self) -> None:
        """Count the samples whose files are there, of those whose group is not done."""
        with self._guard:
            progress, running = self._progress, {key for _, key in self._running.values()}
        if progress is None or not running:
            return
        try:
            names = os.listdir(progress.kind.folder)  # without the lock: it may take a while
        except OSError:
            return  # nothing is done yet
        for name in names:
            key, _, ending = name.rpartition(".")
            if ending == "json" and key in running:
                with self._guard:
                    self._is_done(progress.kind, key)
