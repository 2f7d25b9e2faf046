"""Sources whose samples are folders of files."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from io import BytesIO
from pathlib import Path

from aerozarr.config.fields import Domain, Field
from aerozarr.config.file_patterns import Wanted
from aerozarr.config.scalars import Scalar
from aerozarr.filesystems.location import Location, open_location
from aerozarr.source.collect import Collector
from aerozarr.source.files.content import content_digest
from aerozarr.source.samples import Sample, changes_of, stamp_of
from aerozarr.source.scan import files_of, is_there, walk
from aerozarr.source.source import Loader, Signs, Source


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
    ) -> Loader:
        # Imported here: it takes torch, and listing needs none.
        from aerozarr.source.files.read import load_file, load_remote

        folder = self.base.below(sample.id)
        if folder.is_local:
            return lambda field: load_file(folder, field.file, sample.size_of(field.file), field)
        fields = [field for domain in domains for field in domain.fields]
        # Who names no domains has nothing read ahead, scalars neither.
        wanted: list[Field | Scalar] = [*self.scalars_of(sample), *fields] if fields else []
        return load_remote(folder, wanted, sample.size_of, read_sizes)

    def library_loader(self, sample: Sample, domains: tuple[Domain, ...]) -> Loader:
        from aerozarr.source.files.download import read_file
        from aerozarr.source.files.read import by_library

        folder = self.base.below(sample.id)

        def open_file(file: str) -> Path | BytesIO:
            if folder.is_local:
                return Path(folder.join(file))
            return BytesIO(read_file(folder, file, sample.size_of(file)))

        return by_library(self.loader(sample, domains), open_file)

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
