"""By which name a workdir knows a store: records of samples lie in folders of that name.

The default workdir lies in the store and moves with it, so what is recorded there does not depend
on the place. A workdir elsewhere may serve several stores, and goes by where they are.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace

from aerozarr.filesystems.files import read_or_none
from aerozarr.run_config import WRITER, RunConfig, tag_of
from aerozarr.store.format.layout import PROVENANCE
from aerozarr.store.write.records import Written, read_written
from aerozarr.store_writer.given import default_workdir

# In the default workdir; earlier versions named the folders by a hash of the store's path.
IN_THE_STORE = "store"
_NAME = re.compile("store|[0-9a-f]{8}")


def records_of(config: RunConfig) -> str:
    """Return the name of the folders of a store's records.

    Parameters
    ----------
    config
        A configuration that has none.
    """
    store = config.settings.store
    if "://" in store:
        return tag_of(store)
    real = os.path.realpath(store)
    if not is_in_the_store(config):
        # A link to the store is another name of it. Earlier versions told the two apart.
        given, true = tag_of(store), tag_of(real)
        return given if config.place(f"fragments/{given}").exists() else true
    written = read_written(config.store)
    if written is not None and was_finished_here(config, written):
        name = written.writer.rpartition("-")[2]
        if _NAME.fullmatch(name):
            return name
    folder = config.place("fragments")
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    mine = [name for name in (IN_THE_STORE, tag_of(store), tag_of(real)) if name in there]
    return mine[0] if mine else there[0] if len(there) == 1 else IN_THE_STORE


def was_finished_here(config: RunConfig, written: Written) -> bool:
    """Whether a store was last finished with a workdir, under whatever name."""
    own = (read_or_none(config.place(WRITER)) or b"").decode("ascii", "replace").strip()
    return bool(own) and written.writer.startswith(f"{own}-")


def earlier_digests(config: RunConfig) -> set[str]:
    """Return what earlier versions recorded as `stored_as`: it depended on the store's place."""
    places = {config.settings.store, os.path.realpath(config.settings.store)}
    try:
        provenance = json.loads(config.store.read(PROVENANCE) or b"null")
        places.add(str(provenance["settings"]["store"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        pass  # then it is as if it had not been moved
    made = (config.settings.model_copy(update={"store": place}) for place in places)
    return {replace(config, settings=one, records="").stored_as_digest for one in made}


def is_in_the_store(config: RunConfig) -> bool:
    """Whether a workdir is the default one of its store."""
    store = os.path.realpath(config.settings.store)
    return os.path.realpath(config.workdir) == default_workdir(store)
