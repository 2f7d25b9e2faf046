"""Specification of listing a prefix, of what a listing costs, and of the lock of a work folder."""

from __future__ import annotations

import functools
import http.server
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractFileSystem

from aerozarr.config.load_settings import load_settings
from aerozarr.errors import SettingsError, StoreError
from aerozarr.filesystems.files import lock
from aerozarr.filesystems.location import open_location
from aerozarr.run_config import RunConfig
from aerozarr.source.datasets import resolve_dataset
from aerozarr.source.open_source import open_source
from aerozarr.source.sample_table import read_samples, read_skipped
from aerozarr.source.samples import Listing
from aerozarr.source.scan import is_there
from aerozarr.workflow.list_samples import list_samples
from aerozarr.workflow.prepare import prepare_run
from unit.listing_helpers import (
    BACKENDS,
    FILEMAP,
    FILES,
    LocalTree,
    MemoryTree,
    Tree,
    ids,
    listing_of,
    open_tree,
    skipped,
)

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(params=BACKENDS)
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tree]:
    with open_tree(request.param, tmp_path / "source") as opened:
        yield opened


@pytest.fixture
def local(tmp_path: Path) -> LocalTree:
    return LocalTree(tmp_path / "source")


@pytest.fixture
def memory() -> Iterator[MemoryTree]:
    tree = MemoryTree()
    yield tree
    tree.close()


def listed(tree: Tree, **config: object) -> Listing:
    return listing_of(source_url=tree.url, **config)


# What is a sample


def test_every_folder_that_holds_all_files_is_a_sample(tree: Tree) -> None:
    tree.samples("run_1", "param1/abc", "a/b/c/d")
    tree.put("a/unrelated.txt")
    tree.put("notes/readme.md")
    listing = listed(tree)
    assert ids(listing) == ["a/b/c/d", "param1/abc", "run_1"]
    assert listing.skipped == []
    assert listing.warnings == []


def test_a_sample_may_lie_within_another(tree: Tree) -> None:
    tree.samples("car", "car/half", "car/half/quarter")
    assert ids(listed(tree)) == ["car", "car/half", "car/half/quarter"]


def test_samples_come_in_plain_string_order_of_their_ids(tree: Tree) -> None:
    names = ["run_2", "run_10", "run_1", "Run_3", "a/b", "a-b", "a", "a b", "ä", "z", "a/B", "a.b"]
    tree.samples(*names)
    assert ids(listed(tree)) == sorted(names)
    assert ids(listed(tree))[:6] == ["Run_3", "a", "a b", "a-b", "a.b", "a/B"]


def test_the_prefix_itself_is_not_a_sample(tree: Tree) -> None:
    tree.samples("run_1")
    for file in FILES:
        tree.put(file)
    listing = listed(tree)
    assert ids(listing) == ["run_1"]
    assert listing.skipped == []


def test_a_prefix_that_holds_its_files_itself_has_no_sample(tree: Tree) -> None:
    for file in FILES:
        tree.put(file)
    with pytest.raises(SettingsError, match="no complete sample"):
        listed(tree)


def test_a_prefix_does_not_reach_into_its_neighbours(tree: Tree) -> None:
    tree.samples("data/run_1", "data2/run_2", "dat/run_3")
    assert ids(listing_of(source_url=f"{tree.url}/data")) == ["run_1"]


def test_the_id_is_below_the_prefix_and_not_below_its_last_folder(tree: Tree) -> None:
    tree.samples("data/data/run_1")
    assert ids(listing_of(source_url=f"{tree.url}/data")) == ["data/run_1"]


def test_a_slash_at_the_end_of_the_prefix_changes_nothing(tree: Tree) -> None:
    tree.samples("run_1", "a/b")
    assert listing_of(source_url=f"{tree.url}/") == listed(tree)


def test_a_sample_knows_its_files_and_their_sizes(tree: Tree) -> None:
    tree.put("run_1/pressure.pt", b"12345")
    tree.put("run_1/points.pt", b"1234567890")
    tree.put("run_1/other.pt", b"1")
    [sample] = listed(tree).samples
    assert dict(zip(sample.files, sample.sizes, strict=True)) == {
        "points.pt": 10,
        "pressure.pt": 5,
    }
    assert (sample.split, sample.position) == ("", -1)


def test_an_empty_file_is_a_file(tree: Tree) -> None:
    tree.put("run_1/points.pt", b"")
    tree.put("run_1/pressure.pt", b"")
    assert listed(tree).samples[0].sizes == (0, 0)


