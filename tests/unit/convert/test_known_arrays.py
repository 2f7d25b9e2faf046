"""Which arrays are a store's own: those that it records, and of earlier versions, that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from aerozarr.convert.fragment import Fragment
from aerozarr.convert.known_arrays import known_arrays
from aerozarr.filesystems.files import write_atomically
from aerozarr.merge.sidecars import checksums
from aerozarr.store.format.layout import is_foreign_in_group
from aerozarr.store.write.records import Written
from unit.store_helpers import project_of


@pytest.mark.parametrize(
    ("path", "is_foreign"),
    [
        ("zarr.json", False),
        ("surface/zarr.json", False),
        ("surface/pressure/zarr.json", False),
        ("surface/pressure/c/7/0", False),
        ("surface/.DS_Store", False),
        ("surface/mine/zarr.json", True),
        ("surface/mine/c/0/0", True),
        ("x/y/c/0/0", True),
        ("mine/zarr.json", True),
        ("surf/zarr.json", True),
        ("surface/pressure/notes.txt", True),
        ("surface/pressure/c/0/0.bak", True),
    ],
)
def test_what_is_foreign_in_a_group(path: str, *, is_foreign: bool) -> None:
    assert is_foreign_in_group(path, {"surface/position", "surface/pressure"}) == is_foreign


def test_what_a_store_records_is_its_own_and_so_is_what_a_run_will_write(tmp_path: Path) -> None:
    config = project_of(tmp_path / "store", tmp_path / "work")
    own = {field.array_name for domain in config.domains for field in domain.fields}
    written = Written("drivaerml", (), frozenset("a"), arrays=frozenset({"surface/T"}))
    assert known_arrays(config, written) == own | {"surface/T"}


@pytest.mark.parametrize("of", ["fragment", "set aside", "table"])
def test_of_an_earlier_version_its_records_tell(tmp_path: Path, of: str) -> None:
    config = project_of(tmp_path / "store", tmp_path / "work")
    fragment = Fragment(
        sample_id="a",
        status="converted",
        objects={"surface/T/c/0/0": (1, "0" * 64), "zarr.json": (1, "0" * 64)},
    )
    if of == "table":
        config.store.publish("checksums.tsv", checksums([fragment], {}))
    else:
        place = config.fragment("a") if of == "fragment" else config.set_aside("a")
        write_atomically(place, fragment.to_json())
    own = {field.array_name for domain in config.domains for field in domain.fields}
    for written in (None, Written("drivaerml", (), frozenset("a"))):
        assert known_arrays(config, written) == own | {"surface/T"}
