"""Specification of archives of archives as sources: each inner one is a folder of its name."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from aerozarr.errors import RemoteError, SettingsError
from aerozarr.filesystems.location import Location, open_location
from unit.listing_helpers import FILES, ids, listing_of, skipped


def zipped(files: dict[str, bytes], packing: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packing) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def sample(text: str, folder: str = "") -> dict[str, bytes]:
    return {f"{folder}{file}": f"{text} {file}".encode() for file in FILES}


@pytest.fixture(params=[zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "packed"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    path = tmp_path / "scans.zip"
    outer = {
        "run_2.zip": zipped(sample("2"), request.param),
        "run_1.zip": zipped(sample("1", "run_1/") | {"__MACOSX/run_1/._p": b"x"}),
        "more/run_3.ZIP": zipped(sample("3", "a/") | sample("4", "b/")),
        "__MACOSX/._run_1.zip": b"no archive",
        "part.zip": zipped({FILES[0]: b"x"}),
        "plain/" + FILES[0]: b"5",
        "plain/" + FILES[1]: b"55",
        "readme.txt": b"about it",
    }
    path.write_bytes(zipped(outer, request.param))
    return f"zip://::file://{path}"


def opened(archive: str) -> Location:
    return open_location(archive, {}, key="source_url")


def test_each_inner_archive_is_a_sample_by_its_name(archive: str) -> None:
    listing = listing_of(source_url=archive)
    assert ids(listing) == ["more/run_3/a", "more/run_3/b", "plain", "run_1", "run_2"]
    assert skipped(listing) == {"part": ("incomplete", FILES[1])}
    assert listing.samples[-1].sizes == tuple(len(f"2 {file}") for file in sorted(FILES))


def test_so_it_is_in_a_dataset_root(archive: str, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("run_2\nrun_1\nrun_9\n")
    listing = listing_of(
        source_root=archive, splits=["train"], split_files={"train": str(tmp_path / "train.txt")}
    )
    assert ids(listing) == ["run_2", "run_1"]
    assert list(skipped(listing)) == ["run_9"]


def test_files_are_read_from_within(archive: str) -> None:
    place = opened(archive)
    for run, text in (("run_1", "1"), ("run_2", "2"), ("more/run_3/b", "4"), ("run_1", "1")):
        for file in FILES:
            assert place.below(run).read(file) == f"{text} {file}".encode()
    assert place.read("readme.txt") == b"about it"
    for missing in ("run_1/none.pt", "run_9/points.pt", "none.txt"):
        with pytest.raises(FileNotFoundError):
            place.read(missing)
    assert sorted(place.entries("more/run_3")) == ["a", "b"]
    assert sorted(place.entries()) == [
        *("__MACOSX", "more", "part", "plain", "readme.txt", "run_1", "run_2")
    ]
    assert place.is_folder("run_2") and not place.is_folder("run_9")
    assert place.below("more").files().keys() == {
        f"run_3/{folder}/{file}" for folder in "ab" for file in FILES
    }


def test_reading_a_sample_opens_no_other_inner_archive(tmp_path: Path) -> None:
    path = tmp_path / "scans.zip"
    path.write_bytes(zipped({"run_1.zip": zipped(sample("1")), "run_2.zip": b"damaged"}))
    place = opened(f"zip://::file://{path}")
    assert place.read(f"run_1/{FILES[0]}") == f"1 {FILES[0]}".encode()
    with pytest.raises(RemoteError, match=r"'run_2\.zip' in the source's archive is damaged"):
        place.files()


def test_a_change_within_is_one_of_its_sample_alone(tmp_path: Path) -> None:
    def prints(**texts: str) -> dict[str, str]:
        path = tmp_path / "scans.zip"
        path.write_bytes(
            zipped({f"{run}.zip": zipped(sample(text)) for run, text in texts.items()})
        )
        listing = listing_of(source_url=f"zip://::file://{path}")
        return {one.id: one.fingerprint for one in listing.samples}

    before, after = prints(run_1="1", run_2="2"), prints(run_1="1", run_2="3")
    assert before["run_1"] == after["run_1"]
    assert before["run_2"] != after["run_2"]


def test_an_archive_without_any_is_read_as_ever(tmp_path: Path) -> None:
    path = tmp_path / "plain.zip"
    path.write_bytes(zipped(sample("1", "run_1/")))
    assert type(opened(f"zip://::file://{path}").fs).__name__ == "ZipFileSystem"


@pytest.mark.parametrize("cut", [1, 10, 100, 700])
def test_an_archive_that_was_cut_short_is_not_taken_for_the_last_one_within_it(
    tmp_path: Path, cut: int
) -> None:
    path = tmp_path / "scans.zip"
    content = zipped({f"run_{n}.zip": zipped(sample(str(n))) for n in range(4)})
    path.write_bytes(content[:-cut])
    with pytest.raises((RemoteError, SettingsError), match="source_url"):
        listing_of(source_url=f"zip://::file://{path}")


def test_neither_is_an_inner_one(tmp_path: Path) -> None:
    path = tmp_path / "scans.zip"
    inner = zipped({"a": b"a", "b.pt": zipped(sample("2"))})
    path.write_bytes(zipped({"run_1.zip": zipped(sample("1")), "run_2.zip": inner[:-60]}))
    with pytest.raises(RemoteError, match=r"'run_2\.zip' in the source's archive was cut short"):
        opened(f"zip://::file://{path}").files()


@pytest.mark.parametrize(
    "outer",
    [
        {"run_1.zip": zipped(sample("1")), f"run_1/{FILES[0]}": b"x"},
        {f"a/run_1/{FILES[0]}": b"x", "a/run_1.zip": zipped(sample("1"))},
        {"run_1.zip": zipped(sample("1")), "run_1.ZIP": zipped(sample("2"))},
    ],
)
def test_two_things_that_would_be_one_folder_are_refused(
    tmp_path: Path, outer: dict[str, bytes]
) -> None:
    path = tmp_path / "scans.zip"
    path.write_bytes(zipped(outer))
    with pytest.raises(RemoteError, match=r"source_url: .* would be one folder"):
        opened(f"zip://::file://{path}")


def test_folders_as_some_programs_of_windows_part_them(tmp_path: Path) -> None:
    path = tmp_path / "scans.zip"
    path.write_bytes(
        zipped({"run_1.zip": zipped(sample("1", "run_1\\")), "b.zip": zipped(sample("2", "x\\"))})
    )
    assert ids(listing_of(source_url=f"zip://::file://{path}")) == ["b/x", "run_1"]


def test_an_inner_archive_without_a_file_is_an_empty_folder(tmp_path: Path) -> None:
    path = tmp_path / "scans.zip"
    path.write_bytes(
        zipped({"a/run_1.zip": zipped(sample("1")), "a/run_2.zip": zipped({}), "b.zip": zipped({})})
    )
    listing = listing_of(source_url=f"zip://::file://{path}")
    assert ids(listing) == ["a/run_1"]
    assert sorted(skipped(listing)) == ["a/run_2", "b"]
    assert sorted(skipped(listing_of(source_url=f"zip://a::file://{path}"))) == ["run_2"]


def test_a_way_of_packing_that_is_not_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "scans.zip"
    inner = bytearray(zipped(sample("1")))
    inner[8] = inner[inner.index(b"PK\x01\x02") + 10] = 9  # Deflate64, as Windows packs
    path.write_bytes(zipped({"run_1.zip": bytes(inner)}))
    with pytest.raises(RemoteError, match="packed in a way that is not read here, or encrypted"):
        opened(f"zip://::file://{path}").read(f"run_1/{sorted(FILES)[0]}")
