"""Specification of the files beside the groups: checksums, the dataset's own lists, and order."""

import csv
import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from aerozarr.convert.sample import convert
from aerozarr.environment import STARTED
from aerozarr.errors import StoreError
from aerozarr.merge.merge_manifest import merge_fragments
from aerozarr.merge.sidecars import files_named_by
from aerozarr.run_config import RunConfig
from aerozarr.source.samples import Sample
from aerozarr.source.splits import IdListsRule
from unit.merge_helpers import (
    ALWAYS,
    CHECKSUMS,
    FIVE,
    MANIFEST,
    MOMENTS,
    PROVENANCE,
    SKIPPED,
    SPLITS,
    STATISTICS,
    beside,
    each_place,
    here,
    left_out_row,
    merged,
    put_converted,
    put_fragment,
    split_samples,
    tensors_of,
)
from unit.store_helpers import (
    files_below,
    group_files,
    project_of,
    put_file,
    save_sample,
    source_tensors,
    url_of,
)


def convert_listed(run_config: RunConfig) -> list[Sample]:
    """List the run_config's source, and convert all its samples from their files."""
    listing = run_config.source.list()
    for sample in listing.samples:
        load = run_config.source.loader(sample)
        fragment = convert(sample, load, run_config.domains, run_config.settings, run_config.store)
        put_fragment(run_config, sample, fragment)
    return listing.samples


# Checksums -------------------------------------------------------------------------------------


def checksum_rows(content: bytes) -> list[dict[str, str]]:
    text = io.StringIO(content.decode("utf-8"), newline="")
    return list(csv.DictReader(text, delimiter="\t"))


@each_place
def test_checksums_are_right_for_every_file_of_the_store(make, url):
    run_config = make()
    merged(run_config, split_samples(run_config, train="b/2 a/1", test='ü/"c'))
    files = files_below(url)
    rows = checksum_rows(files[CHECKSUMS])
    wanted = {
        path: (str(len(content)), hashlib.sha256(content).hexdigest())
        for path, content in files.items()
        if path not in (CHECKSUMS, PROVENANCE)
    }
    assert {row["path"]: (row["size"], row["sha256"]) for row in rows} == wanted
    assert len(rows) == len(wanted)
    assert sum(path.endswith("/c/0/0") for path in wanted) == 3 * 7


@here
@pytest.mark.parametrize("sample_id", ["a\tb", "a\nb", 'a"b', "a\r\nb", "ü 数", "=1"], ids=repr)
def test_checksums_keep_every_path(make, url, sample_id):
    run_config = make()
    files = merged(run_config, [put_converted(run_config, sample_id)])
    paths = {row["path"] for row in checksum_rows(files[CHECKSUMS])}
    assert paths == set(files_below(url)) - {CHECKSUMS, PROVENANCE}


@here
def test_checksums_list_groups_in_sample_order_then_the_files_beside(make):
    run_config = make()
    files = merged(run_config, [put_converted(run_config, name) for name in ("z", "a/1", "m")])
    paths = [row["path"] for row in checksum_rows(files[CHECKSUMS])]
    groups = [path.partition(".zarr/")[0] for path in paths if ".zarr/" in path]
    assert list(dict.fromkeys(groups)) == ["z", "a/1", "m"]
    assert paths[len(groups) :] == [MANIFEST, MOMENTS, SKIPPED, STATISTICS]


@each_place
def test_checksums_follow_a_sample_that_is_converted_again(make, url):
    run_config = make()
    merged(run_config, [put_converted(run_config, "a")])
    files = merged(run_config, [put_converted(run_config, "a", tensors=source_tensors(seed=99))])
    rows = {row["path"]: row["sha256"] for row in checksum_rows(files[CHECKSUMS])}
    for path, content in group_files(url, "a").items():
        assert rows[f"a.zarr/{path}"] == hashlib.sha256(content).hexdigest()


@here
def test_checksums_leave_out_groups_that_the_manifest_does_not_list(make):
    run_config = make()
    put_converted(run_config, "orphan")
    files = merged(run_config, [put_converted(run_config, "a")])
    assert not [row for row in checksum_rows(files[CHECKSUMS]) if "orphan" in row["path"]]


# The dataset's own lists -----------------------------------------------------------------------


@pytest.fixture
def drivaernet(tmp_path: Path) -> Path:
    root = tmp_path / "drivaernet"
    for name in ("E_1", "E_2", "F_3"):
        save_sample(root / name, {**tensors_of(name), "design.pt": torch.zeros(2)})
    (root / "train_design_ids.txt").write_text("E_2\nE_9\nE_1\nE_8\n")
    (root / "test_design_ids.txt").write_text("F_3\n")
    (root / "blacklist.txt").write_bytes(b"some/folder/E_9.vtk\r\n")
    return root


