"""Scalars of samples, from the reader and in items and batches."""

from __future__ import annotations

import json
import math
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from aerozarr import ChunkDataset, Store
from aerozarr.errors import StoreError
from reader.harness import PLACES, Place, copy_to, recorded

POINTS = {"surface": 200}
SCALARS = {
    "a": {"drag": 0.1, "params": [1.0, "NaN"], "case": "belt", "moves": True},
    "b": {"drag": "-Infinity", "params": [2.0, 0.5], "case": "none", "moves": False},
    "deep/c": {"drag": 3, "params": [4, 5.5], "case": "", "moves": False},
}


def set_attributes(store: Path, sample: str, attributes: Any) -> None:
    path = store / f"{sample}.zarr/zarr.json"
    content = json.loads(path.read_bytes())
    content["attributes"] = attributes
    path.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def with_scalars(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the store whose samples have scalars; not to be changed."""
    folder = Path(shutil.copytree(original, tmp_path_factory.mktemp("scalars") / "store"))
    for sample, scalars in SCALARS.items():
        set_attributes(folder, sample, {"scalars": scalars})
    return folder


@pytest.fixture
def folder(with_scalars: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(with_scalars, tmp_path / "store"))


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, with_scalars: Path) -> Place:
    endpoint = request.getfixturevalue("s3_endpoint") if "s3" in request.param else None
    return copy_to(with_scalars, request.param, endpoint)


def test_the_scalars_of_a_sample_from_everywhere(place: Place) -> None:
    store = place.open()
    found = store.scalars("a")
    assert list(found) == ["drag", "params", "case", "moves"]
    assert repr(found) == repr(
        {"drag": 0.1, "params": [1.0, math.nan], "case": "belt", "moves": True}
    )
    assert store.scalars("b")["drag"] == -math.inf
    c = store.scalars("deep/c")
    assert c["drag"] == 3.0 and type(c["drag"]) is float
    found["params"].clear()  # type: ignore[union-attr] # it is a list
    assert len(store.scalars("a")["params"]) == 2  # type: ignore[arg-type] # likewise


def test_a_store_without_any_has_none(original: Path) -> None:
    assert Store(original).scalars("a") == {}
    with pytest.raises(StoreError, match="has no sample 'x'"):
        Store(original).scalars("x")


def test_they_take_no_request_of_their_own(with_scalars: Path) -> None:
    store = Store(with_scalars)
    dataset = ChunkDataset(store, points=POINTS, scalars=["drag"])
    rounds = recorded(store).rounds
    dataset[1]
    assert len(rounds) == 2  # metadata with indexes, and chunks
    dataset[1]
    assert len(rounds) == 3
    store.scalars("b")
    assert len(rounds) == 3
    store.read_scalars(["a", "deep/c"])
    assert [span.path for span in rounds[-1]] == ["deep/c.zarr/zarr.json"]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_items_and_batches_have_them_as_float32(with_scalars: Path, num_workers: int) -> None:
    dataset = ChunkDataset(
        Store(with_scalars),
        points=POINTS,
        scalars=["params", "moves", "drag"],
        normalize=True,
        with_id=True,
    )
    item = dataset[0]
    assert list(item)[-5:] == ["params", "moves", "drag", "sample_id", "index"]
    assert item["drag"].dtype == torch.float32
    assert item["drag"].shape == item["moves"].shape == ()
    assert item["drag"] == torch.tensor(0.1) and item["moves"] == 1
    torch.testing.assert_close(item["params"], torch.tensor([1.0, math.nan]), equal_nan=True)
    (batch,) = dataset.loader(batch_size=3, num_workers=num_workers)
    assert batch["sample_id"] == ["a", "b", "deep/c"]
    assert batch["drag"].tolist() == [torch.tensor(0.1).item(), -math.inf, 3.0]
    assert batch["moves"].tolist() == [1, 0, 0]
    assert batch["params"].shape == (3, 2)
    assert batch["params"][2].tolist() == [4, 5.5]
    plain = ChunkDataset(Store(with_scalars), points=POINTS, normalize=True)
    (without,) = plain.loader(batch_size=3)
    for name, values in without.items():
        assert torch.equal(batch[name], values), name
    assert pickle.loads(pickle.dumps(dataset))[2]["drag"] == 3


def test_a_remote_store_is_read_ahead_with_them(with_scalars: Path) -> None:
    store = copy_to(with_scalars, "memory").open()
    dataset = ChunkDataset(store, points=POINTS, scalars=["drag"])
    batches = [batch["drag"].tolist() for batch in dataset.loader(batch_size=2, num_workers=1)]
    assert batches == [[torch.tensor(0.1).item(), -math.inf], [3.0]]


@pytest.mark.parametrize(
    ("scalars", "message"),
    [
        (["drog"], "a has no scalar 'drog'. Did you mean drag"),
        (["case"], "'case' of a is a text. Leave it out of scalars, or read it with Store.scalars"),
        (["surface_pressure"], "an item has something else named 'surface_pressure'"),
        (["index"], "an item has something else named 'index'"),
    ],
)
def test_what_cannot_be_a_tensor_is_told_at_once(
    with_scalars: Path, scalars: list[str], message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        ChunkDataset(Store(with_scalars), points=POINTS, scalars=scalars)


def test_a_single_name_is_an_error(with_scalars: Path) -> None:
    with pytest.raises(TypeError, match="scalars is 'drag'; it takes several names"):
        ChunkDataset(Store(with_scalars), points=POINTS, scalars="drag")


@pytest.mark.parametrize(
    ("scalars", "message"),
    [
        (
            {"params": [1.0]},
            r"params of b has the shape \(1,\), and that of .* first sample \(2,\)",
        ),
        ({"params": 1.0}, r"params of b has the shape \(\)"),
        ({"drag": 0.3}, "b has no scalar 'params'. It has drag"),
        ({"params": [1.0, 1e39]}, "params of b has a number that is too large for float32"),
        ({"params": "x"}, "'params' of b is a text"),
    ],
)
def test_a_sample_that_is_not_like_the_first_is_named(
    folder: Path, scalars: dict[str, Any], message: str
) -> None:
    set_attributes(folder, "b", {"scalars": scalars})
    dataset = ChunkDataset(Store(folder), points=POINTS, scalars=["params"])
    assert dataset[2]["params"].tolist() == [4, 5.5]
    with pytest.raises(StoreError, match=message):
        dataset[1]


HOSTILE: dict[str, Callable[[], Any]] = {
    "no object": lambda: {"scalars": [1]},
    "an object within": lambda: {"scalars": {"drag": {"x": 1}}},
    "a list of lists": lambda: {"scalars": {"drag": [[1]]}},
    "a number without end": lambda: {"scalars": {"drag": 10**4000}},
    "nothing": lambda: {"scalars": {"drag": None}},
    "a name of many lines": lambda: {"scalars": {"a\n\x1b[2J": None}},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_attributes_are_an_error_where_scalars_are_asked_for(
    folder: Path, kind: str
) -> None:
    set_attributes(folder, "a", HOSTILE[kind]())
    store = Store(folder)
    assert store.read("a", POINTS)["surface_pressure"].shape == (200, 1)
    with pytest.raises(StoreError, match=r"a, zarr\.json: its (attribute|scalar)") as raised:
        store.scalars("a")
    assert str(raised.value).isprintable()
    assert store.scalars("b")["case"] == "none"


def test_attributes_that_are_no_object_are_none(folder: Path) -> None:
    set_attributes(folder, "a", [1, 2])
    assert Store(folder).scalars("a") == {}


def test_a_group_that_is_gone_is_an_error(folder: Path) -> None:
    (folder / "a.zarr/zarr.json").unlink()
    with pytest.raises(StoreError, match=r"a, zarr\.json: it is not there"):
        Store(folder).scalars("a")
