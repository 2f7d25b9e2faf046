"""Which groups of a local store are whole, found by a process of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aerozarr.convert import whole_groups
from aerozarr.convert.fragment import Fragment, is_whole
from aerozarr.convert.whole_groups import Looking, find_whole
from aerozarr.source.samples import key_of
from aerozarr.store.write.local_files import LocalFiles

SIZES = {"zarr.json": 2, "surface/pressure/c/0/0": 7}
WHOLE = {"a.zarr", "deep/ü b.zarr"}


@pytest.fixture
def fragments(tmp_path: Path) -> list[Fragment]:
    """Fragments of groups that are whole, and of one each that lacks something."""
    ids = ["a", "deep/ü b", "cut", "lost", "gone", "folder", "other/c"]
    made = [
        Fragment(
            sample_id=sample_id,
            status="converted",
            objects={path: (size, "0" * 64) for path, size in SIZES.items()},
        )
        for sample_id in ids
    ]
    (tmp_path / "fragments").mkdir()
    for fragment in made:
        name = f"fragments/{key_of(fragment.sample_id)}.json"
        (tmp_path / name).write_bytes(fragment.to_json())
        for path, size in SIZES.items():
            place = tmp_path / f"store/{fragment.sample_id}.zarr" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(bytes(size))
    shard = "zarr/surface/pressure/c/0/0"
    os.truncate(tmp_path / f"store/cut.{shard}", 6)
    (tmp_path / f"store/lost.{shard}").unlink()
    (tmp_path / "store/gone.zarr").rename(tmp_path / "elsewhere")
    (tmp_path / f"store/folder.{shard}").unlink()
    (tmp_path / f"store/folder.{shard}").mkdir()
    (tmp_path / "store/other/manifest.json").write_text("{}")  # another store
    # Of no files, or under another name: asked about, they would be groups that are not there.
    broken = Fragment(sample_id="gone", status="broken").to_json()
    for name in ("gone.json", "gone.sync-conflict.json"):
        (tmp_path / f"fragments/{name}").write_bytes(broken)
    copy = Fragment(sample_id="a", status="converted", objects={"zarr.json": (2, "0" * 64)})
    (tmp_path / "fragments/deep.json").write_bytes(copy.to_json())
    # What is no fragment is passed over.
    (tmp_path / "fragments/damaged.json").write_text("{")
    (tmp_path / "fragments/.set_aside").mkdir()
    return made


def look(folder: Path) -> frozenset[str]:
    return Looking(str(folder / "fragments"), str(folder / "store")).whole()


def test_groups_that_lack_something_are_not_whole(
    tmp_path: Path, fragments: list[Fragment]
) -> None:
    assert {*find_whole(str(tmp_path / "fragments"), str(tmp_path / "store"))} == WHOLE


def test_a_process_finds_what_looking_one_by_one_does(
    tmp_path: Path, fragments: list[Fragment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_groups, "_MANY", 1)
    found, files = look(tmp_path), LocalFiles(str(tmp_path / "store"))
    assert found == {f"{f.sample_id}.zarr" for f in fragments if is_whole(f, files)} == WHOLE
    files.take(found)
    assert {f"{f.sample_id}.zarr" for f in fragments if is_whole(f, files)} == WHOLE


def test_neither_locale_nor_working_directory_matters(
    tmp_path: Path, fragments: list[Fragment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_groups, "_MANY", 1)
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    (tmp_path / "msgspec.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    assert look(tmp_path) == WHOLE


def test_of_few_fragments_none_is_started(tmp_path: Path, fragments: list[Fragment]) -> None:
    assert look(tmp_path) == frozenset()
    assert Looking(str(tmp_path / "none"), str(tmp_path / "store")).whole() == frozenset()


def test_of_a_process_that_fails_nothing_is_believed(
    tmp_path: Path, fragments: list[Fragment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_groups, "_MANY", 1)
    monkeypatch.setattr(whole_groups.sys, "executable", "/bin/false")
    assert look(tmp_path) == frozenset()
