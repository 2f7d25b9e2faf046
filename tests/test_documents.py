"""What the documents say is so: settings, versions, commands, code."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
import yaml

from aerozarr import __version__, environment
from aerozarr.config.filemap import ATTRIBUTES, NOT_A_FIELD
from aerozarr.config.settings import load_settings, settings_table, settings_yaml
from aerozarr.run_config import RunConfig
from aerozarr.source.datasets import load_preset, preset_names

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


RAW = (REPOSITORY / "docs/raw-files.md").read_text(encoding="utf-8")
TRAINING = (REPOSITORY / "docs/training.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_config_yaml_is_what_the_settings_model_says() -> None:
    assert (REPOSITORY / "config.yaml").read_text(encoding="utf-8") == settings_yaml()


def test_the_readmes_table_of_settings_is_what_the_model_says() -> None:
    table = re.search(r"<!-- settings:[^\n]*\n(.*?)<!-- end of settings -->", README, re.DOTALL)
    assert table is not None
    assert table[1] == settings_table()


def test_the_readme_names_every_attribute_and_every_preset() -> None:
    for name in (*ATTRIBUTES, NOT_A_FIELD, *preset_names()):
        assert f"`{name}`" in README


def test_every_preset_loads() -> None:
    assert {
        "ahmedml",
        "ahmedml_raw",
        "drivaerml",
        "drivaerml_raw",
        "drivaernet",
        "emmi_wing",
        "example",
        "shapenet_car",
    } <= set(preset_names())
    for name in preset_names():
        assert load_preset(name).filemap


def pinned(text: str, pattern: str) -> dict[str, str]:
    return dict(re.findall(pattern, text, re.MULTILINE))


def test_conda_and_pip_install_the_same_versions() -> None:
    pip = pinned((REPOSITORY / "requirements.txt").read_text(), r"^([\w-]+)==(\S+)$")
    environment = yaml.safe_load((REPOSITORY / "envs/aerozarr.yaml").read_text())
    conda = pinned("\n".join(environment["dependencies"]), r"^([\w-]+) =([\d.]+)$")
    renamed = {"snakemake-minimal": "snakemake", "pytorch": "torch"}
    assert {renamed.get(name, name): version for name, version in conda.items()} == pip


def test_everything_that_the_library_needs_is_pinned() -> None:
    run_config = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[<>=]", requirement)[0] for requirement in run_config["dependencies"]}
    pip = pinned((REPOSITORY / "requirements.txt").read_text(), r"^([\w-]+)==(\S+)$")
    assert needed <= set(pip)


def test_the_table_of_environment_variables_has_them_all() -> None:
    table = (REPOSITORY / "docs/design.md").read_text("utf-8")
    names = {value for name, value in vars(environment).items() if name.isupper()}
    assert names
    for name in names:
        assert f"`{name}`" in table
    # None is named anywhere else.
    for path in (REPOSITORY / "scripts").rglob("*.py"):
        for call in re.findall(r"os\.(?:environ|getenv)[^\n]*", path.read_text("utf-8")):
            assert not re.search(r"""[\[(]["'][A-Z_]+["']""", call), f"{path}: {call}"


def test_the_table_of_run_json_has_every_key(place: Path) -> None:
    table = (REPOSITORY / "docs/run-json.md").read_text("utf-8")
    written = json.loads((place / "checkout/results/work/run.json").read_bytes())
    assert all(f"`{key}`" in table for key in written)


def test_the_changelog_has_the_librarys_version() -> None:
    assert f"## {__version__}" in (REPOSITORY / "CHANGELOG.md").read_text()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the data that the README speaks of, and the example converted."""
    root = tmp_path_factory.mktemp("readme")
    ignored = shutil.ignore_patterns(".*", "results", "tests")
    shutil.copytree(REPOSITORY, root / "checkout", ignore=ignored)
    for dataset, sample in (("shapenet", "preprocessed/param1/x"), ("wind_tunnel", "run_1")):
        folder = root / "data" / dataset / sample
        folder.mkdir(parents=True)
        names = load_preset("shapenet_car").filemap.values()
        for name in (*names, "points.pt", "p.pt"):
            is_one = any(word in name for word in ("pressure", "sdf", "p.pt"))
            torch.save(torch.rand(20) if is_one else torch.rand(20, 3), folder / name)
    mine = next(block for block in blocks("yaml") if block.startswith("# mine.yaml"))
    (root / "checkout/mine.yaml").write_text(mine.replace("/data/", f"{root}/data/"))
    run(root, "snakemake --cores 2")
    return root


def run(root: Path, command: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command.replace("/data/", f"{root}/data/")],
        cwd=root / "checkout",
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


# make demo and make test are run by CI themselves, on a clean clone.
COMMANDS = [
    command
    for block in blocks("sh")
    for command in block.splitlines()
    if not command.startswith("make ")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_of_the_readme_runs(place: Path, command: str) -> None:
    command = command.replace("--cores 16", "--cores 2")
    verifies = " verify " in command
    if verifies:
        run(place, command.replace(" verify ", " "))  # there has to be a store
    output = run(place, command)
    assert ("is as it should be (1 sample," if verifies else "lists 1 sample ") in output


@pytest.mark.parametrize("code", blocks("python"))
def test_each_piece_of_code_of_the_readme_runs(place: Path, code: str) -> None:
    (place / "checkout/snippet.py").write_text(code)
    assert run(place, "PYTHONPATH=scripts python snippet.py").strip()


@pytest.mark.parametrize("code", blocks("python", TRAINING))
def test_each_piece_of_code_on_training_runs(place: Path, code: str) -> None:
    # Reading from S3 itself is what the reader's tests do.
    code = code.replace("s3://training/wind_tunnel", "results/store")
    name = re.match(r"# (\w+\.py)\n", code)
    if name is None:
        (place / "checkout/snippet.py").write_text(code)
        assert run(place, "PYTHONPATH=scripts python snippet.py").strip()
        return
    # A file with a name is run by a command: that of ranks, the second time after a stop.
    (place / "checkout" / name[1]).write_text(code)
    (command,) = (each for each in blocks("sh", TRAINING) if name[1] in each)
    samples = 10 * 2
    assert len(re.findall(r"param\d/", run(place, f"PYTHONPATH=scripts {command}"))) == samples
    assert "rank" not in run(place, f"PYTHONPATH=scripts {command}"), "nothing is left to read"


def test_raw_files_become_a_training_loop_as_their_document_says(place: Path) -> None:
    named = [*blocks("python", RAW), *blocks("yaml", RAW)]
    files = {match[1]: text for text in named if (match := re.match(r"# (\S+)\n", text))}
    assert [*files] == ["make_runs.py", "train.py", "raw.yaml"]
    for name, text in files.items():
        (place / "checkout" / name).write_text(text)
    run(place, "python make_runs.py")
    commands = [line for block in blocks("sh", RAW) for line in block.splitlines()]
    for command in commands:
        if command.startswith("snakemake"):
            said = run(place, command.replace("--cores 16", "--cores 2"))
            assert ("is as it should be (4 " if "verify" in command else "lists 4 samples") in said
    assert "epoch 1: loss" in run(place, "PYTHONPATH=scripts python train.py")
    # What is added to a preset.
    (added,) = (text for text in blocks("yaml", RAW) if not text.startswith("#"))
    fields = {
        field
        for d in RunConfig.of(load_settings(yaml.safe_load(added))).domains
        for field in d.fields
    }
    keys = {field.canonical: field.key for field in fields}
    assert keys["volume_total_pressure_coefficient"] == "cell:CptMeanTrim"
    assert keys["volume_pressure"] == "cell:pMeanTrim"
