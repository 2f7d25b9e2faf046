"""Specification of the files beside the manifest, of samples that are really converted."""

import csv
import hashlib
import io
import json
import math
import platform
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr

import aerozarr
from aerozarr import Store
from aerozarr.config.fields import Field
from aerozarr.convert.fragment import Fragment
from aerozarr.convert.sample import convert
from aerozarr.environment import STARTED
from aerozarr.errors import StoreError
from aerozarr.merge.merge_manifest import merge_fragments
from aerozarr.merge.report import report_of
from aerozarr.merge.sidecars import files_named_by
from aerozarr.merge.summary import Summary
from aerozarr.messages import redacted
from aerozarr.run_config import RunConfig
from aerozarr.source.samples import Sample, Skipped
from aerozarr.source.splits import IdListsRule
from aerozarr.store.format.layout import statistics_name
from unit.store_helpers import (
    PLACES,
    Array,
    files_below,
    group_files,
    project_of,
    put_file,
    read_arrays,
    sample_of,
    save_sample,
    source_tensors,
    url_of,
)

MANIFEST, CHECKSUMS, PROVENANCE = "manifest.json", "checksums.tsv", "provenance.json"
STATISTICS, SPLITS, SKIPPED = "statistics.json", "splits.json", "skipped.tsv"
MOMENTS = "moments.jsonl"
ALWAYS = {MANIFEST, CHECKSUMS, PROVENANCE, STATISTICS, MOMENTS, SKIPPED}
NAN = math.nan

each_place = pytest.mark.parametrize("place", PLACES)
here = pytest.mark.parametrize("place", ["folder"])


@pytest.fixture
def url(place: str, tmp_path: Path) -> str:
    return url_of(place, tmp_path / "stores")


@pytest.fixture
def make(url: str, tmp_path: Path) -> Callable[..., RunConfig]:
    """Makes projects that share one store and work folder."""
    return lambda **settings: project_of(url, tmp_path / "work", **settings)


def tensors_of(sample_id: str) -> dict[str, torch.Tensor]:
    """Values and sizes that differ from sample to sample."""
    seed = int.from_bytes(hashlib.sha256(sample_id.encode("utf-8")).digest()[:2], "big")
    return source_tensors(surface=5 + seed % 7, volume=9 + seed % 11, seed=seed)


