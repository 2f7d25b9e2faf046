"""Splits of a dataset root: the rules of the presets, and parts such as `train[10:90:2]`.

A rule is data: it stands in a preset's YAML file. Each kind of rule answers one question, the ids
of a split in the split's own order, or None when the dataset does not have that split.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from aerozarr.config.setting_types import SplitManifest
from aerozarr.config.settings import DEFAULT_SPLITS, Settings
from aerozarr.errors import SettingsError
from aerozarr.filesystems.location import Location
from aerozarr.messages import did_you_mean
from aerozarr.source.named_files import normal_id, read_named
from aerozarr.source.scan import is_ignored
from aerozarr.source.split_manifest import Families, read_families
from aerozarr.store.format.layout import id_list_name

_REQUEST = re.compile(r"(?P<name>[^\[\]]+?)\s*(?:\[(?P<part>[^\[\]]*)\])?")
_INDEX = re.compile(r"-?\d+")
_SLICE = re.compile(r"(-?\d+)?:(-?\d+)?(?::(-?\d+)?)?")


@dataclass(frozen=True)
class SplitRequest:
    """A split, or a part of it, as `splits` asks for it.

    Attributes
    ----------
    text
        What was asked for, e.g. `train[:50]`.
    name
        The split's name, e.g. `train`.
    part
        Which of its ids: a slice, or the position of a single one.
    """

    text: str
    name: str
    part: slice | int

    def of(self, ids: list[str]) -> list[str]:
        """Return the ids asked for, of all ids of the split.

        Raises
        ------
        SettingsError
            When a single id is asked for that the split does not have.
        """
        if isinstance(self.part, slice):
            return ids[self.part]
        try:
            return [ids[self.part]]
        except IndexError:
            raise SettingsError(
                f"splits: {self.text!r} is not there: {self.name} has {len(ids)} samples. "
                f"Ask for {self.name}[0] to {self.name}[{len(ids) - 1}]."
            ) from None


def parse_split(text: str) -> SplitRequest:
    """Read one entry of the setting `splits`.

    Raises
    ------
    SettingsError
        When it is not a name, or a name with a Python index or slice behind it.
    """
    match = _REQUEST.fullmatch(text.strip())
    if match is not None:
        name, part = match["name"], match["part"]
        if part is None:
            return SplitRequest(text, name, slice(None))
        if _INDEX.fullmatch(part):
            return SplitRequest(text, name, int(part))
        bounds = _SLICE.fullmatch(part)
        if bounds is not None:
            start, stop, step = (int(b) if b is not None else None for b in bounds.groups())
            if step != 0:
                return SplitRequest(text, name, slice(start, stop, step))
    raise SettingsError(
        f"splits: {text!r} cannot be read. Give a split's name or a part of it: "
        "train, train[:50], test[3], train[10:90:2]."
    )


class FoldersRule(BaseModel):
    """Splits are made of folders; each folder of such a folder is a sample."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Literal["folders"]
    parts: dict[str, list[str]]

    def ids(self, split: str, base: Location) -> list[str] | None:
        """Return `<folder>/<name>` for the split's folders in turn, each by ascending name."""
        found: list[str] | None = None
        for folder in self.parts.get(split, []):
            place = base.below(folder)
            if place.is_folder():
                found = found or []
                names = [
                    name
                    for name, entry in place.entries().items()
                    # A linked folder is listed as "link" or "other": look behind it.
                    if not is_ignored(name)
                    and (
                        entry["type"] == "directory"
                        or (entry["type"] != "file" and place.is_folder(name))
                    )
                ]
                found += [f"{folder}/{name}" for name in sorted(names)]
        return found

    def marks(self) -> list[str]:
        """Return names of which a dataset root holds at least one."""
        return [folder for folders in self.parts.values() for folder in folders]


class PermutationRule(BaseModel):
    """Splits are cut from a seeded permutation of numbered folders."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Literal["permutation"]
    folder: str
    count: int
    seed: int
    held_back: list[int] = []
    parts: dict[str, int]

    def ids(self, split: str, base: Location) -> list[str] | None:
        """Return the split's folders by ascending number; `base` is not looked at.

        `torch.randperm(count) + 1` of a generator with `seed`, less the numbers held back, is
        cut into the parts in their order.
        """
        if split not in self.parts:
            return None
        # Imported here: torch costs more than a second, and this rule alone needs it among all
        # that a run does before its jobs.
        import torch

        generator = torch.Generator().manual_seed(self.seed)
        order = (torch.randperm(self.count, generator=generator) + 1).tolist()
        numbers = [number for number in order if number not in self.held_back]
        start = 0
        for name, size in self.parts.items():
            if name == split:
                break
            start += size
        part = sorted(numbers[start : start + self.parts[split]])
        return [self.folder.format(number) for number in part]

    def marks(self) -> list[str]:
        """Return names of which a dataset root holds at least one."""
        return [self.folder.format(number) for number in range(1, self.count + 1)]


class IdListsRule(BaseModel):
    """Splits are id lists at the root; blacklists and categories take ids away."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Literal["id_lists"]
    files: dict[str, str]
    blacklists: list[str] = []
    categories: bool = False

    def ids(self, split: str, base: Location) -> list[str] | None:
        """Return the ids of the split's list, in file order."""
        file = self.files.get(split)
        return _lines_of(base, file) if file else None

    def marks(self) -> list[str]:
        """Return names of which a dataset root holds at least one."""
        return list(self.files.values())


