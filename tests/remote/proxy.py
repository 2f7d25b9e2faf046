"""An HTTP proxy that counts requests, makes them slow, and lets them fail as networks do.

It stands between a client and one server on this machine, both of which it speaks HTTP/1.1 with.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

_BREAK = b"\r\n\r\n"


@dataclass
class Request:
    """One request that reached the proxy, and what became of it.

    Attributes
    ----------
    method, target
        As the client sent them; `target` is the path and the query.
    sent, received
        Bytes of the request's body, and of the answer's.
    status
        Of the answer; 0 when there was none.
    begun
        When it came, in seconds of the monotonic clock.
    """

    method: str
    target: str
    sent: int = 0
    received: int = 0
    status: int = 0
    begun: float = field(default_factory=time.monotonic)

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def kind(self) -> str:
        """The method, but LIST for a GET that lists (as S3 and Azure say it)."""
        lists = {"list-type", "comp"} & set(self.query)
        return "LIST" if self.method == "GET" and lists else self.method

    def __str__(self) -> str:
        return f"{self.kind} {self.target} {self.status}"


When = Callable[[Request], bool]


def of_kind(*kinds: str, path: str = "") -> When:
    """Match requests of some kinds whose path holds a text."""
    return lambda request: request.kind in kinds and path in request.path


@dataclass
class Fault:
    """What happens to the next `times` requests that `when` matches.

    Attributes
    ----------
    what
        `answer`: a status and body of the proxy's own, and nothing forwarded; `hang`: no answer at
        all; `drop`: the connection is closed and nothing forwarded; `cut`: the answer ends in the
        middle of its body; `lose`: the request is forwarded and its answer thrown away.
    """

    when: When
    what: str
    times: float = math.inf
    status: int = 0
    body: bytes = b""


class Proxy:
    """The proxy, at work while it is a context. See the module.

    Attributes
    ----------
    url
        What a client is given as the server's URL.
    latency
        Seconds that are added to each request.
    requests
        All that came, in the order in which they came.
    """

    def __init__(self, port: int, latency: float = 0.0) -> None:
        self.upstream = port
        self.latency = latency
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        start = asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result(10)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def answer(
        self, when: When, status: int, code: str, *, times: float = math.inf, text: str = "no"
    ) -> None:
        """Answer with an error as S3 gives it."""
        body = f"<Error><Code>{code}</Code><Message>{text}</Message></Error>".encode()
        self.faults.append(Fault(when, "answer", times, status, body))

    def fail(self, when: When, what: str, *, times: float = math.inf) -> None:
        """Let requests `hang`, or `drop`, `cut` or `lose` them."""
        self.faults.append(Fault(when, what, times))

    def mend(self) -> None:
        """Let all go well again, and forget the requests so far."""
        self.faults.clear()
        self.requests.clear()

    def counts(self) -> Counter[str]:
        """Return how many requests of each kind came."""
        return Counter(request.kind for request in self.requests)

    def paths(self, *kinds: str) -> list[str]:
        """Return the paths of the requests of some kinds, in order."""
        return [request.path for request in self.requests if request.kind in kinds]

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client is gone, or the proxy ends
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request; whether the connection goes on."""
        head = (await reader.readuntil(_BREAK)).decode("latin-1").removesuffix("\r\n\r\n")
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in _split(lines)}
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue" + _BREAK)
        body = await _body(reader, headers)
        request = Request(method, target, sent=len(body))
        self.requests.append(request)
        fault = next((f for f in self.faults if f.times > 0 and f.when(request)), None)
        if fault is not None:
            fault.times -= 1
        what = fault.what if fault is not None else ""
        if self.latency:
            await asyncio.sleep(self.latency)
        if what == "hang":
            await asyncio.sleep(3600)
        if what == "drop":
            return False
        if fault is not None and what == "answer":
            request.status, answer, content = fault.status, ["Content-Type: application/xml"], b""
            if method != "HEAD":
                content = fault.body
            reason = "Fault"
        else:
            status, reason, answer, content = await self._forward(first, lines, body)
            request.status = status
        if what == "lose":
            return False
        request.received = len(content)
        kept = [line for line in answer if not _is(line, "connection")]
        if not any(_is(line, "content-length") or _is(line, "transfer-encoding") for line in kept):
            kept.append(f"Content-Length: {len(content)}")
        lines_out = [f"HTTP/1.1 {request.status} {reason}", *kept]
        writer.write("\r\n".join(lines_out).encode("latin-1") + _BREAK)
        if what == "cut":
            writer.write(content[: len(content) // 2])
            await writer.drain()
            return False
        writer.write(content)
        await writer.drain()
        return True

    async def _forward(
        self, first: str, lines: list[str], body: bytes
    ) -> tuple[int, str, list[str], bytes]:
        """Send a request on, over a connection of its own; return status, headers and body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        try:
            hop = ("connection", "expect", "transfer-encoding", "content-length")
            kept = [line for line in lines if not any(_is(line, name) for name in hop)]
            kept += ["Connection: close", f"Content-Length: {len(body)}"]
            writer.write("\r\n".join([first, *kept]).encode("latin-1") + _BREAK + body)
            await writer.drain()
            whole = await reader.read(-1)
        finally:
            writer.close()
        head, _, content = whole.partition(_BREAK)
        status_line, *answer = head.decode("latin-1").split("\r\n")
        _, status, *reason = status_line.split(" ", 2)
        return int(status), "".join(reason), answer, content


def _split(lines: list[str]) -> list[tuple[str, str, str]]:
    return [line.partition(":") for line in lines]


def _is(line: str, name: str) -> bool:
    return line.partition(":")[0].strip().lower() == name


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "chunked" not in headers.get("transfer-encoding", "").lower():
        return await reader.readexactly(int(headers.get("content-length", "0")))
    content = b""
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        content += (await reader.readexactly(size + 2))[:-2]
        if size == 0:
            return content
