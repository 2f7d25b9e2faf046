"""The verdict on a store: what was found of its samples, and of the store as a whole."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from aerozarr.convert.fragment import read_fragment
from aerozarr.convert.rounding import Rounding, rounding_warnings
from aerozarr.errors import StoreError
from aerozarr.filesystems.files import write_atomically
from aerozarr.messages import format_bytes, plural, printable, redacted
from aerozarr.run_config import RunConfig
from aerozarr.source.samples import key_of
from aerozarr.source.splits import always_there
from aerozarr.store.format.layout import (
    CHECKSUMS,
    MANIFEST,
    PROVENANCE,
    SKIPPED,
    SPLITS,
    group_path,
    split_path,
)
from aerozarr.store.format.manifest import Manifest
from aerozarr.store.format.tables import read_table, table_text
from aerozarr.store.write.records import read_written
from aerozarr.store.write.root import StoreRoot
from aerozarr.verify.expected import (
    ADOPT,
    MENDED,
    MERGE_ANEW,
    MOVE_AWAY,
    REMOVE_ORPHANS,
    REMOVE_REST,
    RUN,
    SAME_SETTINGS,
    Findings,
    ListedSource,
    Problem,
    is_foreign,
    read_listed_source,
    read_recorded,
    verification_folder,
)
from aerozarr.verify.manifest import manifest_as_written

SHOWN = 20
COLUMNS = ("sample", "place", "problem", "remedy")
# What every merge writes, and so tells a store that was written to since.
_STATE = (MANIFEST, CHECKSUMS, PROVENANCE)


@dataclass(frozen=True)
class Verdict:
    """What a verification came to.

    Attributes
    ----------
    store, mode
        The store, and `full` or `quick`.
    samples, files, stored_bytes, values
        What was looked at.
    problems
        Sample (empty for the store as a whole), place, what is wrong, and what mends it.
    rounding
        What the cast changed, by canonical field name, over all values.
    notes
        A line for each field that loses much by it.
    skipped
        Samples that are not in the store because they were skipped; None where the store does not
        say.
    state
        What tells whether the store was written to since, by the names of files; see `state_of`.
    stored_as
        A hash of the settings that decide its bytes.
    """

    store: str
    mode: str
    samples: int
    files: int
    stored_bytes: int
    values: int
    problems: list[tuple[str, str, str, str]]
    rounding: dict[str, dict[str, float]]
    notes: list[str] = field(default_factory=list)
    skipped: int | None = None
    state: dict[str, str] = field(default_factory=dict)
    stored_as: str = ""

    def lines(self) -> list[str]:
        """Return the verdict for the person at the terminal; the last line is the result."""
        lines = _rounding_table(self.rounding)
        lines += [printable(f"warning: {note}") for note in self.notes]
        for sample_id, place, problem, _ in self.problems[:SHOWN]:
            where = ": ".join(part for part in (sample_id, place) if part)
            lines.append(printable(f"{where}: {problem}"))
        if len(self.problems) > SHOWN:
            lines.append(f"… and {len(self.problems) - SHOWN} more")
        looked_at = (
            f"{plural(self.samples, 'sample')}, {plural(self.files, 'file')}, "
            f"{format_bytes(self.stored_bytes)}"
        )
        if self.mode == "full":
            looked_at += f", {self.values:,} values compared with the source"
        if self.skipped:
            looked_at += f"; {plural(self.skipped, 'sample')} skipped, see {SKIPPED}"
        if self.problems:
            counts = Counter(remedy for *_, remedy in self.problems)
            lines += [
                f"what to do about {plural(count, 'problem')}: {remedy}"
                for remedy, count in counts.most_common()
            ]
            wrong = len({sample_id for sample_id, *_ in self.problems if sample_id})
            lines.append(
                f"{self.store} is NOT as it should be: {plural(len(self.problems), 'problem')}, "
                f"{plural(wrong, 'sample')} affected ({looked_at})"
                f"{_repair_hint(counts)}"
            )
        else:
            lines.append(f"{self.store} is as it should be ({looked_at})")
        return lines


def _repair_hint(counts: Mapping[str, int]) -> str:
    """Return how much of the problems, counted by remedy, `snakemake repair` mends."""
    mended = sum(counts[remedy] for remedy in MENDED if remedy in counts)
    if not mended or SAME_SETTINGS in counts:
        return ""
    which = "it" if mended == 1 else "them"
    if mended < sum(counts.values()):
        which = f"{mended} of them"
    return f"; snakemake repair mends {which}"


def state_of(store: StoreRoot) -> dict[str, str]:
    """Return hashes of the files that every merge writes, by name; empty of one that is gone."""
    found = {name: store.read(name) for name in _STATE}
    return {
        name: "" if content is None else hashlib.sha256(content).hexdigest()
        for name, content in found.items()
    }


def _rounding_table(rounding: Mapping[str, Mapping[str, float]]) -> list[str]:
    if not rounding:
        return []
    # Imported here: every start of Snakemake imports this module, and most verify nothing.
    import pandas as pd

    table = pd.DataFrame([*rounding.values()], index=[*rounding])
    table["to zero"] = table["flushed"] / table["values"].clip(lower=1)
    table = table[["max_absolute", "max_relative", "to zero"]]
    # Short: with a long field's name, and what precedes each line, it fits into 80 columns.
    table.columns = ["largest error", "relative", "to zero"]
    table.index.name = "rounding of"
    formats = {"to zero": "{:.2%}".format}
    return (
        table.reset_index()
        .to_string(index=False, formatters=formats, float_format="{:.3g}".format)
        .splitlines()
    )


def read_verdict(path: Path) -> Verdict | None:
    """Read a verdict, or return None when there is none that can be read."""
    try:
        content = json.loads(path.read_bytes())
        content["problems"] = [tuple(row) for row in content["problems"]]
        return Verdict(**content)
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def verify(run_config: RunConfig, *, table: Path, verdict: Path) -> None:
    """Look at the store as a whole, and write table and verdict: the job of `verify`.

    Raises
    ------
    StoreError
        When anything is not as it should be.
    """
    folder = verification_folder(run_config)
    manifest = manifest_as_written(run_config, read_recorded(run_config.store))
    found = [
        Findings.model_validate_json(
            (folder / "findings" / f"{key_of(sample_id)}.json").read_bytes()
        )
        for sample_id in manifest.samples
    ]
    source = read_listed_source(run_config)
    problems = [("", *problem) for problem in check_store(run_config, manifest, source)]
    problems += [(one.sample_id, *problem) for one in found for problem in one.problems]
    names = dict.fromkeys(name for one in found for name in one.rounding)
    result = Verdict(
        store=redacted(run_config.settings.store),
        mode=run_config.settings.verify,
        samples=len(found),
        files=sum(one.files for one in found),
        stored_bytes=sum(one.stored_bytes for one in found),
        values=sum(one.values for one in found),
        problems=problems,
        rounding={
            name: asdict(
                Rounding.merged(one.rounding[name] for one in found if name in one.rounding)
            )
            for name in names
        },
        notes=rounding_warnings(
            {name: [one.rounding[name] for one in found if name in one.rounding] for name in names},
            {f.canonical: f.dtype for domain in run_config.domains for f in domain.fields},
        ),
        state=state_of(run_config.store),
        stored_as=run_config.stored_as_digest,
        skipped=None if (skipped := _skipped(run_config.store)) is None else len(skipped),
    )
    write_atomically(table, table_text(problems, COLUMNS).encode("utf-8"))
    write_atomically(verdict, json.dumps(asdict(result), indent=2).encode("utf-8"))
    if problems:
        raise StoreError(f"not everything is as it should be; {table} has the list")


def check_store(
    run_config: RunConfig, manifest: Manifest, source: ListedSource | None
) -> Iterable[Problem]:
    """Yield what is wrong with a store besides its samples.

    Parameters
    ----------
    run_config
        The configuration.
    manifest
        The store's manifest.
    source
        What the source holds; None where it was not looked at.
    """
    settings, store = run_config.settings, run_config.store
    name = settings.dataset_name or run_config.dataset.name
    expected = Manifest.build(name, settings, run_config.domains, [])
    for key in ("dataset_name", "shuffle_seed", "coords_dtype", "values_dtype", "compressor"):
        stored, wanted = getattr(manifest, key), getattr(expected, key)
        if stored != wanted:
            what = f"{key} is {stored!r}, and the settings say {wanted!r}"
            yield Problem(MANIFEST, what, SAME_SETTINGS)
    if manifest.domains != expected.domains:
        yield Problem(MANIFEST, "its domains are not those of the settings", SAME_SETTINGS)
    recorded = read_recorded(store)
    if not recorded:
        remedy = ADOPT if is_foreign(store, recorded) else MERGE_ANEW
        yield Problem(CHECKSUMS, "is not there, so nothing says what was written", remedy)
    for path, (size, digest) in recorded.items():
        if split_path(path) is not None:
            continue
        content = store.read(path)
        if content is None:
            yield Problem(path, "is missing", MERGE_ANEW)
        elif len(content) != size or hashlib.sha256(content).hexdigest() != digest:
            yield Problem(path, "is not what was written last", MERGE_ANEW)
    listed = set(manifest.samples)
    for sample_id in sorted(_samples_of(recorded) - listed):
        yield Problem(sample_id, f"is in {CHECKSUMS} and not in {MANIFEST}", MERGE_ANEW)
    if source is not None:
        yield from _check_samples(run_config, manifest, source)
    if source is not None and recorded:  # or another program's, which may have another order
        yield from _check_order(store, manifest, source)
    # Lists that training code opens may be the person's own; see `merge_manifest`.
    own = {*recorded, *always_there(run_config.dataset.rule), CHECKSUMS, PROVENANCE}
    orphans: dict[str, int] = {}
    written = read_written(store)
    ours = written.groups if written is not None else frozenset()
    whole = store.visible_of(ours)
    # Links to folders are walked past, and so are groups in them, or which are links themselves.
    folders = _folders_of(listed | whole)
    for path in store.all_files():
        place = split_path(path)
        if place is not None and place[0] not in listed:
            orphans[place[0]] = orphans.get(place[0], 0) + 1
        elif place is None and recorded and path not in own and path not in folders:
            yield Problem(path, "is not a file of the store", MOVE_AWAY)
    for sample_id in whole - listed - orphans.keys():
        orphans[sample_id] = len(store.files_of(sample_id))
    for sample_id, files in sorted(orphans.items()):
        what = f"{plural(files, 'file')} that {MANIFEST} does not list"
        remedy = MOVE_AWAY if sample_id not in ours else REMOVE_ORPHANS
        if sample_id in ours - whole:
            remedy = REMOVE_REST
        yield Problem(group_path(sample_id), what, remedy)


def _check_samples(
    run_config: RunConfig, manifest: Manifest, source: ListedSource
) -> Iterable[Problem]:
    """Yield the samples of the source that the store should have, and does not list."""
    skipped = _skipped(run_config.store)
    if skipped is None:
        return
    for sample_id, fingerprint in source.fingerprints.items():
        if sample_id in manifest.samples:
            continue
        if sample_id not in skipped:
            yield Problem(sample_id, f"is in the source and not in {MANIFEST}", RUN)
        elif not skipped[sample_id]:
            # Else the listing would have skipped it for that, once more.
            what = f"is complete in the source, and {SKIPPED} says that it was skipped"
            yield Problem(sample_id, what, RUN)
        elif _has_changed(run_config, sample_id, fingerprint):
            what = f"was broken, as {SKIPPED} says, and its files have changed since"
            yield Problem(sample_id, what, RUN)


def _check_order(store: StoreRoot, manifest: Manifest, source: ListedSource) -> Iterable[Problem]:
    """Yield where order and splits of the samples that are listed are not those of the source."""
    order = [sample_id for sample_id in source.fingerprints if sample_id in manifest.samples]
    if order != [sample_id for sample_id in manifest.samples if sample_id in source.fingerprints]:
        yield Problem(MANIFEST, "its samples are not in the order of the source", RUN)
    found = _json_object(store.read(SPLITS))
    if found is None:
        return  # which is told of the file itself
    splits = {
        split: [sample_id for sample_id in ids if sample_id in manifest.samples]
        for split, ids in source.splits.items()
    }
    for split in dict.fromkeys([*splits, *found]):
        if found.get(split, []) != splits.get(split, []):
            what = f"the split {printable(split)!r} is not that of source and settings"
            yield Problem(SPLITS, what, RUN)


def _has_changed(run_config: RunConfig, sample_id: str, fingerprint: str) -> bool:
    """Whether the files of a broken sample are others by now, as far as the work folder knows."""
    try:
        fragment = read_fragment(run_config.fragment(key_of(sample_id)))
    except StoreError:
        return False
    is_of_it = fragment.sample_id == sample_id and fragment.status == "broken"
    return is_of_it and fragment.fingerprint not in ("", fingerprint)


def _json_object(content: bytes | None) -> dict[str, object] | None:
    """Return what a file of JSON holds; None for one that is not there, or is damaged."""
    try:
        found = json.loads(content or b"null")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _folders_of(sample_ids: Iterable[str]) -> set[str]:
    """Return the folders of samples' groups, and those that they lie in."""
    found = set[str]()
    for sample_id in sample_ids:
        path = group_path(sample_id)
        while path and path not in found:
            found.add(path)
            path = path.rpartition("/")[0]
    return found


def _samples_of(recorded: Iterable[str]) -> set[str]:
    return {place[0] for place in map(split_path, recorded) if place is not None}


def _skipped(store: StoreRoot) -> dict[str, bool] | None:
    """Return the skipped samples, by id; None where the table of them is damaged.

    True for one with a field that could not be converted, False for one that was skipped when the
    source was listed.
    """
    content = store.read(SKIPPED)
    if content is None:
        return {}
    try:
        return {
            row["id"]: bool(row["field"]) for row in read_table(content, SKIPPED, ["id", "field"])
        }
    except StoreError:
        return None  # which is told of the file itself
