"""Families of splits, from a file that lists them: the setting `split_manifest`.

A dataset's authors may publish several ways to split it, such as a baseline and subsets of it, in
one file of JSON or CSV. Nothing in it is trusted: what cannot be read is an error that says where.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aerozarr.config.setting_types import SplitManifest
from aerozarr.errors import SettingsError
from aerozarr.filesystems.location import Location, StorageOptions
from aerozarr.messages import did_you_mean, printable, redacted
from aerozarr.source.named_files import normal_id, read_named

_KEY = "split_manifest"
_HOLDS = (
    'families of splits: JSON as {"family": {"split": ["id", …]}} or [{"family": …, "split": …, '
    '"ids": […]}], or a CSV with the columns family, split and id'
)
# How many splits an error names.
_SHOWN = 40
# Of what is at least so long, no number is made; nobody has as many samples.
_NUMBER = re.compile(r"[0-9]{1,15}")
_IDS_APART = re.compile(r"[\s,;]+")

_Row = tuple[str, object, object, Iterable[object]]
"""Where it stands, family, split, and ids, as they were read."""


@dataclass(frozen=True)
class Families:
    """Families of splits.

    Attributes
    ----------
    place
        The file that lists them, for messages.
    ids
        By `family/split`, the ids in the file's order.
    """

    place: str
    ids: Mapping[str, list[str]]

    def of(self, split: str) -> list[str] | None:
        """Return the ids of a split by its name `family/split`; None for one without a family.

        Raises
        ------
        SettingsError
            When there is no such family or split, only a family is named, or no sample is in it.
        """
        found = self.ids.get(split)
        if found:
            return found
        if found is not None:
            raise SettingsError(
                f"splits: {split!r} has no sample in {self.place}. Leave it out, or add some there."
            )
        own = [name for name in self.ids if name.startswith(f"{split}/")]
        if own:
            raise SettingsError(
                f"splits: {split!r} is a family of splits. Name the split too: {_listed(own)}."
            )
        if "/" not in split:
            return None
        raise SettingsError(
            f"splits: {self.place} has no {split!r}.{printable(did_you_mean(split, self.ids))} "
            f"It has {self.names}."
        )

    @property
    def names(self) -> str:
        """The names of all splits, for messages."""
        return _listed(self.ids)


def _listed(names: Iterable[str]) -> str:
    shown = [printable(name) for name in names]
    return ", ".join(shown[:_SHOWN]) + (" …" if len(shown) > _SHOWN else "")


def read_families(
    said: SplitManifest, id_format: str | None, root: Location, options: StorageOptions
) -> Families:
    """Read a file that lists families of splits.

    Parameters
    ----------
    said
        The file, as the setting or the preset names it.
    id_format
        The id of a sample whose id in the file is a whole number, e.g. `run_{}`; None where
        numbers stand for nothing.
    root
        The dataset's root.
    options
        The setting `storage_options`.

    Raises
    ------
    SettingsError
        When the file is not there, is empty, or cannot be read; or a split names a sample twice.
    """
    text = read_named(_KEY, said.file, root, options, _HOLDS)
    place = repr(redacted(said.file))
    if not text.strip():
        raise _unreadable(place, "it is empty")
    rows = _rows_of_json(text) if text.lstrip()[0] in "{[" else _rows_of_csv(text)
    try:
        ids = _by_name(rows, id_format)
    except ValueError as error:
        raise _unreadable(place, printable(str(error))) from None
    if not ids:
        raise _unreadable(place, "it lists no split")
    return Families(place, ids)


def _unreadable(place: str, why: str) -> SettingsError:
    return SettingsError(f"{_KEY}: {place} cannot be used: {why}. It should hold {_HOLDS}.")


def _by_name(rows: Iterable[_Row], id_format: str | None) -> dict[str, list[str]]:
    """Return the ids by `family/split`; ValueError with what is wrong."""
    found: dict[str, dict[str, None]] = {}
    parts: dict[str, tuple[str, str]] = {}
    for where, *names, ids in rows:
        family, split = (_name(name, where, what) for name, what in zip(names, _NAMES, strict=True))
        name = f"{family}/{split}"
        if parts.setdefault(name, (family, split)) != (family, split):
            raise ValueError(f"{where}: {name!r} may be two splits. Rename a family without '/'")
        known = found.setdefault(name, {})
        for value in ids:
            sample_id = _id(value, f"{where}: {name}", id_format)
            if sample_id in known:
                raise ValueError(f"{where}: {name} names {sample_id!r} twice. Take one of them out")
            known[sample_id] = None
    return {name: [*ids] for name, ids in found.items()}


_NAMES = ("family", "split")


def _name(value: object, where: str, what: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # folds may have numbers
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{where}: {_shown(value)} is no name of a {what}")
    return value.strip()


def _id(value: object, where: str, id_format: str | None) -> str:
    """Return a sample's id; of a whole number, what `id_format` makes of it."""
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**15:
        number = value
    elif not isinstance(value, str) or not value.strip():
        raise ValueError(f"{where}: {_shown(value)} is no id of a sample")
    elif id_format is not None and _NUMBER.fullmatch(value.strip()):
        number = int(value)
    if number is None:
        return normal_id(str(value).strip())
    if id_format is None:
        raise ValueError(
            f"{where}: {number} is a number, and no id of a sample. Say which sample it stands "
            f"for: {_KEY}: {{file: …, id_format: 'run_{{}}'}}"
        )
    return id_format.format(number)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _rows_of_json(text: str) -> Iterator[_Row]:
    try:
        content = json.loads(text, object_pairs_hook=_named_once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON: {error}") from None
    if isinstance(content, dict):
        for family, splits in content.items():
            if not isinstance(splits, dict):
                hint = ""
                if isinstance(splits, list):
                    hint = (
                        ". If these are splits without a family, put them in one: {'mine': "
                        f"{{{family!r}: […]}}}}, and name them by it, as in splits: [mine/{family}]"
                    )
                raise ValueError(
                    f"{family}: {_shown(splits)} is no object with a list a split{hint}"
                )
            for split, ids in splits.items():
                yield f"{family}/{split}", family, split, _as_list(ids, f"{family}/{split}")
        return
    for number, record in enumerate(content, start=1):
        where = f"record {number}"
        if not isinstance(record, dict) or ("ids" in record) is ("id" in record):
            raise ValueError(f"{where} is no object with family, split, and either ids or id")
        ids = _as_list(record["ids"], where) if "ids" in record else [record["id"]]
        yield where, record.get("family"), record.get("split"), ids


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Of two lists under one name, json would keep the last one without a word.
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it has {twice!r} twice in one object")
    return found


def _as_list(ids: object, where: str) -> list[object]:
    if not isinstance(ids, list):
        raise ValueError(f"{where}: {_shown(ids)} is no list of ids")
    return ids


def _rows_of_csv(text: str) -> Iterator[_Row]:
    text = text.lstrip("\r\n")
    header = text.partition("\n")[0]
    delimiter = next((mark for mark in header if mark in ",;\t"), ",")
    table = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [name.strip().lower() for name in next(table)]
        wanted = [name for name in columns if name in ("id", "ids")]
        if len(wanted) != 1 or any(columns.count(name) != 1 for name in _NAMES):
            raise ValueError(f"it is no JSON, and its first line is {_shown(header.strip())}")
        for values in table:
            where = f"line {table.line_num}"
            if not any(value.strip() for value in values):
                continue  # as spreadsheets leave them at the end
            if len(values) != len(columns):
                raise ValueError(f"{where} has {len(values)} values for {len(columns)} columns")
            row = dict(zip(columns, values, strict=True))
            ids = [row["id"]] if wanted == ["id"] else filter(None, _IDS_APART.split(row["ids"]))
            yield where, row["family"], row["split"], ids
    except csv.Error as error:
        raise ValueError(f"line {table.line_num}: {error}") from None
