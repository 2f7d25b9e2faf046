"""What a StoreWriter's workdir says of a sample: the row with its split, and its fragment.

The fragment is there when the sample is written, and speaks of the group that is in the store. The
row is there from the moment that the group may be: so it is known as ours, and as one whose writing
did not end, should the process be killed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aerozarr.convert.fragment import Fragment, read_fragment
from aerozarr.convert.kept import Kept
from aerozarr.errors import BrokenSample, StoreError
from aerozarr.filesystems.files import write_atomically
from aerozarr.run_config import RunConfig
from aerozarr.source.samples import Sample, key_of
from aerozarr.store.format.layout import group_path
from aerozarr.store.write.root import StoredFile


def sample_of(sample_id: str, split: str) -> Sample:
    """Return the sample of a row: it has no files."""
    return Sample(key_of(sample_id), sample_id, split, -1, (), (), "")


def has_row(config: RunConfig, key: str) -> bool:
    """Whether a sample was begun, given its key."""
    return row_path(config, key).exists() or _is_earlier(config, key)


def read_rows(config: RunConfig) -> list[Sample]:
    """Return the samples that were begun, in the order of the setting `splits`, then of ids."""
    paths = {path.name: path for path in row_path(config, "").parent.glob("*.json")}
    for path in config.place("rows").glob("*.json"):
        if path.name not in paths and _is_earlier(config, path.stem):
            paths[path.name] = path
    rows = [json.loads(path.read_bytes()) for path in paths.values()]
    order = {name: number for number, name in enumerate(config.settings.splits)}
    rows.sort(key=lambda row: (order.get(row["split"], len(order)), row["split"], row["id"]))
    return [sample_of(row["id"], row["split"]) for row in rows]


def read_record(config: RunConfig, sample: Sample) -> Fragment | None:
    """Return the fragment of a sample, None where its writing did not end.

    That of a group which was to be replaced, and is as it was, is put back: the process that was
    to replace it was killed before it did. Nobody may write the sample meanwhile.
    """
    fragment, aside = config.fragment(sample.key), config.set_aside(sample.key)
    if not fragment.exists() and aside.exists():
        former = read_or_nothing(aside)
        if former is not None and former.sample_id == sample.id and is_stored(config, former):
            aside.replace(fragment)
    return read_or_nothing(fragment)


def read_or_nothing(path: Path) -> Fragment | None:
    """Return a fragment, None where it is not there or damaged."""
    try:
        return read_fragment(path)
    except StoreError:
        return None


def is_stored(config: RunConfig, fragment: Fragment) -> bool:
    """Whether a group is what a fragment says, byte for byte."""
    group = group_path(fragment.sample_id)
    for path, recorded in fragment.objects.items():
        content = config.store.read(f"{group}/{path}")
        if content is None or StoredFile.of(content) != StoredFile(*recorded):
            return False
    return True


def row_path(config: RunConfig, key: str) -> Path:
    """Return where the row of a sample is: as the fragments, each store has a folder of its own."""
    return config.place(f"rows/{Path(config.fragments).name}/{key}.json")


def _earlier_row(config: RunConfig, key: str) -> Path:
    """Return where earlier versions put the row of a sample, whichever store it was of."""
    return config.place(f"rows/{key}.json")


def _is_earlier(config: RunConfig, key: str) -> bool:
    """Whether a row of an earlier version is there that is not known to be another store's."""
    if not _earlier_row(config, key).exists():
        return False
    if config.fragment(key).exists() or config.set_aside(key).exists():
        return True
    return not any(config.place("fragments").glob(f"*/{key}.json"))


class SampleRecord:
    """The record of a sample that is about to be written; nobody else may write it meanwhile.

    Parameters
    ----------
    config
        The configuration.
    sample
        The sample.

    Attributes
    ----------
    is_known
        Whether it was written before, or begun.
    """

    def __init__(self, config: RunConfig, sample: Sample) -> None:
        self._config = config
        self._sample = sample
        self._row = row_path(config, sample.key)
        self._fragment = config.fragment(sample.key)
        self._aside = config.set_aside(sample.key)
        self.is_known = has_row(config, sample.key)

    @contextmanager
    def replaced(self) -> Iterator[Kept | None]:
        """Set what is recorded aside while the group is written anew; yield it.

        Should this process be killed, it would speak of another group. If the group cannot be
        written and is as it was, so is the record.
        """
        if not self.is_known:
            self._write_row()
        kept = self._set_aside()
        try:
            yield kept
        except BaseException as error:
            if kept is not None and self._aside.exists():  # the group is as it was
                self._aside.replace(self._fragment)
            elif kept is None and not self.is_known and isinstance(error, BrokenSample):
                self._row.unlink()  # and no group was there
            raise

    def end(self, fragment: Fragment) -> None:
        """Record that the group is written."""
        if self.is_known:
            self._write_row()  # not before: the group of before has the split of before
        write_atomically(self._fragment, fragment.to_json())

    def remove(self) -> None:
        """Forget the sample; its group is gone."""
        for path in (self._fragment, self._aside, self._row):
            path.unlink(missing_ok=True)
        if _is_earlier(self._config, self._sample.key):  # and of no other store
            _earlier_row(self._config, self._sample.key).unlink()

    def _write_row(self) -> None:
        row = {"id": self._sample.id, "split": self._sample.split}
        write_atomically(self._row, json.dumps(row).encode())

    def _set_aside(self) -> Kept | None:
        former = read_record(self._config, self._sample)
        if former is None:
            self._fragment.unlink(missing_ok=True)
            self._aside.unlink(missing_ok=True)
            return None
        self._aside.parent.mkdir(exist_ok=True)
        self._fragment.replace(self._aside)
        return Kept(former, frozenset(), self._aside)
