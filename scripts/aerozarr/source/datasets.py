"""Datasets: the presets of `datasets/`, and classes named by a dotted path.

A preset is a YAML file: a file map, and for `source_root` the folder layout and the split rule.
Adding a dataset is adding a file.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from aerozarr.config.fields import ATTRIBUTES, FIELD_NAMES, NOT_A_FIELD, FileMap, read_filemap
from aerozarr.config.settings import EXAMPLE, Settings
from aerozarr.errors import SettingsError
from aerozarr.messages import did_you_mean
from aerozarr.source.splits import Rule

PRESETS = Path(__file__).resolve().parents[3] / "datasets"

# What a class calls the arguments that say which split to build, and where it lies.
_ROOT_ARGUMENTS = ("root", "source_root", "data_root", "dataset_root", "root_dir", "path")
_SPLIT_ARGUMENTS = ("split", "mode", "subset")


class Preset(BaseModel):
    """A file of `datasets/`.

    Attributes
    ----------
    filemap
        Which file of a sample holds which field.
    subfolder
        Folder below the dataset's root that holds the samples; the root may already be it.
    splits
        The split rule; None when the dataset brings none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    filemap: FileMap
    subfolder: str | None = None
    splits: Rule | None = None


@dataclass(frozen=True)
class Dataset:
    """What the settings `dataset` and `filemap` stand for.

    Attributes
    ----------
    name
        The manifest's name for it, unless `dataset_name` is set.
    filemap
        Which file of a sample holds which field.
    subfolder, rule
        Folder layout and split rule of a dataset root.
    sample_class
        A class that brings its own samples when it is built for a split, or None.
    """

    name: str
    filemap: FileMap
    subfolder: str | None = None
    rule: Rule | None = None
    sample_class: type | None = None


def preset_names() -> list[str]:
    """Return the names of the presets, in ascending order."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_preset(name: str) -> Preset:
    """Read the preset of that name.

    Raises
    ------
    SettingsError
        When there is none, or its file does not hold what a preset needs.
    """
    path = PRESETS / f"{name}.yaml"
    try:
        return Preset.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        names = preset_names()
        raise SettingsError(
            f"dataset: there is no {name!r}.{did_you_mean(name, names)} The presets are "
            f"{', '.join(names)}; a class is given by its dotted path, package.module.Class."
        ) from None
    except (ValidationError, yaml.YAMLError) as error:
        raise SettingsError(f"dataset: the preset {path} cannot be read: {error}") from None


def resolve_dataset(settings: Settings) -> Dataset:
    """Return the dataset that the settings name.

    Raises
    ------
    SettingsError
        When the preset or class is not there, or has no usable file map.
    """
    own_map = settings.filemap and read_filemap(settings.filemap, where="filemap")
    if "." in settings.dataset:
        found = import_class(settings.dataset)
        filemap = own_map or filemap_of(found, settings.dataset)
        brings_samples = settings.source_root is not None and _brings_samples(found)
        return Dataset(found.__name__, filemap, sample_class=found if brings_samples else None)
    preset = load_preset(settings.dataset)
    filemap = own_map or read_filemap(preset.filemap, where=f"datasets/{settings.dataset}.yaml")
    name = "custom" if own_map and settings.dataset == EXAMPLE else settings.dataset
    return Dataset(name, filemap, preset.subfolder, preset.splits)


def import_class(dotted: str) -> type:
    """Import a class by its dotted path; the working directory is searched last.

    Raises
    ------
    SettingsError
        When the module cannot be imported, or holds no such class.
    """
    module_name, _, class_name = dotted.rpartition(".")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # noqa: BLE001 - whatever a person's own module raises
        raise SettingsError(
            f"dataset: {dotted!r}: importing {module_name} failed: "
            f"{type(error).__name__}: {error}. "
            "Install it, or set PYTHONPATH to the folder that holds it."
        ) from None
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        raise SettingsError(
            f"dataset: {dotted!r}: the module {module_name} has no class {class_name!r}."
            f"{did_you_mean(class_name, classes)}"
        )
    return found


def filemap_of(found: type, dotted: str) -> FileMap:
    """Return the file map that a class carries.

    Looked for in this order: a `FILEMAP` attribute of the class; the default of an `__init__`
    parameter `filemap`, of the class or of one of its bases; a file-map object in its module.

    Raises
    ------
    SettingsError
        When there is none, or the module holds several that differ.
    """
    where = f"dataset: {dotted!r}"
    if getattr(found, "FILEMAP", None) is not None:
        return read_filemap(found.FILEMAP, where=f"{where}: FILEMAP")  # type: ignore[attr-defined]
    for base in found.__mro__:
        default = _default_filemap(base)
        if default is not None:
            return read_filemap(default, where=f"{where}: default of filemap in {base.__name__}")
    candidates = {
        name: read_filemap(value, where=f"{where}: {name}")
        for name, value in _filemap_objects(sys.modules[found.__module__])
    }
    distinct = {tuple(filemap.items()) for filemap in candidates.values()}
    if len(distinct) == 1:
        return dict(distinct.pop())
    if distinct:
        raise SettingsError(
            f"{where}: its module holds several file maps ({', '.join(candidates)}). "
            "Give the class a FILEMAP attribute, or set filemap."
        )
    raise SettingsError(
        f"{where} carries no file map: no FILEMAP attribute, no default of an __init__ parameter "
        "filemap, no file-map object in its module. Add one, or set filemap."
    )


def _default_filemap(base: type) -> object | None:
    """Return the default of `filemap` in the `__init__` that a class itself defines."""
    init = base.__dict__.get("__init__")
    if not inspect.isfunction(init):
        return None
    parameter = inspect.signature(init).parameters.get("filemap")
    if parameter is None or parameter.default is inspect.Parameter.empty:
        return None
    return parameter.default  # type: ignore[no-any-return]


def _filemap_objects(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Yield the objects of a module that look like a file map, with their names."""
    known = {*ATTRIBUTES, NOT_A_FIELD}
    for name, value in vars(module).items():
        if isinstance(value, type | ModuleType) or callable(value):
            continue
        if isinstance(value, Mapping):
            # One with a misspelt attribute is meant as a file map, and is refused when it is read.
            texts = all(isinstance(file, str | None) for file in value.values())
            names = all(key in known or str(key).startswith(FIELD_NAMES) for key in value)
            matches = texts and names and not known.isdisjoint(value)
        else:
            matches = any(isinstance(getattr(value, key, None), str) for key in ATTRIBUTES)
        if matches:
            yield name, value


