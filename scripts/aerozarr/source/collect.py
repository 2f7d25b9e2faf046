"""Putting a listing together: which samples are complete or skipped, and in which splits."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from aerozarr.config.file_patterns import Wanted, why_not_one
from aerozarr.config.settings import Settings
from aerozarr.messages import did_you_mean, plural, printable
from aerozarr.source.datasets import Dataset
from aerozarr.source.samples import (
    ABSENT,
    ABSENT_ONE,
    FileInfo,
    Listing,
    Sample,
    Skipped,
    changes_of,
    fingerprint,
    key_of,
    print_of,
    stamp_of,
    why_invalid,
)
from aerozarr.source.scan import NO_FILES

_NOTHING = "add its folder, exclude it, or mend the list that names it"
_MISSING = "add what is missing, or leave its field out of the file map"


@functools.cache
def _pattern(text: str) -> re.Pattern[str]:
    """Return what an entry of `exclude` matches: `*` any text, `?` a character, all else itself.

    Not by `fnmatch`, to which the id `run[1]` would be a pattern for `run1`.
    """
    any_of = {"*": ".*", "?": "."}
    return re.compile("".join(any_of.get(c) or re.escape(c) for c in text), re.DOTALL)


class Collector:
    """Collects the samples of a source, in sample order.

    Parameters
    ----------
    settings, dataset
        The settings, and the dataset that they name.

    Attributes
    ----------
    warnings
        What the person should know.
    """

    def __init__(self, settings: Settings, dataset: Dataset) -> None:
        self.warnings: list[str] = []
        self._required = Wanted(dataset.files)
        self._all = Wanted(dataset.all_files)
        self._limit = settings.limit
        self._patterns = settings.exclude
        self._used: set[str] = set()
        self._is_untold = False
        self._seen: dict[str, Sample | None] = {}
        self._stamps: dict[str, str] = {}
        self._changes: dict[str, dict[str, str]] = {}
        self._asked: set[tuple[str, str]] = set()
        self._skipped: list[Skipped] = []
        # By split: the ids of its samples, and where the part that is being collected begins.
        self._members: dict[str, list[str]] = {}
        self._begin = 0
        # Those that are in any split.
        self._taken: set[str] = set()

    def begin(self, split: str) -> None:
        """Begin a split, or another part of one."""
        self._begin = len(self._members.setdefault(split, []))

    def is_in(self, sample_id: str, split: str) -> bool:
        """Whether a split was asked for that sample already."""
        return (sample_id, split) in self._asked

    def is_known(self, sample_id: str) -> bool:
        """Whether there was a sample of that id, in any split."""
        return sample_id in self._seen

    def is_left_over(self, sample_id: str) -> bool:
        """Whether a sample is in no split by now, because of `limit`."""
        return self._seen.get(sample_id) is not None and sample_id not in self._taken

    def add_again(self, sample_id: str, split: str) -> None:
        """Take up a sample that is known already, in another split."""
        self._asked.add((sample_id, split))
        sample = self._seen[sample_id]
        if sample is not None:
            self._take(sample, split)

    def add(
        self,
        sample_id: str,
        split: str,
        files: Mapping[str, FileInfo] | None,
        *,
        near: Mapping[str, str] | None = None,
        spelt: str | None = None,
        position: int = -1,
        salt: tuple[str, ...] = (),
    ) -> None:
        """Take up a sample, or say why it is skipped.

        Parameters
        ----------
        sample_id, split
            The sample, and the split that lists it.
        files
            Its files; None for a sample that a class loads, where there is nothing to look for.
        near
            Files that are missing, each with one that might be meant.
        spelt
            Of a sample of which nothing is there, a folder that might be meant.
        position, salt
            Its index in what a class brings, and what else makes it another one.
        """
        self._asked.add((sample_id, split))
        why = self._why_skipped(sample_id, files, near or {}, spelt)
        self._seen[sample_id] = None
        if why is not None:
            kind, file, cause, remedy = why
            self._skipped.append(Skipped(sample_id, split, kind, "", file, cause, remedy))  # type: ignore[arg-type] # one of its texts
            return
        found = dict(files or {})
        names = tuple(sorted(found))
        sample = Sample(
            id=sample_id,
            key=key_of(sample_id),
            split=split,
            position=position,
            files=names,
            sizes=tuple(found[name].size for name in names),
            fingerprint=fingerprint(found, *salt),
            prints=tuple(print_of(found[name]) for name in names),
        )
        self._seen[sample_id] = sample
        self._stamps[sample_id] = stamp_of(found)
        self._changes[sample_id] = changes_of(found)
        self._is_untold |= any(not info.stamp for info in found.values())
        self._take(sample, split)

    def skip(self, sample_id: str, split: str, kind: str, cause: str, remedy: str) -> None:
        """Skip a sample for a reason that is known already."""
        self._asked.add((sample_id, split))
        self._seen.setdefault(sample_id, None)
        self._skipped.append(Skipped(sample_id, split, kind, "", "", cause, remedy))  # type: ignore[arg-type] # one of its texts

    def warn(self, warning: str) -> None:
        """Have something told, in a text that is safe for a terminal."""
        self.warnings.append(printable(warning))

    def _take(self, sample: Sample, split: str) -> None:
        members = self._members.setdefault(split, [])
        if self._limit is None or len(members) - self._begin < self._limit:
            members.append(sample.id)
            self._taken.add(sample.id)

    def _why_skipped(
        self,
        sample_id: str,
        files: Mapping[str, FileInfo] | None,
        near: Mapping[str, str],
        spelt: str | None,
    ) -> tuple[str, str, str, str] | None:
        """Return kind, file, cause and remedy of a sample that is skipped, else None."""
        invalid = why_invalid(sample_id)
        if invalid is not None:
            return "invalid_id", "", invalid, "rename its folder"
        pattern = next((p for p in self._patterns if _pattern(p).fullmatch(sample_id)), None)
        if pattern is not None:
            self._used.add(pattern)
            cause = f"the setting exclude names it ({pattern!r})"
            return "excluded", "", cause, "take it out of exclude to convert it"
        if files is None:
            return None
        missing = self._required.missing_in(files)
        if not missing:
            return self._why_not_one_each(files)
        cause = "is not there" if len(missing) == 1 else "are not there"
        if not files and spelt is not None:
            cause += f"; there is a folder {spelt!a}, which is spelt in another way"
            return "incomplete", ", ".join(missing), cause, "rename the folder, or mend the list"
        if not files:
            cause = ABSENT_ONE if len(missing) == 1 else ABSENT
        meant = [f"{near[file]} for {file}" for file in missing if file in near]
        remedy = _MISSING if files or meant else _NOTHING
        if meant:
            cause += f"; there is {', '.join(meant)}"
            remedy = "rename or finish these files, or name them in filemap"
            if all(near[file] in NO_FILES for file in missing if file in near):
                remedy = "move that away, and write the file"
        return "incomplete", ", ".join(missing), cause, remedy

    def _why_not_one_each(self, files: Mapping[str, FileInfo]) -> tuple[str, str, str, str] | None:
        """Return what `_why_skipped` does of a sample with several files where one is wanted."""
        for entry in self._all.uncertain:
            wrong = why_not_one(entry, files.keys())
            if wrong is not None:
                kind = "incomplete" if wrong.is_missing else "broken"
                return kind, wrong.file, wrong.cause, wrong.remedy
        return None

    def listing(self) -> Listing:
        """Return what was collected."""
        unused = [pattern for pattern in self._patterns if pattern not in self._used]
        for pattern in unused:
            if any(character in pattern for character in "*?["):
                self.warn(f"exclude: {pattern!r} fits the id of no sample.")
                continue
            near = did_you_mean(pattern, self._seen)
            self.warn(f"exclude: {pattern!r} is the id of no sample.{near}")
        if self._is_untold:
            self.warn(
                "the source tells neither times nor ETags of its files, so one that changes and "
                "keeps its size goes unnoticed; to convert everything again, add --forcerun "
                "convert_sample"
            )
        places: dict[str, list[tuple[str, int]]] = {}
        for split, members in self._members.items():
            for place, sample_id in enumerate(members):
                places.setdefault(sample_id, []).append((split, place))
        is_shared = any(len(of) > 1 for of in places.values())
        samples = []
        for sample_id, of in places.items():
            sample = self._seen[sample_id]
            if sample is not None:
                splits = tuple(of) if is_shared else ()
                # A class is asked for it in the split in which it has its position.
                split = of[0][0] if sample.position < 0 else sample.split
                if (sample.split, sample.splits) != (split, splits):
                    sample = replace(sample, split=split, splits=splits)
                samples.append(sample)
        return Listing(samples, self._skipped, self.warnings, self._stamps, self._changes)

    def warn_of_ignored(self, folders: Sequence[str]) -> None:
        """Tell of folders that were not looked into."""
        if folders:
            names = sorted({folder.rpartition("/")[2] for folder in folders})
            self.warn(
                f"{plural(len(folders), 'folder')} of systems and tools not looked into "
                f"({', '.join(names[:5])}{' …' if len(names) > 5 else ''})"
            )
