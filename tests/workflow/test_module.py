"""Aerozarr as a module of another workflow, as Snakemake, snakedeploy and the catalogue use it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from aerozarr.workflow.targets import RULES, own_names
from workflow.harness import REPOSITORY, Workspace, write_sample

SNAKEFILES = ("Snakefile", "workflow/Snakefile")
DOCUMENT = (REPOSITORY / "docs/module.md").read_text("utf-8")
# Besides what the document shows: a rule that is changed, and a handler of the importer's own.
MORE = """
use rule convert_sample from aerozarr as aerozarr_convert_sample with:
    threads: 2

onsuccess:
    print("and so does the importer")
"""
TRAIN = "import shutil, sys; shutil.copy(f'{sys.argv[1]}/manifest.json', sys.argv[2])"


@pytest.fixture
def importer(workspace: Workspace) -> Workspace:
    """A workflow that imports aerozarr from its folder, and has two samples."""
    for seed, sample in enumerate("ab"):
        write_sample(workspace.source / sample, seed)
    workspace.repository = workspace.root / "workflow"
    workspace.repository.mkdir()
    (settings,) = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    workspace.config = yaml.safe_load(settings)
    (workspace.root / "settings.yaml").write_text(settings)
    (workspace.root / "train.py").write_text(TRAIN)
    import_from(workspace, repr(f"{REPOSITORY}/Snakefile"))
    return workspace


def import_from(workspace: Workspace, snakefile: str) -> None:
    (text,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    text = text.replace('"/path/to/aerozarr/Snakefile"', snakefile) + MORE
    (workspace.repository / "Snakefile").write_text(text)


def repository_in(place: Path) -> str:
    """Make a bare git repository of the files that there are; return its commit."""
    ignored = shutil.ignore_patterns(".*", "results", "tests", "__pycache__")
    shutil.copytree(REPOSITORY, place / "files", ignore=ignored)
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    clone = ["clone", "--quiet", "--bare", ".", "../aerozarr"]
    for arguments in (["init", "-q"], ["add", "."], [*author, "commit", "-qm", "all"], clone):
        subprocess.run(["git", *arguments], cwd=place / "files", check=True)
    command = ["git", "--git-dir", str(place / "aerozarr"), "rev-parse", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_another_workflow_imports_it_by_a_prefix(
    importer: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # As snakedeploy writes it; the clone that Snakemake would make of it is there already.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache = tmp_path / "cache/snakemake/snakemake/source-cache"
    clones = cache / "snakemake-git-cache/github.com/owner"
    clones.mkdir(parents=True)
    commit = repository_in(clones)
    import_from(importer, f'github("owner/aerozarr", path="workflow/Snakefile", commit="{commit}")')

    first = importer.run()
    assert first.converted == ["a", "b"]
    assert importer.listed() == ["a", "b"]
    assert "and so does the importer" in first.output
    assert first.said[-1].startswith("aerozarr: results/store/manifest.json lists 2 samples")
    assert (importer.root / "model.pt").exists()
    assert (cache / "aerozarr" / commit / "scripts/convert_sample.py").exists()

    import_from(importer, repr(f"{REPOSITORY}/Snakefile"))
    again = importer.run("--dry-run")
    assert again.nothing_to_do
    assert again.said[-1] == "aerozarr: a run would convert 0 samples"

    verified = importer.run("aerozarr_verify")
    assert "is as it should be (2 samples" in verified.said[-1]


def test_it_cannot_be_imported_twice_or_with_a_prefix_of_paths(importer: Workspace) -> None:
    snakefile = importer.repository / "Snakefile"
    text = snakefile.read_text()
    snakefile.write_text(text.replace("    config:\n", '    prefix: "deep"\n    config:\n'))
    assert "imported with prefix or replace_prefix" in importer.run(ok=False).said[-1]

    twice = """
module other:
    snakefile: {snakefile!r}
    config: {{**config["aerozarr"], "limit": 1}}

use rule * from other as other_*
"""
    snakefile.write_text(text + twice.format(snakefile=f"{REPOSITORY}/Snakefile"))
    assert "imports aerozarr twice, with different settings" in importer.run(ok=False).said[-1]
    assert importer.groups() == []


def test_the_rules_are_those_of_the_rules_folder() -> None:
    texts = [path.read_text("utf-8") for path in (REPOSITORY / "rules").glob("*.smk")]
    texts += [(REPOSITORY / name).read_text("utf-8") for name in SNAKEFILES]
    defined = re.findall(r"^(?:rule|checkpoint) (\w+):", "\n".join(texts), re.MULTILINE)
    assert sorted(RULES) == sorted(defined)


def test_a_target_of_the_importing_workflow_is_none_of_ours() -> None:
    given = ["aerozarr_verify", "estimate", "train", "results/x.json"]
    own = own_names(given, lambda name: f"aerozarr_{name}")
    assert own == {"verify", "estimate, of the importing workflow", "train", "results/x.json"}
    assert own_names(["verify", "x"], str) == {"verify", "x"}