def _brings_samples(found: type) -> bool:
    """Whether a class has a length and loads fields, besides carrying a file map."""
    return all(callable(getattr(found, name, None)) for name in ("__len__", "_load"))


class ClassSamples:
    """The samples of one split, as a class of the person's own brings them.

    Parameters
    ----------
    found
        The class. It is built with the root and the split by the names that its `__init__`
        gives them: `root` or `split`, or one of the other usual names.
    root, split
        What to build it for.
    filemap
        Handed over when `__init__` takes a `filemap` and has no default for it.

    Raises
    ------
    SettingsError
        When `__init__` does not take a root and a split.
    """

    def __init__(self, found: type, root: str, split: str, filemap: FileMap) -> None:
        self._samples = found(**_arguments(found, root, split, filemap))
        self._load: Callable[[int, str], Any] = self._samples._load

    def __len__(self) -> int:
        return len(self._samples)

    def sample_id(self, index: int) -> str:
        """Return the id of a sample: what the class calls it, else its index."""
        if callable(getattr(self._samples, "sample_info", None)):
            info = self._samples.sample_info(index)
            for name in ("run_name", "design_id"):
                if isinstance(info, Mapping) and info.get(name) is not None:
                    return str(info[name])
        design_ids = getattr(self._samples, "design_ids", None)
        return str(index) if design_ids is None else str(design_ids[index])

    def load(self, index: int, file: str) -> Any:
        """Return what the class loads for a file of a sample."""
        return self._load(index, file)


def class_ids(found: type, root: str, split: str, filemap: FileMap) -> list[str]:
    """Return the ids of the samples that a class brings for a split, in its order.

    Raises
    ------
    ValueError, KeyError
        As the class raises them, for a split that it does not know.
    SettingsError
        When it raises anything else, or cannot be built for a split.
    """
    try:
        samples = ClassSamples(found, root, split, filemap)
        return [samples.sample_id(index) for index in range(len(samples))]
    except (ValueError, KeyError, SettingsError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever a person's own class raises
        raise SettingsError(
            f"dataset: {found.__name__} failed for source_root {root!r} and split {split!r}: "
            f"{type(error).__name__}: {error}. Check source_root, or the class."
        ) from None


def _arguments(found: type, root: str, split: str, filemap: FileMap) -> dict[str, Any]:
    parameters = inspect.signature(found).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    arguments: dict[str, Any] = {}
    for names, value in ((_ROOT_ARGUMENTS, root), (_SPLIT_ARGUMENTS, split)):
        name = next((name for name in names if name in parameters), None)
        if name is None and takes_any:
            name = names[0]
        if name is None:
            raise SettingsError(
                f"dataset: {found.__name__}({', '.join(parameters)}) cannot be built for a split: "
                f"its __init__ has no parameter {' or '.join(names)}. Add one, or list the "
                "samples with source_url."
            )
        arguments[name] = value
    own_map = parameters.get("filemap")
    if own_map is not None and own_map.default is inspect.Parameter.empty:
        arguments["filemap"] = filemap
    return arguments
