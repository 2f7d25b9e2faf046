"""Specification of listing: which folders are samples, which are told of, and what it costs."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from aerozarr.config.load_settings import load_settings
from aerozarr.errors import SettingsError
from aerozarr.filesystems.location import open_location
from aerozarr.source.datasets import resolve_dataset
from aerozarr.source.open_source import open_source
from aerozarr.source.scan import is_there
from unit.listing_helpers import FILEMAP, FILES, LocalTree, Tree, ids, listed, listing_of, skipped

REPOSITORY = Path(__file__).parents[3]


# What is a sample


def test_every_folder_that_holds_all_files_is_a_sample(tree: Tree) -> None:
    tree.samples("run_1", "param1/abc", "a/b/c/d")
    tree.put("a/unrelated.txt")
    tree.put("notes/readme.md")
    listing = listed(tree)
    assert ids(listing) == ["a/b/c/d", "param1/abc", "run_1"]
    assert listing.skipped == []
    assert listing.warnings == []


def test_a_sample_may_lie_within_another(tree: Tree) -> None:
    tree.samples("car", "car/half", "car/half/quarter")
    assert ids(listed(tree)) == ["car", "car/half", "car/half/quarter"]


def test_samples_come_in_plain_string_order_of_their_ids(tree: Tree) -> None:
    names = ["run_2", "run_10", "run_1", "Run_3", "a/b", "a-b", "a", "a b", "ä", "z", "a/B", "a.b"]
    tree.samples(*names)
    assert ids(listed(tree)) == sorted(names)
    assert ids(listed(tree))[:6] == ["Run_3", "a", "a b", "a-b", "a.b", "a/B"]


def test_the_prefix_itself_is_not_a_sample(tree: Tree) -> None:
    tree.samples("run_1")
    for file in FILES:
        tree.put(file)
    listing = listed(tree)
    assert ids(listing) == ["run_1"]
    assert listing.skipped == []


def test_a_prefix_that_holds_its_files_itself_has_no_sample(tree: Tree) -> None:
    for file in FILES:
        tree.put(file)
    with pytest.raises(SettingsError, match="no complete sample"):
        listed(tree)


def test_a_prefix_does_not_reach_into_its_neighbours(tree: Tree) -> None:
    tree.samples("data/run_1", "data2/run_2", "dat/run_3")
    assert ids(listing_of(source_url=f"{tree.url}/data")) == ["run_1"]


def test_the_id_is_below_the_prefix_and_not_below_its_last_folder(tree: Tree) -> None:
    tree.samples("data/data/run_1")
    assert ids(listing_of(source_url=f"{tree.url}/data")) == ["data/run_1"]


def test_a_slash_at_the_end_of_the_prefix_changes_nothing(tree: Tree) -> None:
    tree.samples("run_1", "a/b")
    assert listing_of(source_url=f"{tree.url}/") == listed(tree)


def test_a_sample_knows_its_files_and_their_sizes(tree: Tree) -> None:
    tree.put("run_1/pressure.pt", b"12345")
    tree.put("run_1/points.pt", b"1234567890")
    tree.put("run_1/other.pt", b"1")
    [sample] = listed(tree).samples
    assert dict(zip(sample.files, sample.sizes, strict=True)) == {
        "points.pt": 10,
        "pressure.pt": 5,
    }
    assert (sample.split, sample.position) == ("", -1)


def test_an_empty_file_is_a_file(tree: Tree) -> None:
    tree.put("run_1/points.pt", b"")
    tree.put("run_1/pressure.pt", b"")
    assert listed(tree).samples[0].sizes == (0, 0)


def test_a_file_that_two_fields_share_is_one_file(tree: Tree) -> None:
    tree.put("run_1/all.pt")
    tree.put("run_2/other.pt")
    shared = {"surface_position": "all.pt[:, 0:3]", "surface_pressure": "all.pt[:, 3]"}
    listing = listed(tree, filemap=shared)
    assert ids(listing) == ["run_1"]
    assert listing.samples[0].files == ("all.pt",)


# Incomplete ones


@pytest.mark.parametrize(
    ("present", "lacking"),
    [
        (["points.pt"], "pressure.pt"),
        (["pressure.pt"], "points.pt"),
        (["points.pt", "Pressure.pt"], "pressure.pt"),
        (["points.pt", "pressure.pt.tmp"], "pressure.pt"),
        (["points.pt", "xpressure.pt"], "pressure.pt"),
        (["points.pt", "pressure.pt/0"], "pressure.pt"),
        (["points.pt", "deeper/pressure.pt"], "pressure.pt"),
    ],
    ids=[
        "the second file",
        "the first file",
        "a file in another case",
        "a file that is still written",
        "a file with a longer name",
        "a file that is a folder",
        "a file that lies deeper",
    ],
)
def test_an_incomplete_sample_is_left_out_and_reported_with(
    present: list[str], lacking: str, tree: Tree
) -> None:
    tree.samples("whole")
    tree.sample("part", present)
    listing = listed(tree)
    assert ids(listing) == ["whole"]
    assert skipped(listing)["part"] == ("incomplete", lacking)
    assert lacking in str(listing.skipped[0])


def test_an_incomplete_sample_is_reported_with_all_that_it_lacks(tree: Tree) -> None:
    filemap = {**FILEMAP, "surface_friction": "tau.pt", "design_parameters": "design.pt"}
    tree.sample("whole", filemap.values())
    tree.sample("part", ["pressure.pt"])
    listing = listed(tree, filemap=filemap)
    assert ids(listing) == ["whole"]
    [row] = listing.skipped
    assert (row.id, row.kind) == ("part", "incomplete")
    assert set(row.file.split(", ")) == {"points.pt", "tau.pt", "design.pt"}
    assert row.remedy


def test_incomplete_samples_are_reported_in_order(tree: Tree) -> None:
    tree.samples("whole")
    for name in ("c", "a", "b/d"):
        tree.sample(name, ["points.pt"])
    assert [row.id for row in listed(tree).skipped] == ["a", "b/d", "c"]


def test_a_folder_without_any_file_of_the_map_is_passed_over(tree: Tree) -> None:
    tree.samples("whole")
    tree.put("none/notes.txt")
    assert listed(tree).skipped == []


# Limit


@pytest.mark.parametrize(("limit", "expected"), [(1, 1), (2, 2), (3, 3), (9, 3), (None, 3)])
def test_limit_takes_the_first_samples(limit: int | None, expected: int, tree: Tree) -> None:
    tree.samples("c", "a", "b")
    assert ids(listed(tree, limit=limit)) == ["a", "b", "c"][:expected]


def test_limit_counts_complete_samples(tree: Tree) -> None:
    tree.sample("a", ["points.pt"])
    tree.samples("b", "c", "d")
    assert ids(listed(tree, limit=2)) == ["b", "c"]


# Sources that are none


@pytest.mark.parametrize("written", ["{tree}/nowhere", "{tree}/run_1/points.pt"])
def test_a_source_that_is_no_folder_is_refused(written: str, tree: Tree) -> None:
    tree.samples("run_1")
    url = written.format(tree=tree.url)
    with pytest.raises(SettingsError) as caught:
        listing_of(source_url=url)
    assert f"source_url: {url!r}" in str(caught.value)
    assert "Check the path" in str(caught.value)


def test_a_relative_source_that_is_not_there_is_refused_with_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError) as caught:
        listing_of(source_url="data/cars")
    assert "'data/cars'" in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_source_without_a_sample_is_refused_with_the_files_of_one(tree: Tree) -> None:
    tree.put("run_1/other.pt")
    with pytest.raises(SettingsError) as caught:
        listed(tree)
    message = str(caught.value)
    assert f"no complete sample below {tree.url!r}" in message
    assert "points.pt, pressure.pt" in message
    assert "filemap" in message


def test_a_source_of_incomplete_samples_is_refused_with_the_first_of_them(tree: Tree) -> None:
    tree.sample("a", ["points.pt"])
    tree.sample("b", ["points.pt"])
    with pytest.raises(SettingsError) as caught:
        listed(tree)
    assert "2 were skipped" in str(caught.value)
    assert "a: pressure.pt" in str(caught.value)


def refuse_to_list(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    """Have no folder listed whose path ends so; tests may run as root, whom no mode keeps out."""
    scandir = os.scandir

    def guarded(path: str) -> object:
        if os.fspath(path).endswith(end):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)


def test_a_folder_that_may_not_be_read_is_skipped_and_told(
    local: LocalTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.samples("a", "locked/b")
    refuse_to_list(monkeypatch, "locked")
    listing = listed(local)
    assert ids(listing) == ["a"]
    assert skipped(listing) == {"locked": ("unreadable", "")}
    assert "Permission denied" in listing.skipped[0].cause
    [warning] = listing.warnings
    assert "locked cannot be listed: Permission denied" in warning


def test_a_source_that_may_not_be_read_is_refused(
    local: LocalTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.samples("a")
    refuse_to_list(monkeypatch, "")
    with pytest.raises(SettingsError, match="cannot be listed: Permission denied"):
        listed(local)


JUNK = (".snapshot", ".Trash-1000", ".git", "@eaDir", "lost+found", "__MACOSX", ".snakemake")
JUNK += (".ipynb_checkpoints",)


def test_copies_in_folders_of_systems_and_tools_are_no_samples(tree: Tree) -> None:
    tree.samples("a", *(f"{name}/a" for name in JUNK), *(f"deep/{name}/hourly/a" for name in JUNK))
    tree.samples("snapshot", "git")
    listing = listed(tree)
    assert ids(listing) == ["a", "git", "snapshot"]
    [warning] = listing.warnings
    assert f"{2 * len(JUNK)} folders of systems and tools" in warning


def test_a_folder_of_a_system_that_may_not_be_read_does_not_matter(
    local: LocalTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.samples("a", "lost+found/b")
    refuse_to_list(monkeypatch, "lost+found")
    listing = listed(local)
    assert ids(listing) == ["a"]
    assert listing.skipped == []


NEAR = {
    "capitals": "points.PT",
    "another ending": "points.pth",
    "unfinished": "points.pt.part",
    "a browser's": "points.pt.crdownload",
    "packed": "points.pt.gz",
    "a second copy": "points (1).pt",
}


@pytest.mark.parametrize("name", list(NEAR.values()), ids=list(NEAR))
def test_a_file_of_nearly_the_name_is_told(name: str, tree: Tree) -> None:
    tree.samples("good")
    tree.put(f"all/{name}")
    tree.put(f"some/{name}")
    tree.put("some/pressure.pt")
    tree.put("neither/readme.txt")
    listing = listed(tree)
    assert ids(listing) == ["good"]
    assert skipped(listing) == {
        "all": ("incomplete", "points.pt, pressure.pt"),
        "some": ("incomplete", "points.pt"),
    }
    for row in listing.skipped:
        assert f"there is {name} for points.pt" in row.cause
        assert "rename" in row.remedy


def test_an_empty_folder_is_told_unless_it_lies_in_a_sample(local: LocalTree) -> None:
    local.samples("good")
    for folder in ("empty", "good/logs", "deep/empty"):
        (local.path / folder).mkdir(parents=True)
    assert skipped(listed(local)) == {
        "deep/empty": ("incomplete", "points.pt, pressure.pt"),
        "empty": ("incomplete", "points.pt, pressure.pt"),
    }


def test_excluded_samples_are_skipped_and_told(tree: Tree) -> None:
    tree.samples("run_1", "run_2", "old/a", "old/b")
    listing = listed(tree, exclude=["run_2", "old/*", "run_9"])
    assert ids(listing) == ["run_1"]
    kinds = {row.id: row.kind for row in listing.skipped}
    assert kinds == dict.fromkeys(("old/a", "old/b", "run_2"), "excluded")
    assert "'old/*'" in listing.skipped[0].cause
    [warning] = listing.warnings
    assert "exclude: 'run_9'" in warning
    assert ids(listed(tree, exclude="run_1,run_2")) == ["old/a", "old/b"]


def test_an_excluded_id_with_brackets_is_that_sample_alone(tree: Tree) -> None:
    tree.samples("run1", "run[1]", "run[2]")
    listing = listed(tree, exclude=["run[1]"])
    assert [row.id for row in listing.skipped] == ["run[1]"]
    assert ids(listing) == ["run1", "run[2]"]
    assert ids(listed(tree, exclude=["run[?]"])) == ["run1"]


def test_a_listed_sample_that_is_spelt_in_another_way_is_told(tree: Tree) -> None:
    composed, apart = "caf\u00e9_1", "cafe\u0301_1"
    tree.samples(apart, "Run_2", "run_3")
    tree.lines("ids.txt", composed, "run_2", "run_3", "run_4")
    listing = listing_of(
        source_root=tree.url,
        dataset="emmi_wing",
        split_files={"train": "ids.txt"},
        splits=["train"],
    )
    assert ids(listing) == ["run_3"]
    told = {row.id: (row.is_absent, row.cause) for row in listing.skipped}
    assert told["run_4"][0]
    assert told["run_2"] == (
        False,
        "are not there; there is a folder 'Run_2', which is spelt in another way",
    )
    assert "'cafe\\u0301_1'" in told[composed][1]


# Whether a sample is still there


@pytest.mark.parametrize(
    ("sample_id", "expected"),
    [
        ("run_1", True),
        ("a/b", True),
        ("part", False),
        ("nowhere", False),
        ("run_1/points.pt", False),
        ("../source/run_1", False),
        ("", False),
    ],
    ids=["whole", "deep", "incomplete", "gone", "a file", "outside", "the source"],
)
def test_a_sample_is_there(sample_id: str, expected: bool, tree: Tree) -> None:
    tree.samples("run_1", "a/b")
    tree.put("part/points.pt")
    for file in FILES:
        tree.put(file)
    base = open_location(tree.url, {}, key="source_url")
    assert is_there(base, sample_id, FILES) is expected


@pytest.mark.parametrize(
    ("config", "below"),
    [
        ({"source_root": "{tree}", "dataset": "shapenet_car"}, "/preprocessed"),
        ({"source_root": "{tree}/preprocessed", "dataset": "shapenet_car"}, "/preprocessed"),
        ({"source_url": "{tree}", "dataset": "shapenet_car"}, ""),
        ({"source_root": "{tree}", "dataset": "drivaerml"}, ""),
    ],
    ids=["the subfolder", "the root that is it", "the prefix", "the root without a subfolder"],
)
def test_ids_are_paths_below(config: dict[str, str], below: str, tree: Tree) -> None:
    tree.samples("preprocessed/param0/a")
    settings = load_settings({key: text.format(tree=tree.url) for key, text in config.items()})
    url = settings.source_url or settings.source_root
    assert url is not None
    base = open_source(settings, resolve_dataset(settings), url).base
    assert base.path == open_location(f"{tree.url}{below}", {}, key="source_url").path


# What a start of Snakemake does not pay for


def test_listing_a_source_does_not_import_torch(local: LocalTree) -> None:
    local.samples("run_1", "preprocessed/param0/a", "preprocessed/param1/b")
    local.lines("ids.txt", "run_1")
    code = f"""
        import sys
        import aerozarr.config.settings, aerozarr.config.fields, aerozarr.source.datasets
        import aerozarr.source.splits, aerozarr.source.sample_table
        from aerozarr.config.load_settings import load_settings
        from aerozarr.source.datasets import resolve_dataset
        from aerozarr.source.open_source import open_source
        def listed(**config):
            settings = load_settings(dict(config, filemap={FILEMAP}))
            url = settings.source_url or settings.source_root
            listing = open_source(settings, resolve_dataset(settings), url).list()
            listing.digest()
            return [sample.id for sample in listing.samples]
        here = {local.url!r}
        print(listed(source_url=here))
        print(listed(dataset="shapenet_car", source_root=here))
        print(listed(dataset="emmi_wing", source_root=here, split_files=dict(train="ids.txt")))
        print([name for name in ("torch",) if name in sys.modules])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        check=True,
        text=True,
        env={"PYTHONPATH": str(REPOSITORY / "scripts")},
    )
    assert done.stdout.splitlines() == [
        "['preprocessed/param0/a', 'preprocessed/param1/b', 'run_1']",
        "['param1/b', 'param0/a']",
        "['run_1']",
        "[]",
    ]


def test_listing_reads_no_file_of_a_sample(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.samples("a", "b")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file was read")

    location = open_location(tree.url, {}, key="source_url")
    for name in ("open", "_open", "cat_file", "get_file"):
        monkeypatch.setattr(type(location.fs), name, refuse)
    settings = load_settings({"source_url": tree.url, "filemap": FILEMAP})
    assert ids(open_source(settings, resolve_dataset(settings), tree.url).list()) == ["a", "b"]


def test_files_in_the_source_itself_are_told(tree: Tree) -> None:
    tree.sample("whole")
    for file in FILES:
        tree.put(file)
    [warning] = listed(tree).warnings
    assert warning.startswith("points.pt, pressure.pt in the source itself are not converted")
    tree.remove("whole")
    with pytest.raises(SettingsError, match=r"in the source itself are not converted: a sample is"):
        listed(tree)


def test_a_pattern_of_exclude_that_fits_nothing_is_not_taken_for_a_misspelled_id(
    tree: Tree,
) -> None:
    tree.samples("run_1")
    assert listed(tree, exclude=["run_[9]"]).warnings == [
        "exclude: 'run_[9]' fits the id of no sample."
    ]
    assert "Did you mean run_1?" in listed(tree, exclude=["run_l"]).warnings[0]
