from __future__ import annotations

from pathlib import Path

import pytest

from aerozarr.filesystems.location import Location, open_location
from unit.store_helpers import url_of


@pytest.fixture
def folder(place: str, tmp_path: Path) -> Location:
    """An empty folder of a sample; `place` is a parameter of the test."""
    return open_location(url_of(place, tmp_path), {}, key="source_url")
