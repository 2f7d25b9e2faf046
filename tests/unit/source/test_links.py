"""Specification of listing folders with symbolic links: no sample twice, and an end."""

from __future__ import annotations

from pathlib import Path

import pytest

from unit.listing_helpers import FILES, LocalTree, ids, listed, listing_of, skipped


def test_a_linked_folder_is_a_sample_under_the_links_name(local: LocalTree, tmp_path: Path) -> None:
    elsewhere = LocalTree(tmp_path / "elsewhere")
    elsewhere.samples("one", "many/a", "many/b")
    local.link("runs/first", elsewhere.path / "one")
    local.link("more", elsewhere.path / "many")
    assert ids(listed(local)) == ["more/a", "more/b", "runs/first"]


def test_of_two_links_to_a_folder_the_first_names_it(local: LocalTree, tmp_path: Path) -> None:
    elsewhere = LocalTree(tmp_path / "elsewhere")
    elsewhere.samples("one")
    for name in ("b", "a", "c"):
        local.link(name, elsewhere.path / "one")
    assert [sample.id for sample in listed(local).samples] == ["a"]


def test_linked_files_are_files(local: LocalTree, tmp_path: Path) -> None:
    elsewhere = LocalTree(tmp_path / "elsewhere")
    for file in FILES:
        elsewhere.put(file, b"12345")
        local.link(f"run_1/{file}", elsewhere.path / file)
    [sample] = listed(local).samples
    assert (sample.id, sample.sizes) == ("run_1", (5, 5))


def test_the_source_itself_may_be_a_link(local: LocalTree, tmp_path: Path) -> None:
    local.samples("run_1")
    (tmp_path / "link").symlink_to(local.path)
    assert listing_of(source_url=str(tmp_path / "link")) == listed(local)


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("loop", "."),
        ("loop", "../source"),
        ("run_1/up", ".."),
        ("run_1/self", "."),
        ("run_1/deep/er/top", "../../.."),
        ("loop", "loop"),
        ("dangling", "nowhere"),
        ("run_1/dangling", "../nowhere"),
        ("file", "run_1/points.pt"),
    ],
    ids=[
        "leads to the source",
        "leads to the source by its name",
        "leads to the folder above",
        "leads to its own folder",
        "leads to the source from deep below",
        "leads to itself",
        "leads nowhere",
        "leads nowhere within a sample",
        "leads to a file",
    ],
)
def test_a_link_adds_no_sample_that(link: str, target: str, tmp_path: Path) -> None:
    local = LocalTree(tmp_path / "only/source")
    local.samples("run_1", "run_2")
    local.link(link, target)
    listing = listed(local)
    assert ids(listing) == ["run_1", "run_2"]
    assert listing.skipped == []


@pytest.mark.parametrize("target", ["nowhere", "points.pt"], ids=["nowhere", "to itself"])
def test_a_file_that_is_a_link_leading(target: str, local: LocalTree) -> None:
    local.samples("whole")
    local.put("part/pressure.pt")
    local.link("part/points.pt", target)
    listing = listed(local)
    assert ids(listing) == ["whole"]
    assert skipped(listing) == {"part": ("incomplete", "points.pt")}


@pytest.mark.parametrize(
    ("link", "target", "own"),
    [
        ("best", "runs/run_1", ["runs/run_1"]),
        ("zz_best", "runs/run_1", ["runs/run_1"]),
        ("all", "runs", ["runs/run_1", "runs/run_2"]),
        ("a/b", "../runs/run_2", ["runs/run_1", "runs/run_2"]),
        ("runs/run_0", "run_1", ["runs/run_1", "runs/run_2"]),
    ],
    ids=["before it", "after it", "to the folder above it", "in another folder", "beside it"],
)
def test_a_sample_keeps_its_id_when_a_link_leads_to_it_from(
    link: str, target: str, own: list[str], local: LocalTree
) -> None:
    local.samples("runs/run_1", "runs/run_2")
    local.link(link, target)
    assert set(own) <= set(ids(listed(local)))


def test_two_folders_that_link_to_each_other_are_two_samples(local: LocalTree) -> None:
    local.samples("a", "b")
    local.link("a/to_b", "../b")
    local.link("b/to_a", "../a")
    assert {"a", "b"} <= set(ids(listed(local)))


def test_folders_that_all_link_to_each_other_are_listed_without_end_or_loss(
    local: LocalTree,
) -> None:
    names = [f"run_{number}" for number in range(8)]
    local.samples(*names)
    for name in names:
        for other in names:
            local.link(f"{name}/to/{other}", f"../../{other}")
    found = ids(listed(local))
    assert set(names) <= set(found)
    assert len(found) <= 8 + 8 * 8


def test_many_folders_that_link_to_the_source_are_listed_in_time(local: LocalTree) -> None:
    names = [f"run_{number:02}" for number in range(40)]
    local.samples(*names)
    for name in names:
        local.link(f"{name}/all", "..")
    assert ids(listed(local)) == names
