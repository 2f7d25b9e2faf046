from __future__ import annotations

import sys
import textwrap
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from unit.class_helpers import Module
from unit.listing_helpers import BACKENDS, LocalTree, MemoryTree, Tree, open_tree


@pytest.fixture(params=BACKENDS)
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tree]:
    """An empty folder, `source`, on each kind of file system."""
    with open_tree(request.param, tmp_path / "source") as opened:
        yield opened


@pytest.fixture
def local(tmp_path: Path) -> LocalTree:
    """An empty folder, `source`, on the disk."""
    return LocalTree(tmp_path / "source")


@pytest.fixture
def memory() -> Iterator[MemoryTree]:
    """An empty folder in memory."""
    tree = MemoryTree()
    yield tree
    tree.close()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Module]:
    """Write a module that can be imported, and return its name."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    names = []

    def write(text: str) -> str:
        names.append(f"m{uuid.uuid4().hex}")
        (folder / f"{names[-1]}.py").write_text(textwrap.dedent(text), encoding="utf-8")
        return names[-1]

    yield write
    for name in names:
        sys.modules.pop(name, None)
