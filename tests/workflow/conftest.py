from __future__ import annotations

from pathlib import Path

import pytest

from workflow.harness import Workspace, write_sample


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with an empty source."""
    root = tmp_path / "workspace"
    (root / "source").mkdir(parents=True)
    return Workspace(root)


@pytest.fixture(scope="session")
def converted_once(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Three samples, converted; not to be changed."""
    root = tmp_path_factory.mktemp("converted") / "workspace"
    for seed, sample in enumerate(("a", "b", "deep/c")):
        write_sample(root / "source" / sample, seed)
    made = Workspace(root)
    made.run()
    return made


@pytest.fixture
def converted(converted_once: Workspace, tmp_path: Path) -> Workspace:
    """A copy of three converted samples, `a`, `b` and `deep/c`."""
    return converted_once.copy_to(tmp_path / "workspace")
