"""The report of a real run: what a browser makes of it, and Snakemake's own report around it."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from browser import browse, in_a_browser, look_at
from workflow.harness import Workspace, write_sample

HOSTILE = '<script>document.title="pwned"<_script>&"'


@pytest.fixture(scope="module")
def reported_once(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Three samples converted, one with a hostile name; one broken and one incomplete."""
    root = tmp_path_factory.mktemp("reported") / "workspace"
    for seed, sample in enumerate(("a", "deep/b", HOSTILE)):
        values = torch.full((40,), float("nan")) if sample == "a" else None
        write_sample(root / "source" / sample, seed, **({} if values is None else {"p": values}))
    write_sample(root / "source" / "broken", 7, U=torch.full((70, 3), 1e9))
    write_sample(root / "source" / "incomplete", 8, p=None)
    made = Workspace(root)
    made.config["fields"] = {"surface_pressure": {"unit": "Pa"}}
    made.run()
    return made


@pytest.fixture
def reported(reported_once: Workspace, tmp_path: Path) -> Workspace:
    return reported_once.copy_to(tmp_path / "workspace")


def test_the_page_says_what_came_of_the_run(reported_once: Workspace) -> None:
    page = (reported_once.work / "report.html").read_text(encoding="utf-8")
    text = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page.replace("<wbr>", ""))).split())
    run = json.loads((reported_once.work / "run.json").read_bytes())
    assert run["skipped"] == {"broken": 1, "incomplete": 1}
    assert f"{run['samples']} of 5 samples are in the store; 1 cannot be converted" in text
    assert "1 broken broken volume_velocity U.pt a value of 1e+09 is too large for float16" in text
    assert "1 incomplete incomplete p.pt is not there" in text
    assert text.index("1 broken broken") < text.index("1 incomplete incomplete")
    assert "1 sample has values that are not finite" in text
    assert "Coloured by surface_pressure, all on one scale" in text
    # Four fields, two distributions of the samples, and a picture of each.
    assert page.count("<svg") == 4 + 2 + 3
    assert len(re.findall(r"M[-\d.]+ [-\d.]+h0", page)) == 3 * 40
    assert not re.search(r'\b[dxy]="[^"]*nan', page)
    assert "pressure (Pa)" in page
    assert HOSTILE in text
    assert "<script" not in page


@in_a_browser
def test_a_browser_lays_it_out_and_runs_nothing(reported_once: Workspace, tmp_path: Path) -> None:
    page = (reported_once.work / "report.html").read_text(encoding="utf-8")
    found = look_at({"report": page}, (1200, 700), tmp_path)
    assert [of["wrong"] for of in found.values()] == [[]] * 4
    # Where there is room, all of it is seen.
    assert found["report 1200 light"]["scrolled"] == []
    assert {of["title"] for of in found.values()} == {"custom: report of a store"}


@in_a_browser
def test_the_page_is_drawn(reported_once: Workspace, tmp_path: Path) -> None:
    shot = tmp_path / "shot.png"
    browse(reported_once.work / "report.html", tmp_path, f"--screenshot={shot}")
    image = Image.open(shot).convert("RGB")
    colours = image.getcolors(2**24)
    assert colours is not None
    # Points from dark violet to yellow and three colours of bars: more than a page of text has.
    saturated = [(count, rgb) for count, rgb in colours if max(rgb) - min(rgb) > 60]
    assert len(saturated) > 100
    assert sum(count for count, _ in saturated) > 2000


def test_the_report_is_made_anew_when_it_is_gone(reported: Workspace) -> None:
    report = reported.work / "report.html"
    report.unlink()
    assert reported.run().converted == []
    assert report.exists()


def test_snakemakes_report_holds_ours(reported: Workspace) -> None:
    reported.run("--report", "snakemake.html")
    page = (reported.root / "snakemake.html").read_text(encoding="utf-8")
    assert "report.html" in page
    assert "pictures of" in page
