"""The samples of one split, as a dataset class of the person's own brings them.

How a class is built is read from its `__init__`: a root and a split by one of their usual names; or
one configuration object whose type has fields of those names (a pydantic model or a dataclass, as
the dataset classes of training frameworks take it).
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from aerozarr.config.filemap import FileMap
from aerozarr.errors import SettingsError
from aerozarr.messages import did_you_mean

# What a class calls the arguments that say which split to build, and where it lies.
_ROOT_ARGUMENTS = ("root", "source_root", "data_root", "dataset_root", "root_dir", "path")
_SPLIT_ARGUMENTS = ("split", "mode", "subset")
# A field of a configuration object that names the class which it is for.
_KIND = "kind"


class ClassSamples:
    """The samples of one split.

    Parameters
    ----------
    found
        The class. It is built with the root and the split by the names that its `__init__`, or the
        configuration object that it takes, gives them: `root` or `split`, or one of the other usual
        names.
    root, split
        What to build it for.
    filemap
        Handed over when `__init__` takes a `filemap` and has no default for it; None where it is
        not known yet.
    arguments
        Further ones of `__init__`, or of the configuration object: the setting `dataset_args`.

    Attributes
    ----------
    instance
        The class's own object.

    Raises
    ------
    SettingsError
        When `__init__` takes no root and split, needs an argument that is not given, or does not
        take one that is.
    """

    def __init__(
        self,
        found: type,
        root: str,
        split: str,
        filemap: FileMap | None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.instance = found(**_arguments(found, root, split, filemap, dict(arguments or {})))
        self._load: Callable[[int, str], Any] = self.instance._load

    def __len__(self) -> int:
        return len(self.instance)

    def sample_id(self, index: int) -> str:
        """Return the id of a sample: what the class calls it, else its index."""
        if callable(getattr(self.instance, "sample_info", None)):
            info = self.instance.sample_info(index)
            for name in ("run_name", "design_id"):
                if isinstance(info, Mapping) and info.get(name) is not None:
                    return str(info[name])
        design_ids = getattr(self.instance, "design_ids", None)
        return str(index) if design_ids is None else str(design_ids[index])

    def load(self, index: int, file: str) -> Any:
        """Return what the class loads for a file of a sample."""
        return self._load(index, file)


def _arguments(
    found: type, root: str, split: str, filemap: FileMap | None, given: dict[str, Any]
) -> dict[str, Any]:
    """Return what `__init__` is called with."""
    parameters = inspect.signature(found).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    named = {name for name, p in parameters.items() if p.kind is not inspect.Parameter.VAR_KEYWORD}
    arguments: dict[str, Any] = {}
    config = _config_parameter(found, parameters)
    if config is not None:
        name, kind = config
        arguments[name] = _build_config(found, kind, root, split, given)
    else:
        for names, value in ((_ROOT_ARGUMENTS, root), (_SPLIT_ARGUMENTS, split)):
            name = next((name for name in names if name in named), names[0] if takes_any else "")
            if not name:
                raise SettingsError(
                    f"dataset: {found.__name__}({', '.join(parameters)}) cannot be built for a "
                    f"split: its __init__ has no parameter {' or '.join(names)}, nor one whose "
                    "type hint is a configuration class with such fields. Add one, or list the "
                    "samples with source_url."
                )
            arguments[name] = value
    own_map = parameters.get("filemap")
    if own_map is not None and own_map.default is inspect.Parameter.empty:
        arguments["filemap"] = filemap
    arguments |= {name: given.pop(name) for name in list(given) if name in named or takes_any}
    if given:
        raise _not_taken(found, given, named | (_fields_of(config[1]).keys() if config else set()))
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for name, parameter in parameters.items():
        is_needed = parameter.default is inspect.Parameter.empty and parameter.kind not in variadic
        if is_needed and name not in arguments:
            raise _needed(found, name)
    return arguments


def _config_parameter(
    found: type, parameters: Mapping[str, inspect.Parameter]
) -> tuple[str, type] | None:
    """Return name and type of a parameter that takes a configuration object, if there is one."""
    if any(name in parameters for name in _ROOT_ARGUMENTS):
        return None
    try:
        hints = typing.get_type_hints(found.__init__)  # type: ignore[misc] # of the class itself
    except Exception:  # noqa: BLE001 - a hint may name anything; then it says nothing
        hints = {}
    for name in parameters:
        for kind in _alternatives(hints.get(name)):
            fields = _fields_of(kind)
            if _first_in(_ROOT_ARGUMENTS, fields) and _first_in(_SPLIT_ARGUMENTS, fields):
                return name, kind
    return None


def _alternatives(hint: Any) -> list[type]:
    """Return the classes that a type hint names: `Config`, `Config | None`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [kind for each in typing.get_args(hint) for kind in _alternatives(each)]
    return [hint] if isinstance(hint, type) else []


def _fields_of(kind: type) -> dict[str, bool]:
    """Return the fields of a configuration class, and whether each has to be given."""
    if issubclass(kind, BaseModel):
        return {name: field.is_required() for name, field in kind.model_fields.items()}
    if not dataclasses.is_dataclass(kind):
        return {}
    missing = dataclasses.MISSING
    return {
        field.name: field.default is missing and field.default_factory is missing
        for field in dataclasses.fields(kind)
        if field.init
    }


def _first_in(names: tuple[str, ...], known: Mapping[str, object]) -> str:
    return next((name for name in names if name in known), "")


def _build_config(found: type, kind: type, root: str, split: str, given: dict[str, Any]) -> object:
    """Return the configuration object of a split; what it takes of `given` is taken out of it."""
    fields = _fields_of(kind)
    values = {name: given.pop(name) for name in list(given) if name in fields}
    values |= {_first_in(_ROOT_ARGUMENTS, fields): root, _first_in(_SPLIT_ARGUMENTS, fields): split}
    for name, is_needed in fields.items():
        if not is_needed or name in values:
            continue
        if name != _KIND:
            raise _needed(found, name)
        hint = typing.get_type_hints(kind).get(_KIND)
        choices = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
        values[name] = choices[0] if choices else f"{found.__module__}.{found.__qualname__}"
    return kind(**values)


def _needed(found: type, name: str) -> SettingsError:
    return SettingsError(
        f"dataset: {found.__name__} needs {name!r} to be built. Set dataset_args: {{{name}: …}}."
    )


def _not_taken(found: type, given: Mapping[str, Any], known: set[str]) -> SettingsError:
    name = next(iter(given))
    return SettingsError(
        f"dataset_args: {found.__name__} takes no {name!r}.{did_you_mean(name, known)} "
        f"It takes {', '.join(sorted(known))}."
    )
