"""Mending what a verification found: what a run has to do for that, and what no run can do.

`verify` writes down the problems and of which state of the store they are. A run with the target
`repair` converts the samples anew that are damaged, missing or stale, as if nothing were known of
them, and merges; what is left is told, the worst first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from aerozarr.convert.fragment import read_fragment
from aerozarr.errors import SettingsError, StoreError
from aerozarr.filesystems.files import write_atomically
from aerozarr.messages import first_lines, plural, printable, redacted
from aerozarr.run_config import INCOMPLETE, RunConfig
from aerozarr.source.sample_table import read_skipped
from aerozarr.source.samples import key_of
from aerozarr.store.format.layout import GROUP_SUFFIX, MANIFEST, group_path
from aerozarr.store.format.tables import table_text
from aerozarr.verify.expected import (
    ADOPT,
    CONVERT_ANEW,
    DROP,
    MEND_SOURCE,
    MENDED,
    MERGE_ANEW,
    MOVE_AWAY,
    REMOVE_ORPHANS,
    REMOVE_REST,
    SAME_SETTINGS,
    verification_folder,
)
from aerozarr.verify.manifest import read_manifest
from aerozarr.verify.store import COLUMNS, Verdict, read_verdict, state_of

# What is left to the person, the worst first.
_LEFT = (MEND_SOURCE, ADOPT, DROP, MOVE_AWAY, REMOVE_REST, REMOVE_ORPHANS)

_LIST_IT = (
    "if the source has it, run snakemake with a limit and splits that include it, which converts "
    "it anew; else snakemake remove_orphans, which removes its group"
)
_VERIFY_FIRST = "Run snakemake verify, with the other options of the run, and then repair."


Row = tuple[str, str, str, str]
"""Sample (empty for the store as a whole), place, what is wrong, and what mends it."""


class Repair(BaseModel):
    """What a run is to mend, written down when it begins.

    Attributes
    ----------
    samples
        Ids of the samples to convert anew, in the order in which they were found.
    merges
        Whether the manifest and the files beside it are to be written anew in any case.
    left
        Problems that a run cannot mend: sample (empty for the store as a whole), place, what is
        wrong, and what mends it; the worst first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    samples: list[str] = []
    merges: bool = False
    left: list[Row] = []

    @property
    def keys(self) -> frozenset[str]:
        """Keys of the samples to convert anew."""
        return frozenset(map(key_of, self.samples))

    @property
    def spared(self) -> frozenset[str]:
        """Keys of the samples of which the source alone is damaged: what is stored stays."""
        damaged = (sample for sample, *_, remedy in self.left if remedy == MEND_SOURCE)
        return frozenset(map(key_of, damaged)) - self.keys


@dataclass(frozen=True)
class Planned:
    """A repair, and whether a run has begun it already."""

    repair: Repair
    is_begun: bool = False


def plan_repair(run_config: RunConfig) -> Planned:
    """Return what is to be mended, by the last verification.

    Raises
    ------
    StoreError
        When there is none, or the store was written to since.
    SettingsError
        When it was one with other settings, or the store was made with others.
    """
    store = redacted(run_config.settings.store).rstrip("/")
    verdict = read_verdict(verification_folder(run_config) / "verdict.json")
    if verdict is None or verdict.store.rstrip("/") != store:
        raise StoreError(f"there is no verification of {store} to go by. {_VERIFY_FIRST}")
    if verdict.stored_as != run_config.stored_as_digest:
        raise SettingsError(
            f"the last verification of {store} was one with other settings: these would convert "
            f"all of it. {_VERIFY_FIRST}"
        )
    known = {*MENDED, *_LEFT, SAME_SETTINGS}
    if not known.issuperset(remedy for *_, remedy in verdict.problems):
        # An earlier version's, in other words.
        raise StoreError(f"there is no verification of {store} to go by. {_VERIFY_FIRST}")
    others = [place for _, place, _, remedy in verdict.problems if remedy == SAME_SETTINGS]
    if others:
        raise SettingsError(
            f"{store} was made with other settings (see {run_config.place('verify.tsv')}), so "
            "that repair would convert all of it. Give those; or run snakemake, which converts "
            "anew with these."
        )
    if verdict.state != state_of(run_config.store):
        begun = _read(run_config)
        if begun is None:
            raise StoreError(f"{store} was written to since its last verification. {_VERIFY_FIRST}")
        return Planned(begun, is_begun=True)
    return Planned(repair_of(verdict))


