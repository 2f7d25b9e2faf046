"""What is compared of a store that may have been put back: behind a URL, as little as can be."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aerozarr.convert.fragment import Fragment
from aerozarr.filesystems.files import write_atomically
from aerozarr.merge.sidecars import checksums
from aerozarr.run_config import RunConfig
from aerozarr.store.format.layout import group_path
from aerozarr.store.write.records import Written, record_written
from aerozarr.workflow.put_back import compared_if_put_back
from aerozarr.workflow.state import State
from unit.store_helpers import project_of, put_file, url_of

MANIFEST = json.dumps({"samples": {}}).encode()


@pytest.fixture(params=["folder", "memory-url"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunConfig]:
    made = project_of(url_of(request.param, tmp_path / "stores"), tmp_path / "work")
    Path(made.fragments).mkdir(parents=True)
    made.record_written(Written("drivaerml", (), frozenset("ab"), made.writer))
    yield made


@pytest.fixture
def recorded(config: RunConfig) -> dict[str, Fragment]:
    """Fragments of two samples whose groups, and the table of checksums, are as they say."""
    fragments = {}
    for sample in "ab":
        content = f"values of {sample}".encode()
        objects = {"zarr.json": (len(content), hashlib.sha256(content).hexdigest())}
        fragments[sample] = Fragment(sample_id=sample, status="converted", objects=objects)
        write_atomically(config.fragment(sample), fragments[sample].to_json())
        put_file(str(config.settings.store), f"{group_path(sample)}/zarr.json", content)
    table = checksums([*fragments.values()], {"manifest.json": MANIFEST})
    put_file(str(config.settings.store), "checksums.tsv", table)
    put_file(str(config.settings.store), "manifest.json", MANIFEST)
    return fragments


Compared = Callable[[], State]


@pytest.fixture
def compared(config: RunConfig, recorded: dict[str, Fragment]) -> Compared:
    def compared() -> State:
        found = {"a": recorded["a"]}  # of `b`, nothing is asked just now
        files = config.store.all_files()
        return compared_if_put_back(config, State([], {}, {}, found, None, None, files))

    return compared


def other(config: RunConfig, sample: str) -> None:
    """Have a group hold other bytes of the same number."""
    content = f"VALUES of {sample}".encode()
    put_file(str(config.settings.store), f"{group_path(sample)}/zarr.json", content)


def put_back(config: RunConfig) -> None:
    record_written(config.store, Written("drivaerml", (), frozenset("ab"), mark="of before"))


def test_a_store_as_it_was_left_is_not_looked_into(
    config: RunConfig, compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aerozarr.workflow.put_back.differing_files", None)
    assert not compared().is_put_back


@pytest.mark.parametrize("table", ["of before", "cut", "gone"])
def test_of_one_that_was_put_back_what_differs_is_found(
    config: RunConfig, compared: Compared, recorded: dict[str, Fragment], table: str
) -> None:
    put_back(config)
    for sample in "ab":
        other(config, sample)
    content = b"VALUES of "
    before = [replace_objects(recorded[sample], content + sample.encode()) for sample in recorded]
    told = checksums(before, {"manifest.json": MANIFEST})
    if table == "gone":
        config.store.withdraw("checksums.tsv")
    else:
        put_file(str(config.settings.store), "checksums.tsv", told if table != "cut" else told[:40])
    state = compared()
    assert state.is_put_back
    assert "a.zarr/zarr.json" not in state.files
    assert state.unlisted == [str(config.fragment("b"))]


def test_of_one_that_was_put_back_what_is_the_same_is_kept(
    config: RunConfig, compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_back(config)
    if not config.store.location.is_local:
        # Behind a URL, the store's own table says so, and no group is read.
        read = config.store.read
        monkeypatch.setattr(
            type(config.store), "read", lambda self, name: None if ".zarr/" in name else read(name)
        )
    state = compared()
    assert state.is_put_back
    assert "a.zarr/zarr.json" in state.files
    assert state.unlisted == []


def replace_objects(fragment: Fragment, content: bytes) -> Fragment:
    objects = {"zarr.json": (len(content), hashlib.sha256(content).hexdigest())}
    return Fragment(sample_id=fragment.sample_id, status="converted", objects=objects)


def test_a_run_that_is_killed_while_it_records_its_mark_leaves_one_that_is_known(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    (before,) = config.marks
    with monkeypatch.context() as context:
        context.setattr("aerozarr.run_config.record_written", killed)
        with pytest.raises(KeyboardInterrupt):
            config.record_written(Written("drivaerml", (), frozenset("ab")))
    assert before in config.marks
    config.record_written(Written("drivaerml", (), frozenset("ab")))
    assert len(config.marks) == 1
