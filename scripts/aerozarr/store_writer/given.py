"""What a caller gives a StoreWriter, as the rest of the code has it: settings, arrays, scalars."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aerozarr.config.fields import Field
from aerozarr.config.filemap import attribute_named
from aerozarr.config.load_settings import load_settings
from aerozarr.config.scalars import Scalar
from aerozarr.config.settings import Settings
from aerozarr.errors import BrokenSample, SettingsError, StoreError
from aerozarr.filesystems.location import is_url, open_location
from aerozarr.messages import did_you_mean, printable
from aerozarr.source.files.rows import TO_STORE_OTHERS
from aerozarr.source.samples import why_invalid
from aerozarr.source.source import Loader
from aerozarr.store.format.layout import RECORDS_FOLDER

# What a store records as its dataset and source.
ORIGIN = "StoreWriter"

# The settings that say where samples come from; here the caller brings them.
_NOT_HERE = frozenset(
    {
        *("dataset", "dataset_args", "filemap", "source_url", "source_root", "split_files"),
        *("split_manifest", "categories", "limit", "exclude", "on_broken_sample", "verify"),
        *("store", "workdir"),
    }
)
# Settings of a scalar that say where it is.
_PLACES = frozenset({"file", "table", "id_column", "id_format"})


def settings_of(
    place: str | Path, given: Mapping[str, Any], workdir: str | Path | None
) -> Settings:
    """Return the settings of a StoreWriter; parameters are those of its constructor.

    Raises
    ------
    SettingsError
        When a setting cannot be used.
    """
    place = _absolute(place)
    wrong = sorted(_NOT_HERE & given.keys())
    if wrong:
        raise SettingsError(
            f"{wrong[0]} is no setting of a StoreWriter, which takes samples from its caller. "
            "Leave it out."
        )
    if workdir is None and "://" in place:
        raise SettingsError("workdir is not set. A store behind a URL needs one: a folder.")
    workdir = default_workdir(place) if workdir is None else _absolute(workdir)
    # Fields of one's own have no file here; their name stands for it.
    own = {
        name: said if attribute_named(name) or said is None else {"file": name, **said}
        for name, said in dict(given.get("fields", {})).items()
    }
    return load_settings(
        {**given, "fields": own, "scalars": _own_scalars(given.get("scalars", {}))}
        | {"source_url": ORIGIN, "dataset": "example", "filemap": {}}
        | {"store": place, "workdir": workdir}
    )


def default_workdir(place: str) -> str:
    """Return the workdir of a local store for which none is given."""
    return f"{place}/{RECORDS_FOLDER}/writer"


def _absolute(place: str | Path) -> str:
    """Return a local folder as its path from the root, and a URL as it is.

    So it stays the same wherever the process goes, and is the one that a `Store` reads.
    """
    text = os.fspath(place)
    is_folder = not is_url(text) and not ("://" in text and "::" in text)
    return open_location(text, {}, key="store").path or "/" if is_folder else text


def _own_scalars(said: Any) -> Any:
    """Return the setting `scalars` of a StoreWriter: they have no file; their name stands for it.

    Raises
    ------
    SettingsError
        When one names a file or a table.
    """
    if not isinstance(said, Mapping):
        return said  # which is told of
    own = {}
    for name, one in said.items():
        if isinstance(one, str) or (isinstance(one, Mapping) and not _PLACES.isdisjoint(one)):
            raise SettingsError(
                f"scalars: {name}: {one!r} names a file, and a StoreWriter takes scalars from its "
                f"caller. Write {{{name!r}: {{}}}}, or with unit, long_name and kind."
            )
        own[name] = {"file": name, **one} if isinstance(one, Mapping) else one
    return own


def check_id(sample_id: object) -> None:
    """Refuse what cannot be a sample's id.

    Raises
    ------
    StoreError
        When it cannot be a place in the store.
    """
    kind = type(sample_id).__name__
    why = (
        why_invalid(sample_id)
        if isinstance(sample_id, str)
        else f"it is of type {kind}, and ids are texts"
    )
    if why is not None:
        raise StoreError(f"{printable(repr(sample_id))} cannot be a sample's id: {why}.")


def check_sample(sample_id: object, arrays: object, split: object) -> None:
    """Refuse what cannot be a sample, before anything of it is looked at.

    Raises
    ------
    StoreError
        When its id cannot be a place in the store.
    SettingsError
        When there are no arrays by name, or the split is no name.
    """
    check_id(sample_id)
    if not isinstance(arrays, Mapping) or not all(isinstance(name, str) for name in arrays):
        kind = type(arrays).__name__
        raise SettingsError(
            f"{sample_id}: its arrays are given as {kind}. Give a dict from names of fields to "
            "arrays: {'surface_position': …}."
        )
    if not arrays:
        raise SettingsError(f"{sample_id}: no array is given. Give positions at least.")
    if split is None or isinstance(split, str):
        with contextlib.suppress(UnicodeEncodeError):
            (split or "").encode("utf-8")
            return
    raise SettingsError(
        f"{sample_id}: split is {printable(repr(split))}, which is no name. A sample is in one "
        "split, or in none: split='train'."
    )


def check_scalars(given: Mapping[str, Any], scalars: Iterable[Scalar]) -> None:
    """Refuse scalars that the setting does not name, and the lack of one that it does.

    Parameters
    ----------
    given
        By name, what the caller gives of a sample.
    scalars
        Those of the setting.

    Raises
    ------
    SettingsError
        When one is too many, or missing.
    """
    known = [scalar.name for scalar in scalars]
    for name in given:
        if name not in known:
            raise SettingsError(
                f"{name!r} is no scalar.{did_you_mean(name, known)} Name it in the setting "
                f"scalars: {{{name!r}: {{}}}}, or take it out."
            )
    for name in known:
        if name not in given:
            raise SettingsError(
                f"the scalar {name} is not given, and every sample has to have it. Give "
                f"scalars={{{name!r}: …}}, with NaN where there is none."
            )


def loader(arrays: Mapping[str, Any], scalars: Mapping[str, Any]) -> Loader:
    """Return what gives a field's array, as a tensor, and a scalar's value.

    Parameters
    ----------
    arrays
        By the name of the field's file, which here is the name that the caller gave.
    scalars
        By name.
    """

    def load(field: Field | Scalar) -> object:
        if isinstance(field, Scalar):
            return _plain(scalars[field.name])
        array = arrays[field.file]
        if isinstance(array, torch.Tensor):
            return array.detach().cpu()
        if not isinstance(array, np.ndarray):
            return array  # which is told of
        masked = int(np.sum(array.mask)) if isinstance(array, np.ma.MaskedArray) else 0
        if masked:
            raise BrokenSample(
                field=field.canonical,
                file=field.file,
                cause=f"{masked} of its values are masked, and no mask is stored",
                remedy="give array.astype(float).filled(numpy.nan), or leave the sample out",
            )
        # numpy's longdouble has more digits than any dtype of torch.
        if array.dtype.kind not in "fiubc" or array.dtype.type in (np.longdouble, np.clongdouble):
            raise BrokenSample(
                field=field.canonical,
                file=field.file,
                cause=f"its values are of no number type ({array.dtype})",
                remedy="give an array of floats",
            )
        native = np.asarray(array, array.dtype.newbyteorder("="))
        # torch takes neither arrays that cannot be written to nor negative strides.
        is_plain = native.flags.writeable and all(stride >= 0 for stride in native.strides)
        return torch.from_numpy(native if is_plain else native.copy())

    return load


def note_for_caller(note: str) -> str:
    """Return what is told of an array, where that names settings which a StoreWriter lacks."""
    told, others, _ = note.partition(TO_STORE_OTHERS)
    return f"{told}; to store others, give an array of those alone" if others else note


def _plain(value: Any) -> Any:
    """Return a scalar of numpy as Python has it, with its exact value; any other as it is."""
    if isinstance(value, np.ndarray) and value.dtype == bool and value.ndim:
        value = value.astype(int)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
