"""How large a cache may grow, as people say it."""

from __future__ import annotations

import re

from aerozarr.errors import SettingsError

_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kKMGT]?)(i?)B?\s*", re.ASCII)


def bytes_of(cache_size: int | str) -> int:
    """Return a size as a number of bytes: 10**9, "1 GB", "1 GiB".

    Raises
    ------
    SettingsError
        When it is no size.
    """
    wrong = SettingsError(f"cache_size is {cache_size!r}. Give a number of bytes, or '50 GB'.")
    if isinstance(cache_size, bool) or not isinstance(cache_size, int | str):
        raise wrong
    if isinstance(cache_size, str):
        match = _SIZE.fullmatch(cache_size)
        if match is None:
            raise wrong
        base, power = 1024 if match[3] else 1000, " kMGT".index(match[2].replace("K", "k") or " ")
        cache_size = int(float(match[1]) * base**power)
    if cache_size < 1:
        raise wrong
    return cache_size
