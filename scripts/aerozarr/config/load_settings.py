"""Reading what a person set, and saying of each setting that cannot be used what would mend it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from aerozarr.config.setting_types import Compression, FieldSetting, ScalarSetting, SplitManifest
from aerozarr.config.settings import (
    DEFAULT_SPLITS,
    EXAMPLE,
    Settings,
    default_of,
    expectation_of,
)
from aerozarr.errors import SettingsError
from aerozarr.messages import did_you_mean

# Settings in which environment variables may stand, and what one is written like.
_PLACES = ("source_url", "source_root", "store", "workdir")
_VARIABLE = re.compile(r"\$(?:\{\w+\}|[A-Za-z_]\w*)")


def load_settings(config: Mapping[str, Any]) -> Settings:
    """Check a configuration and return it as `Settings`.

    Parameters
    ----------
    config
        What Snakemake read from config files and the command line.

    Raises
    ------
    SettingsError
        With one line for each setting that cannot be used: its key, its value, and the remedy.
    """
    known = {key: value for key, value in config.items() if key in Settings.model_fields}
    unset: list[str] = []
    for key in _PLACES:
        if isinstance(known.get(key), str):
            known[key] = os.path.expandvars(known[key])
            unset += [
                f"{key}: {config[key]!r} names the environment variable {name}, which is not set. "
                f"Set it, or write the path out."
                for name in _VARIABLE.findall(known[key])
            ]
    if unset:
        raise _cannot_be_used(unset)
    problems = [_unknown(key, key) for key in config if key not in known]
    try:
        settings = Settings.model_validate(known)
    except ValidationError as error:
        problems = [*(_problem(detail) for detail in error.errors()), *problems]
        raise _cannot_be_used(problems) from None
    problems += _contradictions(settings)
    if problems:
        raise _cannot_be_used(problems)
    if settings.split_files and settings.splits == DEFAULT_SPLITS:
        # Whoever names an id list means its samples; in the usual order as far as there is one.
        named = sorted(settings.split_files, key=lambda name: name not in DEFAULT_SPLITS)
        usual = [name for name in DEFAULT_SPLITS if name in named]
        return settings.model_copy(update={"splits": [*usual, *named[len(usual) :]]})
    return settings


def _contradictions(settings: Settings) -> list[str]:
    """What no single key shows: settings that do not go together."""
    problems = []
    url, root = settings.source_url, settings.source_root
    if url and root:
        problems.append(
            f"source_url: {url!r} and source_root: {root!r} are both set. Set one: source_url "
            "lists every sample below a folder, source_root follows the dataset's own layout."
        )
    own = settings.filemap or settings.fields or settings.scalars
    if not url and not root and (settings.dataset != EXAMPLE or own):
        problems.append(
            f"source_url: null and source_root: null, so there is nothing to convert for dataset "
            f"{settings.dataset!r}. Set source_root to the dataset's folder, or source_url to a "
            "folder or URL below which the samples lie."
        )
    manifest = settings.split_manifest and settings.split_manifest.file
    needing_root = {
        "split_files": settings.split_files,
        "split_manifest": manifest,
        "categories": settings.categories,
    }
    for key, value in needing_root.items():
        if value and not root:
            problems.append(f"{key}: {value!r} needs source_root. Set that, or leave {key} out.")
    if settings.dataset_args and not (root and "." in settings.dataset):
        problems.append(
            f"dataset_args: {settings.dataset_args!r} needs a class for dataset, and source_root. "
            "Set those, or leave dataset_args out."
        )
    if any(character in settings.workdir for character in "{}'\"\n\r"):
        problems.append(
            f"workdir: {settings.workdir!r} cannot be used in Snakemake's file patterns. "
            f"{expectation_of('workdir')}."
        )
    elif "://" in settings.workdir:
        problems.append(
            f"workdir: {settings.workdir!r} is a URL. Give a local folder; store may be a URL."
        )
    return problems


def _cannot_be_used(problems: list[str]) -> SettingsError:
    return SettingsError("these settings cannot be used:\n  " + "\n  ".join(problems))


def _unknown(where: object, name: object, model: type[BaseModel] = Settings) -> str:
    return (
        f"{where}: there is no such setting.{did_you_mean(name, model.model_fields)} "
        "config.yaml lists them all."
    )


_MODELS: dict[str, type[BaseModel]] = {
    "fields": FieldSetting,
    "scalars": ScalarSetting,
    "split_manifest": SplitManifest,
}


def _problem(detail: ErrorDetails) -> str:
    """One line for one pydantic error: key, value, remedy."""
    key = str(detail["loc"][0])
    where = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return _unknown(where, detail["loc"][-1], _MODELS.get(key, Compression))
    # What stands below storage_options may be a credential: never repeat it.
    value = "its value" if key == "storage_options" else repr(detail["input"])
    return f"{where}: {value} cannot be used. {expectation_of(key)} (default: {default_of(key)})."
