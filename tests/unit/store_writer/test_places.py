"""Where a `StoreWriter` writes, however that is spelled, and what is known of a moved store."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from aerozarr import SettingsError, Store, StoreError, StoreWriter
from aerozarr.run_config import tag_of
from aerozarr.store_writer.place import earlier_digests
from unit.store_writer_helpers import SETTINGS, arrays_of

HERE_BY = ["{0}/store", "{0}/store/", "file://{0}/store", "local://{0}/store", "~/store", "store"]


def extend(place: str | Path, sample_id: str, workdir: str | Path | None = None) -> list[str]:
    writer = StoreWriter(place, SETTINGS, workdir=workdir)
    writer.write(sample_id, arrays_of(1), split="train")
    return writer.finish()


@pytest.mark.parametrize("workdir", [None, "~/work", "work"])
@pytest.mark.parametrize("spelled", HERE_BY)
def test_a_store_reads_what_a_writer_of_that_place_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelled: str, workdir: str | None
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    place = spelled.format(tmp_path)
    extend(place, "a", workdir)
    assert Store(place).samples == ["a"]
    assert {path.name for path in tmp_path.iterdir()} == {"store"} | (
        {"work"} if workdir else set()
    )
    extend(tmp_path / "store", "b", workdir)  # the same store by another name
    assert Store(place).samples == ["a", "b"]


@pytest.mark.parametrize("workdir", [None, "work"])
def test_a_process_may_go_to_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workdir: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    writer = StoreWriter("store", SETTINGS, workdir=workdir)
    writer.write("a", arrays_of(1))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    writer.write("b", arrays_of(2))
    assert len(writer.finish()) == 1
    assert Store(tmp_path / "store").samples == ["a", "b"]
    assert not list(Path().iterdir())


def made_by_an_earlier_version(store: Path) -> None:
    """Have a store's default workdir look as earlier versions left it."""
    work, tag = store / ".aerozarr/writer", tag_of(str(store))
    writer = StoreWriter(store, SETTINGS)
    config = writer._configs.of_fields(arrays_of(1))
    (digest,) = earlier_digests(config)
    for row in [*work.glob("rows/*/*.json")]:
        row.rename(work / "rows" / row.name)
    shutil.rmtree(work / "rows/store")
    (work / "fragments/store").rename(work / "fragments" / tag)
    for fragment in work.glob("fragments/*/*.json"):
        fragment.write_text(fragment.read_text().replace(config.stored_as_digest, digest))
    record = store / ".aerozarr/written.json"
    if record.exists():
        record.write_text(record.read_text().replace("-store", f"-{tag}"))
    shutil.rmtree(work / "locks")


@pytest.mark.parametrize("is_finished", [True, False])
@pytest.mark.parametrize("is_earlier", [False, True])
@pytest.mark.parametrize("how", ["stay", "move", "copy", "link"])
def test_a_store_with_its_workdir_can_be_extended_wherever_it_is(
    tmp_path: Path, how: str, is_earlier: bool, is_finished: bool
) -> None:
    place, now = tmp_path / "store", tmp_path / "now"
    writer = StoreWriter(place, SETTINGS)
    for sample in "ab":
        writer.write(sample, arrays_of(1), split="train")
    if is_finished:
        writer.finish()
    if is_earlier:
        made_by_an_earlier_version(place)
    if how == "stay":
        now = place
    elif how == "move":
        place.rename(now)
    elif how == "copy":
        shutil.copytree(place, now)
    else:
        os.symlink(place, now)
    if is_earlier and not is_finished and how in ("move", "copy"):
        # What was recorded depends on a place that nothing tells.
        with pytest.raises(StoreError, match=r"written with other settings .* or write it again"):
            extend(now, "c")
        writer = StoreWriter(now, SETTINGS)
        for sample in "ab":
            writer.write(sample, arrays_of(1), split="train")
    for sample in "cb":  # a new one, and one of before
        assert len(extend(now, sample)) == 1
    for _ in range(2):
        assert len(StoreWriter(now, SETTINGS).finish()) == 1
    assert Store(now).splits == {"train": ("a", "b", "c")}
    if how == "copy" and is_finished:
        assert Store(place).splits == {"train": ("a", "b")}
        assert len(extend(place, "d")) == 1
        assert Store(place).splits == {"train": ("a", "b", "d")}


