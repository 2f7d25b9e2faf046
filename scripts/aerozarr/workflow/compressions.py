"""The named compressions, tried on the person's own samples: bytes, time to write, time to read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aerozarr.config.setting_types import COMPRESSIONS, Compression
from aerozarr.convert.fragment import Fragment
from aerozarr.convert.sample import convert
from aerozarr.filesystems.byte_ranges import LocalFetcher
from aerozarr.messages import format_bytes, plural
from aerozarr.run_config import RunConfig
from aerozarr.source.samples import Sample
from aerozarr.store.format.layout import group_path
from aerozarr.store.read.chunk_reader import ChunkReader
from aerozarr.store.read.subsample import ArrayRows, Subsample
from aerozarr.store.write import open_root

_CACHE_BYTES = 2**24


@dataclass
class Tried:
    """What one compression gave.

    Attributes
    ----------
    name, label
        Its name, and what it is (`zstd 5`).
    fragments
        What was converted with it, by sample id.
    seconds, read_seconds
        Core time of the conversions, and of reading all their values back: not what others at work
        on the machine, or a network, add to it.
    """

    name: str
    label: str
    fragments: dict[str, Fragment] = field(default_factory=dict)
    seconds: float = 0.0
    read_seconds: float = 0.0

    @property
    def stored_bytes(self) -> int:
        """Bytes of the groups."""
        return sum(fragment.stored_bytes for fragment in self.fragments.values())


def try_compressions(run_config: RunConfig, samples: Sequence[Sample], folder: Path) -> list[Tried]:
    """Convert samples with each compression, below a folder, and read them back.

    Parameters
    ----------
    run_config
        The configuration; its own compression comes first.
    samples
        What to convert: whole ones, which were converted before, so that the first compression
        does not pay for what is loaded once.
    folder
        Where to; what is there afterwards is the caller's to remove.
    """
    own = run_config.settings.compression
    names = {"as set": own}
    names |= {name: one for name, one in COMPRESSIONS.items() if one.label != own.label}
    tried = []
    for name, compression in names.items():
        place = folder / compression.label.replace(" ", "-")
        one = Tried(name, compression.label)
        start = time.process_time()
        for sample in samples:
            one.fragments[sample.id] = convert_with(run_config, sample, compression, place)
        one.seconds = time.process_time() - start
        one.read_seconds = _read_all(run_config, one.fragments, place / "store")
        tried.append(one)
    return tried


def convert_with(
    run_config: RunConfig, sample: Sample, compression: Compression, folder: Path
) -> Fragment:
    """Convert a sample into a store of its own below a folder; nothing of it is to stay."""
    store = open_root(str(folder / "store"), {}, owner=str(folder))
    settings = run_config.settings.model_copy(update={"compression": compression})
    load = run_config.source.loader(sample, run_config.domains)
    scalars = run_config.source.scalars_of(sample)
    return convert(sample, load, run_config.domains, settings, store, scalars)


def _read_all(run_config: RunConfig, fragments: dict[str, Fragment], store: Path) -> float:
    """Read all values of the samples that were converted; return the core time."""
    reader = ChunkReader(LocalFetcher(str(store)), fill_missing=False, cache_bytes=_CACHE_BYTES)
    start = time.process_time()
    for sample_id, fragment in fragments.items():
        for domain in run_config.domains:
            grid = fragment.domains[domain.name]
            for one in domain.fields:
                rows = ArrayRows(
                    one.array_name,
                    (grid.n_points, one.width),
                    one.dtype,
                    ((0, grid.n_points),),
                    chunk_rows=grid.chunk_points,
                    object_rows=grid.shard_points,
                )
                reader.read([Subsample(sample_id, group_path(sample_id), {one.canonical: rows})])
    return time.process_time() - start


def comparison_lines(tried: Sequence[Tried]) -> list[str]:
    """Return the comparison for the person at the terminal, and which compression is fit for what.

    Parameters
    ----------
    tried
        What was tried; the person's own first.
    """
    own = tried[0]
    count = plural(len(own.fragments), "sample")
    lines = [f"compressions, tried on {count}, and core time against the first's:"]
    for one in tried:
        converting = one.seconds / own.seconds if own.seconds else 1.0
        reading = one.read_seconds / own.read_seconds if own.read_seconds else 1.0
        lines.append(
            f"  {f'{one.name} ({one.label})':22} {format_bytes(one.stored_bytes):>9}; to convert "
            f"{converting:.2f}, to read {reading:.2f}"
        )
    small = min(tried, key=lambda one: one.stored_bytes)
    quick = min(tried, key=lambda one: one.read_seconds)
    lines.append(
        f"for training from a local disk {quick.label} reads fastest; for object stores and "
        f"networks {small.label} has the fewest bytes"
    )
    return lines
