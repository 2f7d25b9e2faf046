from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
