"""What is expected of a store's samples, and what a verification finds of each.

A verification begins with what the store's own files say, written down for each sample in the work
folder; each sample is then compared with that and with its source (`sample`), and a table and a
verdict sum up the findings (`store`). Nothing is mended.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict

from aerozarr.convert.known_arrays import known_arrays
from aerozarr.convert.rounding import Rounding
from aerozarr.filesystems.files import read_or_none, write_atomically
from aerozarr.messages import redacted
from aerozarr.run_config import RunConfig
from aerozarr.source.samples import Sample, ids_by_split, key_of
from aerozarr.store.format.layout import (
    CHECKSUMS,
    PROVENANCE,
    Grid,
    split_path,
)
from aerozarr.store.format.manifest import Manifest
from aerozarr.store.format.tables import Checksums, read_checksums
from aerozarr.store.write.records import read_written
from aerozarr.store.write.root import StoreRoot
from aerozarr.verify.manifest import manifest_as_written


class Expected(BaseModel):
    """What a store's own files say of one sample.

    Attributes
    ----------
    sample_id
        The sample's id.
    domains
        Its grids by domain, as the manifest has them.
    objects
        Size and SHA-256 of its files by path below its group; empty where the store has no
        checksums.
    source
        Its row of the source's listing; None when the source does not have it (or is not looked
        at).
    is_foreign
        Whether another program wrote the store, which was not adopted.
    arrays
        Names of the arrays that runs of the store wrote, into this group or others.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_id: str
    domains: dict[str, Grid]
    objects: dict[str, tuple[int, str]]
    source: Sample | None
    is_foreign: bool = False
    arrays: list[str] = []


class ListedSource(BaseModel):
    """What the source holds, as it was listed for a verification.

    Attributes
    ----------
    fingerprints
        By the id of each sample, in sample order: what changes when one of its files does.
    splits
        The ids of each split, in its order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    fingerprints: dict[str, str]
    splits: dict[str, list[str]]

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Self:
        """Return what a listing says of its samples."""
        return cls(
            fingerprints={sample.id: sample.fingerprint for sample in samples},
            splits=ids_by_split(samples),
        )


class Problem(NamedTuple):
    """What is not as it should be.

    Attributes
    ----------
    place
        A file of the store, or a field.
    what
        What is wrong with it.
    remedy
        What mends it: a sentence without a final stop.
    """

    place: str
    what: str
    remedy: str


# What mends what, in words that hold for one problem and for many: they are told with a number.
CONVERT_ANEW = "run snakemake repair, which converts each such sample anew"
MERGE_ANEW = (
    "run snakemake repair, which writes all files beside the groups anew and converts nothing for "
    "it"
)
ADOPT = (
    "run snakemake adopt: if every value is the source's, it writes the files beside the manifest "
    "and converts nothing"
)
RUN = "run snakemake again, which brings the store in line with the source"
DROP = (
    "run snakemake again, which takes each such sample out of the manifest, and then snakemake "
    "remove_orphans, which removes its group"
)
MOVE_AWAY = "move away what aerozarr did not write"
REMOVE_ORPHANS = "run snakemake remove_orphans, which removes each such group"
REMOVE_REST = "remove what a killed run left of a group"
MEND_SOURCE = "mend the source, and verify again; what is stored may be right"
SAME_SETTINGS = (
    "verify with the settings that the store was made with, or run snakemake, which converts anew "
    "with these"
)

# Where it is written down what the source holds, in the folder of a verification.
_SOURCE = "source.json"

# Those that a repair is.
MENDED = (CONVERT_ANEW, MERGE_ANEW, RUN)


class Findings(BaseModel):
    """What a verification found of one sample.

    Attributes
    ----------
    sample_id
        The sample's id.
    problems
        Place (a file or a field) and what is wrong there; empty when all is as it should be.
    rounding
        What the cast changed, by canonical name of the fields that were compared with the source.
    files, stored_bytes, values
        What was looked at: files and their bytes, and values compared with the source.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_id: str
    problems: list[Problem] = []
    rounding: dict[str, Rounding] = {}
    files: int = 0
    stored_bytes: int = 0
    values: int = 0


