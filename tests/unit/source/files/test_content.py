"""What tells that a sample's files hold something else, at the cost of reading their ends."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from aerozarr.filesystems.location import open_location
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
