"""What is there when a run begins, and what it has to do: what `reconcile` finds and decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from aerozarr.convert.fragment import Fragment
from aerozarr.merge.summary import Summary
from aerozarr.messages import plural
from aerozarr.source.samples import Sample


@dataclass(frozen=True)
class State:
    """What is there when a run begins.

    Attributes
    ----------
    samples
        Those that are to be in the store, in sample order.
    tables
        What the tables of the listing should hold, by their names in the work folder; empty where
        that is not known yet, as for the example.
    found_tables
        What they do hold; None for one that is not there.
    fragments
        The fragments that can be read, by key; None for one that cannot.
    summary
        What the last merge into this store said; None where there was none.
    manifest
        The store's manifest, None where it has none.
    files
        What the store holds: path to size, None where that is not told.
    digests
        SHA-256 of the files beside the manifest, by name, of those that were looked into.
    restamped
        By key, fragments of samples whose files are others and hold the same: with new stamps.
    set_aside
        Keys of the fragments that an earlier run set aside, and did not come to replace.
    changes
        By sample id: of each of its files, what changes when it is replaced; where that is told.
    is_others
        Whether a run of another work folder began to write to the store after this one's; `files`
        then has no more than what is known to be this one's.
    has_report
        Whether the work folder has the report of the last merge.
    unlisted
        Of a store that is: paths of the fragments, and of those set aside, that were not compared
        with it, because nothing is asked of them just now. Of one that was put back: of those that
        were compared, and do not hold.
    is_put_back
        Whether the store is not as the last run of this work folder left it, as if it was put back
        from a copy; `files` then has no groups but those with the bytes that were written last.
    """

    samples: Sequence[Sample]
    tables: Mapping[str, bytes]
    found_tables: Mapping[str, bytes | None]
    fragments: Mapping[str, Fragment | None]
    summary: Summary | None
    manifest: bytes | None
    files: Mapping[str, int | None]
    digests: Mapping[str, str] = field(default_factory=dict)
    restamped: Mapping[str, Fragment] = field(default_factory=dict)
    set_aside: frozenset[str] = frozenset()
    changes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    is_others: bool = False
    has_report: bool = True
    unlisted: Sequence[str] = ()
    is_put_back: bool = False


class Without(Mapping[str, "int | None"]):
    """Files of a store but for some: path to size."""

    def __init__(self, files: Mapping[str, int | None], gone: Collection[str]) -> None:
        self._files, self._gone = files, frozenset(gone)

    def __getitem__(self, path: str) -> int | None:
        if path in self._gone:
            raise KeyError(path)
        return self._files[path]

    def __iter__(self) -> Iterator[str]:
        return (path for path in self._files if path not in self._gone)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True)
class Plan:
    """What a run has to do.

    Attributes
    ----------
    convert
        Why, by the key of each sample that is to be converted.
    forget
        Keys of the fragments that do not hold any more.
    list_anew, merge_anew
        Whether the tables, and the manifest, are to be made again.
    messages
        What the person should know.
    in_part
        Of samples that are converted in part: by key, the fields that are not kept.
    aside
        Keys of the fragments to set aside and not to remove: their groups are whole, and stay until
        the new ones are.
    restored
        Keys of fragments that were set aside and hold after all.
    set_aside
        Keys of the fragments that an earlier run set aside, and that are what is known of a sample.
    doubtful
        Paths of fragments that do not hold of a store that another run wrote to, or that was put
        back, as far as they were compared: after this run, none would look again.
    """

    convert: Mapping[str, str]
    forget: Sequence[str]
    list_anew: bool
    merge_anew: bool
    messages: Sequence[str] = field(default_factory=list)
    in_part: Mapping[str, frozenset[str]] = field(default_factory=dict)
    aside: Collection[str] = ()
    restored: Collection[str] = ()
    set_aside: Collection[str] = ()
    doubtful: Sequence[str] = ()

    @property
    def writes(self) -> bool:
        """Whether anything in the store is to be written."""
        return bool(self.convert) or self.merge_anew

    @property
    def forecast(self) -> str:
        """What a run would convert, in a sentence."""
        counts = Counter(self.convert.values())
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        total = plural(counts.total(), "sample")
        return f"a run would convert {total}{f' ({kinds})' if kinds else ''}{self._of_fields}"

    @property
    def told_of_fields(self) -> list[str]:
        """Which fields alone a run converts, a sentence for a person; none where it is all."""
        if not self.in_part:
            return []
        return [f"{plural(len(self.convert), 'sample')} to convert{self._of_fields}"]

    @property
    def _of_fields(self) -> str:
        """Of how many samples only some fields, and which."""
        if not self.in_part:
            return ""
        names = sorted(frozenset[str]().union(*self.in_part.values()))
        listed = f"{', '.join(names)} alone" if names else "only what is said of their arrays"
        if len(self.in_part) == len(self.convert):
            return f"; of {'it' if len(self.convert) == 1 else 'each'}, {listed}"
        return f"; of {len(self.in_part)} of them, {listed}"
