"""Specification of stores: files beside the groups, and what killed runs leave."""

import pytest

from aerozarr.store.write import open_root
from unit.store_helpers import files_below
from unit.write_helpers import MANIFEST, NEW, leave_half_written, seen, write


def test_publish_puts_a_file_in_place_and_read_returns_it(store, url):
    assert store.read(MANIFEST) is None
    store.publish(MANIFEST, "ü".encode())
    assert store.read(MANIFEST) == "ü".encode()
    assert files_below(url) == {MANIFEST: "ü".encode()}


@pytest.mark.parametrize("content", [b"", b"short", b"longer than what was there"])
def test_publish_replaces_a_file_wholly(store, url, content):
    store.publish(MANIFEST, b"what was there")
    store.publish(MANIFEST, content)
    assert store.read(MANIFEST) == content
    assert files_below(url) == {MANIFEST: content}


def test_publish_leaves_other_files_and_groups_alone(store, url):
    write(store, "run_1", NEW)
    store.publish("skipped.tsv", b"x")
    store.publish(MANIFEST, b"{}")
    expected = {f"run_1.zarr/{path}": data for path, data in NEW.items()}
    assert seen(url) == expected | {"skipped.tsv": b"x", MANIFEST: b"{}"}


def test_withdraw_manifest_removes_it_alone_and_may_be_repeated(store, url):
    store.publish("skipped.tsv", b"x")
    store.publish(MANIFEST, b"{}")
    store.withdraw_manifest()
    store.withdraw_manifest()
    assert store.read(MANIFEST) is None
    assert files_below(url) == {"skipped.tsv": b"x"}


def test_another_process_sees_what_was_written(store, url):
    write(store, "run_1", NEW)
    store.publish(MANIFEST, b"{}")
    other = open_root(url, {}, owner="other work")
    assert other.group_ids() == {"run_1"}
    assert other.read(MANIFEST) == b"{}"
    other.remove_group("run_1")
    assert store.group_ids() == set()


@pytest.mark.parametrize("end", ["", "/", "//"], ids=["plain", "slash", "two-slashes"])
def test_a_slash_at_the_end_of_the_url_changes_nothing(url, end):
    write(open_root(url + end, {}), "a/run_1", NEW)
    assert seen(url) == {f"a/run_1.zarr/{path}": data for path, data in NEW.items()}
    assert open_root(url + end, {}).group_ids() == {"a/run_1"}


def test_clean_removes_what_killed_runs_left(store, url):
    leave_half_written(url, "work")
    leave_half_written(url, "work")
    store.clean()
    assert files_below(url) == {}


def test_clean_leaves_what_other_owners_are_writing(store, url):
    other = open_root(url, {}, owner="other work")
    with other.write_group("run_2") as group:
        group.put("volume/c/0/0", b"theirs")
        leave_half_written(url, "work")
        store.clean()
        group.commit(b"{}")
    assert files_below(url) == {"run_2.zarr/volume/c/0/0": b"theirs", "run_2.zarr/zarr.json": b"{}"}


def test_clean_leaves_groups_and_files(store, url):
    write(store, "run_1", NEW)
    store.publish(MANIFEST, b"{}")
    before = seen(url)
    store.clean()
    store.clean()
    assert files_below(url) == before
    write(store, "run_2", NEW)  # and the store is still good for writing
    assert store.group_ids() == {"run_1", "run_2"}