def test_a_file_that_two_fields_share_is_one_file(tree: Tree) -> None:
    tree.put("run_1/all.pt")
    tree.put("run_2/other.pt")
    shared = {"surface_position": "all.pt[:, 0:3]", "surface_pressure": "all.pt[:, 3]"}
    listing = listed(tree, filemap=shared)
    assert ids(listing) == ["run_1"]
    assert listing.samples[0].files == ("all.pt",)


# Incomplete ones


@pytest.mark.parametrize(
    ("present", "lacking"),
    [
        (["points.pt"], "pressure.pt"),
        (["pressure.pt"], "points.pt"),
        (["points.pt", "Pressure.pt"], "pressure.pt"),
        (["points.pt", "pressure.pt.tmp"], "pressure.pt"),
        (["points.pt", "xpressure.pt"], "pressure.pt"),
        (["points.pt", "pressure.pt/0"], "pressure.pt"),
        (["points.pt", "deeper/pressure.pt"], "pressure.pt"),
    ],
    ids=[
        "the second file",
        "the first file",
        "a file in another case",
        "a file that is still written",
        "a file with a longer name",
        "a file that is a folder",
        "a file that lies deeper",
    ],
)
def test_an_incomplete_sample_is_left_out_and_reported_with(
    present: list[str], lacking: str, tree: Tree
) -> None:
    tree.samples("whole")
    tree.sample("part", present)
    listing = listed(tree)
    assert ids(listing) == ["whole"]
    assert skipped(listing)["part"] == ("incomplete", lacking)
    assert lacking in str(listing.skipped[0])


def test_an_incomplete_sample_is_reported_with_all_that_it_lacks(tree: Tree) -> None:
    filemap = {**FILEMAP, "surface_friction": "tau.pt", "design_parameters": "design.pt"}
    tree.sample("whole", filemap.values())
    tree.sample("part", ["pressure.pt"])
    listing = listed(tree, filemap=filemap)
    assert ids(listing) == ["whole"]
    [row] = listing.skipped
    assert (row.id, row.kind) == ("part", "incomplete")
    assert set(row.file.split(", ")) == {"points.pt", "tau.pt", "design.pt"}
    assert row.remedy


def test_incomplete_samples_are_reported_in_order(tree: Tree) -> None:
    tree.samples("whole")
    for name in ("c", "a", "b/d"):
        tree.sample(name, ["points.pt"])
    assert [row.id for row in listed(tree).skipped] == ["a", "b/d", "c"]


def test_a_folder_without_any_file_of_the_map_is_passed_over(tree: Tree) -> None:
    tree.samples("whole")
    tree.put("none/notes.txt")
    assert listed(tree).skipped == []


# Limit


@pytest.mark.parametrize(("limit", "expected"), [(1, 1), (2, 2), (3, 3), (9, 3), (None, 3)])
def test_limit_takes_the_first_samples(limit: int | None, expected: int, tree: Tree) -> None:
    tree.samples("c", "a", "b")
    assert ids(listed(tree, limit=limit)) == ["a", "b", "c"][:expected]


def test_limit_counts_complete_samples(tree: Tree) -> None:
    tree.sample("a", ["points.pt"])
    tree.samples("b", "c", "d")
    assert ids(listed(tree, limit=2)) == ["b", "c"]


# Sources that are none


@pytest.mark.parametrize("written", ["{tree}/nowhere", "{tree}/run_1/points.pt"])
def test_a_source_that_is_no_folder_is_refused(written: str, tree: Tree) -> None:
    tree.samples("run_1")
    url = written.format(tree=tree.url)
    with pytest.raises(SettingsError) as caught:
        listing_of(source_url=url)
    assert f"source_url: {url!r}" in str(caught.value)
    assert "Check the path" in str(caught.value)


def test_a_relative_source_that_is_not_there_is_refused_with_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError) as caught:
        listing_of(source_url="data/cars")
    assert "'data/cars'" in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_source_without_a_sample_is_refused_with_the_files_of_one(tree: Tree) -> None:
    tree.put("run_1/other.pt")
    with pytest.raises(SettingsError) as caught:
        listed(tree)
    message = str(caught.value)
    assert f"no complete sample below {tree.url!r}" in message
    assert "points.pt, pressure.pt" in message
    assert "filemap" in message


