"""What is imported at every start, and what importing aerozarr leaves as it was."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "zarr", "pandas", "s3fs", "numcodecs", "jinja2"}


def modules_of_the_rules() -> set[str]:
    return {
        name
        for rules in (REPOSITORY / "rules").glob("*.smk")
        for name in re.findall(r"^from (aerozarr[\w.]*) import", rules.read_text(), re.MULTILINE)
    }


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY / "scripts",
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_the_rules_import_none_of_what_takes_long() -> None:
    # torch alone takes a second, of a run that may have nothing to do.
    modules = modules_of_the_rules()
    assert "aerozarr.workflow.start_run" in modules
    imports = ", ".join(sorted(modules))
    code = f"import sys; import {imports}; print(*sorted({HEAVY} & {{*sys.modules}}))"
    assert run(code).split() == []


# What a person's own process may rely on: log levels, and how other libraries are set.
LOOK = """
import json, logging, os
import fsspec, numcodecs.blosc, torch, zarr
logging.getLogger("asyncio").setLevel(logging.ERROR)
names = ("", "s3fs", "gcsfs", "adlfs", "ocifs", "oci", "azure", "google", "asyncio", "fsspec")
def look():
    return {
        "levels": {name: logging.getLogger(name).level for name in names},
        "use_threads": numcodecs.blosc.use_threads,
        "torch threads": torch.get_num_threads(),
        "environment": dict(os.environ),
    }
before = look()
"""


@pytest.mark.parametrize(
    "statement",
    [
        "from aerozarr import Store, ChunkDataset, LookAhead, Normalizer",
        "import aerozarr.convert.sample, aerozarr.verify.sample, aerozarr.filesystems.backends",
        "import aerozarr.merge.merge_manifest, aerozarr.workflow.run, aerozarr.workflow.estimate",
    ],
)
def test_importing_changes_nothing(statement: str) -> None:
    code = f"{LOOK}\n{statement}\nprint(json.dumps([before, look()]))"
    before, after = json.loads(run(code))
    assert after == before
