"""Whether groups hold the very bytes that fragments record: sizes do not tell."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from aerozarr.convert.fragment import Fragment, is_whole
from aerozarr.store.format.layout import group_path
from aerozarr.store.write.root import StoreRoot

# Groups that are read at the same time: behind a URL, each file is waited for.
_AT_ONCE = 16


def differing_files(
    store: StoreRoot, files: Mapping[str, int | None], fragments: Iterable[Fragment]
) -> set[str]:
    """Return of each group that is not as its fragment says one file that is missing, or differs.

    Parameters
    ----------
    store
        The store, of which all files of these groups are read.
    files
        What it holds: path to size, None where that is not told.
    fragments
        Those of the groups.
    """

    def differing(fragment: Fragment) -> str | None:
        whole = is_whole(fragment, files)  # else it need not be read
        for path, (_, digest) in fragment.objects.items():
            place = f"{group_path(fragment.sample_id)}/{path}"
            if not whole or hashlib.sha256(store.read(place) or b"").hexdigest() != digest:
                return place
        return None

    pool = ThreadPoolExecutor(1 if store.location.is_local else _AT_ONCE)
    with pool:
        return {place for place in pool.map(differing, fragments) if place is not None}
