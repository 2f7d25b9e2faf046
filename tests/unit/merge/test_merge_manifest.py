"""Specification of the merge: the manifest, the skipped samples, refusals and orphans."""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from aerozarr.convert.fragment import Fragment
from aerozarr.convert.sample import convert
from aerozarr.errors import StoreError
from aerozarr.merge.merge_manifest import merge_fragments, merge_manifest
from aerozarr.merge.remove_orphans import remove_groups, remove_orphans
from aerozarr.merge.summary import Summary, read_summary
from aerozarr.messages import SHOWN
from aerozarr.run_config import FRAGMENT_VERSION, RunConfig
from aerozarr.source.sample_table import rows_text
from aerozarr.source.samples import Sample, Skipped
from aerozarr.store.format.layout import Grid
from aerozarr.store.write.records import Written, read_written, record_written
from unit.merge_helpers import put_fragment
from unit.store_helpers import files_below, project_of, put_file, records_of, sample_of, url_of

MANIFEST, SKIPPED = "manifest.json", "skipped.tsv"
COLUMNS = ["id", "split", "kind", "field", "file", "cause", "remedy"]
FILEMAP = {"surface_position": "x.pt", "surface_pressure": "p.pt", "volume_position": "v.pt"}
GRIDS = {"volume": Grid(23, 4, 8, 6), "surface": Grid(10, 4, 12, 3)}

# What the store format says about FILEMAP with the default settings; the order of keys counts.
HEAD = {
    "dataset_name": "drivaerml",
    "format_version": 1,
    "shuffle_seed": 0,
    "coords_dtype": "float32",
    "values_dtype": "float16",
    "compressor": "blosc-zstd-5",
    "domains": {
        "surface": {
            "position": "surface_position",
            "arrays": {
                "surface_position": {
                    "array_name": "surface/position",
                    "field": "surface_position",
                    "dtype": "float32",
                    "dim": 3,
                },
                "surface_pressure": {
                    "array_name": "surface/pressure",
                    "field": "surface_pressure",
                    "dtype": "float16",
                    "dim": 1,
                },
            },
        },
        "volume": {
            "position": "volume_position",
            "arrays": {
                "volume_position": {
                    "array_name": "volume/position",
                    "field": "volume_position",
                    "dtype": "float32",
                    "dim": 3,
                },
            },
        },
    },
}


def entry(sample_id: str) -> dict[str, Any]:
    """What the manifest says about a sample with GRIDS."""
    return {
        "relpath": f"{sample_id}.zarr",
        "domains": {
            "surface": {"n_points": 10, "chunk_points": 4, "shard_points": 12, "n_chunks": 3},
            "volume": {"n_points": 23, "chunk_points": 4, "shard_points": 8, "n_chunks": 6},
        },
    }


def expected_manifest(ids: Sequence[str], **head: Any) -> bytes:
    content = {**HEAD, **head, "samples": {sample_id: entry(sample_id) for sample_id in ids}}
    return json.dumps(content, indent=2, ensure_ascii=False).encode("utf-8")


