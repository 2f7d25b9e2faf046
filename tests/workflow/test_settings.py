"""Settings that cannot be used end the run before any job, with one clear message.

One of each kind: what is said of each setting is tested in `unit/config`.
"""

from __future__ import annotations

import subprocess

import pytest

from workflow.harness import FILEMAP, Workspace, write_sample


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"chunk_pionts": 3}, ["chunk_pionts", "Did you mean chunk_points?"]),
        (
            {"field_dtypes": {"surface_presure": "float32"}},
            ["field_dtypes", "surface_presure", "Did you mean surface_pressure?"],
        ),
        ({"source_root": "source"}, ["source_url", "source_root", "Set one"]),
        ({"dataset": "shapenetcar"}, ["dataset", "shapenetcar", "Did you mean shapenet_car?"]),
        ({"dataset": "no.Such"}, ["dataset", "no.Such", "PYTHONPATH"]),
        ({"source_url": "elsewhere"}, ["source_url", "elsewhere", "is not there"]),
        ({"source_url": "nope://x"}, ["source_url", "nope://x", "Check its protocol"]),
        ({"filemap": {"surface_pressure": "p.pt"}}, ["filemap", "no position"]),
        ({"filemap": {"surface_position": "other.pt"}}, ["source_url", "no complete sample"]),
        ({"store": "settings.yaml"}, ["store", "settings.yaml", "is a file"]),
        ({"workdir": "{x}"}, ["workdir", "{x}", "local folder"]),
        (
            {"source_url": None, "source_root": "source", "dataset": "drivaerml", "filemap": None},
            ["source_root", "no drivaerml dataset", "source_url"],
        ),
        (
            {"source_url": None, "source_root": "source", "split_files": {"train": "ids.txt"}},
            ["split_files.train", "ids.txt"],
        ),
        (
            {"source_url": None, "source_root": "source", "splits": ["train["]},
            ["splits", "train[", "train[10:90:2]"],
        ),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_a_setting_that_cannot_be_used(
    workspace: Workspace, changes: dict[str, object], expected: list[str]
) -> None:
    write_sample(workspace.source / "a", 1)
    workspace.config.update(changes)
    if "splits" in changes:
        (workspace.source / "ids.txt").write_text("a\n")
        workspace.config["split_files"] = {"train": "ids.txt"}
    run = workspace.run(ok=False)
    message = run.output.partition("aerozarr: ")[2]
    for words in expected:
        assert words in message
    assert "Traceback" not in run.output
    assert len(message.strip().splitlines()) <= 2
    assert "Job stats" not in run.output
    assert not (workspace.root / "results").exists()


def test_a_split_that_the_dataset_lacks_is_a_warning_unless_it_was_asked_for(
    workspace: Workspace,
) -> None:
    write_sample(workspace.source / "preprocessed" / "param1" / "x", 1)
    write_sample(workspace.source / "preprocessed" / "param0" / "y", 2)
    workspace.config = {
        "dataset": "shapenet_car",
        "filemap": FILEMAP,
        "source_root": "source",
    }
    run = workspace.run()
    assert "aerozarr: warning: splits: shapenet_car has no split 'val'" in run.output
    assert workspace.listed() == ["param1/x", "param0/y"]
    assert workspace.manifest()["dataset_name"] == "shapenet_car"
    workspace.config["splits"] = "test,train,val"
    run = workspace.run(ok=False)
    assert "splits: shapenet_car has no split 'val'. Take it out of splits." in run.output
    workspace.config["splits"] = "test,train"
    workspace.run()
    assert workspace.listed() == ["param0/y", "param1/x"]


def test_a_setting_that_stands_in_a_file_twice(workspace: Workspace) -> None:
    write_sample(workspace.source / "a", 1)
    workspace.config["field_dtypes"] = {"surface_pressure": "float32"}
    command = workspace.command()
    with (workspace.root / "settings.yaml").open("a") as file:
        file.write("field_dtypes: {surface_position: float64}\n")
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "settings.yaml: field_dtypes stands there twice, on lines 7 and 9" in run.stderr
    assert "Job stats" not in run.stderr
    assert not (workspace.root / "results").exists()
