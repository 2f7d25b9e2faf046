"""How the fields of a sample are loaded: from its files, or by a dataset class."""

from __future__ import annotations

from collections.abc import Callable

from aerozarr.config.fields import Domain, Field
from aerozarr.config.settings import Settings
from aerozarr.convert.download import ReadAhead
from aerozarr.convert.pt_files import load_bytes, load_file
from aerozarr.errors import BrokenSample, SkipSample
from aerozarr.source.datasets import ClassSamples, Dataset
from aerozarr.source.listing import sample_folder_base
from aerozarr.source.samples import Sample

Loader = Callable[[Field], object]
"""Returns what a sample holds for a field, not yet checked."""


def loader_for(
    sample: Sample,
    settings: Settings,
    dataset: Dataset,
    source: str,
    domains: tuple[Domain, ...] = (),
    read_sizes: dict[str, int] | None = None,
) -> Loader:
    """Return how the fields of a sample are loaded.

    Parameters
    ----------
    sample
        The sample's row of the table.
    settings, dataset
        The settings, and the dataset that they name.
    source
        The source's URL or root.
    domains
        What will be loaded, in this order; behind a URL it is then read ahead.
    read_sizes
        Where the bytes read of each file behind a URL are noted, by its name.
    """
    if dataset.sample_class is not None:
        samples = ClassSamples(dataset.sample_class, source, sample.split, dataset.filemap)
        return lambda field: _load_by_class(samples, sample.position, field)
    folder = sample_folder_base(settings, dataset, source).below(sample.id)
    if folder.is_local:
        return lambda field: load_file(folder, field.file, sample.size_of(field.file), field)
    files = dict.fromkeys(field.file for domain in domains for field in domain.fields)
    ahead = ReadAhead(folder, {file: sample.size_of(file) for file in files})

    def load(field: Field) -> object:
        content = ahead.read(field.file)
        if read_sizes is not None:
            read_sizes[field.file] = len(content)
        return load_bytes(content, field)

    return load


def _load_by_class(samples: ClassSamples, position: int, field: Field) -> object:
    """Return what a class loads for a field; whatever it raises costs this sample alone."""
    try:
        return samples.load(position, field.file)
    except SkipSample as error:
        raise BrokenSample(
            field=field.canonical,
            file=field.file,
            cause=f"the dataset class skips it: {_first_line(error) or 'without a reason'}",
            remedy="mend the sample, or leave it to the class",
        ) from error
    except MemoryError:
        raise
    except Exception as error:
        # Nothing tells a fault of the sample from one of the class or the disk, so the next run
        # tries it again.
        raise BrokenSample(
            field=field.canonical,
            file=field.file,
            cause=f"the dataset class raised {type(error).__name__}: {_first_line(error)}",
            remedy="mend the sample or the class; the next run tries it again",
            is_certain=False,
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
