"""Specification of the report: its numbers, its verdict, and that it is one safe, small page."""

import csv
import html
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec import structs

from aerozarr.convert.sample import convert
from aerozarr.merge.merge_manifest import merge_fragments
from aerozarr.merge.report import Outcome, report_of, verdict_of
from aerozarr.merge.report_words import breakable, format_number
from aerozarr.merge.summary import Summary
from aerozarr.messages import format_bytes
from aerozarr.run_config import RunConfig
from aerozarr.source.samples import ABSENT, Sample, Skipped, SkippedKind
from browser import in_a_browser, look_at
from unit.merge_helpers import put_fragment
from unit.store_helpers import FILEMAP, files_below, project_of, sample_of, source_tensors

HOSTILE = '<script>document.title="pwned"</script>&"\'\u202e\x07'
# Nowhere to break, and longer than a page is wide.
ENDLESS = "x" * 230
UNITS = {"surface_pressure": {"unit": "Pa", "long_name": "gauge pressure"}}


@pytest.fixture
def run_config(tmp_path: Path) -> RunConfig:
    return project_of(tmp_path / "store", tmp_path / "work", fields=UNITS, dataset_name="cars")


def converted(run_config: RunConfig, sample_id: str, seed: int = 0, **replaced: Any) -> Sample:
    """Convert a sample from memory, and put its fragment where the merge finds it."""
    tensors = source_tensors(surface=30 + seed, volume=50 + seed, seed=seed) | replaced
    sample = sample_of(sample_id, split="train", sizes=dict.fromkeys(tensors, 1000))
    settings, store = run_config.settings, run_config.store
    fragment = convert(
        sample, lambda field: tensors[field.file], run_config.domains, settings, store
    )
    put_fragment(run_config, sample, fragment)
    return sample


def skipped(kind: SkippedKind, sample_id: str, cause: str = "is not there") -> Skipped:
    return Skipped(sample_id, "train", kind, "", "points.pt", cause, "add it")


def page_of(run_config: RunConfig, samples: list[Sample], left: list[Skipped]) -> str:
    return report_of(run_config, *merge_fragments(run_config, samples, left))


def text_of(page: str) -> str:
    """What a person reads; a space for each tag, but none for a place where a line may break."""
    page = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    text = re.sub(r"<[^>]*>", " ", re.sub("<wbr>", "", page))
    return " ".join(html.unescape(text).split())


# The numbers -----------------------------------------------------------------------------------


def test_its_numbers_are_those_of_the_files_beside_the_store(run_config: RunConfig) -> None:
    samples = [converted(run_config, f"run_{seed}", seed) for seed in range(4)]
    samples.append(converted(run_config, "bad", 9, **{"sdf.pt": torch.zeros(1)}))
    page = page_of(run_config, samples, [skipped("incomplete", "run_8")])
    text, files = text_of(page), files_below(str(run_config.settings.store))
    counts = json.loads(files["provenance.json"])
    assert f"{counts['samples']} samples in the store 1 broken 1 incomplete" in text
    assert f"{format_bytes(counts['source_bytes'])} read from the source" in text
    assert f"{format_bytes(counts['stored_bytes'])} in the store, " in text
    assert "4 of 6 samples are in the store; 1 cannot be converted, 1 is missing" in text
    numbers = json.loads(files["statistics.json"])
    for field in (field for domain in run_config.domains for field in domain.fields):
        name = field.canonical
        row = text_of(page.split(f'id="field-{name}"')[1].split('<tr id="field-')[0])
        values, _, rest = row.partition(" std ")[2].partition(
            " none " if field.dtype == "float32" else " of range "
        )
        wanted = [
            format_number(numbers[f"{name}_{key}"][component])
            for component in range(field.width)
            for key in ("min", "mean", "max", "std")
        ]
        found = [word for word in values.split() if word not in ("x", "y", "z")]
        assert found[: len(wanted)] == wanted
        stored = sum(
            len(content)
            for path, content in files.items()
            if f".zarr/{field.array_name}/c/" in path and not path.startswith("bad")
        )
        raw = numbers[f"{name}_count"] * field.width * {"float16": 2, "float32": 4}[field.dtype]
        assert f"{format_bytes(stored)} {stored / raw:.0%}".replace("%", " %") in rest
        assert f" % of {format_bytes(raw)}" in rest


