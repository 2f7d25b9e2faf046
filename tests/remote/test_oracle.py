"""What OCI Object Storage is asked, through ocifs, and what becomes of its faults."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from aerozarr.errors import RemoteError
from aerozarr.filesystems.location import Location, open_location
from aerozarr.store.write import open_root
from remote.backends import oci_options
from remote.oci_server import NAMESPACE, PAGE
from remote.proxy import Fault, Proxy, Request, of_kind

FILES = {"a/x.pt": b"0123456789", "a/empty.pt": b"", "a/deep/y.pt": b"y"}


def kind(request: Request) -> str:
    return "LIST" if request.method == "GET" and request.path.endswith("/o") else request.method


def asked(proxy: Proxy) -> Counter[str]:
    """Return what was asked since the last call, by kind."""
    found = Counter(map(kind, proxy.requests))
    proxy.requests.clear()
    return found


@pytest.fixture
def proxy(oci_server: int) -> Iterator[Proxy]:
    """A proxy before the stand-in for OCI."""
    with Proxy(oci_server) as made:
        yield made


@pytest.fixture
def options(proxy: Proxy) -> dict[str, dict[str, Any]]:
    return {"oci": oci_options(proxy.url)}


@pytest.fixture
def place(proxy: Proxy, options: dict[str, dict[str, Any]]) -> Location:
    """A folder in a new bucket."""
    name = f"bucket-{uuid.uuid4().hex}@{NAMESPACE}"
    made = open_location(f"oci://{name}/folder", options, key="store")
    made.fs.mkdir(name)
    proxy.requests.clear()
    return made


def test_each_thing_takes_one_request(proxy: Proxy, place: Location) -> None:
    place.write_all(FILES)
    assert asked(proxy) == {"PUT": 3}
    assert {path: place.read(path) for path in FILES} == FILES
    assert asked(proxy) == {"GET": 3}
    assert {path: entry["size"] for path, entry in place.files().items()} == {
        path: len(content) for path, content in FILES.items()
    }
    assert all(entry["etag"] for entry in place.files("a").values())
    assert place.entries("a").keys() == {"x.pt", "empty.pt", "deep"}
    assert place.files("nothing") == {}
    with pytest.raises(FileNotFoundError):
        place.entries("nothing")
    assert asked(proxy) == {"LIST": 5}
    assert place.has_file("a/x.pt")
    assert asked(proxy) == {"HEAD": 1}
    place.remove("a/x.pt", "a/nothing.pt")
    assert asked(proxy) == {"DELETE": 2}
    assert not place.has_file("a/x.pt")
    assert place.is_folder("a")
    assert not place.is_folder("a/empty.pt")


def test_a_large_file_is_one_request_too(proxy: Proxy, place: Location) -> None:
    content = bytes(range(256)) * 2**15
    place.write("large", content)
    assert place.read("large") == content
    assert asked(proxy) == {"PUT": 1, "GET": 1}


def test_a_group_of_seventeen_files_takes_19_requests(
    proxy: Proxy, place: Location, options: dict[str, dict[str, Any]]
) -> None:
    store = open_root(place.url, options)
    with store.write_group("run_1") as group:
        for number in range(16):
            group.put(f"volume/c/{number}/0", b"x")
        group.commit(b"{}")
    assert asked(proxy) == {"LIST": 2, "PUT": 17}


def test_a_listing_of_several_pages_is_whole(proxy: Proxy, place: Location) -> None:
    names = {f"{n // 10}/{n}" for n in range(2 * PAGE + 1)}
    place.write_all(dict.fromkeys(names, b"x"))
    proxy.requests.clear()
    assert place.files().keys() == names
    assert asked(proxy) == {"LIST": 3}
    assert place.entries().keys() == {name.partition("/")[0] for name in names}


@pytest.mark.parametrize(
    ("start", "end"), [(0, 4), (2, None), (None, 3), (-3, None), (-4, -1), (3, 3), (5, 99)]
)
def test_a_part_of_a_file_is_what_a_slice_gives(
    place: Location, start: int | None, end: int | None
) -> None:
    place.write("x", FILES["a/x.pt"])
    assert place.fs.cat_file(place.join("x"), start, end) == FILES["a/x.pt"][start:end]


def test_a_bucket_itself_can_be_asked_for(
    place: Location, options: dict[str, dict[str, Any]]
) -> None:
    bucket = open_location(place.url.removesuffix("/folder"), options, key="store")
    assert bucket.is_folder()
    assert bucket.entries() == bucket.files() == {}
    place.write("x", b"x")
    assert bucket.files().keys() == {"folder/x"}
    assert bucket.entries().keys() == {"folder"}


@pytest.mark.parametrize(
    "fault",
    [
        Fault(of_kind("GET"), "answer", 2, 503, b'{"code": "ServiceUnavailable"}'),
        Fault(of_kind("GET"), "answer", 2, 429, b'{"code": "TooManyRequests"}'),
        Fault(of_kind("GET"), "drop", 1),
        Fault(of_kind("GET"), "cut", 1),
    ],
    ids=["busy", "slow down", "dropped", "cut off"],
)
def test_a_fault_that_passes_is_not_noticed(proxy: Proxy, place: Location, fault: Fault) -> None:
    content = b"content" * 1000
    place.write("x", content)
    proxy.faults.append(fault)
    assert place.read("x") == content
    assert asked(proxy)["GET"] > 1


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_change_whose_answer_was_lost_is_made_again(
    proxy: Proxy, place: Location, method: str
) -> None:
    place.write("x", b"old")
    proxy.faults.append(Fault(of_kind(method), "lose", 1))
    if method == "PUT":
        place.write("x", b"new")
        assert place.read("x") == b"new"
    else:
        place.remove("x")
        assert not place.has_file("x")


@pytest.mark.parametrize("what", ["read", "write", "files", "has_file", "is_folder"])
def test_a_missing_bucket_and_refused_credentials_are_told(
    what: str, options: dict[str, dict[str, Any]]
) -> None:
    arguments = {"read": ("x",), "write": ("x", b"x"), "has_file": ("x",)}.get(what, ())
    missing = open_location(f"oci://no-such-bucket@{NAMESPACE}/x", options, key="store")
    with pytest.raises(RemoteError, match="there is no such bucket"):
        getattr(missing, what)(*arguments)
    config = {**options["oci"]["config"], "fingerprint": ":".join(["1b"] * 16)}
    wrong = {"oci": {**options["oci"], "config": config}}
    refused = open_location(missing.url, wrong, key="store")
    with pytest.raises(RemoteError, match="access is denied") as caught:
        getattr(refused, what)(*arguments)
    assert config["fingerprint"] not in str(caught.value)
