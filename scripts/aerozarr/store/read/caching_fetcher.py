"""Reading a remote store through a cache on this machine's disk.

A store may be written to while it is open. So what is kept is kept by version, a digest of what the
store's checksums say of a group. And the store is asked whether it is still the one that was
opened: every half minute, before something is kept, and whenever rows of the cache would stand
beside rows that were fetched.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from aerozarr.filesystems.byte_ranges import ByteRange, Fetcher
from aerozarr.store.format.layout import group_path, split_path
from aerozarr.store.format.tables import Checksums
from aerozarr.store.read.disk_cache import DiskCache

# Seconds after which it is asked again whether the store is the one that was opened.
_CURRENT_SECONDS = 30.0


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
        By group, what tells its content from any other (`versions_of`). What lies in no group is
        not kept.
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
        self._versions = dict(versions)
        self._is_current = is_current
        self._asked = time.monotonic()

    def fetch(self, spans: Sequence[ByteRange]) -> list[bytes | None]:
        """Return spans, as `Fetcher` says; those that are missing here are asked for at once."""
        found: dict[ByteRange, bytes | None] = {}
        of_object: dict[str, list[ByteRange]] = {}
        for span in spans:
            if self._version(span) is not None:
                of_object.setdefault(span.path, []).append(span)
        for path, wanted in of_object.items():
            contents = self.cache.read(self._version(wanted[0]) or "", path, wanted)
            found |= {s: c for s, c in zip(wanted, contents, strict=True) if c is not None}
        missing = [span for span in spans if span not in found]
        if missing:
            fetched = dict(self._fetch(missing))
            if self._joins(found, missing) and not self._is_still_current():
                # What is here is of one run, what was fetched of another: neither would tell.
                return [*self.fetcher.fetch(spans)]
            self._keep(fetched)
            found |= fetched
        return [found[span] for span in spans]

    def forget(self, group: str) -> None:
        """Drop a group, and keep no more of it: it may be another by now."""
        version = self._versions.pop(group, None)
        if version is not None:
            self.cache.drop(version)

    def _joins(self, found: Iterable[ByteRange], missing: Iterable[ByteRange]) -> bool:
        """Whether some of a group is here, and some was fetched."""
        here = {self._version(span) for span in found}
        return any(self._version(span) in here for span in missing)

    def _is_still_current(self) -> bool:
        """Ask whether the store is the one that was opened; if not, nothing here is used again."""
        self._asked = time.monotonic()
        if self._is_current():
            return True
        self._versions.clear()
        return False

    def _version(self, span: ByteRange) -> str | None:
        """Return the version of a span's group; None for what is not kept."""
        if span.start < 0 or (span.stop is None and span.start > 0):
            return None
        place = split_path(span.path)
        return None if place is None else self._versions.get(group_path(place[0]))

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

    def _keep(self, fetched: Mapping[ByteRange, bytes | None]) -> None:
        """Put what was fetched into the cache, if it is of the store that was opened."""
        kept = [
            (span, content)
            for span, content in fetched.items()
            if content is not None
            and self._version(span) is not None
            and (span.stop is None or len(content) == span.stop - span.start)
        ]
        is_long_ago = time.monotonic() - self._asked > _CURRENT_SECONDS
        if kept and is_long_ago and not self._is_still_current():
            return
        for path, pieces in groupby(kept, key=lambda piece: piece[0].path):
            self.cache.write(self._version(ByteRange(path)) or "", path, list(pieces))
