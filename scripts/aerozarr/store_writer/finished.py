"""Whether a store is as a workdir finished it, or was put back or changed since.

Records of samples that were written later than a copy of the store would describe other values.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from aerozarr.convert.fragment import Fragment
from aerozarr.errors import StoreError
from aerozarr.filesystems.files import read_or_none, write_atomically
from aerozarr.messages import first_lines, plural, printable
from aerozarr.run_config import RunConfig
from aerozarr.store.format.layout import CHECKSUMS
from aerozarr.store.write.root import StoredFile
from aerozarr.store_writer.sample_record import is_stored


def check_is_as_finished(config: RunConfig, fragments: Iterable[Fragment], mend: str) -> None:
    """Compare all groups with their records, if the store is not as this workdir finished it.

    Parameters
    ----------
    config
        The configuration.
    fragments
        Of the samples that are to be listed.
    mend
        What to do about groups that differ.

    Raises
    ------
    StoreError
        When a group differs.
    """
    recorded = read_or_none(_record(config))
    if recorded is None or recorded == _digest(config):
        return  # never finished, or by an earlier version, which recorded nothing
    wrong = [one.sample_id for one in fragments if not is_stored(config, one)]
    if wrong:
        head = (
            f"{plural(len(wrong), 'group')} not as written: the store was put back or changed "
            f"since it was finished, so no manifest was written. {mend}"
        )
        raise StoreError("\n".join([head, *first_lines(map(printable, wrong))]))


def record_finished(config: RunConfig) -> None:
    """Record how a store is that was finished now."""
    write_atomically(_record(config), _digest(config))


def _digest(config: RunConfig) -> bytes:
    return StoredFile.of(config.store.read(CHECKSUMS) or b"").sha256.encode()


def _record(config: RunConfig) -> Path:
    return config.place(f"rows/{Path(config.fragments).name}/.finished")
