"""Which files of a sample an entry of a file map names."""

from __future__ import annotations

import pytest

from aerozarr.config.file_patterns import Wanted, is_raw, names_of, why_not_one

PARTS = ["v_1.vtu.00.part", "v_1.vtu.01.part", "v_1.vtu.02.part"]


@pytest.mark.parametrize(
    ("entry", "names", "found"),
    [
        ("p.pt", ["p.pt", "q.pt"], ["p.pt"]),
        ("p.pt", ["P.pt", "p.pt.part"], []),
        ("p_*.npy", ["p_1.npy", "p_1.npy.part", "q_1.npy"], ["p_1.npy"]),
        ("a*b*.csv", ["a1b2.csv", "ab.csv", "ba.csv"], ["a1b2.csv", "ab.csv"]),
        ("[a].npy", ["a.npy", "[a].npy"], ["[a].npy"]),
        ("v_*.vtu", [*PARTS[::-1], "v_1.vtu.part"], PARTS),
        ("v_1.vtu", [f"v_1.vtu.{n}.part" for n in (10, 9)], ["v_1.vtu.9.part", "v_1.vtu.10.part"]),
        ("v_1.npy", ["v_1.npy.00.part"], []),
    ],
    ids=[
        *("its name", "nearly its name", "a pattern", "two of them", "brackets are themselves"),
        *("parts", "parts by number", "parts of what is not raw"),
    ],
)
def test_what_an_entry_names(entry: str, names: list[str], found: list[str]) -> None:
    assert list(names_of(entry, names)) == found
    assert Wanted([entry]).missing_in(names) == ([] if found else [entry])
    assert [name for name in names if name in Wanted([entry])] == sorted(found, key=names.index)


@pytest.mark.parametrize("names", [["v_1.vtu"], PARTS, PARTS[:1], [], ["v_1.vtu.1.part"]])
def test_one_file(names: list[str]) -> None:
    assert why_not_one("v_*.vtu", names) is None


@pytest.mark.parametrize(
    ("names", "is_missing", "text"),
    [
        (["v_1.vtu", "v_2.vtu"], False, "names 2 files of the sample: v_1.vtu, v_2.vtu"),
        (["v_1.vtu", *PARTS], False, "names 4 files"),
        (["v_1.vtu.0.part", "v_1.vtu.00.part"], False, "names 2 files"),
        ([PARTS[0], "v_2.vtu.01.part"], False, "names 2 files"),
        (PARTS[::2], True, "this part is not there; there is v_1.vtu.00.part, v_1.vtu.02.part"),
        (["v_1.vtu.02.part", "v_1.vtu.03.part"], True, "this part is not there"),
    ],
    ids=["two files", "whole and parts", "a number twice", "parts of two", "a gap", "no first"],
)
def test_not_one_file(names: list[str], is_missing: bool, text: str) -> None:
    wrong = why_not_one("v_*.vtu", names)
    assert wrong is not None
    assert wrong.is_missing is is_missing
    assert text in wrong.cause
    assert wrong.file == ("v_1.vtu.01.part" if is_missing else "v_*.vtu")


def test_raw_files() -> None:
    assert [f for f in ("a.VTP", "b.vtu.00.part", "c.stl", "d.vtk.part", "e.pt") if is_raw(f)] == [
        *("a.VTP", "b.vtu.00.part", "c.stl")
    ]
