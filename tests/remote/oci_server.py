"""A small stand-in for OCI Object Storage: what ocifs asks of it, on this machine, in memory.

    python oci_server.py PORT

Answers as the service's API reference says. It is stricter than needed where that finds mistakes:
each request must name the one key that it knows, and a listing has few objects a page, so that
whoever lists must turn pages.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

NAMESPACE = "namespace"
TENANCY = "ocid1.tenancy.oc1..tests"
USER = "ocid1.user.oc1..tests"
FINGERPRINT = ":".join(["0a"] * 16)
PAGE = 20

_SPAN = re.compile(r"bytes=(\d*)-(\d*)$")


@dataclass
class Object:
    """What a bucket holds under a name."""

    content: bytes
    kind: str
    etag: str = field(default_factory=lambda: str(uuid.uuid4()))
    made: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def md5(self) -> str:
        return base64.b64encode(hashlib.md5(self.content).digest()).decode()

    def summary(self, name: str, fields: set[str]) -> dict[str, Any]:
        known = {
            "name": name,
            "size": len(self.content),
            "etag": self.etag,
            "md5": self.md5,
            "timeCreated": self.made.isoformat(),
            "timeModified": self.made.isoformat(),
            "storageTier": "Standard",
        }
        return {key: value for key, value in known.items() if key in fields | {"name"}}


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


class Handler(BaseHTTPRequestHandler):
    """Answers a request. `buckets` is what there is, by bucket and name."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    buckets: ClassVar[dict[str, dict[str, Object]]] = {}
    lock = threading.Lock()

    def handle_expect_100(self) -> bool:
        return True  # over HTTP, nobody waits for it

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def respond(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        address = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        # At most five cuts: the name of an object may hold slashes.
        path = [unquote(part) for part in address.path.split("/", 6)[1:]]
        try:
            signed = f'keyId="{TENANCY}/{USER}/{FINGERPRINT}"'
            if signed not in self.headers.get("Authorization", ""):
                raise Refused(401, "NotAuthenticated")
            with self.lock:
                self.dispatch(path, query, body)
        except Refused as refused:
            answer = {"code": refused.code, "message": "as the service would say"}
            self.answer(refused.status, json.dumps(answer).encode())

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = respond

    def dispatch(self, path: list[str], query: dict[str, str], body: bytes) -> None:
        match self.command, path:
            case "GET", ["n"] | ["n", ""]:
                self.answer(200, json.dumps(NAMESPACE).encode())
            case _, ["n", namespace, *_] if namespace != NAMESPACE:
                raise Refused(404, "NamespaceNotFound")
            case "GET", ["n", _]:
                known = {"namespace": NAMESPACE, "defaultSwiftCompartmentId": TENANCY}
                self.answer(200, json.dumps(known).encode())
            case "POST", ["n", _, "b"] | ["n", _, "b", ""]:
                self.make_bucket(json.loads(body))
            case "HEAD", ["n", _, "b", bucket]:
                self.objects_of(bucket)
                self.answer(200, b"", ETag=bucket)
            case "GET", ["n", _, "b", bucket, "o"]:
                self.list(bucket, query)
            case "PUT", ["n", _, "b", bucket, "o", name]:
                kind = self.headers.get("Content-Type") or "application/octet-stream"
                made = self.objects_of(bucket)[name] = Object(body, kind)
                self.answer(200, b"", ETag=made.etag, opc_content_md5=made.md5)
            case "GET" | "HEAD", ["n", _, "b", bucket, "o", name]:
                self.give(self.object_of(bucket, name))
            case "DELETE", ["n", _, "b", bucket, "o", name]:
                self.object_of(bucket, name)
                del self.buckets[bucket][name]
                self.answer(204, b"")
            case _:
                raise Refused(501, "NotImplemented")

    def make_bucket(self, details: dict[str, Any]) -> None:
        if details["name"] in self.buckets:
            raise Refused(409, "BucketAlreadyExists")
        self.buckets[details["name"]] = {}
        made = {"name": details["name"], "namespace": NAMESPACE, "etag": details["name"]}
        self.answer(200, json.dumps(made).encode())

    def list(self, bucket: str, query: dict[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        if delimiter not in ("", "/"):
            raise Refused(400, "InvalidParameter")
        limit = min(int(query.get("limit", PAGE)), PAGE)
        objects, found = self.objects_of(bucket), dict[str, Object | None]()
        following = None
        for name in sorted(objects):
            if not name.startswith(prefix) or name < query.get("start", ""):
                continue
            head, cut, _ = name.removeprefix(prefix).partition(delimiter or "\0")
            shown = prefix + head + cut if cut else name
            if shown not in found and len(found) == limit:
                following = name
                break
            found[shown] = None if cut else objects[name]
        fields = set(query.get("fields", "name").split(","))
        page = {
            "objects": [made.summary(name, fields) for name, made in found.items() if made],
            "prefixes": [name for name, made in found.items() if not made],
            "nextStartWith": following,
        }
        self.answer(200, json.dumps(page).encode())

    def give(self, made: Object) -> None:
        headers = {
            "ETag": made.etag,
            "Content_Type": made.kind,
            "Content_MD5": made.md5,
            "Last_Modified": format_datetime(made.made, usegmt=True),
            "Accept_Ranges": "bytes",
            "version_id": made.etag,
            "storage_tier": "Standard",
        }
        span = _SPAN.match(self.headers.get("Range", ""))
        if span is None:
            self.answer(200, made.content, **headers)
            return
        first, last, size = span[1], span[2], len(made.content)
        start = int(first) if first else max(size - int(last), 0)
        stop = min(int(last) + 1, size) if first and last else size
        if start >= size:
            raise Refused(416, "InvalidRange")
        headers["Content_Range"] = f"bytes {start}-{stop - 1}/{size}"
        self.answer(206, made.content[start:stop], **headers)

    def objects_of(self, bucket: str) -> dict[str, Object]:
        try:
            return self.buckets[bucket]
        except KeyError:
            raise Refused(404, "BucketNotFound") from None

    def object_of(self, bucket: str, name: str) -> Object:
        try:
            return self.objects_of(bucket)[name]
        except KeyError:
            raise Refused(404, "ObjectNotFound") from None

    def answer(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        headers = {"Content_Type": "application/json", **headers}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("opc-request-id", uuid.uuid4().hex)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


class Server(ThreadingHTTPServer):
    """The server; its threads end with it."""

    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
