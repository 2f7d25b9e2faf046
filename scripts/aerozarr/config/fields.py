"""Fields and domains: what a dataset has, and how it is stored."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from aerozarr.config.file_patterns import is_raw
from aerozarr.config.filemap import (
    ATTRIBUTES,
    KEY,
    KNOWN,
    NOT_A_FIELD,
    Attribute,
    FileMap,
    check_columns,
    check_file,
    check_shared,
    parse_files,
    with_optional,
)
from aerozarr.config.raw_keys import surfaces_in
from aerozarr.config.setting_types import Dtype, FieldSetting
from aerozarr.config.settings import Settings
from aerozarr.errors import SettingsError
from aerozarr.messages import did_you_mean


class NoPositionsError(SettingsError):
    """Raised when the fields of a domain come without the points that they lie at."""


@dataclass(frozen=True)
class Field:
    """One physical quantity of a sample, and how it is stored.

    Attributes
    ----------
    domain, name
        The array is `<domain>/<name>`.
    width
        Number of components; the array's shape is `(n_points, width)`.
    file
        The file of a sample's folder that holds it.
    dtype
        Storage dtype.
    columns
        The first of the file's columns that are the field's, and the one after the last; None for
        the first `width`.
    key
        The key of the array in the file, for one that holds several: `points` in
        `sample.npz::points`.
    unit, long_name
        What its array says of it, as the attributes `units` and `long_name`; None for nothing.
    patches
        Of a field whose rows lie in several files, where those after the first are: file and key.
    """

    domain: str
    name: str
    width: int
    file: str
    dtype: Dtype
    columns: tuple[int, int] | None = None
    key: str | None = None
    unit: str | None = None
    long_name: str | None = None
    patches: tuple[tuple[str, str | None], ...] | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """All the files that its values are made of, as the file map names them."""
        places = [(self.file, self.key), *(self.patches or ())]
        files = [[file, *(surfaces_in(key) if is_raw(file) else ())] for file, key in places]
        return tuple(dict.fromkeys(file for of_place in files for file in of_place))

    @property
    def file_and_key(self) -> str:
        """What a file map says, but for the columns: `points.pt`, `sample.npz::points`."""
        return self.file if self.key is None else f"{self.file}{KEY}{self.key}"

    @property
    def canonical(self) -> str:
        """The canonical name, e.g. `volume_velocity`."""
        return f"{self.domain}_{self.name}"

    @property
    def array_name(self) -> str:
        """Path of the array in a sample's group, e.g. `volume/velocity`."""
        return f"{self.domain}/{self.name}"


@dataclass(frozen=True)
class Domain:
    """A set of points and the fields on it, the position field first.

    Attributes
    ----------
    name
        Its name.
    fields
        The fields on it.
    keep_points
        How many of its points are stored, as `count_kept` takes it; None for all.
    """

    name: str
    fields: tuple[Field, ...]
    keep_points: int | float | None = None

    def described(self) -> dict[str, Any]:
        """Return all that it is, as JSON has it: the text that decides what converts again."""
        content = asdict(self)
        for field in content["fields"]:
            # As it was when there was nothing of these to be said.
            for name in ("columns", "key", "unit", "long_name", "patches"):
                if field[name] is None:
                    del field[name]
        if self.keep_points is None:
            del content["keep_points"]
        return content

    @property
    def position(self) -> Field:
        """The coord field, whose number of rows is the domain's number of points."""
        return self.fields[0]


def setting_of(field: Field, text: str) -> str:
    """Return how the settings say that a field is in a file: `filemap: {surface_area: 'a.pt'}`."""
    if field.canonical in KNOWN:
        return f"filemap: {{{KNOWN[field.canonical]}: '{text}'}}"
    return f"fields: {{{field.canonical}: {{file: '{text}'}}}}"


# Of fields and domains of one's own: they become names of folders.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*")


def own_fields(filemap: FileMap, settings: Settings) -> dict[str, Attribute]:
    """Return what the fields of the setting `fields` stand for, by their canonical names.

    Without known ones, of which only units and the like are said there.

    Raises
    ------
    SettingsError
        When a name cannot be one, a file is missing or shared, or a known field is declared again.
    """
    known = {f"{ATTRIBUTES[n].domain}_{ATTRIBUTES[n].name}" for n in filemap if n in ATTRIBUTES}
    domains = {known_one.domain for known_one in ATTRIBUTES.values()}
    domains |= {said.domain for said in settings.fields.values() if said.domain}
    own: dict[str, Attribute] = {}
    for canonical, said in settings.fields.items():
        if canonical in KNOWN:
            _check_known(canonical, said, known)
            continue
        if said.file is None:
            raise SettingsError(
                f"fields: {canonical} has no file.{did_you_mean(canonical, KNOWN)} "
                f"Give one: {{{canonical}: {{file: …}}}}."
            )
        check_file(canonical, said.file, "fields", is_of_class=False)
        check_columns(canonical, said.file, "fields", said.width)
        domain = said.domain or _domain_in(canonical, domains)
        name = canonical.removeprefix(f"{domain}_")
        if name == canonical or not _NAME.fullmatch(domain) or not _NAME.fullmatch(name):
            raise SettingsError(
                f"fields: {canonical!r} is no name of a field. It has to be <domain>_<name>, of "
                f"letters, digits and single _, like {said.domain or 'wake'}_temperature."
            )
        own[canonical] = Attribute(domain, name, said.width, said.kind)
    texts = {name: said.file for name, said in settings.fields.items() if said.file}
    check_shared({**filemap, **texts}, "fields")
    return own


