"""Damaged and hostile stores: every read gives the right values, or a StoreError that says where.

No other exception, no hang, and no more memory than the store's own numbers justify.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aerozarr import Store
from aerozarr.errors import StoreError
from reader.harness import shard

# Bytes that reading may take beyond what it took before. The store has 0.2 MB.
BOUND = 200 * 2**20
SECONDS = 120

Values = dict[str, dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def small(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the store that is damaged and mended in turn."""
    return Path(shutil.copytree(original, tmp_path_factory.mktemp("fuzz") / "store"))


@pytest.fixture(scope="module")
def expected(original: Path) -> Values:
    store = Store(original)
    return {sample: store.read(sample) for sample in store.samples}


@pytest.fixture(autouse=True)
def bounds() -> Iterator[None]:
    """No test hangs, and none takes much memory."""

    def too_long(*_: object) -> None:
        raise AssertionError(f"it took more than {SECONDS} s")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    old = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < BOUND


def reads_right_or_says_so(folder: Path, expected: Values) -> int:
    """Read all that the store holds; return how many samples could be read."""
    read = 0
    try:
        store = Store(folder)
    except StoreError:
        return read
    for sample, values in expected.items():
        try:
            found = store.read(sample)
        except StoreError as error:
            assert len(str(error)) < 2000
            continue
        read += 1
        for name in values.keys() & found.keys():
            assert torch.equal(found[name], values[name]), f"{sample}, {name}: other values"
    for ask in (
        lambda: store.splits,
        store.statistics,
        lambda: store.statistics("train"),
        lambda: store.statistics(store.samples),
    ):
        try:
            ask()
        except StoreError as error:
            assert len(str(error)) < 2000
    return read


def test_no_flipped_bit_in_any_file_gives_other_values(small: Path, expected: Values) -> None:
    chance = random.Random(0)
    files = sorted(path for path in small.rglob("*") if path.is_file())
    refused = 0
    for path in files:
        whole = path.read_bytes()
        try:
            for _ in range(12 if path.suffix == ".json" else 6):
                damaged = bytearray(whole)
                damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
                path.write_bytes(damaged)
                refused += reads_right_or_says_so(small, expected) < len(expected)
        finally:
            path.write_bytes(whole)
    assert refused > len(files), "most damage is noticed"
    assert reads_right_or_says_so(small, expected) == len(expected)


def test_every_byte_of_a_shard_is_checked_when_it_is_read(small: Path, expected: Values) -> None:
    path = shard(small, "surface/pressure")
    whole = path.read_bytes()
    chance = random.Random(1)
    try:
        for place in range(len(whole)):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << chance.randrange(8)
            path.write_bytes(damaged)
            with pytest.raises(StoreError, match="a, surface/pressure, shard 0"):
                Store(small).read("a", fields=["surface_pressure"])
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("cut", [0, 1, 3, 67, 68, 69, 500, -1])
def test_a_file_cut_anywhere_is_an_error(folder: Path, cut: int) -> None:
    path = shard(folder, "surface/pressure")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(StoreError, match="a, surface/pressure, shard 0"):
        Store(folder).read("a")


# Values that a hostile document may hold, where something else is expected.
deep: Any = []
for _ in range(400):
    deep = [deep]
HOSTILE = st.sampled_from(
    [
        *(None, True, False, 0, -1, 1, 7, 2**31, 10**15, 2**63, 10**30, 0.5, 1e308),
        *(
            "",
            "NaN",
            "Infinity",
            "../../../../etc/passwd",
            "/etc/passwd",
            "a\0b",
            "x" * 5000,
            "\x1b[2J",
        ),
        *(
            "float64",
            "int8",
            "object",
            "V100000",
            "../",
            "sharding_indexed",
            "gzip",
            "zstd",
            "transpose",
        ),
        *([], {}, [0, 0], [-1, 3], [10**15, 3], [256, 3, 1], {"name": "x"}, deep),
    ]
)


def places_in(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all values in a JSON document."""
    found = [path] if path else []
    items: Any = ()
    if isinstance(document, dict):
        items = document.items()
    elif isinstance(document, list):
        items = enumerate(document)
    for key, value in items:
        found += places_in(value, (*path, key))
    return found


def with_value(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = json.loads(json.dumps(document))
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


DOCUMENTS = ("manifest.json", "a.zarr/zarr.json", "splits.json", "statistics.json")


@pytest.mark.parametrize("name", DOCUMENTS)
@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_hostile_documents(small: Path, expected: Values, name: str, data: st.DataObject) -> None:
    path = small / name
    whole = path.read_bytes()
    document = json.loads(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        places = places_in(document)
        place = places[data.draw(st.integers(0, len(places) - 1))]
        document = with_value(document, place, data.draw(HOSTILE))
    try:
        path.write_text(json.dumps(document))
        reads_right_or_says_so(small, expected)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize(
    "content", [b"", b"[" * 100_000, b"\xff\xfe", b"null", b"[]", b"1" * 10_000, b'{"a": NaN}']
)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_is_no_document_at_all(
    folder: Path, expected: Values, name: str, content: bytes
) -> None:
    (folder / name).write_bytes(content)
    reads_right_or_says_so(folder, expected)
