"""What a merge says of itself."""

import hashlib

import pytest

from aerozarr.merge.merge_manifest import merge_fragments
from aerozarr.merge.summary import Summary, read_summary
from aerozarr.messages import SHOWN
from unit.fragment_helpers import (
    MANIFEST,
    SKIPPED,
    broken,
    converted,
    files_of_samples,
    left_out_row,
    put_group,
    record,
)
from unit.store_helpers import files_below


def test_summary_of_a_merge(make, url):
    run_config = make(dataset_name="cars")
    samples = [
        converted(run_config, "run_1", source=3000, stored=1000),
        converted(run_config, "run_2", source=1000, stored=500),
        broken(run_config, "run_3"),
    ]
    put_group(run_config, "old/run_9")
    record(run_config, "old/run_9")
    summary, _ = merge_fragments(run_config, samples, [left_out_row("run_0")])
    assert summary == Summary(
        store=url,
        dataset_name="cars",
        samples=2,
        skipped=summary.skipped,
        orphans=["old/run_9"],
        source_bytes=4000,
        stored_bytes=1500,
        manifest_digest=hashlib.sha256(files_below(url)[MANIFEST]).hexdigest(),
        files=summary.files,
        recorded=summary.recorded,
        kinds={"incomplete": 1, "broken": 1},
        listed_as=hashlib.sha256(run_config.listed_as.encode()).hexdigest(),
    )
    beside = {p: data for p, data in files_of_samples(url).items() if ".zarr/" not in p}
    assert {*summary.files} == {*beside}
    assert summary.recorded == {
        path: (len(content), hashlib.sha256(content).hexdigest())
        for path, content in beside.items()
    }
    assert [text.partition(":")[0] for text in summary.skipped] == ["run_3", "run_0"]
    *_, result = summary.lines()
    assert all(
        part in result
        for part in (url, MANIFEST, "2 samples", "cars", "2 skipped", "1.5 kB", "4 kB")
    )


@pytest.mark.parametrize("count", [0, 1, SHOWN, SHOWN + 1, SHOWN + 30])
def test_summary_names_some_of_what_was_skipped_and_all_in_the_table(count):
    skipped = [f"run_{number}: cause" for number in range(count)]
    lines = Summary("store", "cars", 1, skipped, [], 0, 0, "").lines()
    assert f"{count} skipped" in lines[-1]
    assert sum(line.strip() in skipped for line in lines) == min(count, SHOWN)
    assert any(f"{count - SHOWN} more" in line for line in lines) == (count > SHOWN)
    assert any(SKIPPED in line for line in lines) == (count > 0)


def test_summary_escapes_hostile_ids():
    lines = Summary("store", "cars", 1, [], ["a\x1b[2J\nb"], 0, 0, "").lines()
    assert not any("\x1b" in line or "\n" in line for line in lines)


def test_summary_is_read_as_it_was_written(tmp_path):
    summary = Summary("store", "ü", 1, ["a: b"], ["c"], 10, 4, "abc")
    (tmp_path / "merged.json").write_text(summary.to_json(), encoding="utf-8")
    assert read_summary(tmp_path / "merged.json") == summary


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"{}", b'{"samples": 1}', b"\xff"])
def test_a_summary_that_cannot_be_read_is_none(tmp_path, content):
    if content is not None:
        (tmp_path / "merged.json").write_bytes(content)
    assert read_summary(tmp_path / "merged.json") is None