def _domain_in(canonical: str, domains: Iterable[str]) -> str:
    """Return the longest known domain that a field's name begins with, else its first word."""
    known = [domain for domain in domains if canonical.startswith(f"{domain}_")]
    return max(known, key=len, default=canonical.partition("_")[0])


def _check_known(canonical: str, said: FieldSetting, known: set[str]) -> None:
    attribute = KNOWN[canonical]
    if canonical not in known:
        raise SettingsError(
            f"fields: {canonical} is a field of file maps, and this dataset's has none. Name its "
            f"file there: filemap: {{{attribute}: …}}."
        )
    if said != FieldSetting(dtype=said.dtype, unit=said.unit, long_name=said.long_name):
        raise SettingsError(
            f"fields: {canonical} is a field of file maps, of which only dtype, unit and long_name "
            f"are said here. Name its file in filemap: {{{attribute}: …}}."
        )


def domains_of(filemap: FileMap, settings: Settings) -> tuple[Domain, ...]:
    """Return the domains of a file map and of the setting `fields`, by ascending name.

    In a domain, the fields of file maps come first, in the order of `ATTRIBUTES`, then those of the
    settings, in theirs.

    Raises
    ------
    SettingsError
        When `field_dtypes` names a field or `keep_points` a domain that there is not, or `fields`
        is contradictory.
    """
    own = own_fields(filemap, settings)
    grouped: dict[str, list[Field]] = {}
    positions: set[str] = set()
    filemap = with_optional(filemap, ())
    known = {name: ATTRIBUTES[name] for name in filemap if name != NOT_A_FIELD}
    for attribute, (domain, name, width, kind) in [*known.items(), *own.items()]:
        canonical = f"{domain}_{name}"
        said = settings.fields.get(canonical, FieldSetting())
        usual = settings.coords_dtype if kind == "coord" else settings.values_dtype
        dtype = settings.field_dtypes.get(canonical, said.dtype or usual)
        first, *others = parse_files(filemap.get(attribute) or said.file or "")
        patches = tuple((part.file, part.key) for part in others) or None
        field = Field(
            domain,
            name,
            width,
            first.file,
            dtype,
            first.columns,
            first.key,
            said.unit,
            said.long_name,
            patches,
        )
        fields = grouped.setdefault(domain, [])
        # Each known domain's position comes first in ATTRIBUTES, so it does in a file map.
        if kind == "coord" and domain not in positions:
            positions.add(domain)
            fields.insert(0, field)
        else:
            fields.append(field)
    for domain in positions:
        if grouped[domain][0].width != 3:
            raise SettingsError(
                f"fields: {grouped[domain][0].canonical} has width {grouped[domain][0].width}, and "
                "positions have three components. Set width: 3, with zeros where there is no third."
            )
    for domain in grouped.keys() - positions:
        raise NoPositionsError(
            f"fields: the domain {domain!r} has {grouped[domain][0].canonical} but no positions. "
            f"Add them: {{{domain}_position: {{file: …, width: 3, kind: coord}}}}."
        )
    keep = _keep_by_domain(grouped, settings)
    domains = tuple(Domain(name, tuple(grouped[name]), keep.get(name)) for name in sorted(grouped))
    names = [field.canonical for domain in domains for field in domain.fields]
    for canonical in settings.field_dtypes:
        if canonical not in names:
            raise SettingsError(
                f"field_dtypes: {canonical!r} is no field of this dataset."
                f"{did_you_mean(canonical, names)} Its fields are {', '.join(names)}."
            )
    return domains


def _keep_by_domain(domains: Iterable[str], settings: Settings) -> dict[str, int | float]:
    """Return how many points are stored of the domains of which not all are."""
    keep, domains = settings.keep_points, sorted(domains)
    if keep is None:
        return {}
    if not isinstance(keep, dict):
        return dict.fromkeys(domains, keep)
    for name in keep:
        if name not in domains:
            raise SettingsError(
                f"keep_points: {name!r} is no domain of this dataset."
                f"{did_you_mean(name, domains)} Its domains are {', '.join(domains)}."
            )
    return keep
