"""What may be wrong with a VTK file."""

from __future__ import annotations

GET_AGAIN = "get the file again from where the dataset comes from, or write it again"
"""The remedy of most damage."""


class NotInBlocks(Exception):
    """A file that may be sound, but is not read in blocks; the vtk library may read it.

    Its text says why, as the rest of a sentence on the file, e.g. `its data is written as text`.
    """


class DamagedVtk(Exception):
    """A file whose content is not what a VTK file's may be.

    Parameters
    ----------
    cause, remedy
        What is wrong, and what to do about it; without a final stop, as `BrokenSample` has them.
    """

    def __init__(self, cause: str, remedy: str = GET_AGAIN) -> None:
        super().__init__(f"{cause}; {remedy}")
        self.cause = cause
        self.remedy = remedy