def repair_of(verdict: Verdict) -> Repair:
    """Return what a run is to mend of what a verification found."""
    rows = verdict.problems
    gone = {sample for sample, *_, remedy in rows if remedy == DROP}
    anew = dict.fromkeys(
        sample for sample, *_, remedy in rows if remedy == CONVERT_ANEW and sample not in gone
    )
    left = [row for row in rows if row[3] not in MENDED]
    return Repair(
        samples=list(anew),
        merges=any(remedy == MERGE_ANEW for *_, remedy in rows),
        left=sorted(left, key=_rank),
    )


def _rank(row: Row) -> int:
    """Return where a problem stands among those that are left: the worst first."""
    return _LEFT.index(row[3]) if row[3] in _LEFT else len(_LEFT)


def begin_repair(run_config: RunConfig, planned: Planned) -> None:
    """Write down what this run is to mend; from here on the same command goes on with it."""
    outcome_path(run_config).unlink(missing_ok=True)
    if not planned.is_begun:
        content = planned.repair.model_dump_json().encode("utf-8")
        write_atomically(_record_path(run_config), content)


def repair_messages(planned: Planned) -> list[str]:
    """Return what the person should know before the jobs start."""
    repair = planned.repair
    if planned.is_begun:
        return ["this repair was begun before; it goes on with what is not converted yet"]
    if not (repair.samples or repair.merges or repair.left):
        return ["the last verification found nothing to repair"]
    lines = []
    if repair.samples:
        which = "it" if len(repair.samples) == 1 else "them"
        number = plural(len(repair.samples), "sample")
        lines.append(f"to mend: {number}, by converting {which} anew:")
        lines += first_lines(map(printable, repair.samples))
    if repair.merges:
        lines.append("to mend: the files beside the groups, by writing them anew")
    return lines


def repair(run_config: RunConfig, *, table: Path) -> None:
    """Say what was mended and what is left: the job of `repair`, after all others.

    Parameters
    ----------
    run_config
        The configuration.
    table
        Where what is left is listed.

    Raises
    ------
    StoreError
        When something is left.
    """
    planned = _read(run_config) or Repair()
    failed = [*_not_converted(run_config, planned.samples)]
    left = [*failed, *sorted(_still_left(run_config, planned.left), key=_rank)]
    lines = []
    if mended := len(planned.samples) - len(failed):
        lines.append(f"{plural(mended, 'sample')} converted anew")
    if planned.merges:
        lines.append("the files beside the groups are written anew")
    if left:
        lines.append(f"{plural(len(left), 'problem')} not mended (all in {table}):")
        lines += first_lines(printable(_said(*row)) for row in left)
    write_atomically(table, table_text(left, COLUMNS).encode("utf-8"))
    write_atomically(outcome_path(run_config), "\n".join(lines).encode("utf-8"))
    if left:
        raise StoreError(f"not everything could be mended; {table} has the list")


def outcome_path(run_config: RunConfig) -> Path:
    """Return where it is written down what came of a repair, in lines for a person."""
    return verification_folder(run_config) / "repaired.txt"


def _said(sample: str, place: str, problem: str, remedy: str) -> str:
    where = ": ".join(part for part in (sample, place) if part)
    return f"{where}: {problem}; {remedy}"


def _still_left(run_config: RunConfig, rows: Iterable[Row]) -> Iterable[Row]:
    """Yield what is left of problems, now that this run has merged: some it has mended by that."""
    store = run_config.store
    try:
        listed = read_manifest(store).samples.keys()
    except StoreError:
        yield from rows
        return
    told = set[str]()
    for row in rows:
        sample, place, _, remedy = row
        if remedy == REMOVE_ORPHANS:
            sample = place.removesuffix(GROUP_SUFFIX)
        elif remedy != DROP or sample in listed:
            yield row
            continue
        if sample not in listed and sample not in told and store.has_group(sample):
            told.add(sample)
            yield "", group_path(sample), f"a group that {MANIFEST} does not list", REMOVE_ORPHANS


def _not_converted(run_config: RunConfig, samples: Iterable[str]) -> Iterable[Row]:
    """Yield those that could not be converted anew, and why."""
    skipped = {one.id: one for one in read_skipped(run_config.place(INCOMPLETE))}
    for sample in samples:
        try:
            fragment = read_fragment(run_config.fragment(key_of(sample)))
        except StoreError:
            if sample in skipped:
                one = skipped[sample]
                yield sample, one.file, one.cause, one.remedy
            else:
                yield sample, "", "is not among the samples of this run", _LIST_IT
            continue
        if fragment.skipped is not None:
            one = fragment.skipped
            yield sample, one.field or one.file, one.cause, one.remedy


def _record_path(run_config: RunConfig) -> Path:
    return verification_folder(run_config) / "repair.json"


def _read(run_config: RunConfig) -> Repair | None:
    try:
        return Repair.model_validate_json(_record_path(run_config).read_bytes())
    except (OSError, ValueError):
        return None
