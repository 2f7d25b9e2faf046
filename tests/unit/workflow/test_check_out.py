"""The files of a commit, for a module from a repository."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from aerozarr.workflow.check_out import check_out


@dataclass
class LocalGitFile:
    """As Snakemake's: a folder of a repository on this machine."""

    repo_path: str
    ref: str
    path: str


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    (root / "scripts").mkdir(parents=True)
    (root / "scripts/job.py").write_text("first")
    commit(root, "init", "-q")
    commit(root, "add", ".")
    commit(root, "commit", "-qm", "first")
    return root


def commit(root: Path, *arguments: str) -> None:
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", *author, *arguments], cwd=root, check=True)


def test_a_commits_files_are_written_once(repository: Path, tmp_path: Path) -> None:
    folder = LocalGitFile(str(repository), "HEAD", "")
    place = check_out(folder, tmp_path / "cache")
    assert (place / "scripts/job.py").read_text() == "first"
    (place / "scripts/job.py").write_text("kept")
    assert check_out(folder, tmp_path / "cache") == place
    assert (place / "scripts/job.py").read_text() == "kept"
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_another_commit_has_a_folder_of_its_own(repository: Path, tmp_path: Path) -> None:
    first = check_out(LocalGitFile(str(repository), "HEAD", "scripts"), tmp_path / "cache")
    (repository / "scripts/job.py").write_text("second")
    commit(repository, "commit", "-qam", "second")
    second = check_out(LocalGitFile(str(repository), "HEAD", "scripts"), tmp_path / "cache")
    assert (first / "job.py").read_text() == "first"
    assert (second / "job.py").read_text() == "second"


def test_what_is_no_commit_leaves_nothing(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        check_out(LocalGitFile(str(repository), "--all", ""), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_place_in_no_repository_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Clone aerozarr"):
        check_out("https://example.org/Snakefile", tmp_path)
