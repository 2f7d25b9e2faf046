"""What a run will take, before it runs: from the listing, and from converting a few samples."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from itertools import accumulate

from aerozarr.convert.encode import use_one_thread
from aerozarr.errors import StoreError
from aerozarr.filesystems.location import is_url
from aerozarr.merge.unused_arrays import unused_arrays
from aerozarr.messages import format_bytes, format_duration, plural
from aerozarr.run_config import RunConfig
from aerozarr.source.samples import Listing, Sample
from aerozarr.workflow.compressions import comparison_lines, convert_with, try_compressions
from aerozarr.workflow.list_samples import read_listing
from aerozarr.workflow.reconcile import look, plan_run
from aerozarr.workflow.resources import arrays_of, memory_mb

# Samples that are converted to measure with: small, middling and large ones.
MEASURED = 5
# Of these, as many are converted with each compression as have so many bytes; at least one.
TRIED_BYTES = 2**28
# Seconds that the workflow itself takes, whatever a sample's size: measured with tests/benchmarks.
START_SECONDS = 2.0
SAMPLE_SECONDS = 0.03


@dataclass(frozen=True)
class Estimate:
    """What converting a listing takes.

    Attributes
    ----------
    samples, skipped
        Numbers of samples.
    source_bytes, stored_bytes
        To read and to write; None where the source does not tell sizes.
    memory_mb
        Of the largest sample's job, in MiB.
    conversion_seconds
        Of all conversions, one after another on one core.
    measured, broken
        Numbers of samples that were converted to tell, and that could not be.
    comparison
        How the named compressions compare, line by line.
    unused
        The arrays in raw files that no field takes, line by line: of one sample.
    """

    samples: int
    skipped: int
    source_bytes: int | None
    stored_bytes: int | None
    memory_mb: int
    conversion_seconds: float
    measured: int
    broken: int
    comparison: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    def seconds(self, cores: int) -> float:
        """Return the seconds that a run from nothing takes on so many cores."""
        return START_SECONDS + self.samples * SAMPLE_SECONDS + self.conversion_seconds / cores

    def lines(self, cores: int) -> list[str]:
        """Return the estimate for the person at the terminal."""
        unknown = "not known: the source does not tell sizes"
        read, write = (
            unknown if size is None else format_bytes(size)
            for size in (self.source_bytes, self.stored_bytes)
        )
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        broken = f"; {self.broken} more of those tried are broken" if self.broken else ""
        rows = {
            "samples": f"{self.samples:,}{skipped}",
            "to read": read,
            "to write": write,
            "memory": f"up to {self.memory_mb:,} MiB for a job",
            "time": f"{format_duration(self.seconds(cores))} on {plural(cores, 'core')} "
            f"(measured on {plural(self.measured, 'sample')}{broken})",
        }
        said = [f"{name:9} {value}" for name, value in rows.items()]
        return [*said, *self.unused, *self.comparison]


def estimate(run_config: RunConfig, *, cores: str) -> None:
    """Say what a run would take: the job of `estimate`."""
    use_one_thread()
    listing = read_listing(run_config)
    made = estimate_of(run_config, listing)
    state = look(run_config, listing, run_config.store.all_files())
    converts = plan_run(run_config, state).forecast
    lines = ["all of them, from nothing:", *made.lines(int(cores)), converts]
    print(*lines, sep="\n", file=sys.stderr)


def estimate_of(run_config: RunConfig, listing: Listing) -> Estimate:
    """Convert a few samples to nowhere, and tell from them what all take.

    Raises
    ------
    StoreError
        When all of those few are broken.
    """
    folder = run_config.place("estimate")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        made = [
            (sample, convert_with(run_config, sample, run_config.settings.compression, folder))
            for sample in _few(listing.samples)
        ]
        whole = [sample for sample, fragment in made if fragment.skipped is None]
        tried = try_compressions(run_config, _at_most(whole, TRIED_BYTES), folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    converted = [(sample, fragment) for sample, fragment in made if fragment.skipped is None]
    if not converted:
        raise StoreError(
            f"all {len(made)} samples that were tried are broken; the first: {made[0][1].skipped}"
        )
    # The first pays for what is loaded only once.
    timed = converted[1:] or converted
    known = all(sample.sizes and min(sample.sizes) >= 0 for sample in listing.samples)
    total = sum(sum(sample.sizes) for sample in listing.samples) if known else None
    if total is None:
        share = len(listing.samples) / len(timed)
        stored = None
    else:
        share = total / sum(sum(sample.sizes) for sample, _ in timed)
        read = sum(sum(sample.sizes) for sample, _ in converted)
        stored = round(total * sum(fragment.stored_bytes for _, fragment in converted) / read)
    return Estimate(
        samples=len(listing.samples),
        skipped=len(listing.skipped),
        source_bytes=total,
        stored_bytes=stored,
        memory_mb=max(
            memory_mb(
                sample,
                buffers_sample=is_url(run_config.settings.store),
                reads_ahead=is_url(run_config.source_url),
                attempt=1,
                arrays=arrays_of(run_config.source, sample, run_config.domains),
            )
            for sample in listing.samples
        ),
        conversion_seconds=share * sum(fragment.seconds for _, fragment in timed),
        measured=len(converted),
        broken=len(made) - len(converted),
        comparison=tuple(comparison_lines(tried)),
        unused=tuple(f"not used  {line}" for line in unused_arrays(run_config, converted[0][0])),
    )


def _few(samples: list[Sample]) -> list[Sample]:
    """Return a few samples, spread over all sizes; the middling one first."""
    ordered = sorted(samples, key=lambda sample: (sum(sample.sizes), sample.id))
    few = min(MEASURED, len(ordered))
    picked = [ordered[(2 * number + 1) * len(ordered) // (2 * few)] for number in range(few)]
    middle = picked.pop(few // 2)
    return [middle, *picked]


def _at_most(samples: list[Sample], nbytes: int) -> list[Sample]:
    """Return the first samples that have so many bytes together; the first in any case."""
    sizes = accumulate(sum(sample.sizes) for sample in samples)
    return [one for one, size in zip(samples, sizes, strict=True) if size <= nbytes] or samples[:1]
