"""A store that was put back from a copy, as it was before later runs wrote to it.

Its groups may have the sizes of those that were written since, and be others: so their bytes are
compared with what the fragments say.
"""

from __future__ import annotations

from dataclasses import replace

from aerozarr.convert.fragment import Fragment, read_fragment
from aerozarr.convert.group_bytes import differing_files
from aerozarr.errors import StoreError
from aerozarr.merge.summary import digest_of
from aerozarr.run_config import RunConfig
from aerozarr.store.format.layout import CHECKSUMS, MANIFEST, ROOT_METADATA, group_path, split_path
from aerozarr.store.format.tables import read_checksums
from aerozarr.store.write.records import read_written
from aerozarr.store.write.root import StoreRoot
from aerozarr.workflow.ownership import unlisted_fragments
from aerozarr.workflow.state import State, Without


def compared_if_put_back(run_config: RunConfig, state: State) -> State:
    """Return a state without the files of groups whose bytes are not those that were written last.

    Only where the store is not as this work folder's last run left it: its record has another
    mark, or its table of checksums is another one. A store of an earlier version has no mark, and
    is looked into only for the second. Behind a URL, groups are read whose files the store's own
    table of checksums does not say to be as they were written.
    """
    if state.is_others or not _is_put_back(run_config, state):
        return state
    fragments = [one for one in state.fragments.values() if one is not None and one.objects]
    places = [f"{group_path(one.sample_id)}/{ROOT_METADATA}" for one in fragments]
    unlisted: dict[str, Fragment] = {}
    for path in unlisted_fragments(run_config, state):
        try:
            fragment = read_fragment(path)
        except StoreError:
            continue  # which whoever asks for its sample notices
        if fragment.objects:
            unlisted[path] = fragment
    if not any(place in state.files for place in places) and not unlisted:
        return state  # nothing is there to be compared
    store = run_config.store
    asked = [*fragments, *unlisted.values()]
    if not store.location.is_local:
        recorded = _recorded_groups(store)
        asked = [one for one in asked if recorded.get(one.sample_id) != one.objects]
    gone = differing_files(store, state.files, asked)
    groups = {place[0] for place in map(split_path, gone) if place is not None}
    doubtful = [path for path, one in unlisted.items() if one.sample_id in groups]
    files = Without(state.files, gone) if gone else state.files
    return replace(state, files=files, is_put_back=True, unlisted=doubtful)


def _is_put_back(run_config: RunConfig, state: State) -> bool:
    marks, written = run_config.marks, read_written(run_config.store)
    if marks and (written is None or written.mark not in marks):
        return True
    size, digest = state.summary.recorded.get(CHECKSUMS, (0, "")) if state.summary else (0, "")
    if not digest or CHECKSUMS not in state.files:
        return False
    is_as_merged = state.files[CHECKSUMS] in (None, size)
    return not is_as_merged or state.digests.get(CHECKSUMS, digest) != digest


def _recorded_groups(store: StoreRoot) -> dict[str, dict[str, tuple[int, str]]]:
    """Return by sample what the table of checksums says; nothing unless it is the manifest's.

    Without that, some groups may have been written since.
    """
    manifest = store.read(MANIFEST) or b""
    try:
        recorded = read_checksums(store.read(CHECKSUMS) or b"", CHECKSUMS)
    except StoreError:
        return {}
    if recorded.get(MANIFEST) != (len(manifest), digest_of(manifest)):
        return {}
    groups: dict[str, dict[str, tuple[int, str]]] = {}
    for path, said in recorded.items():
        place = split_path(path)
        if place is not None:
            groups.setdefault(place[0], {})[place[1]] = said
    return groups