def test_a_field_says_its_unit_and_what_it_lost(run_config: RunConfig) -> None:
    pressure = 50_000 + torch.arange(30) % 3 * 4.0  # float16 has but every 32nd number there
    sample = converted(run_config, "a", **{"surface_pressure.pt": pressure})
    text = text_of(page_of(run_config, [sample], []))
    assert "surface_pressure (Pa) gauge pressure float16 30 points" in text
    assert re.search(r"16 Pa 200 % of range 0\.032 % of a value", text), text
    # The line that the terminal has, too.
    assert "field_dtypes: {surface_pressure: float32}" in text


def test_the_slowest_sample_comes_first(run_config: RunConfig) -> None:
    samples = [converted(run_config, f"run_{seed}", seed) for seed in range(3)]
    summary, outcome = merge_fragments(run_config, samples, [])
    times = (0.5, 100.0, 7.25)
    fragments = [
        structs.replace(fragment, seconds=seconds)
        for fragment, seconds in zip(outcome.fragments, times, strict=True)
    ]
    text = text_of(report_of(run_config, summary, replace(outcome, fragments=fragments)))
    _, _, table = text.partition("Time and size of samples")
    assert "108 s in all" not in table
    assert "2 min in all, 7.25 s in the median" in table
    assert re.findall(r"run_\d train ([\d.]+ \w+)", table) == ["2 min", "7.25 s", "0.50 s"]
    assert [*re.findall(r"(run_\d) train", table)] == ["run_1", "run_2", "run_0"]


# The verdict -----------------------------------------------------------------------------------


def verdict(left: list[Skipped], converted: int = 3, **told: Any) -> tuple[str, str, list[str]]:
    summary = Summary("store", "cars", converted, [], [], 0, 0, "", **told)
    outcome = Outcome([], [None] * converted, left, "cars", {})  # type: ignore[list-item] # only counted
    found = verdict_of(summary, outcome)
    return found.level, found.text, [*found.kinds]


def test_the_verdict_is_good_when_all_samples_are_there() -> None:
    assert verdict([]) == ("good", "All 3 samples are in the store.", [])
    assert verdict([], 1)[:2] == ("good", "The one sample is in the store.")


def test_samples_that_were_excluded_are_none_that_are_missing() -> None:
    level, text, _ = verdict([skipped("excluded", "a")])
    assert level == "good"
    assert text == "All samples but the excluded ones are in the store: 3 of 4."


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        ("incomplete", "fair"),
        ("invalid_id", "fair"),
        ("broken", "bad"),
        ("unreadable", "bad"),
    ],
)
def test_the_verdict_is_as_bad_as_the_worst_sample(kind: SkippedKind, level: str) -> None:
    assert verdict([skipped("incomplete", "a"), skipped(kind, "b")])[0] == level


@pytest.mark.parametrize(
    "told", [{"notes": ["p: as float16, …"]}, {"not_finite": ["a: p"]}], ids=str
)
def test_what_should_be_known_lowers_a_good_verdict(told: dict[str, list[str]]) -> None:
    assert verdict([], **told)[0] == "fair"


def test_the_worst_is_named_first_and_missing_samples_last(run_config: RunConfig) -> None:
    left = [
        skipped("excluded", "e"),
        skipped("incomplete", "a", ABSENT),
        skipped("incomplete", "b"),
        skipped("broken", "z", "is a web page"),
        skipped("unreadable", "y", "permission denied"),
        *(skipped("broken", f"many_{n}", "is too large") for n in range(7)),
    ]
    assert verdict(left)[2] == [
        "unreadable", "broken", "incomplete", "not there at all", "excluded by the settings"
    ]  # fmt: skip
    page = page_of(run_config, [converted(run_config, "ok")], left)
    rows = re.findall(r'<tr class="(\w+)"><td class="kind".*?</tr>', page)
    assert rows == ["unreadable", "broken", "broken", "incomplete", "absent", "excluded"]
    text = text_of(page)
    # What seven have in common is said once, of as many as have a place.
    assert "7 broken many_0 many_1 many_2 many_3 many_4 and 2 more points.pt is too large" in text
    skips = csv.DictReader(
        io.StringIO(files_below(str(run_config.settings.store))["skipped.tsv"].decode()),
        delimiter="\t",
    )
    assert len([*skips]) == len(left)