def findings_say_problems(path: Path) -> bool:
    """Whether findings of a sample, also of an adoption, have problems; False where none are."""
    try:
        return bool(json.loads(path.read_bytes()).get("problems"))
    except (OSError, ValueError, AttributeError):
        return False


def read_recorded(store: StoreRoot) -> Checksums:
    """Return size and SHA-256 of a store's files by path; empty when it has no such table.

    Raises
    ------
    StoreError
        When the table is damaged.
    """
    content = store.read(CHECKSUMS)
    if content is None:
        return {}
    return read_checksums(content, f"{redacted(store.location.url)}/{CHECKSUMS}")


def is_foreign(store: StoreRoot, checksums: Checksums) -> bool:
    """Whether a store has none of what aerozarr's runs write beside the manifest."""
    return not checksums and store.read(PROVENANCE) is None


def expected_of(
    manifest: Manifest,
    checksums: Checksums,
    source: list[Sample],
    *,
    is_foreign: bool = False,
    arrays: Iterable[str] = (),
) -> list[Expected]:
    """Return what is expected of each sample of the manifest, in its order."""
    of_group: dict[str, Checksums] = {}
    for path, recorded in checksums.items():
        place = split_path(path)
        if place is not None:
            of_group.setdefault(place[0], {})[place[1]] = recorded
    rows = {sample.id: sample for sample in source}
    return [
        Expected(
            sample_id=sample_id,
            domains=entry.domains,
            objects=of_group.get(sample_id, {}),
            source=rows.get(sample_id),
            is_foreign=is_foreign,
            arrays=sorted(arrays),
        )
        for sample_id, entry in manifest.samples.items()
    ]


def verification_folder(run_config: RunConfig) -> Path:
    """Return where a verification keeps what is expected and what was found."""
    return run_config.place("verification")


def prepare_verification(run_config: RunConfig, *, write: bool) -> dict[str, Sample]:
    """Write down what is expected of each sample, a file for each.

    Parameters
    ----------
    run_config
        The configuration.
    write
        False for a dry run: then nothing is written.

    Returns
    -------
    dict
        The samples' rows by key, to tell what verifying them needs.

    Raises
    ------
    StoreError, SettingsError
        When the store has no manifest that can be read, or the source cannot be listed.
    """
    checksums = read_recorded(run_config.store)
    manifest = manifest_as_written(run_config, checksums)
    source: list[Sample] = []
    if run_config.settings.verify == "full":
        source = run_config.source.list().samples
    foreign = is_foreign(run_config.store, checksums)
    arrays = known_arrays(run_config, read_written(run_config.store))
    made = expected_of(manifest, checksums, source, is_foreign=foreign, arrays=arrays)
    if write:
        folder = verification_folder(run_config)
        shutil.rmtree(folder, ignore_errors=True)
        for expected in made:
            path = folder / "expected" / f"{key_of(expected.sample_id)}.json"
            write_atomically(path, expected.model_dump_json().encode("utf-8"))
        if run_config.settings.verify == "full":
            listed = ListedSource.of(source).model_dump_json()
            write_atomically(folder / _SOURCE, listed.encode("utf-8"))
    return {key_of(expected.sample_id): expected.source or _row_of(expected) for expected in made}


def read_listed_source(run_config: RunConfig) -> ListedSource | None:
    """Return what the source held when the verification began; None where it was not looked at."""
    content = read_or_none(verification_folder(run_config) / _SOURCE)
    return None if content is None else ListedSource.model_validate_json(content)


def _row_of(expected: Expected) -> Sample:
    """Return a row for a sample whose source is not looked at: as large as what is stored of it."""
    sizes = tuple(size for size, _ in expected.objects.values())
    return Sample(
        key_of(expected.sample_id), expected.sample_id, "", -1, (*expected.objects,), sizes, ""
    )
