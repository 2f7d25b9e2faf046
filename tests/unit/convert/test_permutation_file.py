"""Specification of permutations that are set aside in a file."""

import numpy as np
import pytest

from aerozarr.convert import permutation_file
from aerozarr.convert.permutation_file import PermutationFile, spill_if_long
from aerozarr.store.format.shuffle import permutation


@pytest.fixture
def keep_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Permutations of more than 10 points are set aside."""
    monkeypatch.setattr(permutation_file, "_KEPT_POINTS", 10)


@pytest.mark.usefixtures("keep_little")
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_a_long_permutation_is_kept_in_a_file_and_has_the_same_slices(dtype):
    perm = permutation(101, 5).astype(dtype)
    aside = spill_if_long(perm)
    assert isinstance(aside, PermutationFile)
    assert len(aside) == 101
    for rows in (slice(0, 7), slice(7, 8), slice(50, 150), slice(100, 101), slice(None)):
        np.testing.assert_array_equal(aside[rows], perm[rows], strict=True)
    short = perm[:10]
    assert spill_if_long(short) is short


@pytest.mark.usefixtures("keep_little")
def test_a_long_permutation_stays_in_memory_where_there_is_no_room_for_a_file(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(permutation_file.tempfile, "tempdir", str(tmp_path / "none"))
    perm = permutation(101, 5)
    assert spill_if_long(perm) is perm


@pytest.mark.usefixtures("keep_little")
def test_a_temporary_file_that_was_cut_is_an_error():
    aside = spill_if_long(permutation(101, 5))
    aside._file.truncate(40)
    with pytest.raises(OSError, match="shorter than it was written"):
        aside[0:50]
