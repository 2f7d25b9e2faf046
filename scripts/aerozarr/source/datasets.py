"""Datasets: the presets of `datasets/`, and classes named by a dotted path.

A preset is a YAML file: a file map, and for `source_root` the folder layout and the split rule.
Adding a dataset is adding a file.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from aerozarr.config.filemap import (
    ATTRIBUTES,
    FIELD_NAMES,
    NOT_A_FIELD,
    FileMap,
    files_in,
    read_filemap,
)
from aerozarr.config.scalars import Scalar, scalars_of
from aerozarr.config.setting_types import FileText, ScalarSettings
from aerozarr.config.settings import EXAMPLE, Settings
from aerozarr.errors import SettingsError
from aerozarr.messages import did_you_mean
from aerozarr.source.class_samples import ClassSamples
from aerozarr.source.splits import Rule, parse_split

PRESETS = Path(__file__).resolve().parents[3] / "datasets"


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
    scalars
        Scalars of each sample by name, and where they are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    filemap: dict[str, FileText]
    subfolder: str | None = None
    splits: Rule | None = None
    scalars: ScalarSettings = {}


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
    lacks
        What keeps a class from bringing its own samples; empty where nothing does.
    own_files
        What the setting `fields` names, as values of a file map.
    scalars
        What each sample has once.
    """

    name: str
    filemap: FileMap
    subfolder: str | None = None
    rule: Rule | None = None
    sample_class: type | None = None
    lacks: str = ""
    own_files: tuple[str, ...] = ()
    scalars: tuple[Scalar, ...] = ()

    @property
    def files(self) -> list[str]:
        """The names of all files that a sample has to have, each once."""
        required = [scalar.file for scalar in self._scalars_of_files if not scalar.is_optional]
        of_fields = files_in([*self.filemap.values(), *self.own_files])
        return list(dict.fromkeys([*of_fields, *required]))

    @property
    def all_files(self) -> set[str]:
        """The names of all files that a sample has or may have."""
        return {*self.files, *(scalar.file for scalar in self._scalars_of_files)}

    @property
    def _scalars_of_files(self) -> list[Scalar]:
        return [scalar for scalar in self.scalars if not scalar.is_of_table]


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
    if "." in settings.dataset:
        return _dataset_of_class(settings, import_class(settings.dataset))
    own_files = tuple(said.file for said in settings.fields.values() if said.file)
    if settings.dataset == EXAMPLE and own_files and settings.filemap is None:
        return Dataset("custom", {}, own_files=own_files, scalars=_scalars_of({}, {}, settings))
    own_map = settings.filemap and read_filemap(
        settings.filemap, where="filemap", may_be_empty=bool(own_files)
    )
    preset = load_preset(settings.dataset)
    filemap = own_map or read_filemap(preset.filemap, where=f"datasets/{settings.dataset}.yaml")
    name = "custom" if own_map and settings.dataset == EXAMPLE else settings.dataset
    # What a preset says of scalars is of the files that its own file map names.
    scalars = _scalars_of(filemap, {} if own_map else preset.scalars, settings)
    return Dataset(
        name, filemap, preset.subfolder, preset.splits, own_files=own_files, scalars=scalars
    )


def _scalars_of(
    filemap: FileMap, of_preset: ScalarSettings, settings: Settings
) -> tuple[Scalar, ...]:
    """Return the scalars of a preset, and of the settings, which replace those of their names."""
    known = [ATTRIBUTES[name] for name in filemap if name in ATTRIBUTES]
    fields = {*settings.fields, *(f"{one.domain}_{one.name}" for one in known)}
    said = {**of_preset, **settings.scalars}
    return scalars_of(said, where="scalars", fields=fields)


