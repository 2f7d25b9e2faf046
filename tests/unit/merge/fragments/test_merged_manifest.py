"""The manifest that a merge writes."""

import pytest

from aerozarr.merge.merge_manifest import merge_fragments
from unit.fragment_helpers import (
    MANIFEST,
    SKIPPED,
    broken,
    converted,
    expected_manifest,
    left_out_row,
    listed,
)
from unit.store_helpers import files_below


def test_manifest_bytes(make, url):
    run_config = make()
    ids = ["run_1", "param1/ü 数据"]
    merge_fragments(run_config, [converted(run_config, name) for name in ids], [])
    content = files_below(url)[MANIFEST]
    assert content == expected_manifest(ids)
    assert "ü 数据".encode() in content
    assert not content.endswith(b"\n")


@pytest.mark.parametrize(
    "ids",
    [
        ["run_1", "run_10", "run_2"],
        ["run_2", "run_10", "run_1"],
        ["test/b", "test/a", "train/z", "train/c"],
    ],
    ids=["ascending", "descending", "split-after-split"],
)
def test_samples_are_in_the_order_of_the_table(make, url, ids):
    run_config = make()
    by_id = {name: converted(run_config, name) for name in sorted(ids, key=hash)}
    merge_fragments(run_config, [by_id[name] for name in ids], [])
    assert files_below(url)[MANIFEST] == expected_manifest(ids)


@pytest.mark.parametrize(
    ("settings", "head"),
    [
        ({"dataset_name": "Wägen 2"}, {"dataset_name": "Wägen 2"}),
        ({"shuffle_seed": 42}, {"shuffle_seed": 42}),
        ({"compression": {"cname": "lz4", "clevel": 1}}, {"compressor": "blosc-lz4-1"}),
        ({"on_broken_sample": "fail"}, {}),
        ({"chunk_points": 99}, {}),
    ],
    ids=str,
)
def test_settings_show_in_the_head(make, url, settings, head):
    run_config = make(**settings)
    merge_fragments(run_config, [converted(run_config, "run_1")], [])
    assert files_below(url)[MANIFEST] == expected_manifest(["run_1"], **head)


def test_time_and_memory_of_the_conversions_do_not_show(make, url):
    run_config = make()
    merge_fragments(run_config, [converted(run_config, "run_1")], [])
    first = files_below(url)[MANIFEST]
    sample = converted(run_config, "run_1", source=7, stored=9)
    merge_fragments(run_config, [sample], [left_out_row("run_2")])
    assert files_below(url)[MANIFEST] == first


def test_broken_and_incomplete_samples_are_not_listed(make, url):
    run_config = make()
    samples = [converted(run_config, "a"), broken(run_config, "b"), converted(run_config, "c")]
    summary, _ = merge_fragments(run_config, samples, [left_out_row("d")])
    assert files_below(url)[MANIFEST] == expected_manifest(["a", "c"])
    assert summary.samples == 2


def test_an_older_manifest_is_replaced(make, url):
    run_config = make()
    run_config.store.publish(MANIFEST, b"x" * 10_000)
    merge_fragments(run_config, [converted(run_config, "run_1")], [])
    assert listed(url) == ["run_1"]


def test_fragments_that_are_not_in_the_table_are_not_listed(make, url):
    run_config = make()
    converted(run_config, "run_2")
    merge_fragments(run_config, [converted(run_config, "run_1")], [])
    assert listed(url) == ["run_1"]


def test_the_merge_writes_files_beside_the_groups_and_none_in_them(make, url):
    run_config = make()
    samples = [converted(run_config, "run_1")]
    before = files_below(url)
    merge_fragments(run_config, samples, [])
    after = files_below(url)
    beside = {MANIFEST, SKIPPED, "checksums.tsv", "provenance.json"}
    beside |= {"moments.jsonl", "statistics.json"}
    assert set(after) - set(before) == beside
    assert {path: after[path] for path in before} == before


def test_the_merge_clears_away_what_killed_jobs_left(make, url):
    run_config = make()
    samples = [converted(run_config, "run_1")]
    half = run_config.store.write_group("run_1")
    half.put("volume/position/c/0/0", b"half")
    merge_fragments(run_config, samples, [])
    assert not [path for path in files_below(url) if "partial" in path]
