"""What the documents say is so: settings, versions, commands, code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from aerozarr import __version__, environment
from aerozarr.config.filemap import ATTRIBUTES, NOT_A_FIELD
from aerozarr.config.settings_documents import settings_table, settings_yaml
from aerozarr.source.datasets import load_preset, preset_names

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


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