def test_a_source_of_incomplete_samples_is_refused_with_the_first_of_them(tree: Tree) -> None:
    tree.sample("a", ["points.pt"])
    tree.sample("b", ["points.pt"])
    with pytest.raises(SettingsError) as caught:
        listed(tree)
    assert "2 were skipped" in str(caught.value)
    assert "a: pressure.pt" in str(caught.value)


def test_a_folder_that_may_not_be_read_is_skipped_and_told(
    local: LocalTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.samples("a", "locked/b")
    scandir = os.scandir

    def guarded(path: str) -> object:
        if os.fspath(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    # Not chmod: tests may run as root, whom nothing is locked for.
    monkeypatch.setattr(os, "scandir", guarded)
    listing = listed(local)
    assert ids(listing) == ["a"]
    assert skipped(listing) == {"locked": ("unreadable", "")}
    assert "Permission denied" in listing.skipped[0].cause
    [warning] = listing.warnings
    assert "locked cannot be listed: Permission denied" in warning


def test_a_source_that_may_not_be_read_is_refused(
    local: LocalTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.samples("a")

    def refuse(path: str) -> object:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SettingsError, match="cannot be listed: Permission denied"):
        listed(local)


JUNK = (".snapshot", ".Trash-1000", ".git", "@eaDir", "lost+found", "__MACOSX")
JUNK += (".ipynb_checkpoints",)


def test_copies_in_folders_of_systems_and_tools_are_no_samples(tree: Tree) -> None:
    tree.samples("a", *(f"{name}/a" for name in JUNK), *(f"deep/{name}/hourly/a" for name in JUNK))
    tree.samples("snapshot", "git")
    listing = listed(tree)
    assert ids(listing) == ["a", "git", "snapshot"]
    [warning] = listing.warnings
    assert f"{2 * len(JUNK)} folders of systems and tools" in warning


def test_a_folder_of_a_system_that_may_not_be_read_does_not_matter(
    local: LocalTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.samples("a", "lost+found/b")
    scandir = os.scandir

    def guarded(path: str) -> object:
        if os.fspath(path).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    listing = listed(local)
    assert ids(listing) == ["a"]
    assert listing.skipped == []


NEAR = {
    "capitals": "points.PT",
    "another ending": "points.pth",
    "unfinished": "points.pt.part",
    "a browser's": "points.pt.crdownload",
    "packed": "points.pt.gz",
    "a second copy": "points (1).pt",
}


@pytest.mark.parametrize("name", list(NEAR.values()), ids=list(NEAR))
def test_a_file_of_nearly_the_name_is_told(name: str, tree: Tree) -> None:
    tree.samples("good")
    tree.put(f"all/{name}")
    tree.put(f"some/{name}")
    tree.put("some/pressure.pt")
    tree.put("neither/readme.txt")
    listing = listed(tree)
    assert ids(listing) == ["good"]
    assert skipped(listing) == {
        "all": ("incomplete", "points.pt, pressure.pt"),
        "some": ("incomplete", "points.pt"),
    }
    for row in listing.skipped:
        assert f"there is {name} for points.pt" in row.cause
        assert "rename" in row.remedy


def test_an_empty_folder_is_told_unless_it_lies_in_a_sample(local: LocalTree) -> None:
    local.samples("good")
    for folder in ("empty", "good/logs", "deep/empty"):
        (local.path / folder).mkdir(parents=True)
    assert skipped(listed(local)) == {
        "deep/empty": ("incomplete", "points.pt, pressure.pt"),
        "empty": ("incomplete", "points.pt, pressure.pt"),
    }


def test_excluded_samples_are_skipped_and_told(tree: Tree) -> None:
    tree.samples("run_1", "run_2", "old/a", "old/b")
    listing = listed(tree, exclude=["run_2", "old/*", "run_9"])
    assert ids(listing) == ["run_1"]
    kinds = {row.id: row.kind for row in listing.skipped}
    assert kinds == dict.fromkeys(("old/a", "old/b", "run_2"), "excluded")
    assert "'old/*'" in listing.skipped[0].cause
    [warning] = listing.warnings
    assert "exclude: 'run_9'" in warning
    assert ids(listed(tree, exclude="run_1,run_2")) == ["old/a", "old/b"]


# Any fsspec URL


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


def test_all_of_a_file_system_is_a_source(memory: MemoryTree) -> None:
    memory.samples("run_1")
    assert f"{memory.root[1:]}/run_1" in ids(listing_of(source_url="memory://"))


@pytest.mark.parametrize(
    "name", ["two words", "[a-z]*", "100%", "%20", "{x}", "ü", "#1", "it's", "~", "-x"]
)
def test_the_source_may_have_a_strange_name(name: str, tree: Tree) -> None:
    tree.samples(f"{name}/run_1")
    assert ids(listing_of(source_url=f"{tree.url}/{name}")) == ["run_1"]


# Hostile ids

STRANGE = {
    "spaces": " two  words ",
    "single quotes": "it's",
    "double quotes": 'say "hi"',
    "per cent": "100%",
    "an escape": "a%2Fb%00",
    "braces": "{key}/{{x}}",
    "unicode": "ünï/çødé/\U0001f3ce",
    "decomposed letters": "e\u0301",
    "a line feed": "line\nfeed",
    "a tab": "tab\there",
    "a carriage return": "carriage\rreturn",
    "line ends of unicode": "a\u2028b\x85c",
    "an escape sequence": "\x1b[31mred",
    "a leading dash": "-rf/--help=1",
    "a shell's words": "$(id); `id` && $HOME | x > y",
    "a pattern": "[a-z]*?/**",
    "tilde, comment, colon": "~/#no/a:b::c",
    "hidden": ".hidden/..x/...",
    "a word for nothing": "NA/null/nan",
    "a number": "0012/1e5",
    "the longest name": "n" * 250,
    "zarr elsewhere": "a.zarr.old/xzarr",
}


@pytest.mark.parametrize("name", list(STRANGE.values()), ids=list(STRANGE))
def test_an_id_may_hold(name: str, tree: Tree) -> None:
    part = f"part/{name}"
    tree.samples("before", name)
    tree.sample(part, ["points.pt"])
    listing = listed(tree)
    assert ids(listing) == sorted(["before", name])
    assert skipped(listing) == {part: ("incomplete", "pressure.pt")}
    [key] = [sample.key for sample in listing.samples if sample.id == name]
    assert re.fullmatch(r"[A-Za-z0-9_.~%-]{1,180}", key)
    if "~" not in key:
        assert unquote(key) == name


@pytest.mark.parametrize(
    "name",
    [
        "back\\slash",
        "..\\up",
        "group.zarr/run_1",
        "a/group.zarr/b/run_1",
        ".aerozarr-partial/run_1",
        "n" * 251,
        "ü" * 126,
    ],
    ids=[
        "a backslash",
        "the folder above on Windows",
        "a folder like a group's",
        "a deep folder like a group's",
        "the place of unfinished groups",
        "a name too long",
        "a name too long in bytes",
    ],
)
def test_an_id_is_refused_with(name: str, tree: Tree) -> None:
    tree.samples("good", name)
    listing = listed(tree)
    assert ids(listing) == ["good"]
    assert skipped(listing) == {name: ("invalid_id", "")}
    assert listing.skipped[0].cause
    assert str(listing.skipped[0]).isprintable()


@pytest.mark.parametrize(
    "name",
    [
        "a/../b",
        "../b",
        "a/..",
        "./a",
        "a/./b",
        "a//b",
        "zero\0byte",
        "half a pair \ud83d",
        "/".join(["n" * 200] * 25),
    ],
    ids=[
        "two dots",
        "two dots first",
        "two dots last",
        "a dot first",
        "a dot within",
        "an empty part",
        "a zero byte",
        "half a surrogate pair",
        "a path too long",
    ],
)
def test_an_object_key_is_refused_with(name: str, memory: MemoryTree) -> None:
    memory.samples("good", name)
    listing = listed(memory)
    assert ids(listing) == ["good"]
    assert skipped(listing) == {name: ("invalid_id", "")}


def test_an_object_key_that_leads_to_another_sample_does_not_replace_it(
    memory: MemoryTree,
) -> None:
    memory.put("b/points.pt", b"b's own")
    memory.put("b/pressure.pt", b"b's own")
    memory.put("a/../b/points.pt", b"not b's")
    memory.put("a/../b/pressure.pt", b"not b's")
    [sample] = listed(memory).samples
    assert (sample.id, sample.sizes) == ("b", (7, 7))


@pytest.fixture
def not_utf8(local: LocalTree) -> LocalTree:
    local.samples("good")
    folder = os.fsencode(local.url) + b"/bad_\xff\xe9"
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("this file system has no such names")
    for file in FILES:
        with open(folder + b"/" + file.encode(), "wb") as stream:
            stream.write(b"x")
    return local


def test_a_name_that_is_no_utf_8_is_refused(not_utf8: LocalTree) -> None:
    listing = listed(not_utf8)
    assert ids(listing) == ["good"]
    [row] = listing.skipped
    assert row.kind == "invalid_id"
    assert row.id.startswith("bad_")
    assert str(row).isprintable()
    str(row).encode("utf-8")


def test_a_name_that_is_no_utf_8_reaches_the_table_of_those_left_out(
    not_utf8: LocalTree, tmp_path: Path
) -> None:
    config = {"source_url": not_utf8.url, "filemap": FILEMAP}
    places = {"store": str(tmp_path / "store"), "workdir": str(tmp_path / "work")}
    run_config = RunConfig.of(load_settings({**config, **places}))
    prepare_run(run_config, runs_jobs=True)
    samples, incomplete = tmp_path / "work/samples.tsv", tmp_path / "work/incomplete.tsv"
    list_samples(run_config, table=samples, incomplete=incomplete)
    assert [sample.id for sample in read_samples(samples)] == ["good"]
    [row] = read_skipped(incomplete)
    assert row.kind == "invalid_id"
    assert row.id.startswith("bad_")


# Links


def test_a_linked_folder_is_a_sample_under_the_links_name(local: LocalTree, tmp_path: Path) -> None:
    elsewhere = LocalTree(tmp_path / "elsewhere")
    elsewhere.samples("one", "many/a", "many/b")
    local.link("runs/first", elsewhere.path / "one")
    local.link("more", elsewhere.path / "many")
    assert ids(listed(local)) == ["more/a", "more/b", "runs/first"]


def test_of_two_links_to_a_folder_the_first_names_it(local: LocalTree, tmp_path: Path) -> None:
    elsewhere = LocalTree(tmp_path / "elsewhere")
    elsewhere.samples("one")
    for name in ("b", "a", "c"):
        local.link(name, elsewhere.path / "one")
    assert [sample.id for sample in listed(local).samples] == ["a"]


def test_linked_files_are_files(local: LocalTree, tmp_path: Path) -> None:
    elsewhere = LocalTree(tmp_path / "elsewhere")
    for file in FILES:
        elsewhere.put(file, b"12345")
        local.link(f"run_1/{file}", elsewhere.path / file)
    [sample] = listed(local).samples
    assert (sample.id, sample.sizes) == ("run_1", (5, 5))


def test_the_source_itself_may_be_a_link(local: LocalTree, tmp_path: Path) -> None:
    local.samples("run_1")
    (tmp_path / "link").symlink_to(local.path)
    assert listing_of(source_url=str(tmp_path / "link")) == listed(local)


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("loop", "."),
        ("loop", "../source"),
        ("run_1/up", ".."),
        ("run_1/self", "."),
        ("run_1/deep/er/top", "../../.."),
        ("loop", "loop"),
        ("dangling", "nowhere"),
        ("run_1/dangling", "../nowhere"),
        ("file", "run_1/points.pt"),
    ],
    ids=[
        "leads to the source",
        "leads to the source by its name",
        "leads to the folder above",
        "leads to its own folder",
        "leads to the source from deep below",
        "leads to itself",
        "leads nowhere",
        "leads nowhere within a sample",
        "leads to a file",
    ],
)
def test_a_link_adds_no_sample_that(link: str, target: str, tmp_path: Path) -> None:
    local = LocalTree(tmp_path / "only/source")
    local.samples("run_1", "run_2")
    local.link(link, target)
    listing = listed(local)
    assert ids(listing) == ["run_1", "run_2"]
    assert listing.skipped == []


@pytest.mark.parametrize("target", ["nowhere", "points.pt"], ids=["nowhere", "to itself"])
def test_a_file_that_is_a_link_leading(target: str, local: LocalTree) -> None:
    local.samples("whole")
    local.put("part/pressure.pt")
    local.link("part/points.pt", target)
    listing = listed(local)
    assert ids(listing) == ["whole"]
    assert skipped(listing) == {"part": ("incomplete", "points.pt")}


@pytest.mark.parametrize(
    ("link", "target", "own"),
    [
        ("best", "runs/run_1", ["runs/run_1"]),
        ("zz_best", "runs/run_1", ["runs/run_1"]),
        ("all", "runs", ["runs/run_1", "runs/run_2"]),
        ("a/b", "../runs/run_2", ["runs/run_1", "runs/run_2"]),
        ("runs/run_0", "run_1", ["runs/run_1", "runs/run_2"]),
    ],
    ids=["before it", "after it", "to the folder above it", "in another folder", "beside it"],
)
def test_a_sample_keeps_its_id_when_a_link_leads_to_it_from(
    link: str, target: str, own: list[str], local: LocalTree
) -> None:
    local.samples("runs/run_1", "runs/run_2")
    local.link(link, target)
    assert set(own) <= set(ids(listed(local)))


def test_two_folders_that_link_to_each_other_are_two_samples(local: LocalTree) -> None:
    local.samples("a", "b")
    local.link("a/to_b", "../b")
    local.link("b/to_a", "../a")
    assert {"a", "b"} <= set(ids(listed(local)))


def test_folders_that_all_link_to_each_other_are_listed_without_end_or_loss(
    local: LocalTree,
) -> None:
    names = [f"run_{number}" for number in range(8)]
    local.samples(*names)
    for name in names:
        for other in names:
            local.link(f"{name}/to/{other}", f"../../{other}")
    found = ids(listed(local))
    assert set(names) <= set(found)
    assert len(found) <= 8 + 8 * 8


def test_many_folders_that_link_to_the_source_are_listed_in_time(local: LocalTree) -> None:
    names = [f"run_{number:02}" for number in range(40)]
    local.samples(*names)
    for name in names:
        local.link(f"{name}/all", "..")
    assert ids(listed(local)) == names


# Fingerprints and digests of real files

MTIME = (1_700_000_000, 1_700_000_000)


@pytest.fixture
def three(local: LocalTree) -> LocalTree:
    local.samples("a", "b", "c")
    local.put("part/points.pt")
    for path in local.path.rglob("*.pt"):
        os.utime(path, MTIME)
    return local


def touch(tree: LocalTree, nanoseconds: int) -> None:
    seconds = 1_700_000_000 * 10**9 + nanoseconds
    os.utime(tree.path / "b/points.pt", ns=(seconds, seconds))


def rewrite(tree: LocalTree, content: bytes) -> None:
    tree.put("b/points.pt", content)
    os.utime(tree.path / "b/points.pt", MTIME)


FILE_CHANGES: dict[str, Callable[[LocalTree], object]] = {
    "a second": lambda tree: touch(tree, 10**9),
    "a microsecond": lambda tree: touch(tree, 1000),
    "a second back": lambda tree: touch(tree, -(10**9)),
    "a byte more at the same time": lambda tree: rewrite(tree, b"contents"),
    "a byte less at the same time": lambda tree: rewrite(tree, b"conten"),
}
NO_FILE_CHANGES: dict[str, Callable[[LocalTree], object]] = {
    "nothing": lambda tree: None,
    "a file is read": lambda tree: (tree.path / "b/points.pt").read_bytes(),
    "the time of its reading": lambda tree: os.utime(tree.path / "b/points.pt", (1, 1_700_000_000)),
    "its mode": lambda tree: (tree.path / "b/points.pt").chmod(0o600),
    "a file that is not in the file map": lambda tree: tree.put("b/notes.txt"),
    "a folder within it": lambda tree: (tree.path / "b/plots").mkdir(),
    "the time of its folder": lambda tree: os.utime(tree.path / "b", (1, 1)),
    "a folder without samples": lambda tree: tree.put("docs/readme.txt"),
}


def fingerprints(tree: Tree) -> dict[str, str]:
    return {sample.id: sample.fingerprint for sample in listed(tree).samples}


@pytest.mark.parametrize("change", list(FILE_CHANGES.values()), ids=list(FILE_CHANGES))
def test_the_fingerprint_of_a_sample_changes_with(
    change: Callable[[LocalTree], object], three: LocalTree
) -> None:
    before, digest = fingerprints(three), listed(three).digest()
    change(three)
    after = fingerprints(three)
    assert after["b"] != before["b"]
    assert (after["a"], after["c"]) == (before["a"], before["c"])
    assert listed(three).digest() != digest


@pytest.mark.parametrize("change", list(NO_FILE_CHANGES.values()), ids=list(NO_FILE_CHANGES))
def test_neither_fingerprint_nor_digest_changes_with(
    change: Callable[[LocalTree], object], three: LocalTree
) -> None:
    before, digest = fingerprints(three), listed(three).digest()
    change(three)
    assert fingerprints(three) == before
    assert listed(three).digest() == digest


def test_a_source_that_moves_as_a_whole_keeps_its_fingerprints(
    three: LocalTree, tmp_path: Path
) -> None:
    before = fingerprints(three)
    three.path.rename(tmp_path / "moved")
    assert fingerprints(LocalTree(tmp_path / "moved")) == before


DIGEST_CHANGES: dict[str, Callable[[Tree], object]] = {
    "new": lambda tree: tree.sample("d"),
    "gone": lambda tree: tree.remove("b"),
    "written anew": lambda tree: tree.put("b/points.pt", b"other content"),
    "no longer whole": lambda tree: tree.remove("b/points.pt"),
    "at last whole": lambda tree: tree.put("part/pressure.pt"),
    "new and incomplete": lambda tree: tree.put("d/points.pt"),
}


@pytest.mark.parametrize("change", list(DIGEST_CHANGES.values()), ids=list(DIGEST_CHANGES))
def test_the_digest_changes_when_a_sample_is(change: Callable[[Tree], object], tree: Tree) -> None:
    tree.samples("a", "b", "c")
    tree.put("part/points.pt")
    before = listed(tree).digest()
    change(tree)
    assert listed(tree).digest() != before


def test_the_digest_does_not_change_by_listing_again(tree: Tree) -> None:
    tree.samples("a", "b/c")
    tree.put("part/points.pt")
    assert listed(tree).digest() == listed(tree).digest()


def test_an_object_that_is_written_anew_with_the_same_size_is_noticed(memory: MemoryTree) -> None:
    memory.samples("a", "b")
    before = fingerprints(memory)
    memory.put("b/points.pt", b"another")
    assert len(b"another") == len(b"content")
    after = fingerprints(memory)
    assert after["a"] == before["a"]
    assert after["b"] != before["b"]


class Stamped(MemoryFileSystem):  # type: ignore[misc]
    """A store that names what changes with an object in a way of its own."""

    protocol = "stamped"
    cachable = False
    store: dict[str, Any] = {}  # noqa: RUF012 - MemoryFileSystem keeps its files in the class
    pseudo_dirs = [""]  # noqa: RUF012

    def __init__(self, name: str, value: str, **options: Any) -> None:
        super().__init__(**options)
        self.stamp = {name: value}

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("stamped://", "memory://")))

    find = AbstractFileSystem.find  # which asks ls

    def _stamped(self, entry: dict[str, Any]) -> dict[str, Any]:
        plain = {key: entry[key] for key in ("name", "size", "type")}
        return plain | (self.stamp if entry["name"].endswith("points.pt") else {})

    def info(self, path: str, **options: Any) -> Any:
        return self._stamped(super().info(path, **options))

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        entries = [self._stamped(entry) for entry in super().ls(path, detail=True, **options)]
        return entries if detail else [entry["name"] for entry in entries]


