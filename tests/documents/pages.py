"""The code blocks of the documentation, run as a reader would: page by page, from top to bottom.

- `sh`: each line is a command, and is run, unless it is in `NOT_RUN`, or in `PARSED`.
- `python`: run, or written to a file where its first line names one (`# train.py`).
- `yaml`: has to be settings, or a preset; written to a file where its first line names one.
- `bash`: written to the file that one of its lines names.
- `json` and `text` show what files hold and programs print. A block of no language is a command of
  a cluster, which tests/cluster runs.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import snakemake.cli
import yaml

from aerozarr.config.load_settings import load_settings
from aerozarr.config.settings import Settings
from aerozarr.source.datasets import Preset
from workflow.forked_snakemake import run_forked
from workflow.harness import NO_CLOUDS

REPOSITORY = Path(__file__).resolve().parents[2]
LANGUAGES = {"sh", "python", "yaml", "bash", "json", "text", ""}

# Whose blocks without a language tests/cluster runs.
CLUSTER_PAGES = {"README.md", "docs/clusters.md"}

# Pages whose code other tests run.
RUN_ELSEWHERE = {
    "docs/module.md": "tests/workflow/test_module.py",
    "docs/publishing.md": "tests/workflow/test_by_hand.py and tests/test_packaging.py",
    "docs/reading-elsewhere.md": "tests/reader/test_other_programs.py",
}

# Lines that are not run, by how they begin, and why.
NOT_RUN = {
    "make ": "CI runs them, on a clean clone",
    "source .venv": "the tests have an environment",
    "pip install": "it would change the tests' environment",
    "moto_server -p": "the tests start the same server, on a free port",
    "cd /data/flat": "run by a test of its own, which makes files for it",
    "cd my_store": "run by the tests of StoreWriter, which write a store for it",
}
# Commands of which only options, settings and targets are checked, and why.
PARSED = {
    "snakemake adopt --cores 16": "docs/how-to/move.md, whose adopt is run, has a store for it",
}
# Python that is part of something and does nothing alone: its first line.
FRAGMENTS = {"class CarDataset:"}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, and what it holds."""

    language: str
    text: str

    @property
    def file(self) -> str:
        """The name of the file that a comment in its first two lines gives it, or nothing."""
        name = re.match(r"(?:#!.*\n)?# (\w+\.(?:py|yaml|sh))\n", self.text)
        return name[1] if name else ""


def pages() -> list[str]:
    """Return the paths of all pages that a person wrote, below the repository."""
    found = sorted(path.relative_to(REPOSITORY) for path in REPOSITORY.glob("docs/**/*.md"))
    return ["README.md", *map(str, found)]


def blocks_of(page: str) -> list[Block]:
    """Return the fenced blocks of a page."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return [
        Block(language, re.sub(rf"^{indent}", "", content, flags=re.MULTILINE))
        for indent, language, content in re.findall(
            r"^( *)```([^\n`]*)\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL
        )
    ]


def is_listed(line: str, lines: dict[str, str]) -> bool:
    """Return whether a command begins like one of a list."""
    return line.startswith(tuple(lines))


def is_fragment(block: Block) -> bool:
    """Return whether a block of Python is a part of something, which does nothing alone."""
    return block.text.splitlines()[0] in FRAGMENTS


def check_yaml(text: str) -> None:
    """Raise what a run would of settings, or of a preset."""
    content = yaml.safe_load(text)
    if isinstance(content.get("splits"), dict):  # a preset's rule
        Preset.model_validate({"filemap": {"surface_position": "x.pt"}, **content})
        return
    is_of_a_root = {"splits", "split_files", "split_manifest", "dataset_args"} & content.keys()
    place = {"source_root" if is_of_a_root else "source_url": "x"}
    load_settings(content if {"source_url", "source_root"} & content.keys() else content | place)


def check_command(command: str, targets: set[str]) -> None:
    """Assert that a snakemake command has options, targets and settings that there are."""
    program, *arguments = shlex.split(command)
    assert program == "snakemake"
    _, options = snakemake.cli.parse_args(arguments)
    assert set(options.targets) <= targets
    given = dict(each.split("=", 1) for each in options.config or ())
    assert given.keys() <= Settings.model_fields.keys()


class Reader:
    """A person with a copy of the repository and data in `/data`, who does what pages say."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.checkout = root / "checkout"
        self.replaced = {"/data/": f"{root}/data/", "--cores 16": "--cores 2"}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path}

    def place(self, text: str) -> str:
        """Return a text with what it names as the test has it: folders in `/data`, a port."""
        for written, here in self.replaced.items():
            text = text.replace(written, here)
        return text

    def follow(self, page: str) -> str:
        """Do what a page says, and return all that was printed."""
        said = ""
        for block in blocks_of(page):
            text = self.place(block.text)
            if block.file:
                (self.checkout / block.file).write_text(text, encoding="utf-8")
            if block.language == "yaml":
                check_yaml(block.text)
            elif block.language == "sh":
                for line in block.text.splitlines():
                    if not is_listed(line, NOT_RUN) and not is_listed(line, PARSED):
                        said += self.run(line)
            elif block.language == "python" and not (block.file or is_fragment(block)):
                said += self.execute(text, page)
        return said

    def execute(self, code: str, name: str) -> str:
        """Run Python in this process, which has imported torch, and return what it printed."""
        with contextlib.chdir(self.checkout), contextlib.redirect_stdout(io.StringIO()) as said:
            exec(compile(code, name, "exec"), {"__name__": "__main__"})
        return said.getvalue()

    def run(self, command: str) -> str:
        """Run a line of a shell, and return what it printed; `export` holds for what follows."""
        command = self.place(command)
        if command.startswith("export "):
            words = shlex.split(command)[1:]
            self.environment |= dict(word.split("=", 1) for word in words)
            return ""
        if command.startswith("snakemake ") and "://" not in command:
            # Without Snakemake's imports, and without those of clouds, which few users have.
            environment = {**self.environment, "PYTHONPATH": str(NO_CLOUDS)}
            arguments = shlex.split(command)[1:]
            code, output = run_forked(arguments, str(self.checkout), environment, 300)
        else:
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=self.checkout,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=300,
            )
            code, output = done.returncode, done.stdout
        assert code == 0, f"{command}\n{output}"
        return output
