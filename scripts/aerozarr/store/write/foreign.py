"""What somebody else put where a store is to be written: it is neither replaced nor removed."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable

from aerozarr.errors import SettingsError
from aerozarr.messages import first_lines, plural, printable, redacted
from aerozarr.store.format.layout import (
    PARTIAL_FOLDER,
    RECORDS_FOLDER,
    group_path,
    id_list_name,
    is_beside_the_groups,
    is_foreign_in_group,
    is_id_list,
)
from aerozarr.store.write.root import StoreRoot


def check_files_in_groups(
    store: StoreRoot,
    files: Iterable[tuple[str, str]],
    arrays: Collection[str],
    what: str = "groups that this run",
) -> None:
    """Check that no group that is to be replaced holds, or is, a file of somebody's own.

    Parameters
    ----------
    store
        The store.
    files
        Of the groups that are to be replaced: the sample, and the path in its group; none of a
        file in the place of a group.
    arrays
        Names of the arrays that were ever written there.
    what
        The groups, and who replaces them, for the message.

    Raises
    ------
    SettingsError
        When one does.
    """
    foreign = [
        f"{group_path(sample_id)}/{path}" if path else group_path(sample_id)
        for sample_id, path in files
        if not path or is_foreign_in_group(path, arrays)
    ]
    if foreign:
        head = (
            f"store: {redacted(store.location.url)!r} holds {plural(len(foreign), 'file')} "
            f"that aerozarr did not write, inside {what} would replace. Move what is "
            "to be kept away; if all of it may go, set take_over: true."
        )
        raise SettingsError("\n".join([head, *first_lines(map(printable, sorted(foreign)))]))


def files_for_groups(store: StoreRoot, sample_ids: Iterable[str]) -> list[tuple[str, str]]:
    """Return the samples in the place of whose groups there is a file, each with an empty path.

    A link may go: what it leads to stays.
    """
    if (root := store.local_root) is None:
        return []
    places = {one: os.path.join(root, group_path(one)) for one in sample_ids}
    return [
        (one, "")
        for one, place in places.items()
        if os.path.isfile(place) and not os.path.islink(place)
    ]


def check_no_folders(store: StoreRoot) -> None:
    """Check that no folder of somebody's own is where a file beside the groups is to be put.

    Raises
    ------
    SettingsError
        When one is.
    """
    location = store.location
    if not location.is_local or not os.path.isdir(location.path):
        return
    with os.scandir(location.path) as entries:
        folders = {entry.name for entry in entries if entry.is_dir()}
    folders -= {RECORDS_FOLDER, PARTIAL_FOLDER}
    blocking = sorted(filter(is_beside_the_groups, folders))
    if blocking:
        place = printable(f"{redacted(location.url)}/{blocking[0]}")
        raise SettingsError(
            f"store: {place} is a folder, where aerozarr keeps a file of that name. Move it away, "
            "or set store to a place of its own."
        )


def check_no_files(store: StoreRoot, names: Iterable[str], splits: Iterable[str]) -> None:
    """Check that no file of somebody's own is where a first run would put one of that name.

    Later runs know by the last merge what is theirs.

    Parameters
    ----------
    store
        The store.
    names
        What lies directly below it.
    splits
        Those whose lists of ids will be written; lists of others stay as they are.

    Raises
    ------
    SettingsError
        When one is.
    """
    lists = set(map(id_list_name, splits))
    wanted = {name for name in names if is_beside_the_groups(name)} - {RECORDS_FOLDER}
    foreign = sorted(name for name in wanted if not is_id_list(name) or name in lists)
    if foreign:
        head = (
            f"store: {redacted(store.location.url)!r} holds {plural(len(foreign), 'file')} that no "
            "run of this store wrote, where this run would write. Set store to a place of its own; "
            "if they may be replaced, set take_over: true."
        )
        raise SettingsError("\n".join([head, *first_lines(map(printable, foreign))]))


def names_beside_the_groups(store: StoreRoot, files: Collection[str] | None = None) -> list[str]:
    """Return what lies directly below a store; `files` are all of its paths, if they are known."""
    location = store.location
    if location.is_local:
        return os.listdir(location.path) if os.path.isdir(location.path) else []
    if files is None:
        try:
            return [*location.entries()]
        except FileNotFoundError:
            return []
    return [path for path in files if "/" not in path]
