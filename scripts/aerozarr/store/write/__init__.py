"""Writing a store: groups and the files beside them, each visible whole or not at all."""

from __future__ import annotations

from aerozarr.filesystems.location import StorageOptions, open_location
from aerozarr.store.write.local import LocalRoot
from aerozarr.store.write.object_store import ObjectStoreRoot
from aerozarr.store.write.root import StoreRoot


def open_root(url: str, options: StorageOptions, *, owner: str = "") -> StoreRoot:
    """Open a store root, which need not exist yet.

    Parameters
    ----------
    url, options
        The settings `store` and `storage_options`.
    owner
        The run's work folder; tells apart what different runs leave half-written.

    Raises
    ------
    SettingsError
        When the URL cannot be opened.
    """
    # Here, because they build on this module.

    location = open_location(url, options, key="store")
    return LocalRoot(location, owner) if location.is_local else ObjectStoreRoot(location)
