"""Specification of listing below any URL that fsspec opens."""

from __future__ import annotations

import functools
import http.server
import io
import subprocess
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from aerozarr.filesystems.location import open_location
from aerozarr.source.scan import is_there
from unit.listing_helpers import (
    FILES,
    LocalTree,
    MemoryTree,
    Tree,
    ids,
    listed,
    listing_of,
    skipped,
)


def test_a_zip_file_is_a_source(tmp_path: Path) -> None:
    archive = tmp_path / "cars.zip"
    with zipfile.ZipFile(archive, "w") as stream:
        for name in ("run_2", "a/run_1"):
            for file in FILES:
                stream.writestr(f"{name}/{file}", b"12")
        stream.writestr("part/points.pt", b"1")
    listing = listing_of(source_url=f"zip://::{archive}")
    assert ids(listing) == ["a/run_1", "run_2"]
    assert listing.samples[0].sizes == (2, 2)
    assert skipped(listing) == {"part": ("incomplete", "pressure.pt")}


def test_a_file_url_lists_the_same_as_its_folder(local: LocalTree) -> None:
    local.samples("run_1", "two words/100%/ü")
    assert listing_of(source_url=f"file://{local.url}") == listed(local)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_a_web_server_that_shows_its_folders_is_a_source(local: LocalTree) -> None:
    local.samples("cars/run_2", "cars/a/run_1", "cars/two words/100%/ü")
    handler = functools.partial(_Quiet, directory=local.url)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/cars"
            listing = listing_of(source_url=url)
            base = open_location(url, {}, key="source_url")
            contents = [base.below(sample.id).read("points.pt") for sample in listing.samples]
            there = [is_there(base, sample.id, FILES) for sample in listing.samples]
        finally:
            server.shutdown()
    assert ids(listing) == ["a/run_1", "run_2", "two words/100%/ü"]
    assert contents == [b"content"] * 3
    assert there == [True] * 3
    assert listing.samples[0].size_of("points.pt") is None
    # It tells neither times nor sizes, so a change is never seen; that is told once.
    [warning] = listing.warnings
    assert "neither times nor ETags" in warning
    assert "--forcerun convert_sample" in warning


@pytest.mark.parametrize("root", [".", "run_2 a"])
def test_a_tar_file_is_a_source_however_it_was_packed(
    root: str, local: LocalTree, tmp_path: Path
) -> None:
    local.samples("run_2", "a/run_1")
    archive = tmp_path / "cars.tar"
    subprocess.run(["tar", "cf", archive, *root.split()], cwd=local.path, check=True)
    listing = listing_of(source_url=f"tar://::{archive}")
    assert ids(listing) == ["a/run_1", "run_2"]
    base = open_location(f"tar://::{archive}", {}, key="source_url")
    assert base.below("a/run_1").read("points.pt") == b"content"


def test_a_tar_file_of_other_content_is_another_whatever_its_times(tmp_path: Path) -> None:
    archive = tmp_path / "cars.tar"

    def prints(content: bytes) -> list[str]:
        with tarfile.open(tmp_path / "new.tar", "w") as stream:
            for file in FILES:
                entry = tarfile.TarInfo(f"run_1/{file}")  # of time 0, as some programs set it
                entry.size = len(content)
                stream.addfile(entry, io.BytesIO(content))
        (tmp_path / "new.tar").replace(archive)
        listing = listing_of(source_url=f"tar://::{archive}")
        return [sample.fingerprint for sample in listing.samples]

    first = prints(b"one")
    assert [one.fingerprint for one in listing_of(source_url=f"tar://::{archive}").samples] == first
    assert prints(b"two") != first


def test_all_of_a_file_system_is_a_source(memory: MemoryTree) -> None:
    memory.samples("run_1")
    assert f"{memory.root[1:]}/run_1" in ids(listing_of(source_url="memory://"))


@pytest.mark.parametrize(
    "name", ["two words", "[a-z]*", "100%", "%20", "{x}", "ü", "#1", "it's", "~", "-x"]
)
def test_the_source_may_have_a_strange_name(name: str, tree: Tree) -> None:
    tree.samples(f"{name}/run_1")
    assert ids(listing_of(source_url=f"{tree.url}/{name}")) == ["run_1"]
