"""Specification of ids that are strange, and of those that no store could hold."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from aerozarr.config.load_settings import load_settings
from aerozarr.run_config import RunConfig
from aerozarr.source.sample_table import read_samples, read_skipped
from aerozarr.workflow.list_samples import list_samples
from aerozarr.workflow.prepare import prepare_run
from unit.listing_helpers import FILEMAP, FILES, LocalTree, MemoryTree, Tree, ids, listed, skipped

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
