"""Specification of places: local folders, URLs, and storage options that stay secret."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import known_implementations

from aerozarr.errors import SettingsError
from aerozarr.filesystems.location import Location, open_location
from unit.listing_helpers import FILEMAP, ids, listing_of

SECRET = "hunter2-do-not-print"
TOKEN = "open sesame"


class Vault(MemoryFileSystem):  # type: ignore[misc]
    """A file system that shows its files to a token alone, and repeats a wrong one aloud."""

    protocol = "vault"
    cachable = False
    store: dict[str, Any] = {}  # noqa: RUF012 - MemoryFileSystem keeps its files in the class
    pseudo_dirs = [""]  # noqa: RUF012 - likewise

    def __init__(self, token: str = "", fails_at: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.token = token
        self.fails_at = fails_at
        if fails_at == "opening":
            raise ValueError(f"Invalid token: {token!r}")

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("vault://", "memory://")))

    def used(self, path: str) -> None:
        if self.fails_at == "first use":
            raise ValueError(f"Invalid endpoint: {self.token!r}")
        if self.token != TOKEN:
            raise FileNotFoundError(path)

    def info(self, path: str, **options: Any) -> Any:
        self.used(path)
        return super().info(path, **options)

    def find(self, path: str, *args: Any, **options: Any) -> Any:
        self.used(path)
        return super().find(path, *args, **options)


@pytest.fixture
def vault() -> Iterator[None]:
    fsspec.register_implementation("vault", Vault, clobber=True)
    for file in FILEMAP.values():
        Vault(token=TOKEN).pipe_file(f"/cars/run_1/{file}", b"content")
    yield
    Vault.store.clear()


# Local folders


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{here}/data", "{here}/data"),
        ("{here}/data/", "{here}/data"),
        ("data", "{here}/data"),
        ("./data/../data", "{here}/data"),
        ("~/data", "{here}/home/data"),
        ("file://{here}/data", "{here}/data"),
        ("local://{here}/data", "{here}/data"),
        ("{here}/a::b", "{here}/a::b"),
        ("{here}/two words [*] {{x}} %20 ü", "{here}/two words [*] {{x}} %20 ü"),
    ],
    ids=[
        "absolute",
        "with a slash at the end",
        "relative",
        "relative with dots",
        "below the home folder",
        "file URL",
        "local URL",
        "name that looks like a chained URL",
        "name that looks like a pattern",
    ],
)
def test_a_local_folder_is_opened_by_a_path_that_is(
    written: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    location = open_location(written.format(here=tmp_path), {}, key="source_url")
    assert location.is_local
    assert location.path == expected.format(here=tmp_path)
    assert os.path.isabs(location.join("x"))


# Locations of any kind


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    url = str(tmp_path) if request.param == "local" else f"memory:/{tmp_path}"
    return open_location(url, {}, key="source_url")


def test_only_a_local_folder_is_local(tmp_path: Path) -> None:
    assert not open_location("memory://a", {}, key="store").is_local
    assert open_location(str(tmp_path), {}, key="store").is_local


@pytest.mark.parametrize("url", ["memory://cars", "memory://cars/", "memory:///cars/"])
def test_the_path_of_a_url_has_no_slash_at_the_end(url: str) -> None:
    location = open_location(url, {}, key="source_url")
    assert location.path == "/cars"
    assert location.join("a/b") == "/cars/a/b"


def test_a_text_is_read_below_a_location(place: Location) -> None:
    content = "zwölf\n".encode()
    place.fs.makedirs(place.join("lists"), exist_ok=True)
    place.fs.pipe_file(place.join("lists/train.txt"), content)
    assert place.read_text("lists/train.txt") == "zwölf\n"
    assert place.below("lists").read_text("train.txt") == "zwölf\n"


def test_a_text_that_is_not_there_is_none(place: Location) -> None:
    assert place.read_text("lists/none.txt") is None


def test_a_location_below_another_is_named_as_the_person_wrote_it() -> None:
    below = open_location("memory://cars/", {}, key="source_url").below("preprocessed")
    assert (below.path, below.url) == ("/cars/preprocessed", "memory://cars/preprocessed")


# Refusals


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(SettingsError) as caught:
        open_location("foo://bucket/x", {}, key="source_url")
    assert "source_url: 'foo://bucket/x'" in str(caught.value)
    assert "foo" in str(caught.value).replace("'foo://bucket/x'", "")


def test_a_protocol_whose_package_is_missing_is_refused_with_the_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    implementation = {"class": "not_installed.NoFileSystem", "err": "Please install nofs"}
    monkeypatch.setitem(known_implementations, "nofs", implementation)
    with pytest.raises(SettingsError) as caught:
        open_location("nofs://bucket", {}, key="store")
    assert "store: 'nofs://bucket'" in str(caught.value)
    assert "Please install nofs" in str(caught.value)


# Storage options


@pytest.mark.parametrize(
    "url",
    ["vault://cars", "simplecache::vault://cars"],
    ids=["of the URL's own protocol", "of a protocol within a chained URL"],
)
def test_storage_options_reach_the_file_system(url: str, vault: None) -> None:
    options = {"vault": {"token": TOKEN}, "s3": {"token": "of another protocol"}}
    assert ids(listing_of(source_url=url, storage_options=options)) == ["run_1"]


@pytest.mark.parametrize("fails_at", ["opening", "first use"])
def test_a_storage_option_that_is_refused_is_one_error_without_its_value(
    fails_at: str, vault: None
) -> None:
    options = {"vault": {"token": SECRET, "fails_at": fails_at}}
    with pytest.raises(Exception) as caught:
        listing_of(source_url="vault://cars", storage_options=options)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert isinstance(caught.value, SettingsError)
    assert "source_url: 'vault://cars'" in str(caught.value)
    assert "storage_options" in str(caught.value)


@pytest.mark.parametrize("fails_at", ["opening", "first use"])
@pytest.mark.parametrize(
    ("token", "secret"),
    [
        ({"aws": {"secret": SECRET}}, SECRET),
        ([SECRET, "other"], SECRET),
        (987654321, "987654321"),
        ("k3y", "k3y"),
        ('it\'s "mine"\n\\o/', "mine"),
    ],
    ids=["within a mapping", "in a list", "a number", "a short one", "one with quotes and lines"],
)
def test_a_storage_option_stays_secret_that_is(
    token: Any, secret: str, fails_at: str, vault: None
) -> None:
    options = {"vault": {"token": token, "fails_at": fails_at}}
    with pytest.raises(SettingsError) as caught:
        listing_of(source_url="vault://cars", storage_options=options)
    assert secret not in "".join(traceback.format_exception(caught.value))