# One page, safe and small ----------------------------------------------------------------------


def test_nothing_of_the_data_becomes_markup(tmp_path: Path) -> None:
    run_config = project_of(
        tmp_path / "store",
        tmp_path / "work",
        dataset_name=f"<b>{HOSTILE}",
        fields={"surface_pressure": {"unit": "<i>Pa", "long_name": '"><img src=x>'}},
        exclude=["<u>*"],
    )
    sample_id = HOSTILE.replace("/", "_").replace("\u202e\x07", "")
    left = [
        replace(skipped("broken", HOSTILE, "<p>cause"), field="<em>f", file="<q>", remedy="<s>r"),
    ]
    page = page_of(run_config, [converted(run_config, sample_id)], left)
    tags = {tag.lower() for tag in re.findall(r"<\s*([a-zA-Z]+)", page)}
    assert not tags & {"script", "i", "img", "u", "em", "q", "s"} - {"i"}
    assert page.count("<i ") == page.count('<i style="width:')
    assert "<i>" not in page and "<b><" not in page
    assert not re.search(r"\son\w+=", page)
    assert sample_id in text_of(page)
    # What would turn the text round, or ring a bell, is shown as what it is.
    assert "\\u202e\\x07" in text_of(page)


def test_it_needs_nothing_from_elsewhere(run_config: RunConfig) -> None:
    page = page_of(run_config, [converted(run_config, "a")], [])
    assert not re.findall(r"https?:|url\(|@import|<link|<script|\ssrc=|\shref=", page)


def test_ten_thousand_samples_have_less_than_two_megabytes(tmp_path: Path) -> None:
    filemap = {"surface_position": "surface_position.pt", "surface_pressure": "surface_pressure.pt"}
    run_config = project_of(tmp_path / "store", tmp_path / "work", filemap=filemap)
    samples = [converted(run_config, f"run_{seed}", seed) for seed in range(8)]
    summary, outcome = merge_fragments(run_config, samples, [])
    # Those that are read for the pictures are really there; the others have long names.
    ids = [
        f"run_{n // 1250}" if n % 1250 == 0 else f"{n:06}_{'design_' * 8}" for n in range(10_000)
    ]
    fragments = [
        structs.replace(outcome.fragments[n % 8], sample_id=sample_id)
        for n, sample_id in enumerate(ids)
    ]
    rows = [replace(samples[0], id=sample_id) for sample_id in ids]
    # Each for a reason of its own.
    left = [skipped("broken", sample_id, f"a value of {n}") for n, sample_id in enumerate(ids)]
    page = report_of(
        run_config, summary, Outcome(rows, fragments, left, "cars", outcome.statistics)
    )
    assert len(page.encode()) < 2e6
    text = text_of(page)
    assert "10,000 of 20,000 samples are in the store" in text
    assert "The slowest first: 400 of 10,000" in text
    assert "400 of 10,000 reasons" in text


