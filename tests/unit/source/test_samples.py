"""Specification of samples and their tables: ids, keys, fingerprints, digests, round trips."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from aerozarr.errors import StoreError
from aerozarr.messages import printable
from aerozarr.source.sample_table import find_sample, read_samples, read_skipped, rows_text
from aerozarr.source.samples import (
    FileInfo,
    Listing,
    Sample,
    Skipped,
    fingerprint,
    ids_by_split,
    key_of,
    why_invalid,
)
from aerozarr.store.format.layout import LONGEST_NAME

# Ids that a store can hold, however unfriendly.
STRANGE = {
    "one word": "run_12",
    "a path": "param1/1dc58be2",
    "a deep path": "a/b/c/d/e",
    "spaces": " two  words ",
    "single quotes": "it's",
    "double quotes": 'say "hi"',
    "a lone double quote": '"',
    "per cent": "100%",
    "an escape": "a%2Fb",
    "braces": "{key}",
    "double braces": "{{key}}",
    "unicode": "ünï/çødé",
    "beyond the first plane": "\U0001f3ce",
    "composed é": "\u00e9",
    "decomposed é": "e\u0301",
    "a line feed": "line\nfeed",
    "a tab": "tab\there",
    "a carriage return": "carriage\rreturn",
    "a DOS line end": "dos\r\nend",
    "unicode's line ends": "a\u2028b\x85c\x0bd",
    "an escape sequence": "\x1b[31mred",
    "a turn of direction": "\u202etxt",
    "a leading dash": "-rf",
    "an option": "--help=1",
    "a shell's words": "$(id); `id` && $HOME",
    "a pattern": "[a-z]*?",
    "a tilde": "~",
    "a comment": "#no",
    "a colon": "a:b::c",
    "a hidden folder": ".hidden",
    "three dots": "...",
    "dots within": "a..b",
    "a word for nothing": "NA",
    "another word for nothing": "null",
    "a number": "0012",
    "a power of ten": "1e5",
    "truth": "True",
    "a formula": "=1+1",
    "a JSON text": '["a"]',
    "a byte order mark": "\ufeffa",
    "a row of the table": '\n"after"\t"after"\t"',
    "the longest name": "n" * 250,
    "the longest name of two-byte letters": "ü" * 125,
    "a name that only ends in zarr": "azarr/b",
    "zarr in another case or place": "a.zarr.b/c",
}

each_strange_id = pytest.mark.parametrize("sample_id", list(STRANGE.values()), ids=list(STRANGE))


def sample(sample_id: str = "run_1", **changes: object) -> Sample:
    plain = Sample(
        id=sample_id,
        key=key_of(sample_id),
        split="train",
        position=-1,
        files=("points.pt", "pressure.pt"),
        sizes=(120, 40),
        fingerprint="f1",
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def row(sample_id: str = "run_1", **changes: str) -> Skipped:
    plain = Skipped(sample_id, "train", "incomplete", "", "points.pt", "is not there", "add it")
    return replace(plain, **changes)  # type: ignore[arg-type]


# Keys


@each_strange_id
def test_a_key_is_safe_in_file_names_wildcards_and_shells(sample_id: str) -> None:
    key = key_of(sample_id)
    assert re.fullmatch(r"[A-Za-z0-9_.~%-]{1,180}", key)
    assert re.fullmatch("[^/]+", key)
    assert key not in (".", "..")


@each_strange_id
def test_an_id_has_one_key(sample_id: str) -> None:
    assert key_of(sample_id) == key_of(str(sample_id))


def test_keys_of_different_ids_differ() -> None:
    keys = {key_of(sample_id) for sample_id in STRANGE.values()}
    assert len(keys) == len(STRANGE)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a/b", "a%2Fb"),
        ("a b", "a%20b"),
        ("a b", "a+b"),
        ("A", "a"),
        ("a", "a "),
        ("x" * 180, "x" * 181),
        ("x" * 181, "x" * 182),
        ("x" * 200 + "a", "x" * 200 + "b"),
        ("ü" * 40 + "a", "ü" * 40 + "b"),
        ("a/" + "x" * 180, "a%2F" + "x" * 180),
        ("x" * 200, key_of("x" * 200)),
        ("run/" + "x" * 200, key_of("run/" + "x" * 200)),
    ],
    ids=[
        "a slash and its escape",
        "a space and its escape",
        "a space and a plus",
        "case",
        "a space at the end",
        "just short enough and just too long",
        "too long by one and by two",
        "long, with another end",
        "long when escaped, with another end",
        "long, with a slash and its escape",
        "a long one and one that is named as its key",
        "a long path and one that is named as its key",
    ],
)
def test_two_ids_have_two_keys(first: str, second: str) -> None:
    assert key_of(first) != key_of(second)


@pytest.mark.parametrize("length", [1, 100, 179, 180, 181, 182, 250, 5000])
def test_a_key_is_never_longer_than_180_characters(length: int) -> None:
    for letter in "xü/%":
        assert len(key_of(letter * length)) <= LONGEST_NAME == 180


def test_a_short_key_shows_the_id() -> None:
    assert key_of("param1/1dc58be2") == "param1%2F1dc58be2"


# Ids that cannot be stored


@each_strange_id
def test_a_strange_id_can_be_stored(sample_id: str) -> None:
    assert why_invalid(sample_id) is None


@pytest.mark.parametrize(
    ("sample_id", "why"),
    [
        ("", "it is empty"),
        (".", "leave the store"),
        ("..", "leave the store"),
        ("../a", "leave the store"),
        ("a/../b", "leave the store"),
        ("a/..", "leave the store"),
        ("a/./b", "leave the store"),
        ("./a", "leave the store"),
        ("/etc/passwd", "leave the store"),
        ("a//b", "leave the store"),
        ("a/", "leave the store"),
        ("a\\b", "backslash"),
        ("..\\a", "backslash"),
        ("a\0b", "leave the store"),
        ("a.zarr/b", "another sample's group"),
        ("x/a.zarr/y/b", "another sample's group"),
        (".zarr/b", "another sample's group"),
        (".aerozarr-partial/a", "unfinished"),
        (".aerozarr-partial", "unfinished"),
        ("n" * 251, "longer"),
        ("a/" + "n" * 251 + "/b", "longer"),
        ("ü" * 126, "longer"),
        ("/".join(["n" * 200] * 25), "longer"),
        ("bad\udcff", "UTF-8"),
        ("a/\udce9/b", "UTF-8"),
        ("half a pair \ud83d", "UTF-8"),
    ],
    ids=[
        "empty",
        "a dot",
        "two dots",
        "the folder above",
        "through the folder above",
        "ending in the folder above",
        "a dot within",
        "a leading dot",
        "absolute",
        "an empty part",
        "a slash at the end",
        "a backslash",
        "the folder above on Windows",
        "a zero byte",
        "below another group",
        "deep below another group",
        "below a nameless group",
        "among unfinished groups",
        "the place of unfinished groups",
        "a name too long",
        "a folder's name too long",
        "a name too long in bytes",
        "a path too long",
        "a byte that is no UTF-8",
        "a folder that is no UTF-8",
        "half a surrogate pair",
    ],
)
def test_an_id_is_refused(sample_id: str, why: str) -> None:
    reason = why_invalid(sample_id)
    assert reason is not None
    assert why in reason


# Fingerprints

FILES = {"a.pt": FileInfo(10, "1700000000"), "b.pt": FileInfo(20, "1700000001")}


@pytest.mark.parametrize(
    ("files", "salt"),
    [
        ({**FILES, "a.pt": FileInfo(11, "1700000000")}, ()),
        ({**FILES, "b.pt": FileInfo(20, "1700000002")}, ()),
        ({"a.pt": FILES["a.pt"]}, ()),
        ({**FILES, "c.pt": FileInfo(1, "1700000000")}, ()),
        ({"a.pt": FILES["a.pt"], "c.pt": FILES["b.pt"]}, ()),
        ({"a.pt": FILES["b.pt"], "b.pt": FILES["a.pt"]}, ()),
        (FILES, ("/root",)),
        ({"a.pt": FileInfo(101, "700000000"), "b.pt": FILES["b.pt"]}, ()),
    ],
    ids=[
        "a size",
        "a time",
        "a file gone",
        "a file more",
        "a file's name",
        "two files that change places",
        "what is mixed in",
        "digits that move from time to size",
    ],
)
def test_the_fingerprint_changes_with(files: dict[str, FileInfo], salt: tuple[str, ...]) -> None:
    assert fingerprint(files, *salt) != fingerprint(FILES)


def test_the_fingerprint_does_not_change_with_the_order_of_listing() -> None:
    assert fingerprint(dict(reversed(FILES.items()))) == fingerprint(FILES)


def test_different_salts_give_different_fingerprints() -> None:
    assert len({fingerprint({}, salt) for salt in ("/a", "/b", "")} | {fingerprint({})}) == 4


# Listings as JSON, and their digest


@each_strange_id
def test_a_listing_survives_json(sample_id: str) -> None:
    listing = Listing([sample(sample_id)], [row(sample_id)], [f"{sample_id} is asked for twice"])
    text = listing.to_json()
    text.encode("utf-8")
    assert Listing.from_json(text) == listing


@pytest.mark.parametrize("sample_id", ["bad\udcff", "a\0b", "a/../b", ""])
def test_a_refused_id_survives_json(sample_id: str) -> None:
    listing = Listing([], [row(sample_id, kind="invalid_id")], [])
    text = listing.to_json().encode("utf-8").decode("utf-8")
    assert Listing.from_json(text) == listing


def test_an_empty_listing_survives_json() -> None:
    assert Listing.from_json(Listing().to_json()) == Listing()


FIRST, SECOND, THIRD = sample("a"), sample("b"), sample("c")
Change = Callable[[], Listing]


@pytest.mark.parametrize(
    "listing",
    [
        Listing([FIRST, SECOND, THIRD]),
        Listing([FIRST]),
        Listing([]),
        Listing([SECOND, FIRST]),
        Listing([FIRST, replace(SECOND, fingerprint="f2")]),
        Listing([FIRST, replace(SECOND, split="test")]),
        Listing([FIRST, replace(SECOND, position=1)]),
        Listing([FIRST, THIRD]),
        Listing([FIRST, SECOND], [row("c")]),
        Listing([FIRST], [row("b")]),
    ],
    ids=[
        "a sample is new",
        "a sample is gone",
        "all samples are gone",
        "samples change places",
        "a sample's files change",
        "a sample changes its split",
        "a sample changes its place in a class",
        "a sample takes another's place",
        "a sample is incomplete",
        "a sample becomes incomplete",
    ],
)
def test_the_digest_of_a_listing_changes_when(listing: Listing) -> None:
    assert listing.digest() != Listing([FIRST, SECOND]).digest()


def test_the_digest_of_the_same_listing_is_the_same() -> None:
    listing = Listing([FIRST, SECOND], [row("c")], ["a warning"])
    again = Listing([sample("a"), sample("b")], [row("c")], ["a warning"])
    assert listing.digest() == again.digest()
    assert Listing.from_json(listing.to_json()).digest() == listing.digest()


def test_the_digest_is_fit_for_a_parameter_of_snakemake() -> None:
    assert re.fullmatch("[0-9a-f]{32,64}", Listing([FIRST]).digest())


# Tables


def written(tmp_path: Path, rows: list[Sample] | list[Skipped], kind: type) -> Path:
    """Write a table as the workflow does."""
    path = tmp_path / "table.tsv"
    path.write_bytes(rows_text(rows, kind).encode("utf-8"))
    return path


@each_strange_id
def test_a_sample_survives_its_table(sample_id: str, tmp_path: Path) -> None:
    rows = [sample("before"), sample(sample_id, split=sample_id, files=(sample_id, "b.pt"))]
    rows.append(sample("after", position=3, files=(), sizes=()))
    path = written(tmp_path, rows, Sample)
    assert read_samples(path) == rows
    assert find_sample(path, key_of(sample_id)) == rows[1]
    assert find_sample(path, "after") == rows[2]


def test_names_of_files_that_are_no_utf8_survive_their_table(tmp_path: Path) -> None:
    rows = [sample("a", files=("pres\udcff.npy", "b.pt"))]
    assert read_samples(written(tmp_path, rows, Sample)) == rows


@each_strange_id
def test_a_sample_left_out_survives_its_table(sample_id: str, tmp_path: Path) -> None:
    rows = [row("before"), row(sample_id, cause=sample_id, file=sample_id), row("after")]
    assert read_skipped(written(tmp_path, rows, Skipped)) == rows


@pytest.mark.parametrize("sample_id", ["0012", "1e5", "True", "NA", "null", "2024-01-01", "-1"])
def test_ids_alone_that_look_like_values_survive_their_tables(
    sample_id: str, tmp_path: Path
) -> None:
    alone = sample(sample_id, split=sample_id, fingerprint=sample_id)
    assert read_samples(written(tmp_path, [alone], Sample)) == [alone]
    out = row(sample_id, split=sample_id, field=sample_id, file=sample_id)
    assert read_skipped(written(tmp_path, [out], Skipped)) == [out]


@pytest.mark.parametrize("sample_id", ["a\0b", "a/../b", "", "."])
def test_a_refused_id_survives_its_table(sample_id: str, tmp_path: Path) -> None:
    rows = [row(sample_id, kind="invalid_id"), row("after")]
    assert read_skipped(written(tmp_path, rows, Skipped)) == rows


def test_sizes_above_two_to_the_53_survive_the_table(tmp_path: Path) -> None:
    rows = [sample(sizes=(2**53 + 1, 2**63 + 3))]
    assert read_samples(written(tmp_path, rows, Sample)) == rows


def test_the_order_of_samples_survives_the_table(tmp_path: Path) -> None:
    rows = [sample(f"run_{number}") for number in (10, 2, 33, 1)]
    assert read_samples(written(tmp_path, rows, Sample)) == rows


@pytest.mark.parametrize("kind", [Sample, Skipped])
def test_an_empty_table_has_a_header(kind: type, tmp_path: Path) -> None:
    path = written(tmp_path, [], kind)
    read = read_samples if kind is Sample else read_skipped
    assert read(path) == []
    header = path.read_text(encoding="utf-8").rstrip("\n").split("\t")
    assert {"id", "split"} < {name.strip('"') for name in header}


def test_the_table_of_samples_has_the_documented_columns(tmp_path: Path) -> None:
    header, line = written(tmp_path, [sample("a/b")], Sample).read_text("utf-8").splitlines()
    cells = [cell.strip('"').replace('""', '"') for cell in line.split("\t")]
    content = dict(zip([name.strip('"') for name in header.split("\t")], cells, strict=True))
    assert content["id"] == "a/b"
    assert content["key"] == "a%2Fb"
    assert content["split"] == "train"
    assert json.loads(content["files"]) == ["points.pt", "pressure.pt"]
    assert json.loads(content["sizes"]) == [120, 40]
    assert content["fingerprint"] == "f1"


@pytest.mark.parametrize("read", [read_samples, read_skipped, lambda path: find_sample(path, "a")])
def test_a_table_that_is_not_there_is_refused_with_the_remedy(
    read: Callable[[Path], object], tmp_path: Path
) -> None:
    with pytest.raises(StoreError) as caught:
        read(tmp_path / "none.tsv")
    assert str(tmp_path / "none.tsv") in str(caught.value)
    assert "snakemake" in str(caught.value)


def test_tables_and_listings_of_earlier_versions_are_read(tmp_path: Path) -> None:
    # Without the column `splits`, and `refused` for `invalid_id`.
    text = rows_text([sample("a")], Sample)
    lines = ["\t".join(line.split("\t")[:-1]) for line in text.splitlines()]
    path = tmp_path / "samples.tsv"
    path.write_text("".join(f"{line}\n" for line in lines))
    assert read_samples(path) == [find_sample(path, "a")] == [sample("a")]
    path.write_text(rows_text([row("b", kind="refused")], Skipped))
    assert read_skipped(path) == [row("b", kind="invalid_id")]
    listing = Listing([sample("a")], [row("b", kind="invalid_id")], [])
    content = json.loads(listing.to_json())
    assert content["left_out"][0]["kind"] == "refused"
    assert "splits" not in content["samples"][0]
    assert Listing.from_json(json.dumps(content)) == listing


def test_a_sample_is_in_each_of_its_splits_in_their_own_order() -> None:
    first = replace(sample("a"), splits=(("train", 1), ("fold", 0)))
    second = replace(sample("b"), splits=(("train", 0),))
    third = replace(sample("c"), split="fold", splits=(("fold", 1),))
    splits = {"train": ["b", "a"], "fold": ["a", "c"]}
    assert ids_by_split([first, second, third]) == splits
    listing = Listing([first, second, third])
    assert Listing.from_json(listing.to_json()) == listing
    assert listing.digest() != Listing([sample("a"), second, third]).digest()


def test_a_key_that_the_table_lacks_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, [sample("a")], Sample)
    with pytest.raises(StoreError, match="'b'"):
        find_sample(path, "b")


# Small things


def test_a_sample_knows_the_size_of_its_files() -> None:
    assert sample().size_of("pressure.pt") == 40
    assert sample().size_of("other.pt") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ünïcode \U0001f3ce", "plain ünïcode \U0001f3ce"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u202e", "\\u202e"),
        ("bad\udcff", "bad\\udcff"),
        ("\0", "\\x00"),
    ],
    ids=["ordinary text", "line ends", "colours", "direction", "no UTF-8", "zero"],
)
def test_text_for_the_terminal_has_no_control_characters(text: str, expected: str) -> None:
    assert printable(text) == expected


def test_a_sample_left_out_is_told_in_one_safe_line() -> None:
    told = str(row("run\n\x1b[31m", field="surface_position"))
    assert told.isprintable()
    for part in ("run\\n", "surface_position", "points.pt", "is not there", "add it"):
        assert part in told


def test_hashes_of_long_keys_are_made_of_the_whole_id() -> None:
    ends = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(300)]
    assert len({key_of("long/" * 60 + end) for end in ends}) == 300
