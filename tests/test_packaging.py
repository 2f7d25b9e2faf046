"""What others build and pick up: wheel and sdist, extras, schema, container, citation."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

from aerozarr import __version__
from aerozarr.config.load_settings import load_settings
from aerozarr.config.settings_documents import settings_schema
from aerozarr.errors import SettingsError
from aerozarr.run_config import RunConfig

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text("utf-8")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
SCHEMA = json.loads((REPOSITORY / "config.schema.json").read_text("utf-8"))

# Writes a store and reads it.
SCRIPT = """
import sys, aerozarr, numpy
assert aerozarr.__file__.startswith(sys.argv[1]), aerozarr.__file__
with_points = {"surface_position": numpy.ones((9, 3)), "surface_pressure": numpy.arange(9)}
writer = aerozarr.StoreWriter("store")
writer.write("a", with_points)
writer.finish()
store = aerozarr.Store("store")
print(sorted(store.read("a")["surface_pressure"].flatten().tolist()))
"""


def test_wheel_and_sdist_build_and_what_is_installed_writes_and_reads(tmp_path: Path) -> None:
    source, dist, site = tmp_path / "source", tmp_path / "dist", tmp_path / "site"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(REPOSITORY / "scripts", source / "scripts", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    # The wheel is built from the sdist, so that has all it needs.
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")

    package = source / "scripts/aerozarr"
    files = {
        f"aerozarr/{path.relative_to(package)}" for path in package.rglob("*") if path.is_file()
    }
    with zipfile.ZipFile(wheel) as archive:
        info = f"aerozarr-{__version__}.dist-info/"
        assert {name for name in archive.namelist() if not name.startswith(info)} == files
        assert f"{info}licenses/LICENSE" in archive.namelist()
    with tarfile.open(sdist) as archive_of_sources:
        names = {name.partition("/")[2] for name in archive_of_sources.getnames()}
    assert {f"scripts/{name}" for name in files} | {"README.md", "LICENSE"} <= names

    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, "--target", str(site), str(wheel)], check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(site)],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == list(range(9))


def pinned(name: str) -> dict[str, str]:
    """Return the versions that a file of requirements pins, without those of files it names."""
    text = (REPOSITORY / name).read_text("utf-8")
    return dict(re.findall(r"^([\w-]+)==(\S+)$", text, re.MULTILINE))


def test_extras_bring_what_the_files_of_requirements_pin() -> None:
    everything = pinned("requirements.txt")
    extras = {
        name: [Requirement(text) for text in texts]
        for name, texts in PROJECT["optional-dependencies"].items()
    }
    combined = extras.pop("all")
    files = {path.stem.removeprefix("requirements-") for path in REPOSITORY.glob("requirements-*")}
    with_files = files - {"dev", "docs"}
    assert set(extras) == with_files | {"s3", "workflow"}
    for name in with_files:
        own = pinned(f"requirements-{name}.txt")
        assert {requirement.name for requirement in extras[name]} == set(own)
        everything |= own
    base = [Requirement(text) for text in PROJECT["dependencies"]]
    in_one_file = {one.name for one in [*base, *extras["s3"], *extras["workflow"]]}
    assert in_one_file == set(pinned("requirements.txt"))
    for requirement in [*base, *(one for each in extras.values() for one in each)]:
        assert requirement.specifier.contains(everything[requirement.name]), requirement
    assert {one for each in combined for one in each.extras} == set(extras) - {"slurm"}


def test_citation_readme_and_package_agree() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text("utf-8"))
    assert PROJECT["name"] == "aerozarr"
    assert citation["title"].startswith("aerozarr: ")
    assert README.startswith("# aerozarr\n")
    assert citation["version"] == __version__
    assert PROJECT["dynamic"] == ["version"]  # the library's own
    assert citation["license"] == PROJECT["license"] == "MIT"
    assert "MIT licence, see [LICENSE](LICENSE)" in README
    assert (REPOSITORY / "LICENSE").read_text("utf-8").startswith("MIT License\n")
    assert citation["keywords"] == PROJECT["keywords"]
    assert [one["name"] for one in citation["authors"]] == [
        one["name"] for one in PROJECT["authors"]
    ]
    # The place of the project is not known: none is named, in one of them or in all.
    assert ("repository-code" in citation) == ("urls" in PROJECT)


def test_the_schema_is_what_the_settings_model_says() -> None:
    assert (REPOSITORY / "config.schema.json").read_text("utf-8") == settings_schema()
    head = (REPOSITORY / "config.yaml").read_text("utf-8").splitlines()[0]
    assert head == "# yaml-language-server: $schema=config.schema.json"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def documented() -> list[str]:
    """Return all settings that documents show."""
    pages = [README, *(path.read_text("utf-8") for path in (REPOSITORY / "docs").rglob("*.md"))]
    found = [
        block for page in pages for block in re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S)
    ]
    known = SCHEMA["properties"].keys()
    # Of a preset's file, `splits` is a rule.
    are_settings = [
        block
        for block in found
        if set(read := yaml.safe_load(block) or {}) <= known
        and not isinstance(read.get("splits"), dict)
    ]
    assert len(are_settings) > 10
    return [(REPOSITORY / "config.yaml").read_text("utf-8"), *are_settings]


def test_the_schema_takes_all_settings_that_the_documents_show() -> None:
    for text in documented():
        jsonschema.validate(yaml.safe_load(text), SCHEMA)


@pytest.mark.parametrize(
    ("settings", "is_fine"),
    [
        ({"compression": "fast"}, True),
        ({"compression": {"cname": "lz4"}}, True),
        ({"compression": "slow"}, False),
        ({"splits": "train,test", "source_root": "x"}, True),
        ({"exclude": "run_12"}, True),
        ({"dataset_name": 2024}, True),
        ({"scalars": {"drag": "forces.csv::Cd"}, "source_url": "x"}, True),
        ({"scalars": {"drag": {"unit": "N"}}, "source_url": "x", "dataset": "ahmedml"}, False),
        (
            {"scalars": {"drag": {"table": "f.csv::Cd", "id_column": "run"}}, "source_url": "x"},
            True,
        ),
        ({"fields": {"surface_T": {"file": "T.pt", "witdh": 3}}, "source_url": "x"}, False),
        ({"limit": 0}, False),
        ({"values_dtype": "float8"}, False),
        ({"sore": "x"}, False),
    ],
)
def test_the_schema_says_what_the_settings_do(settings: dict[str, object], is_fine: bool) -> None:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    assert validator.is_valid(settings) is is_fine
    if is_fine:
        load_settings(settings)
    else:
        with pytest.raises(SettingsError):
            RunConfig.of(load_settings(settings))


def test_the_containers_steps_are_the_documented_ones() -> None:
    original = (REPOSITORY / "Dockerfile").read_text("utf-8")
    text = original.replace("\\\n", " ")
    steps = re.findall(r"^(?!#)(\w+) +(.*)$", text, re.MULTILINE)
    names = [name for name, _ in steps]
    assert names[0] == "FROM"
    assert set(names) <= {"FROM", "RUN", "WORKDIR", "COPY", "ENV", "ENTRYPOINT"}
    # It installs by the command that is given there for the smaller build of PyTorch.
    assert "make demo" in README
    page = (REPOSITORY / "docs/install.md").read_text("utf-8")
    (command,) = re.findall(r"`(PIP_EXTRA_INDEX_URL=\S+ make demo)`", page)
    assert any(name == "RUN" and command in step for name, step in steps)
    (python,) = re.findall(r"python:(\d+\.\d+)", text)
    assert f">={python}" == PROJECT["requires-python"]
    assert json.loads(steps[-1][1])[0] == "snakemake"
    # The comment at its top shows the commands of that page.
    (shown,) = re.findall(r"```text\n(docker .*?)```", page, re.DOTALL)
    assert re.sub(r"^# {1,3}", "", original, flags=re.MULTILINE).count(shown) == 1
    # What make demo needs is copied.
    ignored = (REPOSITORY / ".dockerignore").read_text("utf-8").split()
    assert not {"Makefile", "requirements.txt", "Snakefile", "config.yaml"} & set(ignored)


def test_the_dataset_card_that_is_shown_has_its_shape() -> None:
    page = (REPOSITORY / "docs/publishing.md").read_text("utf-8")
    (text,) = re.findall(r"^```json\n(.*?)^```", page, re.M | re.S)
    card = json.loads(text)
    # As the specification of Croissant 1.0 has it, and what makes it JSON-LD.
    assert card["@type"] == "sc:Dataset"
    assert card["conformsTo"].startswith("http://mlcommons.org/croissant/")
    required = {"name", "description", "license", "url", "creator", "datePublished", "isBasedOn"}
    assert required <= card.keys()
    prefixes = {key for key, value in card["@context"].items() if str(value).endswith("/")}
    for item in [card, *card["distribution"], card["creator"]]:
        assert item["@type"].partition(":")[0] in prefixes
    for item in card["distribution"]:
        required = {"@id", "name", "encodingFormat"}
        one = item["@type"] == "cr:FileObject"
        assert required | ({"contentUrl", "sha256"} if one else {"includes"}) <= item.keys()
    assert {"license", "source_datasets"} <= yaml.safe_load(page.split("---\n")[1]).keys()
