"""What a store records of its runs: who wrote it, which groups, and which run is at work in it.

These files lie in a folder beside the manifest. They are no part of the store format, and no reader
looks at them. Only groups that are recorded here are ever replaced or removed.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aerozarr.environment import process_started
from aerozarr.errors import StoreError
from aerozarr.messages import printable, redacted
from aerozarr.store.format.layout import (
    CHECKSUMS,
    LEASE,
    MANIFEST,
    PROVENANCE,
    WRITTEN,
    split_path,
)
from aerozarr.store.format.manifest import Manifest
from aerozarr.store.format.tables import read_checksums
from aerozarr.store.write.root import StoreRoot

# After so long, a run on another machine that did not end its lease is taken for dead. Should it
# live, its own merge notices that the lease is gone, and publishes nothing.
LEASE_EXPIRES = timedelta(days=3)


@dataclass(frozen=True)
class Written:
    """What the runs of one store wrote.

    Attributes
    ----------
    dataset
        The setting `dataset` of the last run; empty where it is not known.
    sources
        The last run's source, by each name under which a later run may know it.
    groups
        Ids of all samples that were ever to be written here and were not removed.
    writer
        What tells the work folder whose run began to write last from others; empty where an earlier
        version wrote, which did not say.
    arrays
        Names of all arrays that runs were ever to write into groups; empty where an earlier version
        wrote.
    mark
        Another one whenever a run begins to write or has merged, which its work folder knows too: a
        store that was put back from a copy has one of before. Empty where an earlier version wrote.
    """

    dataset: str
    sources: tuple[str, ...]
    groups: frozenset[str]
    writer: str = ""
    arrays: frozenset[str] = frozenset()
    mark: str = ""

    def to_bytes(self) -> bytes:
        """Return the record as it is stored."""
        content = {
            "dataset": self.dataset,
            "sources": list(self.sources),
            "groups": sorted(self.groups),
            "writer": self.writer,
            "arrays": sorted(self.arrays),
            "mark": self.mark,
        }
        return json.dumps(content, indent=0, ensure_ascii=False).encode("utf-8")


def read_written(store: StoreRoot) -> Written | None:
    """Return what a store records of what was written to it; None where no run wrote to it.

    Without such a record, or with a damaged one, the store's manifest, checksums and provenance
    say what was written.
    """
    try:
        content = json.loads(store.read(WRITTEN) or b"null")
        return Written(
            str(content["dataset"]),
            tuple(map(str, content["sources"])),
            frozenset(map(str, content["groups"])),
            str(content.get("writer", "")),
            frozenset(map(str, content.get("arrays", []))),
            str(content.get("mark", "")),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return _written_before_records(store)


def _written_before_records(store: StoreRoot) -> Written | None:
    """Return what the files of an earlier version say; None where there is no manifest."""
    manifest = store.read(MANIFEST)
    if manifest is None:
        return None
    groups: set[str] = set()
    try:
        groups |= Manifest.parse(manifest, MANIFEST).samples.keys()
        places = map(split_path, read_checksums(store.read(CHECKSUMS) or b"", CHECKSUMS))
        groups |= {place[0] for place in places if place}
    except StoreError:
        pass  # a damaged file names no more groups
    try:
        provenance = json.loads(store.read(PROVENANCE) or b"null")
        dataset, source = str(provenance["settings"]["dataset"]), str(provenance["source"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return Written("", (), frozenset(groups))
    return Written(dataset, (source,), frozenset(groups))


def record_written(store: StoreRoot, written: Written) -> None:
    """Put a record in place of the one that is there."""
    store.publish(WRITTEN, written.to_bytes())


@dataclass(frozen=True)
class Lease:
    """Which run is at work in a store.

    Attributes
    ----------
    token
        Tells this run's lease from all others.
    workdir
        The run's work folder.
    host, boot, pid, process
        Where the run is: the machine and when it was started, the process and when that was.
    since
        When the run began, as ISO 8601 in UTC.
    """

    token: str
    workdir: str
    host: str
    boot: str
    pid: int
    process: str
    since: str

    @classmethod
    def of_this_process(cls, token: str, workdir: str) -> Lease:
        """Return a lease that this process may take."""
        return cls(
            token=token,
            workdir=os.path.abspath(workdir),
            host=socket.gethostname(),
            boot=_boot(),
            pid=os.getpid(),
            process=process_started(os.getpid()),
            since=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def is_stale(self) -> bool:
        """Whether the run is known, or after long enough taken, to have ended."""
        if self.host == socket.gethostname():
            return self.is_from_before_a_restart or self.process != process_started(self.pid)
        try:
            return datetime.now(UTC) - datetime.fromisoformat(self.since) > LEASE_EXPIRES
        except (ValueError, TypeError):
            return True

    @property
    def is_from_before_a_restart(self) -> bool:
        """Whether this machine was started anew since: power may have failed."""
        return self.host == socket.gethostname() and self.boot != _boot()

    def __str__(self) -> str:
        return printable(
            f"process {self.pid} on {self.host}, workdir {self.workdir}, since {self.since}"
        )


def _boot() -> str:
    """Return what tells one start of this machine, or of its container, from another."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def read_lease(store: StoreRoot) -> Lease | None:
    """Return the lease of a store, None where there is none that can be read."""
    try:
        content: Mapping[str, Any] = json.loads(store.read(LEASE) or b"null")
        return Lease(**content)
    except (ValueError, TypeError, RecursionError):
        return None


def check_lease_can_be_taken(store: StoreRoot, own: Iterable[str], *, take_over: bool) -> None:
    """Check that no other run is at work in a store.

    Parameters
    ----------
    store
        The store.
    own
        Tokens of leases that this run, or a dead one in the same work folder, took.
    take_over
        The setting.

    Raises
    ------
    StoreError
        When another run is at work.
    """
    lease = read_lease(store)
    if lease is None or lease.token in own or lease.is_stale() or take_over:
        return
    raise StoreError(
        f"store: {redacted(store.location.url)!r}: another run is at work in it ({lease}). Wait "
        "for it to end, or give this one a store and workdir of its own. If it is known to be "
        "dead, set take_over: true."
    )


def take_lease(store: StoreRoot, lease: Lease) -> None:
    """Take a lease that was found to be free.

    Raises
    ------
    StoreError
        When another run took it at the same moment.
    """
    store.publish(LEASE, json.dumps(asdict(lease), indent=0).encode("utf-8"))
    check_lease(store, lease.token)


def check_lease(store: StoreRoot, token: str) -> None:
    """Check that a run still has its lease.

    Raises
    ------
    StoreError
        When another run took it.
    """
    lease = read_lease(store)
    if lease is None or lease.token != token:
        raise StoreError(
            f"store: {redacted(store.location.url)!r}: another run has taken the store over"
            f"{f' ({lease})' if lease else ''}, so this one publishes nothing. Let only one of "
            "them run, and run snakemake again when it has ended."
        )


def end_lease(store: StoreRoot, token: str) -> None:
    """Give a lease back, unless another run has taken it."""
    lease = read_lease(store)
    if lease is not None and lease.token == token:
        store.withdraw(LEASE)