def put_fragment(run_config: RunConfig, sample: Sample, fragment: Fragment) -> None:
    path = run_config.fragment(sample.key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(fragment.to_json())


def put_converted(
    run_config: RunConfig,
    sample_id: str,
    *,
    split: str = "",
    tensors: Mapping[str, Any] | None = None,
) -> Sample:
    """Convert a sample from memory, and put its fragment where the merge finds it."""
    content = tensors_of(sample_id) if tensors is None else tensors

    def load(field: Field) -> object:
        return content[field.file]

    sample = sample_of(sample_id, split=split)
    settings, store = run_config.settings, run_config.store
    put_fragment(run_config, sample, convert(sample, load, run_config.domains, settings, store))
    return sample


def convert_listed(run_config: RunConfig) -> list[Sample]:
    """List the run_config's source, and convert all its samples from their files."""
    listing = run_config.source.list()
    for sample in listing.samples:
        load = run_config.source.loader(sample)
        fragment = convert(sample, load, run_config.domains, run_config.settings, run_config.store)
        put_fragment(run_config, sample, fragment)
    return listing.samples


def merged(
    run_config: RunConfig, samples: Iterable[Sample], skipped: Iterable[Skipped] = ()
) -> dict[str, bytes]:
    """Merge, and return the files beside the groups."""
    merge_fragments(run_config, [*samples], [*skipped])
    return beside(str(run_config.settings.store))


def beside(url: str) -> dict[str, bytes]:
    return {path: data for path, data in files_below(url).items() if ".zarr/" not in path}


def split_samples(run_config: RunConfig, **splits: str) -> list[Sample]:
    """Samples by split, each split's ids in one text."""
    return [
        put_converted(run_config, sample_id, split=split)
        for split, ids in splits.items()
        for sample_id in ids.split()
    ]


def concatenated(url: str, ids: Iterable[str], array: str) -> Array:
    """An array's rows in all of some samples, as zarr-python reads them from the store."""
    parts = [read_arrays(group_files(url, sample_id))[array] for sample_id in ids]
    return np.concatenate(parts).astype(np.float64)


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


# Statistics ------------------------------------------------------------------------------------


def agrees_with_store(found: Mapping[str, Any], url: str, ids: Iterable[str]) -> bool:
    ids = [*ids]
    for array in ("volume/velocity", "surface/pressure", "volume/position"):
        values = concatenated(url, ids, array)
        name = array.replace("/", "_")
        logs = np.sign(values) * np.log1p(np.abs(values))
        for key, wanted in {
            "mean": values.mean(axis=0),
            "std": values.std(axis=0, ddof=1),
            "min": values.min(axis=0),
            "max": values.max(axis=0),
            "logscale_mean": logs.mean(axis=0),
            "logscale_std": logs.std(axis=0, ddof=1),
        }.items():
            assert found[f"{name}_{key}"] == pytest.approx(wanted.tolist(), rel=1e-9), key
        assert found[f"{name}_count"] == len(values)
    return True


@each_place
def test_statistics_are_of_the_values_that_the_store_holds(make, url):
    run_config = make()
    ids = ["b", "a/1", "c"]
    files = merged(run_config, [put_converted(run_config, name) for name in ids])
    assert agrees_with_store(json.loads(files[STATISTICS]), url, ids)


@here
def test_each_split_has_statistics_of_its_own(make, url):
    run_config = make()
    files = merged(run_config, split_samples(run_config, train="b a", test="c", val="e d"))
    for split, ids in {"train": "ba", "test": "c", "val": "ed"}.items():
        assert agrees_with_store(json.loads(files[f"statistics.{split}.json"]), url, ids)
    assert agrees_with_store(json.loads(files[STATISTICS]), url, "bacde")


@here
def test_a_sample_of_several_splits_is_in_all_that_is_said_of_each(make, url):
    run_config = make()
    a, b, c = split_samples(run_config, train="a b", fold="c")
    samples = [
        replace(a, splits=(("train", 0), ("fold", 2), ("again", 0))),
        replace(b, splits=(("train", 1), ("fold", 0))),
        replace(c, splits=(("fold", 1),)),
    ]
    files = merged(run_config, samples)
    splits = {"train": ["a", "b"], "fold": ["b", "c", "a"], "again": ["a"]}
    assert json.loads(files[SPLITS]) == splits
    assert [*json.loads(files[MANIFEST])["samples"]] == ["a", "b", "c"]
    for split, ids in splits.items():
        assert agrees_with_store(json.loads(files[f"statistics.{split}.json"]), url, ids)
        assert files[f"{split}_design_ids.txt"].decode().split() == ids
    summary, outcome = merge_fragments(run_config, samples, [])
    page = re.sub("<[^>]*>", "", report_of(run_config, summary, outcome))
    assert "train, fold, again" in page
    assert "Splits: train 2, fold 3, again 1" in page


@here
@pytest.mark.parametrize("value", [NAN, math.inf, -math.inf])
def test_statistics_hold_no_number_that_json_does_not_have(make, value):
    def refuse(token: str) -> None:
        raise AssertionError(token)

    run_config = make(values_dtype="float64")
    tensors = tensors_of("a")
    tensors["sdf.pt"] = torch.full_like(tensors["sdf.pt"], value)
    tensors["surface_pressure.pt"][0] = value
    tensors["volume_velocity.pt"] = tensors["volume_velocity.pt"].double() * 1e300
    files = merged(run_config, [put_converted(run_config, "a", split="train", tensors=tensors)])
    for name in (STATISTICS, "statistics.train.json"):
        json.loads(files[name], parse_constant=refuse)


@here
def test_samples_that_are_broken_are_in_no_statistics(make, url):
    run_config = make()
    samples = split_samples(run_config, train="a b")
    broken = tensors_of("c") | {"sdf.pt": torch.zeros(1)}
    files = merged(
        run_config, [*samples, put_converted(run_config, "c", split="train", tensors=broken)]
    )
    for name in (STATISTICS, "statistics.train.json"):
        assert agrees_with_store(json.loads(files[name]), url, "ab")


@here
def test_a_field_without_a_finite_value_has_its_place_in_the_report(make):
    run_config = make()
    tensors = tensors_of("a")
    tensors["sdf.pt"] = torch.full_like(tensors["sdf.pt"], NAN)
    sample = put_converted(run_config, "a", split="train", tensors=tensors)
    summary, outcome = merge_fragments(run_config, [sample], [])
    page = report_of(run_config, summary, outcome)
    assert 'id="field-volume_sdf"' in page
    assert "no finite values" in page


@each_place
def test_the_moments_of_any_samples_give_the_statistics_that_the_merge_wrote(make, url):
    run_config = make()
    a, b, c, d = split_samples(run_config, train="z param1/b", test="ü/1 k")
    splits = (("drag/test", 1), ("drag/train", 0))
    samples = [replace(a, splits=(("train", 0), *splits)), b, replace(c, splits=splits[:1]), d]
    samples[1] = replace(b, splits=(("train", 1), ("drag/test", 0)))
    samples[2] = replace(c, splits=(("test", 0), ("drag/test", 2)))
    samples[3] = replace(d, splits=(("test", 1),))
    files = merged(run_config, samples)
    store = Store(url)
    wanted = {None: store.samples, **store.splits}
    assert wanted.keys() == {None, "train", "test", "drag/train", "drag/test"}
    for split, ids in wanted.items():
        assert store.statistics(iter(ids)) == store.statistics(split)
        assert store.statistics(ids) == json.loads(files[statistics_name(split)])
    assert statistics_name("drag/test") == "statistics.drag%2Ftest.json"
    assert agrees_with_store(store.statistics(["k", "z"]), url, ["k", "z"])


@here
@pytest.mark.parametrize("scale", [1.0, 1e200, NAN, math.inf])
def test_moments_that_json_has_no_number_for_give_the_same_statistics(make, url, scale):
    def refuse(token: str) -> None:
        raise AssertionError(token)

    run_config = make(values_dtype="float64")
    samples = []
    for sample_id in "ab":
        tensors = tensors_of(sample_id)
        tensors["volume_velocity.pt"] = tensors["volume_velocity.pt"].double()
        tensors["volume_velocity.pt"][1:, 0] *= scale
        tensors["sdf.pt"] = torch.full_like(tensors["sdf.pt"], NAN)
        samples.append(put_converted(run_config, sample_id, tensors=tensors))
    files = merged(run_config, samples)
    lines = [
        json.loads(line, parse_constant=refuse) for line in files[MOMENTS].decode().splitlines()
    ]
    assert [line["id"] for line in lines] == ["a", "b"]
    store = Store(url)
    assert store.statistics(["a", "b"]) == json.loads(files[STATISTICS])
    assert store.statistics(["a", "b"])["volume_sdf_mean"] == [None]


# Splits ----------------------------------------------------------------------------------------


@each_place
def test_splits_hold_the_converted_samples_in_order(make):
    run_config = make()
    samples = split_samples(run_config, train="z param1/b a", test="ü/1 k")
    broken = tensors_of("x") | {"sdf.pt": torch.zeros(1)}
    samples.insert(1, put_converted(run_config, "x", split="train", tensors=broken))
    files = merged(run_config, samples, [left_out_row("y", "test")])
    splits = json.loads(files[SPLITS])
    assert splits == {"train": ["z", "param1/b", "a"], "test": ["ü/1", "k"]}
    assert list(splits) == ["train", "test"]
    assert [name for ids in splits.values() for name in ids] == [
        *json.loads(files[MANIFEST])["samples"]
    ]
    assert files["train_design_ids.txt"] == b"z\nparam1/b\na\n"
    assert files["test_design_ids.txt"] == "ü/1\nk\n".encode()


def left_out_row(sample_id: str, split: str) -> Skipped:
    return Skipped(sample_id, split, "incomplete", "", "sdf.pt", "is not there", "add it")


@here
def test_a_split_of_which_nothing_was_converted_has_no_files(make):
    run_config = make()
    samples = split_samples(run_config, train="a")
    broken = tensors_of("x") | {"sdf.pt": torch.zeros(1)}
    samples.append(put_converted(run_config, "x", split="val", tensors=broken))
    files = merged(run_config, samples, [left_out_row("y", "test")])
    assert list(json.loads(files[SPLITS])) == ["train"]
    assert set(files) == {*ALWAYS, SPLITS, "train_design_ids.txt", "statistics.train.json"}


@here
def test_a_listed_prefix_has_no_splits(make):
    run_config = make()
    assert set(merged(run_config, [put_converted(run_config, "a")])) == ALWAYS


@here
@pytest.mark.parametrize("kept", ["train", "test", ""])
def test_a_split_that_goes_away_takes_its_files_with_it(make, kept):
    run_config = make()
    samples = split_samples(run_config, train="a b", test="c", val="d")
    merged(run_config, samples)
    if kept:
        files = merged(run_config, [sample for sample in samples if sample.split == kept])
        own = {SPLITS, f"{kept}_design_ids.txt", f"statistics.{kept}.json"}
        assert set(files) == ALWAYS | own
    else:
        assert set(merged(run_config, [put_converted(run_config, "a")])) == ALWAYS


HOSTILE_SPLITS = ["../x", "a/b", "/etc/x", "..", ".", "a\nb", "ü 数", "%2e", "x" * 300, "数" * 90]


@pytest.mark.parametrize("place", ["folder", "memory-url"])
@pytest.mark.parametrize("split", HOSTILE_SPLITS, ids=lambda split: repr(split[:8]))
def test_no_split_name_leaves_the_store(make, tmp_path, url, split):
    run_config = make()
    samples = [
        put_converted(run_config, "a", split=split),
        put_converted(run_config, "b", split="train"),
    ]
    outside = set(map(str, tmp_path.rglob("*")))
    files = merged(run_config, samples)
    inside = {path for path in outside if path.startswith(url)}
    assert {p for p in map(str, tmp_path.rglob("*")) if not p.startswith(url)} == outside - inside
    assert json.loads(files[SPLITS]) == {split: ["a"], "train": ["b"]}
    assert not [name for name in files if "/" in name or not name.isprintable()]
    lists = {name: data for name, data in files.items() if name.endswith("_design_ids.txt")}
    assert sorted(lists.values()) == [b"a\n", b"b\n"]
    # And what such a split brought goes away with it.
    assert not [name for name in merged(run_config, samples[1:]) if lists.get(name) == b"a\n"]
    own = {SPLITS, "train_design_ids.txt", "statistics.train.json"}
    assert set(beside(url)) == ALWAYS | own


@here
def test_splits_with_names_alike_have_files_of_their_own(make):
    run_config = make()
    samples = [
        put_converted(run_config, n, split=s) for n, s in (("a", "x/y"), ("b", "x%2Fy"), ("c", "x"))
    ]
    files = merged(run_config, samples)
    lists = [data for name, data in files.items() if name.endswith("_design_ids.txt")]
    assert sorted(lists) == [b"a\n", b"b\n", b"c\n"]


FIVE = (
    *("train_design_ids.txt", "val_design_ids.txt", "test_design_ids.txt"),
    *("blacklist.txt", "blacklist2.txt"),
)


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


# Provenance ------------------------------------------------------------------------------------


@here
def test_provenance_tells_when_with_what_and_from_what(make, monkeypatch, url):
    monkeypatch.setenv(STARTED, "2001-02-03T04:05:06+00:00")
    run_config = make(shuffle_seed=7)
    samples = split_samples(run_config, train="a b")
    broken = tensors_of("x") | {"sdf.pt": torch.zeros(1)}
    samples.append(put_converted(run_config, "x", split="train", tensors=broken))
    files = merged(run_config, samples, [left_out_row("y", "test")])
    told = json.loads(files[PROVENANCE])
    groups = sum(len(data) for path, data in files_below(url).items() if ".zarr/" in path)
    assert told["aerozarr"] == aerozarr.__version__
    assert told["python"] == platform.python_version()
    assert told["packages"]["torch"] == torch.__version__
    assert told["packages"]["zarr"] == zarr.__version__
    assert told["packages"]["fsspec"] == version("fsspec")
    assert told["source"] == run_config.source_url
    assert (told["settings"]["shuffle_seed"], told["settings"]["store"]) == (7, url)
    assert told["started"] == "2001-02-03T04:05:06+00:00"
    assert told["ended"] > told["started"]
    assert (told["samples"], told["skipped"]) == (2, 2)
    assert told["stored_bytes"] == groups
    assert told["files"] == sorted(files)


SECRET = "Hunter2"
SECRET_URLS = [
    f"https://user:{SECRET}@host/data",
    f"https://{SECRET}@host/data",
    f"https://user:{SECRET}@host",
    f"https://user:p@{SECRET}@host/data",
    f"https://user:{SECRET} with space@host/data",
    f"https://user:{SECRET}:more@host:8080/data",
    f"https://host/data?token={SECRET}",
    f"https://host/data/?token={SECRET}",
    f"https://host/data-?sig=a:{SECRET}&b=c",
    f"https://host/data?a=b?{SECRET}",
    f"https://host?{SECRET}",
    f"simplecache::s3://key:{SECRET}@bucket/data",
    f"zip://*.pt::simplecache::https://user:{SECRET}@host/a.zip",
    f"zip://in?{SECRET}::https://host/a.zip?sig=x:{SECRET}",
    f"filecache::ftp://u:{SECRET}@a/b::s3://k:{SECRET}@c/d?e={SECRET}",
]


@pytest.mark.parametrize("secret", SECRET_URLS)
def test_no_credentials_are_left_in_a_url(secret):
    assert SECRET not in redacted(secret)
    nested = {"a": [secret, {"b": secret}], "c": 1, "d": None}
    assert SECRET not in json.dumps(redacted(nested))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("s3://bucket/a@b/c", "s3://bucket/a@b/c"),
        ("https://u:p@host:8080/a/b?c=d", "https://host:8080/a/b"),
        ("simplecache::s3://k:s@bucket/a", "simplecache::s3://bucket/a"),
        ("zip://x.pt::https://h/a.zip?t=1", "zip://x.pt::https://h/a.zip"),
        ("file:///data/a@b", "file:///data/a@b"),
        ("memory://stores/x", "memory://stores/x"),
        ("/data/what?/a@b", "/data/what?/a@b"),
        ("train[:50]", "train[:50]"),
        (7, 7),
        (None, None),
    ],
)
def test_the_rest_of_a_url_is_kept_and_other_values_are_left_alone(text, left):
    assert redacted(text) == left