def test_a_sample_that_cannot_be_read_is_passed_over(
    run_config: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = [converted(run_config, name, 1) for name in ("a", "b")]
    summary, outcome = merge_fragments(run_config, samples, [])
    shard = Path(str(run_config.settings.store)) / "a.zarr/surface/pressure/c/0/0"
    shard.write_bytes(shard.read_bytes()[:-3])
    page = report_of(run_config, summary, outcome)
    assert [*re.findall(r'<figcaption class="own">(\w+)', page)] == ["b"]
    assert "stored points of one sample" in text_of(page)
    assert "not in the report's pictures: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "coloured", "title"),
    [
        (
            ["surface_position", "surface_pressure", "volume_position"],
            "surface_pressure",
            "pressure",
        ),
        (["volume_position", "volume_velocity", "volume_distance_to_surface"], "volume_sdf", "sdf"),
        (["volume_position", "volume_velocity"], "the length of volume_velocity", "|velocity|"),
        (["surface_position_stl"], None, None),
    ],
    ids=["pressure", "a scalar", "a vector", "nothing"],
)
def test_bodies_are_coloured_by_what_there_is(
    tmp_path: Path, fields: list[str], coloured: str | None, title: str | None
) -> None:
    filemap = {name: FILEMAP[name] for name in fields}
    run_config = project_of(tmp_path / "store", tmp_path / "work", filemap=filemap)
    page = page_of(run_config, [converted(run_config, "a", 3)], [])
    if coloured is None:
        assert "Coloured by" not in page
        assert 'class="k0' not in page
    else:
        assert f"Coloured by {coloured}; the 2 % at each end" in page
        assert f">{title}</text>" in page


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("param1/car_04", "param1/<wbr>car_<wbr>04"),
        ("a<b", "a&lt;b"),
        ("s3://bucket", "s3://<wbr>bucket"),
        ("p.pt", "p.<wbr>pt"),
        ("1.5e-07", "1.5e-07"),
        ("x" * 601, "x" * 600 + "…"),
        ("tab\there", "tab\\there"),
    ],
)
def test_lines_may_break_between_words_alone(text: str, wanted: str) -> None:
    assert breakable(text) == wanted


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (-1.5, "−1.5"),
        (12345.678, "12,346"),
        (-65504.0, "−65,504"),
        (1 / 3, "0.3333"),
        (1e-7, "1e−07"),
        (3e38, "3e+38"),
    ],
)
def test_numbers_have_four_digits_and_a_proper_minus(value: float | None, text: str) -> None:
    assert format_number(value) == text


# In a browser ----------------------------------------------------------------------------------

FAULTY = """<!doctype html><style>html { background: #fff } p { width: 60px; margin: 0 }</style>
<body><p style="overflow-wrap: anywhere">incompleteness</p>
<p style="overflow: hidden; white-space: nowrap">two words cut</p>
<p style="white-space: nowrap">beyond everything</p>
<p style="color: #bbb">pale</p><div style="width: 3000px">.</div>"""


@in_a_browser
def test_nothing_is_cut_off_broken_or_unreadable(tmp_path: Path) -> None:
    fields = {
        "surface_pressure": {"unit": "Pa", "long_name": "static pressure, relative to ambient"},
        "surface_" + "_".join(["quantity"] * 6): {"file": "q.pt", "width": 9, "unit": "kg m-2 s-1"},
        f"volume_{ENDLESS[:90]}": {"file": "t.pt", "unit": "K"},
    }
    run_config = project_of(
        f"{tmp_path}/{ENDLESS}", tmp_path / "work", dataset_name=ENDLESS, fields=fields
    )
    extremes = torch.linspace(-60000, 60000, 30)
    extremes[3] = math.inf
    ids = [
        HOSTILE.replace("/", "_"),
        ENDLESS,
        *(f"param1/{'design_' * n}{n:032x}" for n in range(26)),
    ]
    samples = [
        converted(
            run_config,
            sample_id.replace("\u202e\x07", ""),
            **{
                "q.pt": torch.rand(30, 9),
                "t.pt": torch.rand(50) * 1e-6,
                "surface_pressure.pt": extremes,
            },
        )
        for sample_id in ids
    ]
    left = [
        replace(skipped("broken", ENDLESS, f"{ENDLESS} is wrong"), field=ENDLESS, file=ENDLESS),
        skipped("incomplete", "param1/1dc58be25e1b6e5675cad724c63e222e"),
        *(skipped("incomplete", f"absent_{n}", ABSENT) for n in range(9)),
    ]
    found = look_at(
        {"report": page_of(run_config, samples, left), "faulty": FAULTY}, (1200, 700), tmp_path
    )
    for width in (1200, 700):
        for scheme in ("light", "dark"):
            of = found[f"report {width} {scheme}"]
            assert of["wrong"] == []
            assert (of["width"], of["dark"]) == (width, scheme == "dark")
            assert of["words"] > 3000
            assert of["title"] != "pwned"
    # It would say so, were it otherwise.
    wrong = found["faulty 700 light"]["wrong"]
    for what in (
        "the page is 3",
        "broken: incompleteness",
        "cut off: two words cut",
        "beyond its box: everything",
        "contrast of 1.",
    ):
        assert [line for line in wrong if line.startswith(what)], (what, wrong)