@pytest.fixture
def stamped() -> Iterator[None]:
    fsspec.register_implementation("stamped", Stamped, clobber=True)
    store = Stamped("none", "none")
    for file in FILES:
        store.pipe_file(f"/cars/run_1/{file}", b"content")
    store.pipe_file("/cars/ids.txt", b"run_1\n")
    yield
    Stamped.store.clear()


ROOT = {
    "source_root": "stamped://cars",
    "dataset": "emmi_wing",
    "split_files": {"train": "ids.txt"},
    "splits": ["train"],
}


STAMPS = ["ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime", "created"]
STAMPS += ["blob_id", "CRC", "sha"]  # of Hugging Face, of zip files, of GitHub


@pytest.mark.parametrize("name", STAMPS)
@pytest.mark.parametrize("source", [{"source_url": "stamped://cars"}, ROOT], ids=["url", "root"])
def test_a_change_is_noticed_where_a_store_calls_it(
    name: str, source: dict[str, Any], stamped: None
) -> None:
    def stamps(value: str) -> list[str]:
        options = {"stamped": {"name": name, "value": value}}
        listing = listing_of(**source, storage_options=options)
        return [sample.fingerprint for sample in listing.samples]

    assert len(stamps("one")) == 1
    assert stamps("one") == stamps("one") != stamps("other")


