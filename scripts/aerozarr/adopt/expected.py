"""What an adoption has to look at, and what it finds: its records in the work folder."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from aerozarr.run_config import RunConfig
from aerozarr.source.samples import Sample
from aerozarr.store.format.layout import Grid
from aerozarr.verify.expected import Problem

# What mends what, in words that hold for one problem and for many: they are told with a number.
CONVERT_ANEW = "run snakemake (without adopt), which converts each such sample anew"
# Of a store that no run is recorded of: until a sample was adopted, a plain run is refused there.
TAKE_OVER = (
    "check source and settings; if they are right, run snakemake (without adopt) once with "
    "take_over: true, which converts each such sample anew"
)
MOVE_AWAY = "move away what is no part of the format, and run snakemake adopt again"
MEND_SOURCE = (
    "mend the source and run snakemake adopt again: without adopt, snakemake would take each such "
    "sample out of the manifest"
)
NOT_IN_SOURCE = (
    "check source and settings; if such samples are to go, run snakemake (without adopt), which "
    "takes them out of the manifest and leaves their groups"
)


class Listed(BaseModel):
    """What a store's manifest lists of a sample that is to be adopted.

    Attributes
    ----------
    sample
        Its row of the source's listing.
    relpath
        The path of its group below the store root.
    domains
        Its grids by domain.
    compressor
        What the manifest says of its chunks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample: Sample
    relpath: str
    domains: dict[str, Grid]
    compressor: str


class AdoptionPlan(BaseModel):
    """What an adoption has to do, written down when the run begins.

    Attributes
    ----------
    adopt
        Keys of the samples that are to be compared with the source.
    keep
        Keys of those that are adopted already, or were converted here.
    not_in_source
        Ids of samples that the manifest lists and the source does not have.
    sources, groups
        What the store records of its runs once something is adopted; see `Written`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    adopt: list[str]
    keep: list[str]
    not_in_source: list[str]
    sources: list[str]
    groups: list[str]


class AdoptionFindings(BaseModel):
    """What was found of one sample.

    Attributes
    ----------
    sample_id
        The sample's id.
    problems
        Why it was not adopted; empty when it was.
    files, stored_bytes, values
        What was looked at: files and their bytes, and values compared with the source.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_id: str
    problems: list[Problem] = []
    files: int = 0
    stored_bytes: int = 0
    values: int = 0


def adoption_folder(run_config: RunConfig) -> Path:
    """Return where an adoption keeps what is expected and what was found."""
    return run_config.place("adoption")


def listed_path(run_config: RunConfig, key: str) -> Path:
    """Return where it is written down what the manifest lists of a sample."""
    return adoption_folder(run_config) / "listed" / f"{key}.json"


def findings_path(run_config: RunConfig, key: str) -> Path:
    """Return where it is written down what was found of a sample."""
    return adoption_folder(run_config) / "findings" / f"{key}.json"


def plan_path(run_config: RunConfig) -> Path:
    """Return where it is written down what there is to do."""
    return adoption_folder(run_config) / "plan.json"


def outcome_path(run_config: RunConfig) -> Path:
    """Return where it is written down what the person at the terminal is told."""
    return adoption_folder(run_config) / "outcome.txt"