@pytest.mark.parametrize("place", ["folder"])
@pytest.mark.parametrize("secret", SECRET_URLS)
def test_no_file_of_the_store_holds_credentials_of_the_source(make, url, secret):
    options = {"s3": {"secret": SECRET, "client_kwargs": {"password": [SECRET]}}}
    run_config = make(source_url=secret, storage_options=options)
    broken = tensors_of("x") | {"sdf.pt": torch.zeros(1)}
    samples = [put_converted(run_config, "a"), put_converted(run_config, "x", tensors=broken)]
    merged(run_config, samples)
    assert not [path for path, data in files_below(url).items() if SECRET.encode() in data]


def test_no_file_and_no_word_of_the_merge_holds_credentials_of_the_store_or_the_id_lists(tmp_path):
    # A password is refused; a query may be a signature.
    url = f"memory://{tmp_path.name}?signature={SECRET}"
    run_config = project_of(
        url,
        tmp_path / "work",
        source_url=None,
        source_root="/data",
        split_files={"train": f"https://u:{SECRET}@host/train.txt?token={SECRET}"},
    )
    samples = split_samples(run_config, train="a")
    summary, outcome = merge_fragments(run_config, samples, [left_out_row("y", "test")])
    files = files_below(url)
    assert PROVENANCE in files
    assert not [path for path, data in files.items() if SECRET.encode() in data]
    assert not [line for line in summary.lines() if SECRET in line]
    assert SECRET not in report_of(run_config, summary, outcome)


def test_the_summary_shows_no_credentials_of_the_store():
    store = f"s3://key:{SECRET}@bucket/x?token={SECRET}"
    lines = Summary(store, "cars", 1, ["a: b"], ["c"], 10, 4, "").lines()
    assert not [line for line in lines if SECRET in line]
    assert "s3://bucket/x/manifest.json" in lines[-1]


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
