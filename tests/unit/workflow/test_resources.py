"""Specification of what a conversion asks for: memory and time."""

import pytest

from aerozarr.source.samples import Sample
from aerozarr.workflow.resources import UNKNOWN_MINUTES, memory_mb, runtime_minutes

MB = 2**20


def sample(*sizes: int, key: str = "a") -> Sample:
    files = tuple(f"f{number}.pt" for number in range(len(sizes)))
    return Sample(key, key, split="", position=-1, files=files, sizes=sizes, fingerprint="0")


@pytest.mark.parametrize(
    ("size", "group_size", "least", "most"),
    [
        (MB, 500, 30, 70),
        (54 * MB, 100, 40, 70),
        (500 * MB, 20, 60, 80),
        (6000 * MB, 5, 125, 140),
        (6000 * MB, 1, 50, 51),
    ],
    ids=["1 MB", "54 MB", "500 MB", "6 GB", "6 GB alone"],
)
def test_a_group_asks_for_half_an_hour_and_generously_for_its_samples(
    size: int, group_size: int, least: int, most: int
) -> None:
    samples = [sample(size // 2, size // 2, key=f"run_{n}") for n in range(group_size)]
    total = sum(runtime_minutes(one, group_size=group_size, attempt=1) for one in samples)
    assert least <= total <= most


def test_a_sample_of_unknown_size_gets_a_fixed_time() -> None:
    assert runtime_minutes(sample(), group_size=30, attempt=1) == UNKNOWN_MINUTES + 1


@pytest.mark.parametrize("sizes", [[], [1000], [500 * MB]])
def test_a_retry_asks_for_more_of_both(sizes: list[int]) -> None:
    memory, time = (
        [ask(attempt) for attempt in (1, 2, 3)]
        for ask in (
            lambda n: memory_mb(
                sample(*sizes), buffers_sample=False, beside_snakemake=True, attempt=n
            ),
            lambda n: runtime_minutes(sample(*sizes), group_size=1, attempt=n),
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


def test_of_a_compressed_file_more_is_asked_for() -> None:
    plain, packed = (
        memory_mb(Sample("a", "a", "", -1, (name,), (100 * MB,), "0"), attempt=1)
        for name in ("a.npy", "a.NPZ")
    )
    assert packed - plain == 900
