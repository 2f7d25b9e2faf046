"""What tells that a sample's files hold something else, at the cost of reading their ends."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from aerozarr.filesystems.location import open_location
from aerozarr.source.files import content
from aerozarr.source.files.content import content_digest

FILES = ("points.pt", "pressure.pt")


def digest(folder: Path, sample_id: str = "a") -> str:
    return content_digest(open_location(str(folder), {}, key="source_url"), sample_id, FILES)


@pytest.mark.parametrize("legacy", [False, True])
def test_it_is_that_of_the_content_and_of_nothing_else(tmp_path: Path, legacy: bool) -> None:
    options = {"_use_new_zipfile_serialization": not legacy}
    for sample_id in ("a", "b"):
        (tmp_path / sample_id).mkdir()
        for file in FILES:
            torch.save(torch.ones(40, 3), tmp_path / sample_id / file, **options)
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    assert digest(tmp_path) == digest(tmp_path, "copy") != ""
    size = (tmp_path / "a" / "points.pt").stat().st_size
    torch.save(torch.full((40, 3), 2.0), tmp_path / "a" / "points.pt", **options)
    assert (tmp_path / "a" / "points.pt").stat().st_size == size
    assert digest(tmp_path) != digest(tmp_path, "copy")


def test_behind_a_url_there_is_none() -> None:
    place = open_location("memory://somewhere", {}, key="source_url")
    assert content_digest(place, "a", FILES) == ""


def test_of_a_large_raw_file_pieces_of_all_of_it_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "_PIECE", 10)
    monkeypatch.setattr(content, "_PIECES", 5)
    place = open_location(str(tmp_path), {}, key="source_url")
    (tmp_path / "a").mkdir()

    def digest_of(values: bytes) -> str:
        (tmp_path / "a/volume.vtu").write_bytes(values)
        return content_digest(place, "a", ["volume.vtu"])

    for size in (0, 9, 50, 51, 1000):
        same = digest_of(bytes(size))
        assert same == digest_of(bytes(size))
        assert same != digest_of(bytes(size + 1))
        for changed in {0, size // 2, size - 1} if size else ():
            other = bytearray(size)
            other[changed] = 1
            assert digest_of(bytes(other)) != same, (size, changed)
