"""Starts the emulator of Google Cloud Storage with a reader of uploads that keeps every byte.

The emulator reads an upload of metadata and content as if it were a mail, and takes carriage
returns in binary content for ends of lines. Run with the emulator's own options.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from gcp_storage_emulator import __main__ as emulator
from gcp_storage_emulator import server

_usual = server._read_data


def read_data(handler: Any, query: dict[str, list[str]]) -> Any:
    """Return a request's content as the emulator's handlers want it."""
    kind = handler.headers.get("Content-Type") or ""
    if not kind.startswith("multipart/related"):
        return _usual(handler, query)
    boundary = kind.partition("boundary=")[2].strip('"').encode()
    raw = server._decode_raw_data(server._read_raw_data(handler), handler)
    _, meta, content, _ = raw.split(b"--" + boundary)
    head, _, body = content.partition(b"\n\n")
    return {
        "meta": json.loads(meta.partition(b"\n\n")[2]),
        "content": body.removesuffix(b"\n"),
        "content-type": head.partition(b":")[2].strip().decode(),
    }


if __name__ == "__main__":
    server._read_data = read_data
    sys.exit(emulator.main())