def test_a_store_that_was_moved_away_from_its_workdir_takes_it_along(tmp_path: Path) -> None:
    place, now, work = tmp_path / "store", tmp_path / "now", tmp_path / "work"
    for sample in "ab":
        extend(place, sample, work)
    place.rename(now)
    with pytest.raises(SettingsError, match="by another name: it was moved or copied") as told:
        extend(now, "c", work)
    with pytest.raises(SettingsError, match="is not the one that"):
        extend(now, "c")
    # As the message says.
    target = str(told.value).partition("copy the workdir to '")[2].partition("'")[0]
    shutil.copytree(work, target, dirs_exist_ok=True)
    assert len(extend(now, "c")) == 1
    assert Store(now).samples == ["a", "b", "c"]
    # Should the store come back, the workdir of before lacks what was written since.
    now.rename(place)
    with pytest.raises(SettingsError, match="folders rows and fragments of another may be copied"):
        extend(place, "d", work)
    for name in ("rows", "fragments"):  # as the message says
        shutil.copytree(Path(target.replace("now", "store"), name), work / name, dirs_exist_ok=True)
    assert len(extend(place, "d", work)) == 1
    assert Store(place).samples == ["a", "b", "c", "d"]


@pytest.mark.parametrize("is_default", [(True, False), (False, True), (False, False)])
def test_records_of_one_workdir_are_good_in_another(
    tmp_path: Path, is_default: tuple[bool, bool]
) -> None:
    place, own = tmp_path / "store", tmp_path / "store/.aerozarr/writer"
    one, two = (own if is_own else tmp_path / f"work_{n}" for n, is_own in enumerate(is_default))
    for work, sample in ((one, "a"), (two, "b")):
        StoreWriter(place, SETTINGS, workdir=work).write(sample, arrays_of(1))
    StoreWriter(place, SETTINGS, workdir=two).finish()
    with pytest.raises(SettingsError, match="folders rows and fragments of another may be copied"):
        StoreWriter(place, SETTINGS, workdir=one)
    for name in ("rows", "fragments"):  # as the message says
        shutil.copytree(one / name, two / name, dirs_exist_ok=True)
    for _ in range(2):
        assert len(StoreWriter(place, SETTINGS, workdir=two).finish()) == 1
        assert Store(place).samples == ["a", "b"]
    assert len(extend(place, "a", two)) == 1


def test_records_of_other_groups_are_not_taken_up(tmp_path: Path) -> None:
    place, work = tmp_path / "store", tmp_path / "store/.aerozarr/writer"
    extend(place, "a")
    other = StoreWriter(tmp_path / "other", SETTINGS, workdir=work)  # though it is in a store
    for sample in "ab":
        other.write(sample, arrays_of(2))
    assert len(StoreWriter(place, SETTINGS).finish()) == 1
    assert Store(place).samples == ["a"]
    assert len(extend(place, "b")) == 1


def test_a_link_to_a_store_is_that_store_for_a_workdir_elsewhere(tmp_path: Path) -> None:
    extend(tmp_path / "store", "a", tmp_path / "work")
    os.symlink(tmp_path / "store", tmp_path / "link")
    assert len(extend(tmp_path / "link", "b", tmp_path / "work")) == 1
    assert Store(tmp_path / "store").samples == ["a", "b"]


def test_the_default_workdir_may_be_named(tmp_path: Path) -> None:
    extend(tmp_path / "store", "a")
    (tmp_path / "store").rename(tmp_path / "now")
    assert len(extend(tmp_path / "now", "b", tmp_path / "now/.aerozarr/writer")) == 1
    assert Store(tmp_path / "now").samples == ["a", "b"]


def test_a_record_that_names_a_folder_elsewhere_is_not_followed(tmp_path: Path) -> None:
    extend(tmp_path / "store", "a")
    record = tmp_path / "store/.aerozarr/written.json"
    said = json.loads(record.read_text())
    own = said["writer"].partition("-")[0]
    record.write_text(json.dumps({**said, "writer": f"{own}-../../../elsewhere"}))
    with pytest.raises(SettingsError, match="take_over"):
        extend(tmp_path / "store", "b")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
