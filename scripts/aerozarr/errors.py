"""What can go wrong, in four kinds, because each has another consequence.

* `SettingsError`: the run cannot start; the person has to change a setting or a path.
* `BrokenSample`: one sample is at fault; it is skipped and listed, the others go on.
* `StoreError`: the store or the work folder is not in the state that a step relies on.
* `RemoteError`: what is behind a URL cannot be reached, or refuses. Fails the job, not the sample.

Anything else (no disk, no network, no permission, a bug) is left as the exception it is: it fails
the job, and Snakemake's retries apply.
"""

from __future__ import annotations

from typing import Literal


class AerozarrError(Exception):
    """An error whose message is written for the person at the terminal."""


class SettingsError(AerozarrError):
    """A setting, or what it points at, cannot be used. Ends the run before any job starts."""


class StoreError(AerozarrError):
    """The store or the work folder does not hold what a step needs."""


class RemoteError(AerozarrError):
    """A source or store behind a URL that cannot be reached, or refuses access."""


class SourceChangedError(AerozarrError):
    """A file is not what the listing saw; a new run lists it again."""


class BrokenSample(AerozarrError):
    """A sample that cannot be converted because of what its own files hold.

    Parameters
    ----------
    field
        Canonical name of the field at fault, e.g. `volume_velocity`.
    file
        Name of the file at fault.
    cause, remedy
        What is wrong, and what to do about it; sentences without a final stop.
    kind
        `broken`, or `unreadable` when the file itself cannot be read.
    is_certain
        False when it may not be the sample's fault, so that the next run should try again.
    """

    def __init__(
        self,
        *,
        field: str,
        file: str,
        cause: str,
        remedy: str,
        is_certain: bool = True,
        kind: Literal["broken", "unreadable"] = "broken",
    ) -> None:
        super().__init__(f"{field} ({file}): {cause}; {remedy}")
        self.field = field
        self.file = file
        self.cause = cause
        self.remedy = remedy
        self.is_certain = is_certain
        self.kind: Literal["broken", "unreadable"] = kind


class SkipSample(AerozarrError):
    """Raised by a dataset class's `_load` to have a sample skipped; its text is the reason.

    The sample is listed as broken with that reason, and the others go on.
    """