@each_place
def test_the_id_lists_and_blacklists_of_a_dataset_root_come_along(make, drivaernet):
    run_config = make(dataset="drivaernet", source_url=None, source_root=str(drivaernet))
    files = merged(run_config, convert_listed(run_config))
    assert files["train_design_ids.txt"] == b"E_2\nE_1\n"
    assert files["test_design_ids.txt"] == b"F_3\n"
    assert files["blacklist.txt"] == b"some/folder/E_9.vtk\r\n"
    # The root has neither; training code opens both.
    assert files["blacklist2.txt"] == files["val_design_ids.txt"] == b""
    assert json.loads(files[SPLITS]) == {"train": ["E_2", "E_1"], "test": ["F_3"]}


@here
def test_a_blacklist_that_goes_away_goes_from_the_store_too(make, drivaernet):
    (drivaernet / "blacklist2.txt").write_text("E_2\n")
    run_config = make(dataset="drivaernet", source_url=None, source_root=str(drivaernet))
    assert merged(run_config, convert_listed(run_config))["blacklist2.txt"] == b"E_2\n"
    (drivaernet / "blacklist2.txt").unlink()
    files = merged(run_config, convert_listed(run_config))
    assert files["blacklist2.txt"] == b""
    assert files["blacklist.txt"] != b""


@here
@pytest.mark.parametrize("place_of_list", ["lists/blacklist3.txt", "../blacklist3.txt"])
def test_a_blacklist_of_another_folder_comes_to_lie_beside_the_manifest(
    make, drivaernet, place_of_list
):
    put_file(str(drivaernet), place_of_list, b"E_9\n")
    run_config = make(dataset="drivaernet", source_url=None, source_root=str(drivaernet))
    rule = run_config.dataset.rule
    assert isinstance(rule, IdListsRule)
    rule = rule.model_copy(update={"blacklists": [place_of_list]})
    run_config = replace(run_config, dataset=replace(run_config.dataset, rule=rule))
    files = merged(run_config, convert_listed(run_config))
    assert files["blacklist3.txt"] == b"E_9\n"
    assert not [name for name in files if "/" in name]


@here
def test_all_five_lists_are_there_and_empty_where_nothing_is_split(make, drivaernet):
    run_config = make(dataset="drivaernet", source_url=str(drivaernet))
    files = merged(run_config, convert_listed(run_config))
    assert set(files) == {*ALWAYS, *FIVE}
    assert {files[name] for name in FIVE} == {b""}
    recorded = files[CHECKSUMS].decode()
    assert all(f'"{name}"\t0\t' in recorded for name in FIVE)


@each_place
def test_a_list_of_somebody_s_own_is_never_overwritten(make, url, drivaernet):
    run_config = make(dataset="drivaernet", source_url=None, source_root=str(drivaernet))
    put_file(url, "val_design_ids.txt", b"E_1\n")
    samples = convert_listed(run_config)
    files = merged(run_config, samples)
    assert files["val_design_ids.txt"] == b"E_1\n"
    assert files["blacklist2.txt"] == b""
    put_file(url, "blacklist2.txt", b"F_3\n")  # in place of our empty one
    files = merged(run_config, samples)
    assert (files["val_design_ids.txt"], files["blacklist2.txt"]) == (b"E_1\n", b"F_3\n")
    recorded = files[CHECKSUMS].decode()
    assert "val_design_ids.txt" not in recorded
    assert "blacklist2.txt" not in recorded


@here
def test_a_list_of_ours_is_emptied_once_it_has_nothing_to_say(make, drivaernet):
    (drivaernet / "val_design_ids.txt").write_text("E_1\n")
    run_config = make(dataset="drivaernet", source_url=None, source_root=str(drivaernet))
    assert merged(run_config, convert_listed(run_config))["val_design_ids.txt"] == b"E_1\n"
    (drivaernet / "val_design_ids.txt").unlink()
    assert merged(run_config, convert_listed(run_config))["val_design_ids.txt"] == b""


# The same again --------------------------------------------------------------------------------


def test_two_conversions_differ_in_provenance_alone(tmp_path, monkeypatch):
    found = []
    for number, place in enumerate(("folder", "memory-url")):
        monkeypatch.setenv(STARTED, f"2001-02-03T04:05:0{number}+00:00")
        url = url_of(place, tmp_path)
        run_config = project_of(url, tmp_path / f"work{number}")
        samples = split_samples(run_config, train="b a", test="c")
        merged(run_config, samples, [left_out_row("y", "test")])
        found.append(files_below(url))
    first, second = found
    assert first.keys() == second.keys()
    assert [path for path in first if first[path] != second[path]] == [PROVENANCE]


