"""Groups that no manifest lists: told, and removed when that is asked for."""

import pytest

from aerozarr.errors import StoreError
from aerozarr.merge.merge_manifest import merge_fragments
from aerozarr.merge.remove_orphans import remove_groups
from unit.fragment_helpers import broken, converted, files_of_samples, put_group, record
from unit.store_helpers import files_below, put_file

ODD_IDS = ("run_*", "run_?", "run[1]", "a b", "ü/数", "x.zarr")


def test_orphans_are_reported_in_order_and_left_alone(make, url):
    run_config = make()
    samples = [converted(run_config, "run_1"), broken(run_config, "run_2")]
    for name in ("run_9", "old/run_1", *ODD_IDS):
        put_group(run_config, name)
    record(run_config, "run_9", "old/run_1", *ODD_IDS)
    put_group(run_config, "foreign")
    before = files_below(url)
    summary, _ = merge_fragments(run_config, samples, [])
    assert summary.orphans == sorted(["run_9", "old/run_1", *ODD_IDS])
    assert any("remove_orphans" in line for line in summary.lines())
    after = files_below(url)
    assert {path: after[path] for path in before} == before


def test_remove_orphans_removes_them_and_nothing_else(make, url):
    run_config = make()
    samples = [converted(run_config, "run_1"), converted(run_config, "ü/run_2")]
    merge_fragments(run_config, samples, [])
    put_file(url, "statistics.json", b"{}")
    put_file(url, "notes/readme.txt", b"mine")
    put_group(run_config, "foreign")
    put_group(run_config, "other_store/run_9")
    put_file(url, "other_store/manifest.json", b"{}")
    before = files_of_samples(url)
    for name in ("run_9", "old/run_1", "run_1/x"):
        put_group(run_config, name)
    record(run_config, "run_9", "old/run_1", "run_1/x", "other_store/run_9", "long_gone")
    assert remove_groups(run_config) == (["old/run_1", "run_1/x", "run_9"], {})
    assert files_of_samples(url) == before
    assert remove_groups(run_config) == ([], {})
    assert files_of_samples(url) == before


def test_what_is_put_where_a_removed_group_was_is_not_removed(make, url):
    run_config = make()
    merge_fragments(run_config, [converted(run_config, "run_1")], [])
    put_group(run_config, "run_9")
    record(run_config, "run_9")
    assert remove_groups(run_config) == (["run_9"], {})
    put_group(run_config, "run_9")
    assert remove_groups(run_config) == ([], {})


def test_a_group_that_holds_somebodys_own_files_is_not_removed(make, url):
    run_config = make()
    merge_fragments(run_config, [converted(run_config, "run_1")], [])
    for name in ("run_8", "run_9"):
        put_group(run_config, name)
    record(run_config, "run_8", "run_9")
    put_file(url, "run_8.zarr/.DS_Store", b"what a desktop leaves")
    put_file(url, "run_9.zarr/volume/notes.txt", b"mine")
    before = files_of_samples(url)
    removed, kept = remove_groups(run_config)
    assert (removed, kept) == (["run_8"], {"run_9": "volume/notes.txt"})
    assert files_of_samples(url) == {p: c for p, c in before.items() if "run_8.zarr" not in p}
    assert remove_groups(run_config) == ([], kept), "it is still known as ours"


@pytest.mark.parametrize("orphan", ODD_IDS)
def test_remove_orphans_takes_no_id_for_a_pattern(make, url, orphan):
    run_config = make()
    kept = [name for name in ("run_1", "run_2", "run1", *ODD_IDS) if name != orphan]
    merge_fragments(run_config, [converted(run_config, name) for name in kept], [])
    before = files_of_samples(url)
    put_group(run_config, orphan)
    record(run_config, orphan)
    assert remove_groups(run_config) == ([orphan], {})
    assert files_of_samples(url) == before


def test_remove_orphans_refuses_without_a_manifest(make, url):
    run_config = make()
    put_group(run_config, "run_1")
    before = files_below(url)
    with pytest.raises(StoreError, match=r"manifest\.json"):
        remove_groups(run_config)
    assert files_below(url) == before
