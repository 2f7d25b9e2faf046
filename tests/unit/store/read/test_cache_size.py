"""Specification of the sizes that a cache may be given."""

from __future__ import annotations

import pytest

from aerozarr import SettingsError
from aerozarr.store.read.cache_size import bytes_of


@pytest.mark.parametrize(
    ("said", "size"),
    [(5, 5), ("5", 5), ("50 GB", 50 * 10**9), ("1.5kB", 1500), ("2 MiB", 2**21), ("1T", 10**12)],
)
def test_sizes_as_people_say_them(said, size) -> None:
    assert bytes_of(said) == size


@pytest.mark.parametrize("said", [0, -1, True, 1.5, None, "", "GB", "-1 GB", "5 XB", "0 MB"])
def test_what_is_no_size(said) -> None:
    with pytest.raises(SettingsError, match="cache_size"):
        bytes_of(said)