@each_place
def test_a_merge_again_changes_provenance_alone(make, url):
    run_config = make()
    samples = split_samples(run_config, train="b a", test="c")
    merged(run_config, samples)
    before = files_below(url)
    merged(run_config, samples)
    after = files_below(url)
    assert {path: after[path] for path in after if path != PROVENANCE} == {
        path: before[path] for path in before if path != PROVENANCE
    }


# What others put there -------------------------------------------------------------------------

OTHERS = ("notes.txt", "val_design_ids.txt", "statistics.val.json", "blacklist.txt", "a/b.txt")


@each_place
def test_what_another_program_put_beside_the_groups_stays(make, url):
    run_config = make()
    for path in OTHERS:
        put_file(url, path, b"mine")
    samples = split_samples(run_config, train="a", test="b")
    merged(run_config, samples)
    files = merged(run_config, samples[:1])
    assert {path: files[path] for path in OTHERS} == dict.fromkeys(OTHERS, b"mine")
    assert "test_design_ids.txt" not in files


@each_place
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"7", b'{"files": 7}', b"\xff", b"[" * 100_000], ids=len
)
def test_a_provenance_that_cannot_be_read_removes_nothing_and_is_replaced(make, url, content):
    run_config = make()
    samples = [put_converted(run_config, "a")]
    put_file(url, PROVENANCE, content)
    put_file(url, "val_design_ids.txt", b"mine")
    files = merged(run_config, samples)
    assert files["val_design_ids.txt"] == b"mine"
    assert json.loads(files[PROVENANCE])["samples"] == 1


HOSTILE_NAMES: list[Any] = [
    *("", ".", "..", "/", "../outside.txt", "../blacklist.txt", "a/../../outside.txt"),
    *("notes.txt", "notes.txt\n", "sub", "sub/blacklist.txt", "sub/../notes.txt", "NOTES.TXT"),
    *("a.zarr", "a.zarr/zarr.json", "orphan.zarr", ".aerozarr-partial", "*", "*.txt", "?"),
    *("x\0", "\ud800_design_ids.txt", "n" * 5000 + "_design_ids.txt", "..\\outside.txt"),
    *(7, None, ["notes.txt"], {"notes.txt": 1}, MANIFEST, CHECKSUMS, PROVENANCE, SKIPPED),
    *("blacklist.txt\n", "\nblacklist.txt", "/blacklist.txt", "./blacklist.txt"),
]


@each_place
def test_a_hostile_provenance_removes_nothing_of_others_and_nothing_outside(make, url):
    run_config = make()
    samples = [put_converted(run_config, "a")]
    put_converted(run_config, "orphan")
    put_file(url, PROVENANCE, json.dumps({"files": HOSTILE_NAMES}).encode())
    kept = ("notes.txt", "sub/blacklist.txt", "../outside.txt", "../blacklist.txt", "blacklist.txt")
    for path in kept:
        if not path.startswith("../"):
            put_file(url, path, b"mine")
        else:
            put_file(url.rpartition("/")[0], path.removeprefix("../"), b"mine")
    before = files_below(url.rpartition("/")[0])
    merged(run_config, samples)
    after = files_below(url.rpartition("/")[0])
    gone = set(before) - set(after)
    assert gone == set()
    changed = {path for path in before if after[path] != before[path]}
    assert {path.rpartition("/")[2] for path in changed} == {PROVENANCE}


@pytest.mark.parametrize("files", ["abc", {"blacklist.txt": 1}, None, 7, "blacklist.txt"])
def test_what_is_no_list_names_no_files(files):
    assert files_named_by(json.dumps({"files": files}).encode()) == []


def test_a_provenance_names_the_files_that_runs_write_and_no_others():
    own = ["splits.json", STATISTICS, "statistics.train.json", "a%2Fb_design_ids.txt"]
    own += ["blacklist.txt", "blacklist2.txt"]
    content = json.dumps({"files": [*HOSTILE_NAMES, *own]}).encode()
    assert files_named_by(content) == own
    assert files_named_by(None) == []


# Published together ----------------------------------------------------------------------------

IN_THE_WAY = [
    *(STATISTICS, SPLITS, SKIPPED, CHECKSUMS),
    *("train_design_ids.txt", "statistics.train.json"),
]


@here
@pytest.mark.parametrize("name", IN_THE_WAY)
def test_the_manifest_comes_last(make, url, name):
    run_config = make()
    samples = split_samples(run_config, train="a")
    put_file(url, f"{name}/folder.txt", b"a folder, which no file can take the place of")
    with pytest.raises(StoreError, match="is a folder, where aerozarr keeps a file"):
        merge_fragments(run_config, samples, [])
    assert MANIFEST not in beside(url)
