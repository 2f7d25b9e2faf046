"""A cache that holds what was used last, up to a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Cache(Generic[Key, Value]):
    """Keeps values until they take too many bytes; those used longest ago go first.

    Parameters
    ----------
    limit
        Bytes that the values may take. The last one is kept in any case.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._values: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Value | None:
        """Return a value that is kept, or None."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def drop(self, key: Key) -> None:
        """Forget a value, if it is kept."""
        with self._lock:
            _, freed = self._values.pop(key, (None, 0))
            self.used -= freed

    def put(self, key: Key, value: Value, size: int) -> None:
        """Keep a value that takes `size` bytes."""
        with self._lock:
            _, before = self._values.pop(key, (None, 0))
            self._values[key] = value, size
            self.used += size - before
            while self.used > self.limit and len(self._values) > 1:
                _, (_, freed) = self._values.popitem(last=False)
                self.used -= freed
