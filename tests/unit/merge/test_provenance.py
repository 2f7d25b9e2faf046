"""Specification of provenance, and that no credentials are in it or in any other file."""

import json
import platform
from importlib.metadata import version

import pytest
import torch
import zarr

import aerozarr
from aerozarr.environment import STARTED
from aerozarr.merge.merge_manifest import merge_fragments
from aerozarr.merge.report import report_of
from aerozarr.merge.summary import Summary
from aerozarr.messages import redacted
from unit.merge_helpers import (
    PROVENANCE,
    here,
    left_out_row,
    merged,
    put_converted,
    split_samples,
    tensors_of,
)
from unit.store_helpers import files_below, project_of


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