@pytest.fixture(params=["folder", "memory-url"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(request.param, tmp_path)


@pytest.fixture
def make(url: str, tmp_path: Path) -> Callable[..., RunConfig]:
    """Makes projects that share one store and work folder."""
    return lambda **settings: project_of(url, tmp_path / "work", filemap=FILEMAP, **settings)


def put_group(run_config: RunConfig, sample_id: str, size: int = 2) -> None:
    url = str(run_config.settings.store)
    put_file(url, f"{sample_id}.zarr/volume/position/c/0/0", sample_id.encode())
    put_file(url, f"{sample_id}.zarr/zarr.json", b"{" + b" " * (size - 2) + b"}")


def record(run_config: RunConfig, *ids: str) -> None:
    """Have the store record that its runs wrote these samples, too."""
    written = read_written(run_config.store)
    groups = {*ids, *(written.groups if written else ())}
    record_written(run_config.store, Written("drivaerml", (), frozenset(groups)))


def files_of_samples(url: str) -> dict[str, bytes]:
    """Every file but what the store records of its runs."""
    found = files_below(url).items()
    return {path: content for path, content in found if not path.startswith(".aerozarr/")}


def converted(
    run_config: RunConfig,
    sample_id: str,
    *,
    group: bool = True,
    source: int = 1000,
    stored: int = 250,
) -> Sample:
    """A sample with its fragment and its group."""
    sample = sample_of(sample_id)
    fragment = Fragment(
        sample_id=sample_id,
        status="converted",
        domains=GRIDS,
        fields=records_of(run_config),
        objects={"zarr.json": (stored, "0" * 64)},
        source_bytes=source,
        seconds=1.5,
        peak_memory_mb=100.0,
    )
    put_fragment(run_config, sample, fragment)
    if group:
        put_group(run_config, sample_id, stored)
    return sample


def broken(run_config: RunConfig, sample_id: str, *, split: str = "", **row: str) -> Sample:
    """A sample with a fragment that says what is wrong."""
    sample = sample_of(sample_id, split=split)
    skipped = left_out_row(sample_id, split=split, kind="broken", **row)
    fragment = Fragment(sample_id=sample_id, status="broken", skipped=skipped)
    put_fragment(run_config, sample, fragment)
    return sample


def left_out_row(sample_id: str, **row: str) -> Skipped:
    usual = {"split": "", "kind": "incomplete", "field": "", "file": "x.pt"}
    usual |= {"cause": "is not there", "remedy": "add it"}
    return Skipped(id=sample_id, **(usual | row))  # type: ignore[arg-type]


def skipped_rows(url: str) -> list[Mapping[str, str]]:
    """The table of skipped samples, as the csv module reads it."""
    text = files_below(url)[SKIPPED].decode("utf-8")
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t"))


# The manifest ----------------------------------------------------------------------------------


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


# Skipped samples -------------------------------------------------------------------------------


def test_skipped_table_of_a_run_that_skipped_nothing_is_a_header(make, url):
    run_config = make()
    merge_fragments(run_config, [converted(run_config, "run_1")], [])
    assert files_below(url)[SKIPPED].decode().replace('"', "") == "\t".join(COLUMNS) + "\n"


def test_skipped_table_holds_what_was_left_out_and_what_is_broken(make, url):
    run_config = make()
    samples = [
        converted(run_config, "run_1"),
        broken(
            run_config, "run_2", field="volume_sdf", file="sdf.pt", cause="NaN", remedy="mend it"
        ),
    ]
    merge_fragments(
        run_config, samples, [left_out_row("run_0"), left_out_row("..", kind="invalid_id")]
    )
    rows = skipped_rows(url)
    assert list(rows[0]) == COLUMNS
    assert [list(row.values()) for row in rows] == [
        ["..", "", "invalid_id", "", "x.pt", "is not there", "add it"],
        ["run_0", "", "incomplete", "", "x.pt", "is not there", "add it"],
        ["run_2", "", "broken", "volume_sdf", "sdf.pt", "NaN", "mend it"],
    ]


def test_skipped_table_is_by_split_and_id(make, url):
    run_config = make()
    samples = [
        converted(run_config, "a"),
        broken(run_config, "run_9", split="train"),
        broken(run_config, "run_10", split="train"),
        broken(run_config, "run_5", split="test"),
    ]
    skipped = [left_out_row("run_7", split="train"), left_out_row("run_6", split="test")]
    merge_fragments(run_config, samples, skipped)
    assert [(row["split"], row["id"]) for row in skipped_rows(url)] == [
        ("test", "run_5"),
        ("test", "run_6"),
        ("train", "run_10"),
        ("train", "run_7"),
        ("train", "run_9"),
    ]


ODD_TEXTS = ("ü 数据", 'a"b', "a\tb", "a\nb", "a\r\nb", "'", "NA", "nan", "007", "=1+1", "")


@pytest.mark.parametrize("text", ODD_TEXTS, ids=repr)
def test_skipped_table_keeps_every_text(make, url, text):
    run_config = make()
    row = left_out_row("x" + text, file=text, cause=text, remedy=text)
    merge_fragments(run_config, [converted(run_config, "run_1")], [row])
    (read,) = skipped_rows(url)
    assert read == vars(row)


# Refusals --------------------------------------------------------------------------------------


def refused(run_config: RunConfig, samples: list[Sample], skipped: Sequence[Skipped] = ()) -> str:
    with pytest.raises(StoreError) as caught:
        merge_fragments(run_config, samples, list(skipped))
    return str(caught.value)


@pytest.mark.parametrize("policy", ["skip", "fail"])
def test_when_all_are_broken_the_merge_fails(make, url, policy):
    run_config = make(on_broken_sample=policy)
    run_config.store.publish(MANIFEST, b"{}")
    samples = [broken(run_config, name, cause="NaN") for name in ("run_1", "run_2")]
    message = refused(run_config, samples, [left_out_row("run_3")])
    assert "every sample is broken (2)" in message
    assert all(part in message for part in ("run_1", "run_2", "NaN"))
    assert MANIFEST not in files_below(url)


def test_with_fail_one_broken_sample_is_enough(make, url):
    run_config = make(on_broken_sample="fail")
    run_config.store.publish(MANIFEST, b"{}")
    samples = [converted(run_config, "run_1"), broken(run_config, "run_2", cause="NaN")]
    message = refused(run_config, samples)
    assert all(part in message for part in ("1 broken sample", "run_2", "NaN", "on_broken_sample"))
    assert MANIFEST not in files_below(url)


@pytest.mark.parametrize("there", [True, False])
def test_a_manifest_of_before_stays_when_the_groups_that_it_lists_are_there(make, url, there):
    run_config = make(on_broken_sample="fail")
    whole = converted(run_config, "run_1")
    merge_fragments(run_config, [whole], [])
    if not there:
        run_config.store.remove_group("run_1")
    refused(run_config, [whole, broken(run_config, "run_2", cause="NaN")])
    assert (MANIFEST in files_below(url)) is there


def test_with_fail_incomplete_samples_are_still_left_out(make, url):
    # They have no files to convert; the listing has said so.
    run_config = make(on_broken_sample="fail")
    merge_fragments(run_config, [converted(run_config, "run_1")], [left_out_row("run_2")])
    assert listed(url) == ["run_1"]


def test_a_missing_group_is_refused_and_named(make, url):
    run_config = make()
    run_config.store.publish(MANIFEST, b"{}")
    samples = [
        converted(run_config, "run_1"),
        converted(run_config, "ü/run_2", group=False),
        converted(run_config, "run_3", group=False),
    ]
    message = refused(run_config, samples)
    assert all(part in message for part in ("2 groups", "ü/run_2", "run_3", "again"))
    assert "run_1" not in message
    assert MANIFEST not in files_below(url)


def test_a_half_written_group_is_a_missing_one(make, url):
    run_config = make()
    samples = [converted(run_config, "run_1"), converted(run_config, "run_2", group=False)]
    put_file(url, "run_2.zarr/volume/zarr.json", b"{}")
    assert "run_2" in refused(run_config, samples)
    assert MANIFEST not in files_below(url)


def test_many_missing_groups_are_counted_and_not_all_named(make):
    run_config = make()
    ids = [f"run_{number:03}" for number in range(SHOWN + 7)]
    message = refused(run_config, [converted(run_config, name, group=False) for name in ids])
    assert f"{SHOWN + 7} groups" in message
    assert [name in message for name in ids] == [True] * SHOWN + [False] * 7
    assert "7 more" in message


def test_a_hostile_id_cannot_write_to_the_terminal(make):
    run_config = make()
    samples = [converted(run_config, "x\x1b[2J\nrun_1", group=False)]
    message = refused(run_config, samples)
    assert "\x1b" not in message
    assert "x\nrun_1" not in message


def test_a_missing_fragment_is_refused(make, url):
    run_config = make()
    message = refused(run_config, [converted(run_config, "run_1"), sample_of("run_2")])
    assert str(run_config.fragment(sample_of("run_2").key)) in message
    assert MANIFEST not in files_below(url)


@pytest.mark.parametrize("version", [0, FRAGMENT_VERSION + 1])
def test_a_fragment_of_another_version_is_refused_with_both_numbers(make, url, version):
    run_config = make()
    sample = converted(run_config, "run_1")
    path = run_config.fragment(sample.key)
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps({**content, "fragment_version": version}), encoding="utf-8")
    message = refused(run_config, [sample])
    assert f"version {version}" in message
    assert f"version {FRAGMENT_VERSION}" in message
    assert MANIFEST not in files_below(url)


def test_the_fragment_of_another_sample_is_refused(make, url):
    run_config = make()
    first, second = converted(run_config, "run_1"), converted(run_config, "run_2")
    run_config.fragment(first.key).replace(run_config.fragment(second.key))
    put_fragment(run_config, first, Fragment(sample_id="run_1", status="converted", domains=GRIDS))
    message = refused(run_config, [first, second])
    assert "run_1" in message
    assert "run_2" in message
    assert MANIFEST not in files_below(url)


# Summary ---------------------------------------------------------------------------------------


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


# Orphans ---------------------------------------------------------------------------------------

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
    assert remove_groups(run_config.store) == (["old/run_1", "run_1/x", "run_9"], {})
    assert files_of_samples(url) == before
    assert remove_groups(run_config.store) == ([], {})
    assert files_of_samples(url) == before


def test_what_is_put_where_a_removed_group_was_is_not_removed(make, url):
    run_config = make()
    merge_fragments(run_config, [converted(run_config, "run_1")], [])
    put_group(run_config, "run_9")
    record(run_config, "run_9")
    assert remove_groups(run_config.store) == (["run_9"], {})
    put_group(run_config, "run_9")
    assert remove_groups(run_config.store) == ([], {})


def test_a_group_that_holds_somebodys_own_files_is_not_removed(make, url):
    run_config = make()
    merge_fragments(run_config, [converted(run_config, "run_1")], [])
    for name in ("run_8", "run_9"):
        put_group(run_config, name)
    record(run_config, "run_8", "run_9")
    put_file(url, "run_8.zarr/.DS_Store", b"what a desktop leaves")
    put_file(url, "run_9.zarr/volume/notes.txt", b"mine")
    before = files_of_samples(url)
    removed, kept = remove_groups(run_config.store)
    assert (removed, kept) == (["run_8"], {"run_9": "volume/notes.txt"})
    assert files_of_samples(url) == {p: c for p, c in before.items() if "run_8.zarr" not in p}
    assert remove_groups(run_config.store) == ([], kept), "it is still known as ours"


@pytest.mark.parametrize("orphan", ODD_IDS)
def test_remove_orphans_takes_no_id_for_a_pattern(make, url, orphan):
    run_config = make()
    kept = [name for name in ("run_1", "run_2", "run1", *ODD_IDS) if name != orphan]
    merge_fragments(run_config, [converted(run_config, name) for name in kept], [])
    before = files_of_samples(url)
    put_group(run_config, orphan)
    record(run_config, orphan)
    assert remove_groups(run_config.store) == ([orphan], {})
    assert files_of_samples(url) == before


def test_remove_orphans_refuses_without_a_manifest(make, url):
    run_config = make()
    put_group(run_config, "run_1")
    before = files_below(url)
    with pytest.raises(StoreError, match=r"manifest\.json"):
        remove_groups(run_config.store)
    assert files_below(url) == before


# The jobs --------------------------------------------------------------------------------------


def put_tables(
    run_config: RunConfig, samples: list[Sample], skipped: list[Skipped]
) -> dict[str, Path]:
    table, incomplete = run_config.place("samples.tsv"), run_config.place("incomplete.tsv")
    table.parent.mkdir(parents=True, exist_ok=True)
    for path, text in (
        (table, rows_text(samples, Sample)),
        (incomplete, rows_text(skipped, Skipped)),
    ):
        path.write_text(text, encoding="utf-8", newline="")
    made = {name: run_config.place(name) for name in ("merged.json", "report.html")}
    return {
        "table": table,
        "incomplete": incomplete,
        "merged": made["merged.json"],
        "report": made["report.html"],
    }


def really_converted(run_config: RunConfig, sample_id: str) -> Sample:
    """A sample with its fragment, and a group that can be read."""
    sample = sample_of(sample_id)
    rows = {"x.pt": torch.rand(10, 3), "p.pt": torch.rand(10), "v.pt": torch.rand(23, 3)}
    fragment = convert(
        sample,
        lambda field: rows[field.file],
        run_config.domains,
        run_config.settings,
        run_config.store,
    )
    put_fragment(run_config, sample, fragment)
    return sample


def listed(url: str) -> list[str]:
    return list(json.loads(files_below(url)[MANIFEST])["samples"])


def test_the_merge_job_reads_the_tables_and_writes_the_summary(make, url):
    run_config = make()
    samples = [really_converted(run_config, name) for name in ("run_2", 'ü/"a\tb"', "run_1")]
    places = put_tables(run_config, samples, [left_out_row("run_0")])
    merge_manifest(run_config, **places)
    assert listed(url) == [sample.id for sample in samples]
    summary = read_summary(places["merged"])
    assert summary is not None
    assert (summary.samples, len(summary.skipped)) == (3, 1)
    report = places["report"].read_text(encoding="utf-8")
    assert "surface_pressure" in report
    assert "run_<wbr>0" in report


def test_a_merge_job_that_is_refused_writes_no_summary(make):
    run_config = make()
    places = put_tables(run_config, [broken(run_config, "run_1")], [])
    with pytest.raises(StoreError):
        merge_manifest(run_config, **places)
    assert not places["merged"].exists()


def test_the_clearing_job_takes_orphans_out_of_the_store_and_the_summary(make, url, capsys):
    run_config = make()
    places = put_tables(run_config, [really_converted(run_config, "run_1")], [])
    put_group(run_config, "run_9")
    record(run_config, "run_1", "run_9")
    merge_manifest(run_config, **places)
    before = read_summary(places["merged"])
    assert before is not None
    assert before.orphans == ["run_9"]
    remove_orphans(run_config, merged=places["merged"])
    after = read_summary(places["merged"])
    assert after is not None
    assert after.orphans == []
    assert after.manifest_digest == before.manifest_digest
    assert run_config.store.group_ids() == {"run_1"}
    assert "run_9" in capsys.readouterr().err
    assert listed(url) == ["run_1"]
