"""Whose a StoreWriter's store is: what another program, or one with another workdir, has there."""

from __future__ import annotations

from collections.abc import Iterable

from aerozarr.convert.known_arrays import known_arrays
from aerozarr.errors import SettingsError, StoreError
from aerozarr.messages import printable, redacted
from aerozarr.run_config import RunConfig
from aerozarr.source.samples import key_of
from aerozarr.store.format.layout import MANIFEST, ROOT_METADATA, array_of
from aerozarr.store.format.manifest import Manifest
from aerozarr.store.write.foreign import (
    check_files_in_groups,
    check_no_files,
    check_no_folders,
    files_for_groups,
    names_beside_the_groups,
)
from aerozarr.store.write.records import Written, read_written
from aerozarr.store_writer.given import ORIGIN, default_workdir
from aerozarr.store_writer.place import was_finished_here
from aerozarr.store_writer.sample_record import has_row, read_or_nothing


def check_store(config: RunConfig, splits: Iterable[str] = ()) -> Written | None:
    """Refuse a store that no StoreWriter wrote, or one with another workdir, or others' files.

    Parameters
    ----------
    config
        The configuration.
    splits
        Those whose lists of ids will be written.

    Returns
    -------
    Written or None
        What the store records.

    Raises
    ------
    SettingsError
        When it is so, and `take_over` is not set.
    """
    check_no_folders(config.store)
    written = read_written(config.store)
    check_workdir(config, written)
    if config.settings.take_over:
        return written
    if written is None and not config.writer:
        check_no_files(config.store, names_beside_the_groups(config.store), splits)
    if written is not None and written.dataset != ORIGIN:
        raise SettingsError(
            f"store: {redacted(config.settings.store)!r} holds "
            f"{printable(written.dataset or 'a dataset that is not known')}, which no StoreWriter "
            "wrote. Give a place of its own; if what is there may be replaced, set take_over: true."
        )
    return written


def check_workdir(config: RunConfig, written: Written | None) -> None:
    """Refuse a store that was finished with another workdir, whose samples this one lacks.

    Raises
    ------
    SettingsError
        When it is so, and `take_over` is not set.
    """
    if written is None or written.dataset != ORIGIN or config.settings.take_over:
        return
    # Earlier versions did not say which workdir it was; a copy of one knows what it did then.
    is_ours = written.writer in ("", ORIGIN, config.writer)
    is_known = is_ours and _knows_all_listed(config)
    if is_known:
        return
    place, alone = redacted(config.settings.store), "to list what is written with this one alone"
    if not is_ours and was_finished_here(config, written):
        here = default_workdir(place)
        how = (
            "give the name of before"
            if "://" in place
            else f"copy the workdir to {here!r}, where it goes with the store, and give none"
        )
        raise SettingsError(
            f"workdir: {config.workdir!r} knows {place!r} by another name: it was moved or copied, "
            "so this StoreWriter would take out of the manifest what it does not know. To extend "
            f"it, {how}; {alone}, set take_over: true."
        )
    raise SettingsError(
        f"workdir: {config.workdir!r} is not the one that {place!r} was finished with, so this "
        "StoreWriter would take out of the manifest what it does not know. Give the workdir of "
        "before (into it, the folders rows and fragments of another may be copied); "
        f"{alone}, set take_over: true."
    )


def check_group(config: RunConfig, sample_id: str, *, is_known: bool) -> None:
    """Refuse to replace a group that no StoreWriter wrote, or files in it.

    Parameters
    ----------
    config, sample_id
        The configuration, and the sample that is about to be written.
    is_known
        Whether this workdir wrote it before.

    Raises
    ------
    SettingsError
        When one with another workdir finished meanwhile, or there is a file that is not ours, and
        `take_over` is not set.
    StoreError
        When the group is not ours, and `take_over` is not set.
    """
    store = config.store
    if config.settings.take_over:
        return
    there = store.files_of(sample_id)
    found = [*((sample_id, path) for path in there), *files_for_groups(store, [sample_id])]
    if not found:
        return
    written = read_written(store)
    arrays = _arrays_of(config, sample_id, written)
    check_files_in_groups(store, found, arrays, "the group that this StoreWriter")
    if is_known or ROOT_METADATA not in there:
        return
    check_workdir(config, written)
    if written is None or sample_id not in written.groups:
        raise StoreError(
            f"store: {redacted(config.settings.store)!r} holds a group of {printable(sample_id)} "
            "that no StoreWriter wrote. Give a place of its own, or set take_over: true."
        )


def _arrays_of(config: RunConfig, sample_id: str, written: Written | None) -> frozenset[str]:
    """Return the arrays that a group may hold: those that were ever recorded, and the sample's."""
    if written is not None:
        recorded = known_arrays(config, written)
    else:  # nothing was finished yet, and to look through all fragments takes long
        recorded = frozenset(f.array_name for domain in config.domains for f in domain.fields)
    key = key_of(sample_id)
    for path in (config.fragment(key), config.set_aside(key)):
        if (fragment := read_or_nothing(path)) is not None:
            recorded |= {array_of(one) for one in fragment.objects} - {""}
    return recorded


def _knows_all_listed(config: RunConfig) -> bool:
    content = config.store.read(MANIFEST)
    if content is None:
        return True
    try:
        listed = Manifest.parse(content, MANIFEST).samples
    except StoreError:
        return False
    return all(has_row(config, key_of(sample_id)) for sample_id in listed)