# Whether a sample is still there


@pytest.mark.parametrize(
    ("sample_id", "expected"),
    [
        ("run_1", True),
        ("a/b", True),
        ("part", False),
        ("nowhere", False),
        ("run_1/points.pt", False),
        ("../source/run_1", False),
        ("", False),
    ],
    ids=["whole", "deep", "incomplete", "gone", "a file", "outside", "the source"],
)
def test_a_sample_is_there(sample_id: str, expected: bool, tree: Tree) -> None:
    tree.samples("run_1", "a/b")
    tree.put("part/points.pt")
    for file in FILES:
        tree.put(file)
    base = open_location(tree.url, {}, key="source_url")
    assert is_there(base, sample_id, FILES) is expected


@pytest.mark.parametrize(
    ("config", "below"),
    [
        ({"source_root": "{tree}", "dataset": "shapenet_car"}, "/preprocessed"),
        ({"source_root": "{tree}/preprocessed", "dataset": "shapenet_car"}, "/preprocessed"),
        ({"source_url": "{tree}", "dataset": "shapenet_car"}, ""),
        ({"source_root": "{tree}", "dataset": "drivaerml"}, ""),
    ],
    ids=["the subfolder", "the root that is it", "the prefix", "the root without a subfolder"],
)
def test_ids_are_paths_below(config: dict[str, str], below: str, tree: Tree) -> None:
    tree.samples("preprocessed/param0/a")
    settings = load_settings({key: text.format(tree=tree.url) for key, text in config.items()})
    url = settings.source_url or settings.source_root
    assert url is not None
    base = open_source(settings, resolve_dataset(settings), url).base
    assert base.path == open_location(f"{tree.url}{below}", {}, key="source_url").path


