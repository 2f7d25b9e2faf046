"""The report: what a real browser makes of it, and Snakemake's own report around it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from PIL import Image

from workflow.harness import Workspace, tensors, write_sample

BROWSER = shutil.which("chromium")
HOSTILE = '<script>document.title="pwned"</script>&"'
in_a_browser = pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")


def browse(page: Path, scratch: Path, *how: str) -> str:
    """Open a page in a browser without a window, and return what it printed."""
    assert BROWSER is not None
    quiet = ("--disable-background-networking", "--disable-component-update", "--disable-sync")
    started = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            *("--no-first-run", *quiet, f"--user-data-dir={scratch / 'profile'}"),
            *("--window-size=1200,2400", *how, page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert started.returncode == 0, started.stderr
    return started.stdout


@pytest.fixture
def reported(workspace: Workspace) -> Workspace:
    """Three samples converted, one with a hostile name; one broken and one incomplete."""
    for seed, sample in enumerate(("a", "deep/b", HOSTILE.replace("/", "_"))):
        write_sample(workspace.source / sample, seed)
    write_sample(workspace.source / "broken", 7, U=torch.full((70, 3), 1e9))
    write_sample(workspace.source / "incomplete", 8, p=None)
    workspace.run()
    return workspace


@in_a_browser
def test_a_browser_shows_pictures_tables_and_what_was_skipped(
    reported: Workspace, tmp_path: Path
) -> None:
    page = browse(reported.work / "report.html", tmp_path, "--dump-dom")
    # Three samples drawn, four fields and the seconds as histograms.
    assert page.count("<svg") == 3 + 4 + 1
    assert page.count("<circle") == 3 * 40
    assert "NaN" not in page
    text = re.sub(r"<[^>]*>", " ", page)
    assert "a value of 1e+09 is too large for float16" in text
    assert re.search(r"incomplete\s+incomplete\s+p\.pt", text)
    for field in ("surface_position", "surface_pressure", "volume_position", "volume_velocity"):
        assert field in text
    assert "deep/b, coloured by surface_pressure" in text


@in_a_browser
def test_a_browser_runs_nothing_of_a_hostile_name(reported: Workspace, tmp_path: Path) -> None:
    page = browse(reported.work / "report.html", tmp_path, "--dump-dom")
    assert "<script" not in page
    assert "<title>drivaerml" not in page
    assert "pwned</title>" not in page
    assert "&lt;script&gt;" in page


@in_a_browser
def test_the_page_is_drawn(reported: Workspace, tmp_path: Path) -> None:
    shot = tmp_path / "shot.png"
    browse(reported.work / "report.html", tmp_path, f"--screenshot={shot}")
    image = Image.open(shot).convert("RGB")
    colours = image.getcolors(2**24)
    assert colours is not None
    # Points from dark blue to yellow and three colours of bars: far more than a page of text has.
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


def test_values_that_are_not_finite_are_drawn_around(workspace: Workspace) -> None:
    values = tensors(0)["U.pt"]
    values[:5] = float("nan")
    values[5:9, 1] = float("inf")
    write_sample(workspace.source / "a", 0, U=values, p=torch.full((40,), float("nan")))
    workspace.run()
    page = (workspace.work / "report.html").read_text(encoding="utf-8")
    assert "no finite values" in page
    assert "nan" not in re.findall(r'[dxy]="([^"]*)"', page)
