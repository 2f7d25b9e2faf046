"""Specification of what is shown of a run while it goes on."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Literal

import pytest

from aerozarr.convert.fragment import Fragment, says_broken
from aerozarr.messages import wrapped
from aerozarr.workflow.display import Display
from aerozarr.workflow.progress import Kind, Progress, format_rate

Status = Literal["converted", "broken"]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Shown:
    """A display of samples that a test finishes, and all that was written."""

    def __init__(self, folder: Path, total: int, *, is_live: bool, **options: bool) -> None:
        self.folder, self.stream, self.clock = folder, io.StringIO(), Clock()
        kind = Kind("converting", "converted", folder, "broken", says_broken)
        inner = logging.StreamHandler(self.stream)
        self.display = Display(
            inner,
            self.stream,
            {"convert_sample": kind},
            lambda rule: total,
            is_live=is_live,
            clock=self.clock,
            **options,
        )

    def log(self, level: int, message: str, **extra: object) -> None:
        record = logging.LogRecord("snakemake", level, "", 0, message, None, None)
        vars(record).update(extra)
        self.display.handle(record)

    def start(self, number: int, rule: str = "convert_sample") -> None:
        key = {"key": str(number)}
        event = {"event": "job_info", "rule_name": rule, "jobid": number, "wildcards": key}
        self.log(logging.INFO, f"Rule: {rule}", **event)

    def finish(self, number: int, status: Status = "converted") -> None:
        fragment = Fragment(sample_id=str(number), status=status)
        (self.folder / f"{number}.json").write_bytes(fragment.to_json())
        self.log(logging.INFO, f"Finished jobid: {number}", event="job_finished", job_id=number)


def test_a_log_has_a_line_a_tenth_with_rate_and_time_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = Shown(tmp_path, 400, is_live=False)
    for number in range(400):
        shown.start(number)
        shown.clock.now += 1
        shown.finish(number, "broken" if number == 3 else "converted")
        shown.log(logging.INFO, "Select jobs to execute...")
    shown.display.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "aerozarr: converting 400 samples"
    assert lines[1] == ("aerozarr: 40 of 400 samples converted, 1 a second, 6 min left, 1 broken")
    assert lines[-1] == "aerozarr: converted 400 samples in 7 min (1 a second); 1 broken"
    assert len(lines) == 11
    assert shown.stream.getvalue() == "", "nothing that is routine"


def test_a_short_run_has_no_lines_between(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = Shown(tmp_path, 20, is_live=False)
    for number in range(20):
        shown.start(number)
        shown.clock.now += 0.1
        shown.finish(number)
    assert capsys.readouterr().err.splitlines() == [
        "aerozarr: converting 20 samples",
        "aerozarr: converted 20 samples in 2 s (10 a second)",
    ]


def test_a_terminal_has_one_line_that_is_drawn_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = Shown(tmp_path, 100, is_live=True)
    for number in range(50):
        shown.start(number)
        shown.clock.now += 1
        shown.finish(number)
    shown.display.close()
    *drawn, last = shown.stream.getvalue().split("\r\x1b[2K")
    assert last == "", "nothing is left of it"
    assert all(len(line) < 80 and "\n" not in line for line in drawn)
    assert any("converting #" in line or "converting ━" in line for line in drawn)
    assert any(line.endswith("50/100  1 a second  50 s left") for line in drawn), drawn[-3:]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("is_live", [True, False])
def test_errors_and_what_is_not_known_are_shown_whole(tmp_path: Path, is_live: bool) -> None:
    shown = Shown(tmp_path, 2, is_live=is_live)
    shown.start(0)
    error = "Error in rule convert_sample:\n    log: logs/0.log (check log file(s))"
    shown.log(logging.ERROR, error, event="job_error")
    shown.log(logging.WARNING, "Select jobs to execute... is a warning here")
    shown.log(logging.INFO, "Nobody has met this message")
    shown.log(logging.INFO, "something", event="an_event_to_come")
    shown.log(logging.INFO, "Complete log(s): /where")
    shown.display.close()
    text = shown.stream.getvalue()
    for message in (error, "a warning here", "Nobody has met this message", "something", "/where"):
        assert f"{message}\n" in text


def test_an_error_names_few_of_thousands_of_files(tmp_path: Path) -> None:
    shown = Shown(tmp_path, 1, is_live=False)
    files = [f"{number}.json" for number in range(1000)]
    record = logging.LogRecord("snakemake", logging.ERROR, "", 0, "Error", None, None)
    vars(record).update(event="job_error", input=files, output=["one"], log=["verify.log"])
    seen: list[logging.LogRecord] = []
    shown.display._inner.addFilter(lambda one: bool(seen.append(one)) or True)
    shown.display.handle(record)
    shown.display.close()
    (short,) = map(vars, seen)
    assert short["input"] == [*files[:5], "… and 995 more"]
    assert (short["output"], short["log"]) == (["one"], ["verify.log"])
    assert vars(record)["input"] == files, "the log file has all"


def test_without_progress_only_what_is_no_routine_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = Shown(tmp_path, 1, is_live=True, shows_progress=False)
    shown.start(0)
    shown.clock.now += 9
    shown.finish(0)
    shown.log(logging.ERROR, "wrong")
    assert (shown.stream.getvalue(), capsys.readouterr().err) == ("wrong\n", "")


def test_samples_of_a_group_count_before_the_group_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = Shown(tmp_path, 20, is_live=False, looks=True)
    for number in range(10):
        shown.start(number)
    shown.clock.now = 60
    for number in (*range(5), 15):  # the last is of a group that was not started
        (tmp_path / f"{number}.json").write_text('{"sample_id":"x","status":"broken"}')
    shown.display._look()
    shown.display._look()
    for number in range(10):
        shown.finish(number)
    shown.display.close()
    said = capsys.readouterr().err.splitlines()
    assert said[1] == "aerozarr: 2 of 20 samples converted, 2 a minute, 9 min left, 2 broken"
    assert len(said) == 2, "the others came at the same time"


def test_other_jobs_are_named_while_they_run(tmp_path: Path) -> None:
    shown = Shown(tmp_path, 1, is_live=True)
    shown.start(7, "merge_manifest")
    with shown.display.phase("listing s3://bucket\x1b[2J"):
        pass
    shown.display.close()
    text = shown.stream.getvalue()
    assert "\x1b[2Kmerging" in text
    assert r"listing s3://bucket\x1b[2J" in text, "names from elsewhere do nothing to a terminal"


@pytest.mark.parametrize("stand", [(0, 10), (1, 10), (9_999, 10_000)])
@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_a_bar_leaves_the_last_column_free(stand: tuple[int, int], width: int) -> None:
    kind = Kind("converting", "converted", Path(), "broken", says_broken)
    progress = Progress(kind, stand[1], 0.0, stand[0], bad=3)
    if width >= 80:
        assert len(progress.bar(100.0, width, marks="#-")) < width
    assert f"{stand[0]}/{stand[1]}" in progress.bar(100.0, width, marks="#-")


@pytest.mark.parametrize(
    ("rate", "text"),
    [(123.4, "123 a second"), (2.34, "2.3 a second"), (0.5, "30 a minute"), (0.001, "3.6 an hour")],
)
def test_a_rate_is_a_number_that_a_person_can_use(rate: float, text: str) -> None:
    assert format_rate(rate) == text


def test_long_lines_are_cut_between_words() -> None:
    text = "aerozarr:   b: a value is too large; set values_dtype: float32 for /a/very/long/path"
    lines = wrapped(text, 40)
    assert all(len(line) <= 40 for line in lines)
    assert lines[0].startswith("aerozarr:   b: a value")
    assert all(line.startswith(" " * 12) for line in lines[1:])
    assert " ".join(line.strip() for line in lines) == text
    row = "aerozarr: surface_position        0.0039                   0.000487"
    assert wrapped(row, 40) == [row], "a table's row stays one"
    assert wrapped("aerozarr: " + "x" * 90, 40) == ["aerozarr: " + "x" * 90]


def test_an_id_that_says_broken_is_not_broken(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"sample_id":"\\"status\\":\\"broken\\"","status":"converted"}')
    assert not says_broken(path)
    assert not says_broken(tmp_path / "none.json")