# What a start of Snakemake does not pay for


def test_listing_a_source_does_not_import_torch(local: LocalTree) -> None:
    local.samples("run_1", "preprocessed/param0/a", "preprocessed/param1/b")
    local.lines("ids.txt", "run_1")
    code = f"""
        import sys
        import aerozarr.config.settings, aerozarr.config.fields, aerozarr.source.datasets
        import aerozarr.source.splits, aerozarr.source.sample_table
        from aerozarr.config.load_settings import load_settings
        from aerozarr.source.datasets import resolve_dataset
        from aerozarr.source.open_source import open_source
        def listed(**config):
            settings = load_settings(dict(config, filemap={FILEMAP}))
            url = settings.source_url or settings.source_root
            listing = open_source(settings, resolve_dataset(settings), url).list()
            listing.digest()
            return [sample.id for sample in listing.samples]
        here = {local.url!r}
        print(listed(source_url=here))
        print(listed(dataset="shapenet_car", source_root=here))
        print(listed(dataset="emmi_wing", source_root=here, split_files=dict(train="ids.txt")))
        print([name for name in ("torch",) if name in sys.modules])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        check=True,
        text=True,
        env={"PYTHONPATH": str(REPOSITORY / "scripts")},
    )
    assert done.stdout.splitlines() == [
        "['preprocessed/param0/a', 'preprocessed/param1/b', 'run_1']",
        "['param1/b', 'param0/a']",
        "['run_1']",
        "[]",
    ]


def test_listing_reads_no_file_of_a_sample(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.samples("a", "b")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file was read")

    location = open_location(tree.url, {}, key="source_url")
    for name in ("open", "_open", "cat_file", "get_file"):
        monkeypatch.setattr(type(location.fs), name, refuse)
    settings = load_settings({"source_url": tree.url, "filemap": FILEMAP})
    assert ids(open_source(settings, resolve_dataset(settings), tree.url).list()) == ["a", "b"]


# The lock of a work folder

HOLDER = """
    import sys, time
    from pathlib import Path
    from aerozarr.filesystems.files import lock
    held = lock(Path(sys.argv[1]))
    print("held", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(tmp_path / ".lock")],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(REPOSITORY / "scripts")},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_holder_of_a_lock_is_refused_with_the_process_of_the_first(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    for _ in range(2):  # being refused does not take the name of the first away
        with pytest.raises(StoreError) as caught:
            lock(tmp_path / ".lock")
        assert re.search(rf"\bprocess {holder.pid}\b", str(caught.value))
        assert str(tmp_path) in str(caught.value)
        assert "workdir" in str(caught.value)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_lock_is_free_again_when_its_holder_is_ended_by(
    number: signal.Signals, holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    holder.send_signal(number)
    holder.wait(timeout=30)
    with lock(tmp_path / ".lock"):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
        with pytest.raises(StoreError, match=rf"\bprocess {os.getpid()}\b"):
            lock(tmp_path / ".lock")


def test_a_lock_is_free_again_when_it_is_closed(tmp_path: Path) -> None:
    lock(tmp_path / ".lock").close()
    lock(tmp_path / ".lock").close()


def test_locks_of_two_work_folders_are_independent(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    lock(other / ".lock").close()
    assert holder.poll() is None


def test_a_lock_does_not_pass_to_the_programs_that_its_holder_starts(tmp_path: Path) -> None:
    held = lock(tmp_path / ".lock")
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        held.close()
        lock(tmp_path / ".lock").close()
        child.kill()
