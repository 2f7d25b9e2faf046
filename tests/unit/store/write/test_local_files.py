"""What lies below a local store: the same whether it is asked for by path or gone through."""

from __future__ import annotations

from pathlib import Path

import pytest

from aerozarr.filesystems.location import open_location
from aerozarr.store.write.local import LocalRoot
from aerozarr.store.write.local_files import LocalFiles

FILES = {
    "manifest.json": 3,
    "a.zarr/zarr.json": 2,
    "a.zarr/surface/pressure/c/0/0": 7,
    "deep/er/c.zarr/zarr.json": 1,
    "beside/notes.txt": 4,
}
OTHERS = {
    ".aerozarr/written.json": 5,
    ".aerozarr-partial/1/zarr.json": 5,
    "other/manifest.json": 5,
    "other/b.zarr/zarr.json": 5,
    "other/deep/b.zarr/zarr.json": 5,
}


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    for path, size in {**FILES, **OTHERS}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(bytes(size))
    return LocalFiles(str(tmp_path))


def test_by_path_and_all_at_once_they_are_the_same(files: LocalFiles) -> None:
    assert {path: files.get(path) for path in (*FILES, *OTHERS)} == {
        **FILES,
        **dict.fromkeys(OTHERS),
    }
    assert dict(files) == FILES
    assert len(files) == len(FILES)


@pytest.mark.parametrize(
    "path", ["a.zarr", "a.zarr/surface", "b.zarr/zarr.json", "manifest.json/x", "a.zarr/zarr.json/"]
)
def test_what_is_no_file_is_not_there(files: LocalFiles, path: str) -> None:
    assert path not in files
    assert files.get(path, -1) == -1


def test_links_hide_no_groups(files: LocalFiles, tmp_path: Path) -> None:
    before = local_root(tmp_path).group_ids()
    assert before == {"a", "deep/er/c"}
    for folder in (tmp_path, tmp_path / "deep", tmp_path / "other"):
        (folder / "0").symlink_to("0")  # to itself
        (folder / "up").symlink_to("..")
    assert local_root(tmp_path).group_ids() == before


def local_root(folder: Path) -> LocalRoot:
    return LocalRoot(open_location(str(folder), {}, key="store"), "owner")


def test_a_store_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    assert dict(LocalFiles(str(tmp_path / "none"))) == {}
    assert "manifest.json" not in LocalFiles(str(tmp_path / "none"))
