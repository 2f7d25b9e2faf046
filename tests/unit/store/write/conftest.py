from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from aerozarr.store.write import open_root
from aerozarr.store.write.root import StoreRoot
from remote.backends import BACKENDS, open_backend
from unit.store_helpers import PLACES, url_of
from unit.write_helpers import CANNOT


@pytest.fixture(params=[*PLACES, *BACKENDS])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param in BACKENDS:
        if request.node.callspec.params.get("sample_id") in CANNOT.get(request.param, ()):
            pytest.skip(f"the {request.param} server of the tests has no such names")
        yield open_backend(request.param, request, request.getfixturevalue("monkeypatch"))
        return
    url = url_of(request.param, tmp_path)
    yield url
    if url.startswith("memory://"):
        fs, root = fsspec.core.url_to_fs(url)
        if fs.exists(root):
            fs.rm(root, recursive=True)


@pytest.fixture
def store(url: str) -> StoreRoot:
    return open_root(url, {}, owner="work")