class ManifestRule(SplitManifest):
    """Splits are those of families, `family/split`, that a file lists."""

    rule: Literal["manifest"]

    def ids(self, split: str, base: Location) -> list[str] | None:
        """Return None: there are no splits but those of families, see `families_of`."""
        return None

    def marks(self) -> list[str]:
        """Return no names: the file may lie elsewhere."""
        return []


Rule = Annotated[
    FoldersRule | PermutationRule | IdListsRule | ManifestRule, Field(discriminator="rule")
]


def no_split(
    request: SplitRequest, dataset_name: str, settings: Settings, known: Iterable[str] = ()
) -> str:
    """Return the warning of a split that a dataset does not have.

    Parameters
    ----------
    request
        Who asks for it.
    dataset_name, settings
        The dataset's name, and the settings.
    known
        Splits that it has, as far as that is known.

    Raises
    ------
    SettingsError
        When a person asked for it: the default names splits that many datasets lack.
    """
    if settings.splits == DEFAULT_SPLITS:
        return f"splits: {dataset_name} has no split {request.name!r}; it is skipped"
    raise SettingsError(
        f"splits: {dataset_name} has no split {request.name!r}."
        f"{did_you_mean(request.name, known)} Take it out of splits."
    )


def empty(request: SplitRequest, dataset_name: str) -> str:
    """Return the warning of a split without a sample."""
    return f"splits: {request.name!r} of {dataset_name} lists no sample"


def twice(sample_id: str) -> str:
    """Return the warning of a sample that one split was asked for twice."""
    return f"{sample_id} is asked for twice; it is converted once"


def _lines(text: str) -> list[str]:
    """Return the ids of a list: as `ls -d */` or `find .` write them, too."""
    return [normal_id(line.strip()) for line in text.splitlines() if line.strip()]


def _lines_of(base: Location, file: str) -> list[str] | None:
    try:
        text = base.read_text(file)
    except UnicodeDecodeError:
        raise SettingsError(
            f"source_root: {base.join(file)} is no UTF-8 text. Save it as UTF-8."
        ) from None
    return None if text is None else _lines(text)


def _blacklisted(rule: IdListsRule, base: Location) -> set[str]:
    """Return the ids to leave out; a line may be a path that ends in `<id>.vtk`."""
    ids = set()
    for file in rule.blacklists:
        for line in _lines_of(base, file) or []:
            ids.add(PurePosixPath(line).stem if line.endswith(".vtk") else line)
    return ids


def category_of(design_id: str) -> str:
    """Return a DrivAerNet design's category: its id without the last `_`-part."""
    return design_id.rpartition("_")[0]


def families_of(settings: Settings, rule: Rule | None, root: Location) -> Families | None:
    """Return the families of splits that the settings or the preset name; None without any.

    A number stands for what `id_format` says, else for a folder of the preset's permutation.

    Raises
    ------
    SettingsError
        When the file that lists them is not there, or cannot be used.
    """
    said, id_format = settings.split_manifest, None
    if isinstance(rule, ManifestRule):
        said, id_format = said or rule, rule.id_format
    elif isinstance(rule, PermutationRule):
        id_format = rule.folder
    if said is None:
        return None
    return read_families(said, said.id_format or id_format, root, settings.storage_options)


def split_ids(
    split: str,
    rule: Rule | None,
    base: Location,
    root: Location,
    settings: Settings,
    families: Families | None = None,
) -> list[str] | None:
    """Return the ids of a split in its own order, less those that a blacklist names.

    Parameters
    ----------
    split
        The split's name.
    rule
        The preset's rule; `split_files` replaces it.
    base, root
        The folder that the ids are below, and the dataset's root; the same for most datasets.
    settings
        For `split_files` and the storage options.
    families
        What `families_of` returned, for splits that are no others.

    Returns
    -------
    list of str, or None
        None when the dataset does not have that split.

    Raises
    ------
    SettingsError
        When an id list of `split_files` is not there, or no family has the split.
    """
    if settings.split_files:
        file = settings.split_files.get(split)
        ids = None if file is None else _listed(split, file, root, settings)
    else:
        ids = rule.ids(split, base) if rule else None
    if ids is None and families is not None:
        ids = families.of(split)
    elif ids is None and "/" in split:
        raise SettingsError(
            f"splits: {split!r} would be a split of a family, and no file lists families. Set "
            "split_manifest to the file that does, or leave the split out."
        )
    if ids is None:
        return None
    if isinstance(rule, IdListsRule):
        blacklisted = _blacklisted(rule, base)
        ids = [design for design in ids if design not in blacklisted]
    return ids


def _listed(split: str, file: str, root: Location, settings: Settings) -> list[str]:
    """Read an id list of `split_files`: a URL, a name below the root, or a path."""
    key, options = f"split_files.{split}", settings.storage_options
    return _lines(read_named(key, file, root, options, "one sample id a line"))


def always_there(rule: object) -> list[str]:
    """Return the files beside a manifest that training code opens, whatever they say.

    Of DrivAerNet the id lists of all three splits and both blacklists; of other rules none.
    """
    if not isinstance(rule, IdListsRule):
        return []
    lists = [id_list_name(split) for split in rule.files]
    return [*lists, *(PurePosixPath(name).name for name in rule.blacklists)]


def check_categories(settings: Settings, rule: Rule | None, name: str) -> None:
    """Refuse the setting `categories` for a dataset that has none.

    Raises
    ------
    SettingsError
        When it is set, and the dataset of that name does not have any.
    """
    if settings.categories and not (isinstance(rule, IdListsRule) and rule.categories):
        raise SettingsError(
            f"categories: dataset {name!r} has none. Leave it out; DrivAerNet has them."
        )
