"""What a finished run says of itself to the person at the terminal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from aerozarr.messages import first_lines, format_bytes, plural, printable, redacted
from aerozarr.store.format.layout import MANIFEST, SKIPPED


@dataclass(frozen=True)
class Summary:
    """What a finished run says of itself; the merge's output in the work folder.

    Attributes
    ----------
    store, dataset_name
        Where the store is, and its name.
    samples
        Number of samples in the manifest.
    skipped
        The samples that were skipped, one text each, the worst first; without those of which
        nothing is there.
    absent
        Number of samples that are listed and of which nothing is there.
    unreadable
        Samples of which a file could not be read, one text each; they are among `skipped`.
    kinds
        Number of skipped samples by kind.
    orphans
        Ids of groups in the store that the manifest does not list.
    source_bytes, stored_bytes
        Bytes of the samples' files, and of their groups.
    manifest_digest
        SHA-256 of the manifest that was published.
    notes
        What else the person should know of the conversion, one line each: fields that lose much by
        rounding, columns that are not stored.
    not_finite
        Samples with NaN or infinite values, one text each.
    files
        Names of the files that were published beside the groups.
    recorded
        Size in bytes and SHA-256 of those files, by name; empty where an earlier version merged.
    kept_points
        What is stored of the domains of which not all points are, one line each.
    listed_as, tables
        Digests of the settings that decide the manifest, and of the tables that were merged; empty
        where an earlier version merged.
    """

    store: str
    dataset_name: str
    samples: int
    skipped: list[str]
    orphans: list[str]
    source_bytes: int
    stored_bytes: int
    manifest_digest: str
    not_finite: list[str] = field(default_factory=list)
    absent: int = 0
    unreadable: list[str] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    recorded: dict[str, tuple[int, str]] = field(default_factory=dict)
    listed_as: str = ""
    tables: str = ""
    kept_points: list[str] = field(default_factory=list)

    def is_of(self, listed_as: str, tables: Mapping[str, bytes]) -> bool:
        """Whether these settings and tables, as far as they are known, were merged."""
        same_settings = self.listed_as in ("", digest_of(listed_as.encode()))
        return same_settings and (not tables or self.tables in ("", digest_of_tables(tables)))

    def to_json(self) -> str:
        """Return the summary as text."""
        return json.dumps(asdict(self), indent=2)

    def lines(self) -> list[str]:
        """Return the summary for the person at the terminal; the last line is the result."""
        lines = []
        store = redacted(self.store)
        total = len(self.skipped) + self.absent
        if self.skipped:
            lines.append(f"{total} skipped (all in {store}/{SKIPPED}):")
            lines += first_lines(self.skipped)
        if self.absent:
            what = f"{plural(self.absent, 'sample')} of which nothing is there"
            lines.append(f"  and {what}" if self.skipped else f"{what} (in {store}/{SKIPPED})")
        if self.not_finite:
            have = "has" if len(self.not_finite) == 1 else "have"
            number = plural(len(self.not_finite), "sample")
            lines.append(
                f"warning: {number} {have} values that are not finite, kept as they are; to leave "
                "a sample out, name it in the setting exclude:"
            )
            lines += first_lines(map(printable, self.not_finite))
        lines += [printable(f"warning: {note}") for note in self.notes]
        if self.orphans:
            which = "it" if len(self.orphans) == 1 else "them"
            lines.append(
                f"{plural(len(self.orphans), 'group')} in the store not listed by the manifest; "
                f"if nothing else needs {which}, the same command with the target remove_orphans "
                f"right after snakemake removes {which} (snakemake remove_orphans …):"
            )
            lines += first_lines(map(printable, self.orphans))
        lines += [f"keep_points: {line}" for line in self.kept_points]
        size = format_bytes(self.stored_bytes)
        if self.source_bytes:
            size += f", from {format_bytes(self.source_bytes)}"
        lines.append(
            f"{store}/{MANIFEST} lists {plural(self.samples, 'sample')} of "
            f"{self.dataset_name} ({size}); {total} skipped"
        )
        return lines


def digest_of_tables(tables: Mapping[str, bytes]) -> str:
    """Return the hash by which the tables of a listing are known again; by name."""
    digests = [f"{name}:{digest_of(tables[name])}" for name in sorted(tables)]
    return digest_of("\n".join(digests).encode())


_SUMMARY = TypeAdapter(Summary)


def digest_of(content: bytes) -> str:
    """Return the hash by which content is known again."""
    return hashlib.sha256(content).hexdigest()


def read_summary(path: Path) -> Summary | None:
    """Read a summary, or return None when there is none that can be read."""
    try:
        return _SUMMARY.validate_json(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
