from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from aerozarr.run_config import RunConfig
from unit.store_helpers import project_of, url_of


@pytest.fixture
def make(tmp_path: Path, place: str) -> Callable[..., RunConfig]:
    """Makes projects that share one store; `place` is a parameter of the test."""
    url = url_of(place, tmp_path)
    return lambda **settings: project_of(url, tmp_path / "work", **settings)
