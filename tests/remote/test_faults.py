"""What a bucket's faults do: those that pass are ridden out, others fail with a cause, in time.

The server is a real one. The faults are made by a proxy before it, which answers, hangs, cuts or
loses what it is told to.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from aerozarr.errors import RemoteError, SourceChangedError
from aerozarr.filesystems.location import Location, open_location
from aerozarr.source.files.download import read_file
from remote.proxy import Proxy, Request, of_kind
from remote.s3 import KEY, SECRET, Bucket, hashes, told, use
from workflow.harness import Workspace, digests, write_sample

CONTENT = bytes(range(256)) * 40


def location(bucket: Bucket) -> Location:
    return open_location(f"{bucket.url}/data", bucket.storage_options, key="source_url")


def read(place: Location) -> None:
    assert place.read("a/file") == CONTENT


def write(place: Location) -> None:
    place.write("a/new", CONTENT)
    assert place.read("a/new") == CONTENT


def list_files(place: Location) -> None:
    assert place.files().keys() == {"a/file", "b/file"}


def list_folder(place: Location) -> None:
    assert place.entries("a").keys() == {"file"}


def remove(place: Location) -> None:
    place.remove("a/file", "b/file")
    assert place.files() == {}


OPERATIONS = {
    "read": (read, "GET"),
    "write": (write, "PUT"),
    "list files": (list_files, "LIST"),
    "list a folder": (list_folder, "LIST"),
    "remove": (remove, "DELETE"),
}

Break = Callable[[Proxy, str], None]

PASSING: dict[str, Break] = {
    "500 twice": lambda proxy, kind: proxy.answer(of_kind(kind), 500, "InternalError", times=2),
    "503 twice": lambda proxy, kind: proxy.answer(of_kind(kind), 503, "Unavailable", times=2),
    "SlowDown twice": lambda proxy, kind: proxy.answer(of_kind(kind), 503, "SlowDown", times=2),
    "a dropped connection": lambda proxy, kind: proxy.fail(of_kind(kind), "drop", times=1),
    "a lost reply": lambda proxy, kind: proxy.fail(of_kind(kind), "lose", times=1),
    "a reply cut in the middle": lambda proxy, kind: proxy.fail(of_kind(kind), "cut", times=2),
}


@pytest.fixture
def place(bucket: Bucket) -> Location:
    bucket.put("data/a/file", CONTENT)
    bucket.put("data/b/file", CONTENT)
    return location(bucket)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_ridden_out(
    operation: str, fault: str, place: Location, proxy: Proxy
) -> None:
    act, kind = OPERATIONS[operation]
    PASSING[fault](proxy, kind)
    act(place)
    assert sum(f.times for f in proxy.faults) == 0 or fault == "a reply cut in the middle"


LASTING = {
    "403": (403, "AccessDenied", "access is denied"),
    "an expired token": (403, "ExpiredToken", "access is denied"),
    "an unknown key": (403, "InvalidAccessKeyId", "access is denied"),
    "a wrong signature": (403, "SignatureDoesNotMatch", "access is denied"),
    "no bucket": (404, "NoSuchBucket", "no such bucket"),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("fault", LASTING)
def test_what_lasts_fails_at_the_first_request_with_the_cause(
    operation: str, fault: str, place: Location, proxy: Proxy
) -> None:
    act, kind = OPERATIONS[operation]
    status, code, cause = LASTING[fault]
    proxy.answer(of_kind(kind), status, code, text=f"{KEY} {SECRET}")
    with pytest.raises(RemoteError) as caught:
        act(place)
    assert cause in str(caught.value)
    assert code in str(caught.value)
    assert f"source_url: 's3://{place.path.split('/')[0]}/data" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert KEY not in str(caught.value)
    assert proxy.counts()[kind] <= 2  # remove asks for two objects at the same time


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (lambda p: p.answer(of_kind("GET"), 500, "InternalError"), "busy or out of order"),
        (lambda p: p.answer(of_kind("GET"), 503, "SlowDown"), "busy or out of order"),
        (lambda p: p.fail(of_kind("GET"), "drop"), "the connection failed"),
        (lambda p: p.fail(of_kind("GET"), "cut"), "the connection failed"),
    ],
    ids=["500", "SlowDown", "dropped connections", "replies cut in the middle"],
)
def test_what_goes_on_for_ever_fails_after_some_attempts(
    fault: Callable[[Proxy], None],
    cause: str,
    bucket: Bucket,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aerozarr.filesystems.retry.ATTEMPTS", 2)
    bucket.put("data/a/file", CONTENT)
    options = bucket.storage_options
    options["s3"]["config_kwargs"] = {"retries": {"total_max_attempts": 2, "mode": "standard"}}
    fault(proxy)
    with pytest.raises(RemoteError, match=cause):
        open_location(f"{bucket.url}/data", options, key="source_url").read("a/file")
    # aiohttp makes two of a request whose connection was dropped when it was used again.
    assert 2 <= proxy.counts()["GET"] <= 8


def test_a_hang_is_tried_again_and_fails_when_it_goes_on(bucket: Bucket, proxy: Proxy) -> None:
    """With the timeout that the person sets; the default one is tried with a whole run."""
    bucket.put("data/a/file", CONTENT)
    options = bucket.storage_options
    options["s3"]["config_kwargs"] = {"read_timeout": 0.5}
    place = open_location(f"{bucket.url}/data", options, key="source_url")
    proxy.fail(of_kind("GET"), "hang", times=1)
    read(place)
    proxy.mend()
    options["s3"]["config_kwargs"] = {"read_timeout": 0.5, "retries": {"total_max_attempts": 1}}
    place = open_location(f"{bucket.url}/data", options, key="source_url")
    proxy.fail(of_kind("GET"), "hang")
    with pytest.raises(RemoteError, match="no answer in time"):
        place.read("a/file")


def test_an_object_of_another_length_than_listed_is_an_error(place: Location) -> None:
    with pytest.raises(SourceChangedError, match=r"10240 bytes, 10241 were listed"):
        read_file(place, "a/file", len(CONTENT) + 1)


def test_an_object_that_vanished_after_the_listing_is_an_error(place: Location) -> None:
    with pytest.raises(SourceChangedError, match="is gone"):
        read_file(place, "a/vanished", 10)


def test_nothing_is_there_and_nothing_answers_are_told_apart(bucket: Bucket) -> None:
    options = bucket.storage_options
    nowhere = open_location("s3://no-such-bucket-of-ours/x", options, key="store")
    for act in (lambda: nowhere.read("x"), lambda: nowhere.write("x", b"")):
        with pytest.raises(RemoteError, match="no such bucket"):
            act()
    options["s3"]["endpoint_url"] = "http://127.0.0.1:1"
    options["s3"]["config_kwargs"] = {"retries": {"total_max_attempts": 1}}
    closed = open_location("s3://bucket/x", options, key="store")
    with pytest.raises(RemoteError, match="the connection failed"):
        closed.read("x")


def test_a_profile_that_is_not_there_is_told_without_a_traceback(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(RemoteError, match=r"access is denied \(ProfileNotFound\)"):
        open_location(bucket.url, {"s3": {"profile": "nobody"}}, key="store").read("x")


# Whole runs


@pytest.fixture
def small(workspace: Workspace, bucket: Bucket) -> Workspace:
    """Three samples in a bucket, to be converted into it."""
    for seed, name in enumerate(("a", "b", "deep/c")):
        bucket.put_sample(f"source/{name}", seed)
        write_sample(workspace.source / name, seed)
    use(workspace, bucket, source_url="source", store="store")
    return workspace


def assert_no_secret(workspace: Workspace, output: str) -> None:
    for place, text in told(workspace, output).items():
        assert SECRET not in text, place
        assert KEY not in text, place


def local_store(workspace: Workspace, root: Path) -> dict[str, str]:
    """What the same samples give when they are converted from folder to folder."""
    other = Workspace(root)
    other.config = {**workspace.config, "source_url": str(workspace.source), "store": "results/s"}
    root.mkdir()
    other.run()
    return digests(root / "results/s")


def test_a_run_rides_out_one_fault_of_each_kind(
    small: Workspace, bucket: Bucket, tmp_path: Path
) -> None:
    proxy = bucket.proxy
    proxy.answer(of_kind("LIST"), 503, "SlowDown", times=1)
    proxy.answer(of_kind("GET", path="a/points.pt"), 500, "InternalError", times=2)
    proxy.fail(of_kind("GET", path="a/U.pt"), "cut", times=2)
    proxy.fail(of_kind("GET", path="b/U.pt"), "drop", times=1)
    proxy.fail(of_kind("PUT", path="a.zarr/volume/velocity/c/0/0"), "lose", times=1)
    proxy.answer(of_kind("PUT", path="b.zarr/zarr.json"), 503, "SlowDown", times=2)
    proxy.fail(of_kind("PUT", path="c.zarr/zarr.json"), "lose", times=1)
    proxy.fail(of_kind("PUT", path="manifest.json"), "lose", times=1)
    run = small.run(deadline=120)
    assert "lists 3 samples" in run.output
    assert all(fault.times == 0 for fault in proxy.faults)
    assert_no_secret(small, run.output)
    made = bucket.objects("store")
    assert hashes(made) == local_store(small, tmp_path / "local")
    for path, content in made.items():
        assert SECRET.encode() not in content, path
        assert KEY.encode() not in content, path


@pytest.mark.slow
def test_what_fails_for_ever_fails_its_job_in_less_than_two_minutes_and_no_other(
    small: Workspace, bucket: Bucket
) -> None:
    """With the timeouts and attempts that hold by default."""
    bucket.proxy.fail(of_kind("GET", path="source/a/U.pt"), "hang")
    bucket.proxy.answer(of_kind("GET", path="source/b/"), 503, "SlowDown", text=SECRET)
    run = small.run(ok=False, deadline=120)
    assert "source/a/U.pt': no answer in time" in run.output
    assert "the server is busy or out of order (OSError, SlowDown)" in run.output
    assert "broken" not in run.output
    assert "Traceback" not in run.output
    assert_no_secret(small, run.output)
    kept = {path.name for path in small.work.rglob("fragments/*/*.json")}
    assert kept == {"deep%2Fc.json"}
    assert "manifest.json" not in bucket.objects("store")
    bucket.proxy.mend()
    again = small.run()
    assert again.converted == ["a", "b"]
    assert "lists 3 samples" in again.output


@pytest.mark.parametrize(
    ("kind", "path"),
    [("GET", "source/a/"), ("PUT", "store/a.zarr/"), ("PUT", "store/manifest.json")],
    ids=["reading", "writing", "the manifest"],
)
def test_credentials_that_expire_in_the_middle_fail_the_job_and_no_sample(
    kind: str, path: str, small: Workspace, bucket: Bucket
) -> None:
    bucket.proxy.answer(of_kind(kind, path=path), 403, "ExpiredToken", text=f"{KEY} {SECRET}")
    run = small.run(ok=False, deadline=120)
    assert "access is denied (PermissionError, ExpiredToken)" in run.output
    assert "storage_options" in run.output
    assert "broken" not in run.output
    assert "Traceback" not in run.output
    assert_no_secret(small, run.output)
    assert "manifest.json" not in bucket.objects("store")


def test_an_object_that_vanishes_or_changes_under_way_fails_its_job_and_no_sample(
    small: Workspace, bucket: Bucket
) -> None:
    """They change with the first request to read one of them: after the listing."""

    def first_read(request: Request) -> bool:
        if request.kind == "GET" and "source/" in request.path and not changed:
            changed.append(True)
            bucket.remove("source/a/p.pt")
            bucket.put("source/b/U.pt", b"longer" * 1000)
        return False

    changed: list[bool] = []
    bucket.proxy.fail(first_read, "drop")
    run = small.run(ok=False, deadline=120)
    assert changed
    assert "source/a/p.pt is gone" in run.output
    assert "source/b/U.pt has 6000 bytes" in run.output
    assert "broken" not in run.output
    assert "Traceback" not in run.output
    kept = {path.name for path in small.work.rglob("fragments/*/*.json")}
    assert kept <= {"deep%2Fc.json"}


# What is wrong from the start


def only_ours(output: str) -> None:
    """One message, and nothing of Snakemake's or Python's."""
    assert "Traceback" not in output
    assert "Error in" not in output


def test_a_source_bucket_that_is_missing_is_one_clear_message(
    small: Workspace, bucket: Bucket
) -> None:
    small.config["source_url"] = "s3://no-such-bucket-of-ours/source"
    run = small.run(ok=False, deadline=120)
    assert "source_url: 's3://no-such-bucket-of-ours/source'" in run.said[-1]
    only_ours(run.output)
    assert_no_secret(small, run.output)


def test_a_store_bucket_that_is_missing_is_one_clear_message(
    small: Workspace, bucket: Bucket
) -> None:
    small.config["store"] = "s3://no-such-bucket-of-ours/store"
    run = small.run(ok=False, deadline=120)
    assert "store: 's3://no-such-bucket-of-ours/store" in run.output
    assert "no such bucket" in run.output
    only_ours(run.output)
    assert_no_secret(small, run.output)


@pytest.mark.parametrize("code", ["ExpiredToken", "AccessDenied", "InvalidAccessKeyId"])
def test_credentials_that_are_refused_are_one_clear_message(
    code: str, small: Workspace, bucket: Bucket
) -> None:
    bucket.proxy.answer(lambda request: True, 403, code, text=f"{KEY} {SECRET}")
    run = small.run(ok=False, deadline=120)
    assert "access is denied" in run.said[-1]
    assert code in run.said[-1]
    only_ours(run.output)
    assert_no_secret(small, run.output)


def test_credentials_that_are_missing_are_one_clear_message(
    small: Workspace, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    options = bucket.storage_options["s3"]
    del options["key"], options["secret"]
    small.config["storage_options"] = {"s3": options}
    run = small.run(ok=False, deadline=120)
    assert "access is denied (NoCredentialsError)" in run.said[-1]
    only_ours(run.output)
