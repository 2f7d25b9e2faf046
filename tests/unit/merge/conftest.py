from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from aerozarr.run_config import RunConfig
from unit.store_helpers import project_of, url_of


@pytest.fixture
def url(place: str, tmp_path: Path) -> str:
    """The URL of a store; `place` is a parameter of the test."""
    return url_of(place, tmp_path / "stores")


@pytest.fixture
def make(url: str, tmp_path: Path) -> Callable[..., RunConfig]:
    """Makes projects that share one store and work folder."""
    return lambda **settings: project_of(url, tmp_path / "work", **settings)
