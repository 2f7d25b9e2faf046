from collections.abc import Callable
from pathlib import Path

import pytest

from aerozarr.run_config import RunConfig
from unit.fragment_helpers import FILEMAP
from unit.store_helpers import project_of, url_of


@pytest.fixture(params=["folder", "memory-url"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(request.param, tmp_path)


@pytest.fixture
def make(url: str, tmp_path: Path) -> Callable[..., RunConfig]:
    """Makes projects that share one store and work folder."""
    return lambda **settings: project_of(url, tmp_path / "work", filemap=FILEMAP, **settings)
