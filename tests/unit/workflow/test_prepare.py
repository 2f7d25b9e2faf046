"""What a run looks at before it begins: no file of somebody's own is removed or replaced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aerozarr.config.load_settings import load_settings
from aerozarr.errors import SettingsError, StoreError
from aerozarr.run_config import RunConfig
from aerozarr.store.write.records import Lease, take_lease
from aerozarr.workflow.ownership import begin_writing, check_store_is_ours
from aerozarr.workflow.prepare import acquire_workdir
from aerozarr.workflow.state import Plan, State
from unit.listing_helpers import FILEMAP

NOTHING = State([], {}, {}, {}, None, None, {})
MERGES = Plan({}, [], list_anew=True, merge_anew=True)

Make = Callable[..., RunConfig]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    places = {"store": str(tmp_path / "store"), "workdir": str(tmp_path / "work")}

    def make(**settings: Any) -> RunConfig:
        if "source_root" not in settings:
            settings["source_url"] = str(tmp_path / "source")
        return RunConfig.of(load_settings({"filemap": FILEMAP, **places, **settings}))

    return make


@pytest.mark.parametrize(
    "mine", ["verification/mine.txt", "estimate/mine.txt", "samples.tsv", "report.html"]
)
def test_a_work_folder_with_something_of_that_name_is_refused(
    make: Make, tmp_path: Path, mine: str
) -> None:
    place = tmp_path / "work" / mine
    place.parent.mkdir(parents=True)
    place.write_text("mine")
    with pytest.raises(SettingsError, match=f"workdir: .* holds {mine.partition('/')[0]}, which"):
        acquire_workdir(make())
    assert place.read_text() == "mine"
    (tmp_path / "work" / ".lock").touch()  # as a run leaves it
    acquire_workdir(make())


@pytest.mark.parametrize("name", ["splits.json", "statistics.train.json", "provenance.json"])
def test_a_store_with_a_file_of_that_name_is_refused_before_its_first_run(
    make: Make, tmp_path: Path, name: str
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / name).write_text("mine")
    with pytest.raises(SettingsError, match="holds 1 file that no run of this store") as error:
        check_store_is_ours(make(), NOTHING, MERGES)
    assert name in str(error.value)
    (tmp_path / "work").mkdir()
    begin_writing(make(), check_store_is_ours(make(take_over=True), NOTHING, MERGES))
    check_store_is_ours(make(), NOTHING, MERGES)  # by now the store has a record of its runs


@pytest.mark.parametrize(("split", "is_replaced"), [("train", True), ("val", False)])
def test_an_id_list_is_refused_where_a_run_would_write_it(
    make: Make, tmp_path: Path, split: str, *, is_replaced: bool
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / f"{split}_design_ids.txt").write_text("mine\n")
    root = {"source_root": str(tmp_path / "source"), "dataset": "emmi_wing"}
    run_config = make(**root, split_files={"train": "ids.txt"}, splits=["train[:5]"])
    if not is_replaced:
        check_store_is_ours(run_config, NOTHING, MERGES)
        return
    with pytest.raises(SettingsError, match=r"train_design_ids\.txt"):
        check_store_is_ours(run_config, NOTHING, MERGES)


def test_a_run_without_a_lease_writes_only_while_no_other_is_at_work(make: Make) -> None:
    run_config = make()
    run_config.check_lease()
    take_lease(run_config.store, Lease.of_this_process("another", "elsewhere"))
    with pytest.raises(StoreError, match="another run is at work in it"):
        run_config.check_lease()
