"""Which arrays the runs of a store wrote: what lies in a group besides is somebody's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from aerozarr.convert.fragment import read_fragment
from aerozarr.errors import StoreError
from aerozarr.run_config import RunConfig
from aerozarr.store.format.layout import CHECKSUMS, MANIFEST, array_of, split_path
from aerozarr.store.format.manifest import Manifest
from aerozarr.store.format.tables import read_checksums
from aerozarr.store.write.records import Written


def known_arrays(run_config: RunConfig, written: Written | None) -> frozenset[str]:
    """Return the names of all arrays that runs wrote into groups, or are about to write.

    Parameters
    ----------
    run_config
        The configuration.
    written
        What the store records of its runs. Where it says nothing of arrays, an earlier version
        wrote it: then manifest, checksums and fragments tell.
    """
    own = {field.array_name for domain in run_config.domains for field in domain.fields}
    if written is not None and written.arrays:
        return written.arrays | own
    return frozenset({*own, *_in_manifest(run_config), *_in_files(run_config)} - {""})


def _in_manifest(run_config: RunConfig) -> Iterator[str]:
    content = run_config.store.read(MANIFEST)
    try:
        domains = Manifest.parse(content, MANIFEST).domains if content is not None else {}
    except StoreError:
        return
    for domain in domains.values():
        for entry in domain.arrays.values():
            yield entry.array_name


def _in_files(run_config: RunConfig) -> Iterator[str]:
    """Yield the arrays of the files that the table of checksums and the fragments name."""
    try:
        recorded = read_checksums(run_config.store.read(CHECKSUMS) or b"", CHECKSUMS)
    except StoreError:
        recorded = {}
    for place in map(split_path, recorded):
        if place is not None:
            yield array_of(place[1])
    for folder in (Path(run_config.fragments), run_config.set_aside("").parent):
        for path in folder.glob("*.json"):
            try:
                yield from map(array_of, read_fragment(path).objects)
            except StoreError:
                continue
