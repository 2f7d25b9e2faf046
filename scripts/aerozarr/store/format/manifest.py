"""The manifest of a store: `manifest.json`, whose bytes are part of the format."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Self

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, ValidationError

from aerozarr.config.fields import Domain
from aerozarr.config.settings import Settings
from aerozarr.errors import StoreError
from aerozarr.messages import printable
from aerozarr.store.format.layout import FORMAT_VERSION, Grid, group_path, stays_inside


def _below_the_root(path: str) -> str:
    if not stays_inside(path):
        raise ValueError("it leads out of the store")
    return path


# What the manifest names is opened, so no path may lead out of the store.
_Path = Annotated[str, AfterValidator(_below_the_root)]
_Name = Annotated[str, Field(min_length=1, max_length=1000)]


class _Entry(BaseModel):
    """A part of a manifest. Keys that are not known here are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ArrayEntry(_Entry):
    """How a field is stored.

    Attributes
    ----------
    array_name
        The array's path in a sample's group: `volume/velocity`.
    field
        The field's canonical name.
    dtype
        Storage dtype.
    dim
        Number of components.
    """

    array_name: _Path
    field: _Name
    dtype: Annotated[str, Field(pattern=r"^(float(16|32|64)|u?int(8|16|32|64)|bool)$")]
    dim: Annotated[StrictInt, Field(ge=1, le=2**16)]


class DomainEntry(_Entry):
    """A domain: the canonical name of its position field, and its arrays by canonical name."""

    position: _Name
    arrays: dict[_Name, ArrayEntry]


class SampleEntry(_Entry):
    """A sample: the path of its group below the store root, and its grids by domain."""

    relpath: _Path
    domains: dict[_Name, Grid]


class Manifest(_Entry):
    """The content of `manifest.json`; the keys and their order are those of the file.

    Attributes
    ----------
    dataset_name
        The dataset's name.
    format_version, shuffle_seed
        Version of the store format, and the seed of the points' shuffle.
    coords_dtype, values_dtype
        Storage dtype of position fields, and of others, where a field's own says nothing else.
    compressor
        `blosc-<cname>-<level>`.
    domains
        By name, in ascending order.
    samples
        By id, in sample order.
    """

    dataset_name: str
    format_version: StrictInt
    shuffle_seed: StrictInt
    coords_dtype: str
    values_dtype: str
    compressor: str
    domains: dict[_Name, DomainEntry]
    samples: dict[_Name, SampleEntry]

    @classmethod
    def build(
        cls,
        name: str,
        settings: Settings,
        domains: tuple[Domain, ...],
        samples: Iterable[tuple[str, Mapping[str, Grid]]],
    ) -> Self:
        """Return the manifest of converted samples.

        Parameters
        ----------
        name
            The dataset's name.
        settings
            For the seed, the dtypes and the compression.
        domains
            The dataset's domains.
        samples
            Id and grids by domain of the converted samples, in sample order.
        """
        # Not validated: what is written here was checked before, and there may be many samples.
        return cls.model_construct(
            dataset_name=name,
            format_version=FORMAT_VERSION,
            shuffle_seed=settings.shuffle_seed,
            coords_dtype=settings.coords_dtype,
            values_dtype=settings.values_dtype,
            compressor=settings.compression.label,
            domains={domain.name: _domain_entry(domain) for domain in domains},
            samples={
                sample_id: SampleEntry.model_construct(
                    relpath=group_path(sample_id), domains=dict(sorted(grids.items()))
                )
                for sample_id, grids in samples
            },
        )

    @classmethod
    def parse(cls, content: bytes, where: str) -> Self:
        """Return the manifest that a file holds.

        Parameters
        ----------
        content
            The file's bytes.
        where
            The file's place, for error messages.

        Raises
        ------
        StoreError
            When it is damaged, incomplete, of another format version, or names a place out of the
            store.
        """
        try:
            manifest = cls.model_validate_json(content)
        except ValidationError as error:
            version = _version_in(content)
            if version in (None, FORMAT_VERSION):
                raise StoreError(
                    f"{where} is damaged: {_first_problem(error)}. Run snakemake with the store's "
                    "settings, which writes it again, or copy the store again."
                ) from None
        else:
            version = manifest.format_version
        if version != FORMAT_VERSION:
            raise StoreError(
                f"{where} is of format version {version}, this aerozarr reads version "
                f"{FORMAT_VERSION}. Use the aerozarr that wrote it, or convert again."
            )
        manifest._check_domains(where)
        manifest._check_places(where)
        return manifest

    def _check_domains(self, where: str) -> None:
        """Check that each sample has the manifest's domains, and each domain its position."""
        for name, domain in self.domains.items():
            if domain.position not in domain.arrays:
                raise StoreError(
                    f"{where} is damaged: the domain {printable(name)!r} has no array "
                    f"{printable(domain.position)!r}, which is its position. Run snakemake with "
                    "the store's settings, which writes it again, or copy the store again."
                )
        wanted = self.domains.keys()
        for sample_id, sample in self.samples.items():
            if sample.domains.keys() != wanted:
                raise StoreError(
                    f"{where} is damaged: the sample {printable(sample_id)!r} has the domains "
                    f"{', '.join(map(printable, sample.domains)) or 'of none'}, the store has "
                    f"{', '.join(map(printable, wanted)) or 'none'}. Run snakemake with the "
                    "store's settings, which writes it again, or copy the store again."
                )
            for name, grid in sample.domains.items():
                if not grid.is_consistent:
                    raise StoreError(
                        f"{where} is damaged: the numbers of {printable(sample_id)!r}, "
                        f"{printable(name)!r} do not fit each other ({grid}). Run snakemake with "
                        "the store's settings, which writes it again, or copy the store again."
                    )

    def _check_places(self, where: str) -> None:
        """Check that no two samples have the same group, and no two fields the same array."""
        places: list[tuple[str, Iterable[str]]] = [
            ("sample", (sample.relpath for sample in self.samples.values()))
        ]
        places += [
            ("field", (array.array_name for array in domain.arrays.values()))
            for domain in self.domains.values()
        ]
        for what, paths in places:
            twice = [path for path, count in Counter(paths).items() if count > 1]
            if twice:
                raise StoreError(
                    f"{where} is damaged: {printable(twice[0])!r} is the place of more than one "
                    f"{what}. Run snakemake with the store's settings, which writes it again, or "
                    "copy the store again."
                )

    def to_bytes(self) -> bytes:
        """Return the manifest as it is stored: indented by two, no newline at the end."""
        # What json.dumps gives with indent=2, byte by byte, in a tenth of its time.
        return msgspec.json.format(msgspec.json.encode(self.model_dump()), indent=2)


def _domain_entry(domain: Domain) -> DomainEntry:
    return DomainEntry(
        position=domain.position.canonical,
        arrays={
            field.canonical: ArrayEntry(
                array_name=field.array_name,
                field=field.canonical,
                dtype=field.dtype,
                dim=field.width,
            )
            for field in domain.fields
        },
    )


def _version_in(content: bytes) -> object:
    """Return the format version of a manifest that cannot be read, None where it has none."""
    try:
        parsed: Any = json.loads(content)
        version = parsed.get("format_version")
    except (ValueError, AttributeError, RecursionError):
        return None
    return version if isinstance(version, int) else None


def _first_problem(error: ValidationError) -> str:
    """Return where the first problem is, and what; without the value, which may be long."""
    detail = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(printable(str(part)) for part in detail["loc"])
    return f"{where}: {detail['msg']}" if where else detail["msg"]
