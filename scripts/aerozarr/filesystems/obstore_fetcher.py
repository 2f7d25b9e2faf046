"""Reading parts of a store's objects by the package obstore."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fsspec.asyn import get_loop, sync

from aerozarr.filesystems.byte_ranges import ByteRange, Fetcher
from aerozarr.filesystems.retry import to_user_error
from aerozarr.filesystems.stamps import stamp_of_object, stamp_of_objects

if TYPE_CHECKING:
    from obstore.store import ObjectStore


class ObstoreFetcher(Fetcher):
    """Reads an obstore store, with all requests under way at once."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    def fetch(self, spans: Sequence[ByteRange]) -> list[bytes | None]:
        # On fsspec's loop and not asyncio.run's: a notebook has one running in this thread.
        found: list[bytes | None] = sync(get_loop(), self._fetch_all, spans)
        return found

    async def _fetch_all(self, spans: Sequence[ByteRange]) -> list[bytes | None]:
        return await asyncio.gather(*(self._fetch(span) for span in spans))

    async def _fetch(self, span: ByteRange) -> bytes | None:
        import obstore

        wanted: Any
        if span.start < 0:
            wanted = {"suffix": -span.start}
        else:
            wanted = {"offset": span.start} if span.stop is None else (span.start, span.stop)
        try:
            answer = await obstore.get_async(self.store, span.path, options={"range": wanted})
            return bytes(await answer.bytes_async())
        except FileNotFoundError:
            return None
        except obstore.exceptions.BaseError as error:
            with contextlib.suppress(obstore.exceptions.BaseError):
                # A store may refuse a span past the object's end, each with an error of its own.
                size = (await obstore.head_async(self.store, span.path))["size"]
                if size <= max(span.start, 0):
                    return b""
            raise to_user_error(f"{self.store!r}, {span.path}", error) from None

    def stamp_below(self, folder: str) -> str:
        return str(sync(get_loop(), self._stamp_below, folder))

    async def _stamp_below(self, folder: str) -> str:
        import obstore

        try:
            found = await obstore.list(self.store, f"{folder}/").collect_async()
        except (obstore.exceptions.BaseError, NotImplementedError) as error:
            raise to_user_error(f"{self.store!r}, {folder}", error) from None
        return stamp_of_objects({entry["path"]: {**entry} for entry in found})

    def stamp(self, path: str) -> str:
        return str(sync(get_loop(), self._stamp, path))

    async def _stamp(self, path: str) -> str:
        import obstore

        try:
            return stamp_of_object({**await obstore.head_async(self.store, path)})
        except FileNotFoundError:
            return ""
        except obstore.exceptions.BaseError as error:
            raise to_user_error(f"{self.store!r}, {path}", error) from None
