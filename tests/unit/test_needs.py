"""Specification of what a conversion asks for: memory and time."""

import pytest

from aerozarr.needs import UNKNOWN_MINUTES, memory_mb, runtime_minutes
from aerozarr.samples import Sample

MB = 2**20


def sample(*sizes: int) -> Sample:
    files = tuple(f"f{number}.pt" for number in range(len(sizes)))
    return Sample("a", "a", split="", position=-1, files=files, sizes=sizes, fingerprint="0")


@pytest.mark.parametrize(
    ("sizes", "minutes"),
    [
        ([1000], 1),
        ([54 * MB], 1),
        ([300 * MB, 300 * MB], 3),
        ([6000 * MB], 21),
    ],
    ids=["tiny", "54 MB", "two of 300 MB", "6 GB"],
)
def test_time_grows_with_all_files_and_is_at_least_a_minute(sizes: list[int], minutes: int) -> None:
    assert runtime_minutes(sample(*sizes), attempt=1) == minutes


def test_a_sample_of_unknown_size_gets_a_fixed_time() -> None:
    assert runtime_minutes(sample(), attempt=1) == UNKNOWN_MINUTES


@pytest.mark.parametrize("sizes", [[], [1000], [500 * MB]])
def test_a_retry_asks_for_more_of_both(sizes: list[int]) -> None:
    memory, time = (
        [ask(attempt) for attempt in (1, 2, 3)]
        for ask in (
            lambda n: memory_mb(
                sample(*sizes), buffers_sample=False, beside_snakemake=True, attempt=n
            ),
            lambda n: runtime_minutes(sample(*sizes), attempt=n),
        )
    )
    assert memory == [memory[0], 2 * memory[0], 3 * memory[0]]
    assert time == [time[0], 2 * time[0], 3 * time[0]]


def test_a_cluster_job_has_memory_for_snakemake_beside_the_conversion() -> None:
    alone, beside = (
        memory_mb(sample(MB), buffers_sample=False, beside_snakemake=beside, attempt=1)
        for beside in (False, True)
    )
    assert beside - alone >= 130
    assert beside >= 500


def test_a_remote_store_holds_the_compressed_sample_as_well() -> None:
    local, remote = (
        memory_mb(sample(*[100 * MB] * 3), buffers_sample=far, beside_snakemake=False, attempt=1)
        for far in (False, True)
    )
    assert remote - local == 300
