"""Sources whose samples are folders of files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from aerozarr.config.fields import Domain, Field
from aerozarr.config.file_patterns import Wanted, is_raw
from aerozarr.config.scalars import Scalar
from aerozarr.filesystems.location import Location, open_location
from aerozarr.source.collect import Collector
from aerozarr.source.files.content import content_digest
from aerozarr.source.samples import Sample, changes_of, stamp_of
from aerozarr.source.scan import files_of, is_there, walk
from aerozarr.source.source import ArrayNames, Loader, Signs, Source
from aerozarr.store.format import shuffle

if TYPE_CHECKING:
    from aerozarr.source.files.raw.raw_files import RawFiles


class FolderSource(Source):
    """A source each of whose samples is a folder with the files of the file map."""

    @cached_property
    def base(self) -> Location:
        """The folder that sample ids are paths below."""
        return open_location(self.url, self.settings.storage_options, key=self.key)

    def loader(
        self,
        sample: Sample,
        domains: tuple[Domain, ...] = (),
        read_sizes: dict[str, int] | None = None,
        kept: Collection[str] = (),
    ) -> Loader:
        # Imported here: it takes torch, and listing needs none.
        from aerozarr.source.files.read import load_file, load_remote

        folder = self.base.below(sample.id)
        fields = [f for domain in domains for f in domain.fields if f.canonical not in kept]
        raw = self._raw_files(sample, domains, read_sizes, kept=kept)

        def load_local(one: Field | Scalar) -> object:
            return load_file(folder, one.file, sample.size_of(one.file), one)

        if folder.is_local:
            return _by_kind(sample, raw, load_local)
        # Who names no domains has nothing read ahead, scalars neither.
        scalars = [scalar for scalar in self.scalars_of(sample) if not scalar.is_of_table]
        wanted: list[Field | Scalar] = [*scalars, *fields] if fields else []
        ahead = [_named(sample, one) for one in wanted if not is_raw(one.file)]
        return _by_kind(sample, raw, load_remote(folder, ahead, sample.size_of, read_sizes))

    def _raw_files(
        self,
        sample: Sample,
        domains: tuple[Domain, ...],
        read_sizes: dict[str, int] | None = None,
        *,
        by_library: bool = False,
        kept: Collection[str] = (),
    ) -> RawFiles:
        """Return a sample's raw files; parameters are those of `loader` and of `RawFiles`."""
        from aerozarr.source.files.download import Fetched
        from aerozarr.source.files.raw.raw_files import RawFiles

        def seed_of(domain: str) -> int:
            return shuffle.seed_of(self.settings.shuffle_seed, sample.id, domain)

        raw = [field for domain in domains for field in domain.fields if is_raw(field.file)]
        fields = [field for field in raw if field.canonical not in kept]
        fetched = Fetched(self.base.below(sample.id), sample.size_of, read_sizes)
        return RawFiles(
            fetched.path,
            sample.names_of,
            fields,
            seed_of,
            by_library=by_library,
            kept=[field for field in raw if field.canonical in kept],
        )

    def array_names(self, sample: Sample, domains: tuple[Domain, ...]) -> dict[str, ArrayNames]:
        raw = self._raw_files(sample, domains)
        files = [file for domain in domains for field in domain.fields for file in field.files]
        return raw.names(file for file in dict.fromkeys(files) if is_raw(file))

    def array_sizes(
        self, sample: Sample, domains: tuple[Domain, ...], *, is_whole: bool = False
    ) -> Mapping[str, Sequence[int]]:
        from aerozarr.source.files.raw.sizes import array_sizes

        fields = [field for domain in domains for field in domain.fields if is_raw(field.file)]
        folder = self.base.below(sample.id)
        if not folder.is_local:
            return {}

        def path_of(name: str) -> Path:
            return Path(folder.join(name))

        return array_sizes(fields, sample.names_of, path_of, is_whole=is_whole)

    def library_loader(self, sample: Sample, domains: tuple[Domain, ...]) -> Loader:
        from aerozarr.source.files.download import read_file
        from aerozarr.source.files.read import by_library

        folder = self.base.below(sample.id)

        def open_file(file: str) -> Path | BytesIO:
            if folder.is_local:
                return Path(folder.join(file))
            return BytesIO(read_file(folder, file, sample.size_of(file)))

        raw = self._raw_files(sample, domains, by_library=True)
        return _by_kind(sample, raw, by_library(self.loader(sample, domains), open_file))

    def signs(self, sample: Sample) -> Signs:
        if not self.base.is_local:
            return Signs()
        files = files_of(self.base, sample.id, set(sample.files))
        return Signs(stamp_of(files), self.content(sample), changes_of(files))

    def content(self, sample: Sample) -> str:
        return content_digest(self.base, sample.id, sample.files)

    def which_are_there(self, files: Collection[str]) -> set[str]:
        wanted, found = Wanted(files), set[str]()
        if not self.base.is_local:  # one listing of everything is cheaper than one a sample
            for there in walk(self.base, wanted).folders.values():
                found |= wanted.entries_in(there)
            return found
        for sample in self.list().samples:
            if len(found) == len(wanted.entries):
                break
            found |= wanted.entries_in(files_of(self.base, sample.id, wanted))
        return found

    def still_holds(self, sample_id: str) -> bool:
        return is_there(self.base, sample_id, self.dataset.files)


def _named(sample: Sample, one: Field | Scalar) -> Field | Scalar:
    """Return a field or a scalar with the name of its file, where the file map has a pattern."""
    names = sample.names_of(one.file)
    return replace(one, file=names[0]) if names and names[0] != one.file else one


def _by_kind(sample: Sample, raw: RawFiles, load: Loader) -> Loader:
    """Return how a sample's fields and scalars are loaded: those of raw files and of tables too."""
    from aerozarr.source.files.scalars import load_cell

    def load_any(one: Field | Scalar) -> object:
        if isinstance(one, Scalar) and one.is_of_table:
            return load_cell(sample, one)
        if isinstance(one, Field) and is_raw(one.file):
            return raw.load(one)
        return load(_named(sample, one))

    return load_any


def skip_unreadable(collector: Collector, folder: str, split: str, why: str) -> None:
    """Skip a sample whose folder cannot be listed, and say so."""
    collector.skip(
        folder,
        split,
        "unreadable",
        f"its folder cannot be listed: {why}",
        "give the person who runs this the right to read it, or move it out of the source",
    )
    collector.warn(f"{folder} cannot be listed: {why}; what lies below it is skipped")
