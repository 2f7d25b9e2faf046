"""Records that were copied from another workdir, where they lay in folders of another name."""

from __future__ import annotations

from pathlib import Path

from aerozarr.filesystems.files import write_atomically
from aerozarr.run_config import RunConfig
from aerozarr.store_writer.locks import Locks
from aerozarr.store_writer.place import IN_THE_STORE, is_in_the_store
from aerozarr.store_writer.sample_record import is_stored, read_or_nothing, row_path


def take_up_copied(config: RunConfig, locks: Locks) -> None:
    """Record what copied records say of groups that are in the store, byte for byte.

    It waits for samples that are being written, if there is such a record.
    """
    found = _unknown(config)
    if not found:
        return
    with locks.finishing():
        for path in found:
            row = _row_beside(config, path)
            fragment = read_or_nothing(path)
            if row.exists() and fragment is not None and is_stored(config, fragment):
                write_atomically(row_path(config, path.stem), row.read_bytes())
                write_atomically(config.fragment(path.stem), path.read_bytes())


def _unknown(config: RunConfig) -> list[Path]:
    """Return fragments of other names, of samples of which nothing else is known."""
    own, folder = Path(config.fragments).name, config.place("fragments")
    if not folder.is_dir():
        return []
    names = {path.name for path in folder.iterdir() if path.is_dir()} - {own}
    if not is_in_the_store(config):  # it may serve other stores, whose records are not this one's
        names &= {IN_THE_STORE}
    paths = [path for name in sorted(names) for path in (folder / name).glob("*.json")]
    return [path for path in paths if not row_path(config, path.stem).exists()]


def _row_beside(config: RunConfig, fragment: Path) -> Path:
    row = config.place(f"rows/{fragment.parent.name}/{fragment.name}")
    return row if row.exists() else config.place(f"rows/{fragment.name}")  # of earlier versions
