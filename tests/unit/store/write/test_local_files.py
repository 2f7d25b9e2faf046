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


# Links --------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> LocalRoot:
    return LocalRoot(open_location(str(tmp_path / "store"), {}, key="store"), "owner")


def write(root: LocalRoot, sample_id: str) -> None:
    with root.write_group(sample_id) as group:
        group.put("surface/pressure/c/0/0", b"new")
        group.commit(b"{}")


@pytest.fixture
def mine(root: LocalRoot, tmp_path: Path) -> Path:
    """A group that somebody moved elsewhere and put a link to in its place."""
    mine = tmp_path / "mine/a.zarr"
    (mine / "surface").mkdir(parents=True)
    (mine / "zarr.json").write_bytes(b"mine")
    root.root.mkdir()
    (root.root / "a.zarr").symlink_to(mine)
    root.publish("manifest.json", b"{}")
    return mine


def test_a_group_that_is_a_link_is_replaced_and_what_it_leads_to_stays(
    root: LocalRoot, mine: Path
) -> None:
    write(root, "a")
    assert not (root.root / "a.zarr").is_symlink()
    assert root.files_of("a") == {"surface/pressure/c/0/0": 3, "zarr.json": 2}
    assert root.read("manifest.json") is None
    assert (mine / "zarr.json").read_bytes() == b"mine"
    root.clean()
    assert (mine / "zarr.json").read_bytes() == b"mine"


def test_of_an_orphan_that_is_a_link_the_link_is_removed(root: LocalRoot, mine: Path) -> None:
    root.remove_group("a")
    assert not (root.root / "a.zarr").is_symlink()
    assert (mine / "zarr.json").read_bytes() == b"mine"


def test_a_link_that_leads_nowhere_is_replaced(root: LocalRoot, tmp_path: Path) -> None:
    root.root.mkdir()
    (root.root / "a.zarr").symlink_to(tmp_path / "nowhere")
    write(root, "a")
    assert root.has_group("a")
    assert not (tmp_path / "nowhere").exists()


def test_groups_below_a_folder_that_is_a_link_are_found_by_their_ids(
    root: LocalRoot, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    root.root.mkdir()
    (root.root / "c").symlink_to(tmp_path / "elsewhere")
    write(root, "c/d")
    assert root.group_ids() == set()
    assert root.visible_of({"c/d", "c/e"}) == {"c/d"}
    root.remove_group("c/d")
    assert root.visible_of({"c/d", "c/e"}) == set()
    assert (root.root / "c").is_symlink()
