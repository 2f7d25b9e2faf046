"""Reading a remote store through a cache on this machine's disk.

What is kept is kept by version: a digest of what the store's checksums say of a group, and of what
the file system says of its objects (ETags, times) when a process first reads it. Checksums alone
would not tell bytes that were damaged, or of an older store where a copy had not ended, from those
that are there now. While a store is open, a run may write to it: before anything is kept, it is
asked whether the store is still the one that was opened.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby

from aerozarr.errors import RemoteError
from aerozarr.filesystems.backends import MAX_REQUESTS, run_concurrently
from aerozarr.filesystems.byte_ranges import ByteRange, Fetcher
from aerozarr.store.format.layout import group_path, split_path
from aerozarr.store.format.tables import Checksums
from aerozarr.store.read.disk_cache import DiskCache


def versions_of(store: str, checksums: Checksums) -> dict[str, str]:
    """Return by group what changes when anything in it does.

    Parameters
    ----------
    store
        The store's name: what another store says of its groups is never taken for this one's.
    checksums
        Size and SHA-256 of its files, by path.
    """
    hashes: dict[str, hashlib._Hash] = {}
    for path, (size, digest) in checksums.items():
        place = split_path(path)
        if place is not None:
            group = group_path(place[0])
            if group not in hashes:
                hashes[group] = hashlib.sha256(f"{store}\n".encode("utf-8", "surrogateescape"))
            line = f"{path}\t{size}\t{digest}\n"
            hashes[group].update(line.encode("utf-8", "surrogateescape"))
    return {group: made.hexdigest()[:32] for group, made in hashes.items()}


class CachingFetcher(Fetcher):
    """Reads what a cache has from there, and the rest from a remote store.

    Parameters
    ----------
    fetcher
        Reads the store.
    cache
        Where what it reads is kept.
    versions
        By group, what its checksums say (`versions_of`). What lies in no group is not kept.
    is_current
        Whether the store is still the one that was opened: the versions are of that one.
    """

    by_chunk = True

    def __init__(
        self,
        fetcher: Fetcher,
        cache: DiskCache,
        versions: Mapping[str, str],
        is_current: Callable[[], bool],
    ) -> None:
        self.fetcher = fetcher
        self.cache = cache
        self._checksums = dict(versions)
        self._is_current = is_current
        # By group; or by object, where the file system says nothing of a group ("").
        self._versions: dict[str, str] = {}
        self._may_list = True
        self._has_told = False

    def fetch(self, spans: Sequence[ByteRange]) -> list[bytes | None]:
        """Return spans, as `Fetcher` says; those that are missing here are asked for at once."""
        versions = self._versions_of(spans)
        found: dict[ByteRange, bytes | None] = {}
        of_object: dict[str, list[ByteRange]] = {}
        for span in versions:
            of_object.setdefault(span.path, []).append(span)
        for path, wanted in of_object.items():
            contents = self.cache.read(versions[wanted[0]], path, wanted)
            found |= {s: c for s, c in zip(wanted, contents, strict=True) if c is not None}
        missing = [span for span in spans if span not in found]
        if missing:
            fetched = dict(self._fetch(missing))
            if not versions.keys().isdisjoint(missing) and not self._is_still_current():
                if not found:
                    return [fetched[span] for span in spans]
                # What is here is of one run, what was fetched of another: neither would tell.
                return [*self.fetcher.fetch(spans)]
            self._keep(fetched, versions)
            self._tell_of_what_is_not_kept(fetched)
            found |= fetched
        return [found[span] for span in spans]

    def forget(self, group: str) -> None:
        """Drop a group, and keep no more of it: it may be another by now."""
        self._checksums.pop(group, None)
        for unit in [unit for unit in self._versions if f"{unit}/".startswith(f"{group}/")]:
            version = self._versions.pop(unit, "")
            if version:
                self.cache.drop(version)

    def _is_still_current(self) -> bool:
        """Ask whether the store is the one that was opened; if not, nothing here is used again."""
        if self._is_current():
            return True
        self._checksums.clear()
        return False

    def _versions_of(self, spans: Iterable[ByteRange]) -> dict[ByteRange, str]:
        """Return the versions of spans, but for those that are not kept."""
        groups: dict[ByteRange, str] = {}
        for span in spans:
            place = split_path(span.path)
            has_bounds = span.start >= 0 and (span.stop is not None or span.start == 0)
            if place is not None and has_bounds:
                groups[span] = group_path(place[0])
        # As they are now: another thread may forget a group.
        checksums = {group: self._checksums.get(group) for group in groups.values()}
        groups = {span: group for span, group in groups.items() if checksums[group] is not None}
        self._learn({group: str(checksums[group]) for group in groups.values()}, self._stamp_below)
        objects = {
            s.path: str(checksums[g]) for s, g in groups.items() if not self._versions.get(g)
        }
        self._learn(objects, self.fetcher.stamp)
        versions = {
            span: self._versions.get(group) or self._versions.get(span.path, "")
            for span, group in groups.items()
        }
        return {span: version for span, version in versions.items() if version}

    def _stamp_below(self, group: str) -> str:
        if not self._may_list:
            return ""
        try:
            return self.fetcher.stamp_below(group)
        except RemoteError:
            self._may_list = False  # who may read objects need not be allowed to list them
            return ""

    def _learn(self, checksums: Mapping[str, str], stamp: Callable[[str], str]) -> None:
        """Ask the file system of what this process has not read yet.

        Parameters
        ----------
        checksums
            Groups or objects, each with what the checksums say of its group.
        stamp
            Asks of one.
        """
        new = [name for name in checksums if name not in self._versions]
        stamps = run_concurrently(MAX_REQUESTS, [partial(stamp, name) for name in new])
        for name, found in zip(new, stamps, strict=True):
            self._versions[name] = _digest(f"{checksums[name]}\n{found}\n") if found else ""

    def _fetch(self, spans: Sequence[ByteRange]) -> Iterator[tuple[ByteRange, bytes | None]]:
        """Fetch spans, those that follow each other as one."""
        runs: list[list[ByteRange]] = []
        for span in dict.fromkeys(spans):
            last = runs[-1][-1] if runs else None
            if last is not None and span.stop is not None and span[:2] == (last.path, last.stop):
                runs[-1].append(span)
            else:
                runs.append([span])
        joined = [ByteRange(run[0].path, run[0].start, run[-1].stop) for run in runs]
        for run, content in zip(runs, self.fetcher.fetch(joined), strict=True):
            for span in run:
                if content is None or len(run) == 1:
                    yield span, content
                else:
                    assert span.stop is not None  # which is what the next one begins with
                    first = run[0].start
                    yield span, content[span.start - first : span.stop - first]

    def _keep(
        self, fetched: Mapping[ByteRange, bytes | None], versions: Mapping[ByteRange, str]
    ) -> None:
        """Put what was fetched into the cache, where it has a version."""
        kept = [
            (span, content)
            for span, content in fetched.items()
            if content is not None
            and span in versions
            and (span.stop is None or len(content) == span.stop - span.start)
        ]
        for path, pieces in groupby(kept, key=lambda piece: piece[0].path):
            of_object = list(pieces)
            self.cache.write(versions[of_object[0][0]], path, of_object)

    def _tell_of_what_is_not_kept(self, fetched: Mapping[ByteRange, bytes | None]) -> None:
        for span, content in fetched.items():
            is_untold = self._versions.get(span.path) == "" and content is not None
            if is_untold and not self._has_told:
                self._has_told = True
                warnings.warn(
                    f"cache: the file system tells neither ETag nor time of {span.path}, without "
                    "which what is kept cannot be told from what is written later. So such objects "
                    "are not kept, and are read from the store each time.",
                    stacklevel=2,
                )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]