def _dataset_of_class(settings: Settings, found: type) -> Dataset:
    """Return the dataset that a class stands for."""
    lacks = "" if settings.source_root is None else _lacks(found)
    brings_samples = settings.source_root is not None and not lacks
    if settings.filemap:
        filemap = read_filemap(settings.filemap, where="filemap", is_of_class=brings_samples)
    else:
        filemap = filemap_of(found, settings if brings_samples else None, settings.dataset)
    return Dataset(
        found.__name__,
        filemap,
        sample_class=found if brings_samples else None,
        lacks=lacks,
        own_files=tuple(said.file for said in settings.fields.values() if said.file),
        scalars=_scalars_of(filemap, {}, settings),
    )


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


def filemap_of(found: type, settings: Settings | None, dotted: str) -> FileMap:
    """Return the file map that a class carries.

    Looked for in this order: a `FILEMAP` attribute of the class; the default of an `__init__`
    parameter `filemap`, of the class or of one of its bases; a file-map object in its module, or in
    that of a base; the attribute `filemap` of an object of the class.

    Parameters
    ----------
    found
        The class.
    settings
        By which an object of it can be built, where it brings its own samples; else None. What its
        file map then names is the class's own business, and need not be the name of a file.
    dotted
        Its dotted path, for error messages.

    Raises
    ------
    SettingsError
        When there is none, or a module holds several that differ.
    """
    where, own = f"dataset: {dotted!r}", settings is not None
    if getattr(found, "FILEMAP", None) is not None:
        return read_filemap(found.FILEMAP, where=f"{where}: FILEMAP", is_of_class=own)  # type: ignore[attr-defined] # just asked for
    for base in found.__mro__:
        default = _default_filemap(base)
        if default is not None:
            place = f"{where}: default of filemap in {base.__name__}"
            return read_filemap(default, where=place, is_of_class=own)
    for module in dict.fromkeys(base.__module__ for base in found.__mro__[:-1]):
        filemap = _filemap_in_module(sys.modules[module], where, is_of_class=own)
        if filemap is not None:
            return filemap
    carried = None if settings is None else _filemap_of_object(found, settings, where)
    if carried is not None:
        return carried
    raise SettingsError(
        f"{where} carries no file map: no FILEMAP attribute, no default of an __init__ parameter "
        "filemap, no file-map object in its module or its bases', and no attribute filemap once it "
        "is built. Add one, or set filemap."
    )


def _filemap_in_module(module: ModuleType, where: str, *, is_of_class: bool) -> FileMap | None:
    candidates = {
        name: read_filemap(value, where=f"{where}: {name}", is_of_class=is_of_class)
        for name, value in _filemap_objects(module)
    }
    distinct = {tuple(filemap.items()) for filemap in candidates.values()}
    if len(distinct) > 1:
        raise SettingsError(
            f"{where}: the module {module.__name__} holds several file maps "
            f"({', '.join(candidates)}). Give the class a FILEMAP attribute, or set filemap."
        )
    return dict(distinct.pop()) if distinct else None


def _filemap_of_object(found: type, settings: Settings, where: str) -> FileMap | None:
    """Return the file map that an object of a class has, built for the first split it knows."""
    for text in settings.splits:
        split, root = parse_split(text).name, settings.source_root or ""
        try:
            samples = ClassSamples(found, root, split, None, settings.dataset_args)
        except SettingsError:
            raise
        except Exception:  # noqa: BLE001 - of the person's own class; the listing says what it is
            continue
        carried = getattr(samples.instance, "filemap", None)
        if carried is not None:
            return read_filemap(carried, where=f"{where}: filemap", is_of_class=True)
    return None


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


def _lacks(found: type) -> str:
    """Return what a class lacks to bring its own samples, besides carrying a file map."""
    load = "_load(index, file name)"
    if hasattr(found, "__getitem__"):
        load += ", which may be: def _load(self, index, name): return self[index][name]"
    wanted = {"__len__": "a length (__len__)", "_load": load}
    lacking = [what for name, what in wanted.items() if not callable(getattr(found, name, None))]
    return " and no ".join(lacking)
