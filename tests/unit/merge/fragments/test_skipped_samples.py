"""The table of skipped samples that a merge writes."""

import pytest

from aerozarr.merge.merge_manifest import merge_fragments
from unit.fragment_helpers import COLUMNS, SKIPPED, broken, converted, left_out_row, skipped_rows
from unit.store_helpers import files_below


def test_skipped_table_of_a_run_that_skipped_nothing_is_a_header(make, url):
    run_config = make()
    merge_fragments(run_config, [converted(run_config, "run_1")], [])
    assert files_below(url)[SKIPPED].decode().replace('"', "") == "\t".join(COLUMNS) + "\n"


def test_skipped_table_holds_what_was_left_out_and_what_is_broken(make, url):
    run_config = make()
    samples = [
        converted(run_config, "run_1"),
        broken(
            run_config, "run_2", field="volume_sdf", file="sdf.pt", cause="NaN", remedy="mend it"
        ),
    ]
    merge_fragments(
        run_config, samples, [left_out_row("run_0"), left_out_row("..", kind="invalid_id")]
    )
    rows = skipped_rows(url)
    assert list(rows[0]) == COLUMNS
    assert [list(row.values()) for row in rows] == [
        ["..", "", "invalid_id", "", "x.pt", "is not there", "add it"],
        ["run_0", "", "incomplete", "", "x.pt", "is not there", "add it"],
        ["run_2", "", "broken", "volume_sdf", "sdf.pt", "NaN", "mend it"],
    ]


def test_skipped_table_is_by_split_and_id(make, url):
    run_config = make()
    samples = [
        converted(run_config, "a"),
        broken(run_config, "run_9", split="train"),
        broken(run_config, "run_10", split="train"),
        broken(run_config, "run_5", split="test"),
    ]
    skipped = [left_out_row("run_7", split="train"), left_out_row("run_6", split="test")]
    merge_fragments(run_config, samples, skipped)
    assert [(row["split"], row["id"]) for row in skipped_rows(url)] == [
        ("test", "run_5"),
        ("test", "run_6"),
        ("train", "run_10"),
        ("train", "run_7"),
        ("train", "run_9"),
    ]


ODD_TEXTS = ("ü 数据", 'a"b', "a\tb", "a\nb", "a\r\nb", "'", "NA", "nan", "007", "=1+1", "")


@pytest.mark.parametrize("text", ODD_TEXTS, ids=repr)
def test_skipped_table_keeps_every_text(make, url, text):
    run_config = make()
    row = left_out_row("x" + text, file=text, cause=text, remedy=text)
    merge_fragments(run_config, [converted(run_config, "run_1")], [row])
    (read,) = skipped_rows(url)
    assert read == vars(row)
