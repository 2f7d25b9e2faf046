"""Specification of the points' shuffle: seed and permutation of every (sample, domain)."""

import numpy as np
import pytest
import torch

from aerozarr.store.format.shuffle import count_kept, permutation, seed_of
from unit.store_helpers import expected_order, expected_seed

# The seeds are written out: `printf '%s' <seed>:<id>:<domain> | sha256sum`, its first 16 digits
# turned round byte by byte, modulo 2^63 - 1.
KNOWN = [
    pytest.param(0, "run_12", "volume", 2401898208700908169, id="below-2^63"),
    pytest.param(0, "run_12", "surface", 217328709909461731, id="above-2^63-is-reduced"),
    pytest.param(7, "param1/1dc58be2/ü", "volume", 7922978174164091218, id="nested-id"),
    pytest.param(0, "数据/run_1", "volume", 7622743928220541764, id="unicode-id-as-utf8"),
    pytest.param(-3, "a b", "surface_stl", 5368691766970740627, id="negative-seed"),
    pytest.param(2**64 + 1, "run_1", "surface_stl_resampled", 5102698254051409336, id="huge-seed"),
]


@pytest.mark.parametrize(("shuffle_seed", "sample_id", "domain", "seed"), KNOWN)
def test_seed_is_the_written_out_number(shuffle_seed, sample_id, domain, seed):
    assert seed_of(shuffle_seed, sample_id, domain) == seed


@pytest.mark.parametrize("shuffle_seed", [0, 1, 42, -1, 2**31, 2**63])
@pytest.mark.parametrize("domain", ["surface", "volume", "surface_stl", "surface_stl_resampled"])
@pytest.mark.parametrize(
    "sample_id", ["run_12", "param1/1dc58be2", "a/b/c/d", "ünï cødé/№ 1", "🚗", "a:b", "%41", "{x}"]
)
def test_seed_is_from_sha256(shuffle_seed, sample_id, domain):
    assert seed_of(shuffle_seed, sample_id, domain) == expected_seed(
        shuffle_seed, sample_id, domain
    )


@pytest.mark.parametrize("position", [0, 1, 2], ids=["shuffle_seed", "sample id", "domain"])
def test_each_part_of_the_text_changes_the_seed(position):
    base = (0, "run_1", "volume")
    other = (1, "run_2", "surface")
    changed = tuple(other[i] if i == position else part for i, part in enumerate(base))
    assert seed_of(*changed) != seed_of(*base)


def test_permutation_is_the_written_out_one():
    # Pins torch's generator: another algorithm there would silently give other stores.
    assert permutation(8, seed_of(0, "run_12", "volume")).tolist() == [0, 7, 5, 2, 1, 6, 3, 4]
    assert permutation(8, seed_of(0, "run_12", "surface")).tolist() == [0, 6, 5, 2, 7, 1, 3, 4]


@pytest.mark.parametrize("n_points", [1, 2, 3, 100, 4096, 70_001])
@pytest.mark.parametrize("sample_id", ["run_12", "param1/ü"])
def test_permutation_is_torch_randperm_of_a_seeded_cpu_generator(n_points, sample_id):
    perm = permutation(n_points, seed_of(3, sample_id, "volume"))
    assert perm.dtype == np.int32  # drawn as such, it is the same as the int64 one
    assert perm.shape == (n_points,)
    np.testing.assert_array_equal(perm, expected_order(n_points, 3, sample_id, "volume"))


@pytest.mark.parametrize("seed", [0, 1, 2**53 + 1, 2**63 - 2])
def test_permutation_takes_every_seed_and_holds_every_point_once(seed):
    np.testing.assert_array_equal(np.sort(permutation(1000, seed)), np.arange(1000))


@pytest.mark.parametrize(
    ("n_points", "keep", "kept"),
    [
        (30, None, 30),
        (30, 1, 1),
        (30, 29, 29),
        (30, 31, 30),
        (30, 1.0, 30),
        (30, 0.1, 3),
        (100, 0.29, 29),  # 28.999999999999996 as floats have it
        (30, 0.001, 1),
        (1, 0.5, 1),
        (10**9, 1e-6, 1000),
    ],
)
def test_how_many_points_are_kept(n_points, keep, kept):
    assert count_kept(n_points, keep) == kept


def test_different_seeds_shuffle_differently():
    orders = {permutation(1000, seed).tobytes() for seed in range(20)}
    assert len(orders) == 20


def test_permutation_neither_reads_nor_moves_the_global_generator():
    torch.manual_seed(1)
    first = permutation(100, 5)
    after = torch.initial_seed(), torch.rand(1)
    torch.manual_seed(1)
    before = torch.initial_seed(), torch.rand(1)
    assert after == before
    torch.manual_seed(2)
    np.testing.assert_array_equal(permutation(100, 5), first)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_permutation_does_not_depend_on_torch_defaults(dtype):
    expected = expected_order(1000, 0, "run_1", "volume")
    usual = torch.get_default_dtype(), torch.get_num_threads()
    try:
        torch.set_default_dtype(dtype)
        torch.set_num_threads(2)
        perm = permutation(1000, seed_of(0, "run_1", "volume"))
    finally:
        torch.set_default_dtype(usual[0])
        torch.set_num_threads(usual[1])
    np.testing.assert_array_equal(perm, expected)
