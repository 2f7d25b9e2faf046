"""What documents show to be done by hand: one job, and comparing a copy with its checksums."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from aerozarr.environment import SETTINGS, STARTED
from aerozarr.workflow.by_hand import main
from workflow.harness import REPOSITORY, Workspace, digests


@pytest.fixture
def by_hand(converted: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(converted.root)
    for name in (SETTINGS, STARTED):
        monkeypatch.setenv(name, "")  # what the job sets is taken back
    return converted


def test_a_conversion_by_hand_gives_what_a_run_gives(by_hand: Workspace, tmp_path: Path) -> None:
    guide = (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8")
    (shown,) = re.findall(
        r"^PYTHONPATH=scripts \S+ -m aerozarr.workflow.by_hand (.*)$", guide, re.M
    )
    trial = tmp_path / "trial"
    arguments = shlex.split(shown.replace("param0%2Fcar_00", "deep%2Fc"))
    arguments = [each.replace("/tmp/trial", str(trial)) for each in arguments]
    before = digests(by_hand.store)

    assert main([*arguments, "--configfile", "settings.yaml"]) == 0
    made = digests(trial)
    assert made
    assert {before[path] for path in made} == set(made.values())
    assert digests(by_hand.store) == before


def test_what_is_wrong_is_told_in_a_line(
    by_hand: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    known = ["--configfile", "settings.yaml"]
    assert main(["convert_sample", "--key=x", *known]) == 1
    assert "has no sample 'x'" in capsys.readouterr().err
    assert main(["convert_sample", "--key=a", "--config", "sore=x"]) == 1
    assert "Did you mean store?" in capsys.readouterr().err
    assert main(["convert_sample", "--key=a", "--configfile", "missing.yaml"]) == 1
    assert "missing.yaml cannot be read as settings" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["convert_sample", *known])
    assert "needs --key" in capsys.readouterr().err


def test_a_copy_is_compared_with_its_checksums(converted: Workspace) -> None:
    page = (REPOSITORY / "docs/publishing.md").read_text("utf-8")
    (command,) = re.findall(r"^```sh\n(.*?)\n```", page, re.M | re.S)
    shell = ["bash", "-o", "pipefail", "-c", command]
    subprocess.run(shell, cwd=converted.root, check=True)
    (converted.store / "skipped.tsv").write_text("changed")
    done = subprocess.run(shell, cwd=converted.root, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stdout == "skipped.tsv: FAILED\n"
