from __future__ import annotations

from aerozarr.store.read.cache import Cache


def test_what_was_used_longest_ago_goes_first() -> None:
    cache: Cache[str, int] = Cache(30)
    for number, key in enumerate("abc"):
        cache.put(key, number, 10)
    assert cache.get("a") == 0
    cache.put("d", 3, 10)
    assert [cache.get(key) for key in "abcd"] == [0, None, 2, 3]
    assert cache.used == 30


def test_a_value_put_again_counts_once() -> None:
    cache: Cache[str, int] = Cache(30)
    cache.put("a", 1, 10)
    cache.put("a", 2, 20)
    assert cache.get("a") == 2
    assert cache.used == 20


def test_the_last_value_is_kept_however_large() -> None:
    cache: Cache[str, int] = Cache(30)
    cache.put("a", 1, 10)
    cache.put("b", 2, 1000)
    assert cache.get("a") is None
    assert cache.get("b") == 2
