"""How far the samples of a run are: how many are done, how fast, and what time is left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aerozarr.messages import format_duration, plural


@dataclass(frozen=True)
class Kind:
    """What the jobs of one rule, one a sample, do.

    Attributes
    ----------
    doing, done
        In words: `converting`, `converted`.
    folder
        Where each leaves a file, `<key>.json`, when it is done.
    bad
        What a sample is called of which that file says something bad: `broken`.
    is_bad
        Whether the file at a path does.
    """

    doing: str
    done: str
    folder: Path
    bad: str
    is_bad: Callable[[Path], bool]


@dataclass
class Progress:
    """How far the samples of a run are.

    Attributes
    ----------
    kind
        What is done with them.
    total
        How many there are to do.
    started
        When the first was started, in seconds of the clock of which `now` is.
    done, bad
        How many are done, and how many of these are broken.
    """

    kind: Kind
    total: int
    started: float
    done: int = 0
    bad: int = 0

    def rate(self, now: float) -> float:
        """Return samples a second, since the first was started."""
        return self.done / max(now - self.started, 1e-3)

    def left(self, now: float) -> str:
        """Return in words how long it takes from here; empty while nothing is known."""
        if not self.done:
            return ""
        return f"{format_duration((self.total - self.done) / self.rate(now))} left"

    def line(self, now: float) -> str:
        """Return how far it is in a sentence, for a log."""
        parts = [
            f"{self.done} of {plural(self.total, 'sample')} {self.kind.done}",
            format_rate(self.rate(now)),
            self.left(now),
            self._bad,
        ]
        return ", ".join(filter(None, parts))

    def end(self, now: float) -> str:
        """Return what was done, in how long, in a sentence."""
        seconds = now - self.started
        bad = f"; {self._bad}" if self.bad else ""
        return (
            f"{self.kind.done} {plural(self.done, 'sample')} in {format_duration(seconds)} "
            f"({format_rate(self.rate(now))}){bad}"
        )

    def bar(self, now: float, width: int, *, marks: str) -> str:
        """Return one line of a terminal.

        Parameters
        ----------
        now
            The time.
        width
            Columns of the terminal; the line leaves the last one free.
        marks
            Two characters: of the part that is done, and of the other.
        """
        counts = f"{self.done}/{self.total}"
        known = [format_rate(self.rate(now)), self.left(now)] if self.done else []
        right = "  ".join([counts, *known, *([self._bad] if self.bad else [])])
        cells = min(width - len(self.kind.doing) - len(right) - 4, 40)
        if cells < 5:
            return f"{self.kind.doing} {right}"
        filled = cells * self.done // max(self.total, 1)
        drawn = marks[0] * filled + marks[1] * (cells - filled)
        return f"{self.kind.doing} {drawn}  {right}"

    @property
    def _bad(self) -> str:
        return f"{self.bad} {self.kind.bad}" if self.bad else ""


def format_rate(per_second: float) -> str:
    """Return how often something happens as a person says it: `12 a second`, `3.2 a minute`."""
    for factor, unit in ((1, "a second"), (60, "a minute")):
        if per_second * factor >= 1:
            return f"{_two_digits(per_second * factor)} {unit}"
    return f"{_two_digits(per_second * 3600)} an hour"


def _two_digits(number: float) -> str:
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"
