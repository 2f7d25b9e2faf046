"""The torch dataset: subsamples, indexing, workers, normalizing."""

from __future__ import annotations

import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from aerozarr import ChunkDataset, Normalizer, Store, StoreWriter
from aerozarr.errors import StoreError
from aerozarr.training.collate import collate
from reader.harness import SURFACE, Place, assert_aligned, put_json

POINTS = {"surface": 200, "volume": 300}
Item = dict[str, Any]


def same(first: Any, second: Any) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(values, second[name]) for name, values in first.items()
    )


def items(dataset: ChunkDataset) -> list[Item]:
    return [dataset[index] for index in range(len(dataset))]


def loader(dataset: ChunkDataset, **options: Any) -> DataLoader[Item]:
    return DataLoader(dataset, **{"batch_size": None, **options})


# Subsamples


def test_an_item_is_a_subsample_as_float32(original: Path) -> None:
    dataset = ChunkDataset(Store(original), points=POINTS)
    assert len(dataset) == 3
    for item in items(dataset):
        assert {name: (values.shape, values.dtype) for name, values in item.items()} == {
            "surface_position": ((200, 3), torch.float32),
            "surface_pressure": ((200, 1), torch.float32),
            "volume_position": ((300, 3), torch.float32),
            "volume_velocity": ((300, 3), torch.float32),
        }
        assert_aligned(item)


@pytest.mark.parametrize("count", [0, -1, 10**6])
@pytest.mark.parametrize("what", ["points", "geometry_points"])
def test_more_points_than_a_sample_has_are_an_error_at_once(
    original: Path, what: str, count: int
) -> None:
    asked = {"surface": count} if what == "points" else count
    with pytest.raises(StoreError, match=rf"{count} points of the surface were asked for; \w+ has"):
        ChunkDataset(Store(original), **{what: asked})  # type: ignore[arg-type]


def test_a_path_is_not_taken_for_an_open_store(original: Path) -> None:
    with pytest.raises(TypeError, match="open it first"):
        ChunkDataset(str(original), points=POINTS)  # type: ignore[arg-type]


def test_a_split_gives_its_samples_in_its_order(original: Path) -> None:
    store = Store(original)
    train = ChunkDataset(store, "train", points={"surface": None})
    assert train.samples == ("b", "a")
    torch.testing.assert_close(
        train[0]["surface_position"], store.read("b")["surface_position"], rtol=0, atol=0
    )
    assert ChunkDataset(store, ["deep/c", "a"]).samples == ("deep/c", "a")


def test_a_subsample_depends_on_seed_epoch_and_index_alone(original: Path) -> None:
    store = Store(original)
    dataset = ChunkDataset(store, points=POINTS, seed=5)
    first = items(dataset)
    assert all(same(item, dataset[index]) for index, item in reversed(list(enumerate(first))))
    assert same(first[2], dataset[-1])
    other = ChunkDataset(Store(original), points=POINTS, seed=5)
    assert same(first[1], other[1])
    assert not same(first[1], ChunkDataset(store, points=POINTS, seed=6)[1])
    # A sample that is in a dataset twice gives two subsamples.
    twice = ChunkDataset(store, ["a", "a"], points=POINTS)
    assert not same(twice[0], twice[1])


def test_each_epoch_has_its_own_subsamples(original: Path) -> None:
    dataset = ChunkDataset(Store(original), points=POINTS)
    epochs = []
    for epoch in (0, 1, 2):
        dataset.set_epoch(epoch)
        assert dataset.epoch == epoch
        epochs.append(items(dataset))
    assert not any(same(a, b) for a, b in zip(epochs[0], epochs[1], strict=True))
    assert not any(same(a, b) for a, b in zip(epochs[1], epochs[2], strict=True))
    dataset.set_epoch(1)
    assert all(same(a, b) for a, b in zip(items(dataset), epochs[1], strict=True))


def test_over_many_epochs_every_point_is_read_equally_often(original: Path) -> None:
    dataset = ChunkDataset(
        Store(original), ["a"], points={"surface": 300}, fields=["surface_position"]
    )
    taken = torch.zeros(SURFACE, dtype=torch.int64)
    epochs, share = 2000, 300 / SURFACE
    for epoch in range(epochs):
        dataset.set_epoch(epoch)
        taken[dataset[0]["surface_position"][:, 0].long()] += 1
    assert (taken - epochs * share).abs().max() < 5 * (epochs * share * (1 - share)) ** 0.5


def test_the_geometry_is_an_independent_subsample(original: Path) -> None:
    store = Store(original)
    plain = ChunkDataset(store, points=POINTS)
    dataset = ChunkDataset(store, points=POINTS, geometry_points=200)
    for item, without in zip(items(dataset), items(plain), strict=True):
        geometry = item.pop("geometry_position")
        assert same(item, without)
        assert geometry.shape == (200, 3)
        assert not torch.equal(geometry, item["surface_position"])
        known = store.read("a")["surface_position"][:, 0]
        assert torch.isin(geometry[:, 0], known).all()
    # Of a domain that is not read otherwise.
    other = ChunkDataset(store, points={"volume": 10}, geometry_points=50)
    assert set(other[0]) == {"volume_position", "volume_velocity", "geometry_position"}
    cells = ChunkDataset(store, points=POINTS, geometry_points=50, geometry_domain="volume")
    assert cells[0]["geometry_position"].shape == (50, 3)


def test_all_points_of_a_domain_can_be_asked_for_as_all(original: Path) -> None:
    store = Store(original)
    dataset = ChunkDataset(store, points={"surface": 10, "volume": "all"}, geometry_points="all")
    item = dataset[1]
    assert item["surface_position"].shape == (10, 3)
    assert torch.equal(item["volume_position"], store.read("b")["volume_position"].float())
    assert item["geometry_position"].shape == (SURFACE, 3)
    assert same(
        item,
        ChunkDataset(store, points={"surface": 10, "volume": None})[1]
        | {"geometry_position": item["geometry_position"]},
    )


# Indexing


@pytest.mark.parametrize("whole", [np.int64(2), torch.tensor(2), np.array(2), -1, np.int32(-1)])
def test_an_index_is_any_whole_number(original: Path, whole: Any) -> None:
    dataset = ChunkDataset(Store(original), points=POINTS)
    assert same(dataset[whole], dataset[2])
    assert same(dataset.__getitems__([whole])[0], dataset[2])


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        ([0, 1], [0, 1]),
        ((2, 0), [2, 0]),
        ([], []),
        (slice(1, None), [1, 2]),
        (slice(None, None, -1), [2, 1, 0]),
        (slice(5, 9), []),
        (range(2), [0, 1]),
        (np.array([1, -1]), [1, 2]),
        (torch.tensor([0, 2]), [0, 2]),
    ],
)
def test_several_indexes_give_a_list_of_items(
    original: Path, index: Any, expected: list[int]
) -> None:
    dataset = ChunkDataset(Store(original), points=POINTS)
    got = dataset[index]
    assert isinstance(got, list) and len(got) == len(expected)
    assert all(same(a, dataset[b]) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("index", [3, -4, [0, 3], np.int64(3), torch.tensor([-4])])
def test_an_index_out_of_range_is_an_index_error(original: Path, index: Any) -> None:
    dataset = ChunkDataset(Store(original), points=POINTS)
    with pytest.raises(IndexError, match=r"Index -?\d is out of range: the dataset has 3 samples"):
        dataset[index]


@pytest.mark.parametrize(
    "index",
    [
        "a",
        1.0,
        None,
        True,
        [True, False, True],
        torch.tensor([True, False]),
        np.array([True]),
        [[0, 1]],
        ["a"],
        torch.tensor(1.0),
        {0: 1},
    ],
)
def test_what_is_no_index_is_a_type_error(original: Path, index: Any) -> None:
    dataset = ChunkDataset(Store(original), points=POINTS)
    with pytest.raises(TypeError, match="is no index of a dataset"):
        dataset[index]


def test_iterating_over_a_dataset_ends(original: Path) -> None:
    dataset = ChunkDataset(Store(original), points=POINTS)
    assert len(list(iter(dataset))) == 3  # type: ignore[call-overload]


# Sample ids


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_item_carries_its_sample_id_and_index(original: Path, num_workers: int) -> None:
    dataset = ChunkDataset(Store(original), points=POINTS, with_id=True)
    plain = ChunkDataset(Store(original), points=POINTS)
    assert (dataset[-1]["sample_id"], dataset[-1]["index"]) == ("deep/c", 2)
    single = list(dataset.loader(None, num_workers=num_workers))
    assert [(item["sample_id"], item["index"]) for item in single] == [
        ("a", 0),
        ("b", 1),
        ("deep/c", 2),
    ]
    for own in (dataset.loader(3, num_workers=num_workers), loader(dataset, batch_size=3)):
        (batch,) = own
        assert batch["sample_id"] == ["a", "b", "deep/c"]
        assert batch["index"].dtype == torch.int64
        assert batch["index"].tolist() == [0, 1, 2]
        (expected,) = plain.loader(3)
        assert same({name: batch[name] for name in expected}, expected)


def test_a_batch_with_ids_is_made_without_copying(original: Path, tmp_path: Path) -> None:
    dataset = ChunkDataset(Store(original), points=POINTS, with_id=True)
    got = dataset[[2, 0]]
    batch = collate(got)
    assert batch["volume_velocity"].data_ptr() == got[0]["volume_velocity"].data_ptr()
    torch.save(batch, tmp_path / "batch.pt")
    assert torch.load(tmp_path / "batch.pt", weights_only=True)["sample_id"] == ["deep/c", "a"]


# Workers


@pytest.mark.parametrize("place", ["folder", "s3"], indirect=True)
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_give_what_the_main_process_gives(place: Place, context: str) -> None:
    dataset = ChunkDataset(place.open(), points=POINTS, geometry_points=20, normalize=True)
    expected = items(dataset)  # connections are open before the fork
    got = list(loader(dataset, num_workers=2, multiprocessing_context=context))
    assert len(got) == len(expected)
    assert all(same(a, b) for a, b in zip(got, expected, strict=True))


def test_spawned_workers_read_with_obstore(s3_endpoint: str, original: Path) -> None:
    from reader.harness import copy_to

    dataset = ChunkDataset(copy_to(original, "obstore-s3", s3_endpoint).open(), points=POINTS)
    expected = items(dataset)
    got = list(loader(dataset, num_workers=1, multiprocessing_context="spawn"))
    assert all(same(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("place", ["obstore-folder"], indirect=True)
def test_forked_workers_with_obstore_are_refused_with_the_remedy(place: Place) -> None:
    dataset = ChunkDataset(place.open(), points=POINTS)
    with pytest.raises(StoreError, match='multiprocessing_context="spawn"'):
        list(loader(dataset, num_workers=1, multiprocessing_context="fork"))


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_a_new_epoch_reaches_workers_that_are_running(original: Path, context: str) -> None:
    dataset = ChunkDataset(Store(original), points=POINTS)
    workers = loader(
        dataset, num_workers=1, multiprocessing_context=context, persistent_workers=True
    )
    for epoch in (0, 3):
        dataset.set_epoch(epoch)
        got = list(workers)
        assert all(same(a, b) for a, b in zip(got, items(dataset), strict=True))


def test_items_go_into_batches_and_pinned_memory(original: Path) -> None:
    dataset = ChunkDataset(Store(original), points=POINTS, geometry_points=20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is nothing to pin for
        batches = list(DataLoader(dataset, batch_size=2, num_workers=1, pin_memory=True))
    assert [len(batch["surface_position"]) for batch in batches] == [2, 1]
    assert batches[0]["geometry_position"].shape == (2, 20, 3)
    assert torch.equal(batches[0]["volume_velocity"][1], dataset[1]["volume_velocity"])


def test_a_pickled_dataset_gives_the_same_items(original: Path) -> None:
    dataset = ChunkDataset(Store(original), "train", points=POINTS, normalize=True, seed=9)
    dataset.set_epoch(4)
    again = pickle.loads(pickle.dumps(dataset))
    assert again.epoch == 4
    assert all(same(a, b) for a, b in zip(items(again), items(dataset), strict=True))


def test_an_error_in_a_worker_says_which_sample(folder: Path) -> None:
    (folder / "b.zarr/volume/velocity/c/0/0").unlink()
    dataset = ChunkDataset(Store(folder), points={"surface": None, "volume": None})
    with pytest.raises(StoreError, match="b, volume/velocity, shard 0: it is not there"):
        list(loader(dataset, num_workers=2))


# Normalizing


def everything(store: Store, samples: list[str], field: str) -> torch.Tensor:
    return torch.cat([store.read(sample)[field] for sample in samples]).double()


def test_values_are_scaled_by_the_statistics_of_the_train_split(original: Path) -> None:
    store = Store(original)
    dataset = ChunkDataset(store, "train", normalize=True)
    got = items(dataset)
    for field in ("surface_pressure", "volume_velocity"):
        values = torch.cat([item[field] for item in got])
        assert values.dtype == torch.float32
        torch.testing.assert_close(values.mean(0), torch.zeros(values.shape[1]), atol=1e-5, rtol=0)
        torch.testing.assert_close(values.std(0), torch.ones(values.shape[1]), atol=1e-5, rtol=0)
    # Positions are as they are stored.
    assert torch.equal(got[0]["volume_position"], store.read("b")["volume_position"])


def test_without_a_train_split_those_of_all_samples_are_used(folder: Path) -> None:
    (folder / "statistics.train.json").unlink()
    store = Store(folder)
    raw = everything(store, store.samples, "volume_velocity")
    expected = (store.read("a")["volume_velocity"].double() - raw.mean(0)) / raw.std(0)
    got = ChunkDataset(store, ["a"], normalize=True)[0]["volume_velocity"]
    torch.testing.assert_close(got.double(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("split", "mean"),
    [("drag/test", 1.0), ("drag/train", 1.0), ("test", 2.0), (None, 2.0)],
)
def test_a_familys_split_is_scaled_by_the_train_split_of_its_family(
    folder: Path, split: str | None, mean: float
) -> None:
    names = ("drag/train", "drag/test", "wake/test", "train", "test")
    put_json(folder / "splits.json", {name: ["a"] for name in names})
    for name, of in (("drag%2Ftrain", 1.0), ("train", 2.0)):
        content = {"surface_pressure_mean": [of], "surface_pressure_std": [1.0]}
        put_json(folder / f"statistics.{name}.json", content)
    dataset = ChunkDataset(
        Store(folder), split, points={"surface": 8}, fields=["surface_pressure"], normalize=True
    )
    assert dataset.normalizer is not None
    values = torch.zeros(1, 1)
    assert dataset.normalizer.normalize("surface_pressure", values).tolist() == [[-mean]]


def test_a_familys_split_without_its_train_split_is_told_what_to_do(folder: Path) -> None:
    names = ("wake/test", "train", "test")
    put_json(folder / "splits.json", {name: ["a"] for name in names})
    content = {"surface_pressure_mean": [2.0], "surface_pressure_std": [1.0]}
    put_json(folder / "statistics.train.json", content)
    store = Store(folder)
    options: dict[str, Any] = {"points": {"surface": 8}, "fields": ["surface_pressure"]}
    with pytest.raises(StoreError, match="no statistics of 'wake/train'") as error:
        ChunkDataset(store, "wake/test", normalize=True, **options)
    assert "normalize=Normalizer.of(store, " in str(error.value)
    scaled = ChunkDataset(store, "wake/test", normalize=Normalizer.of(store, "train"), **options)
    assert scaled[0]["surface_pressure"].shape == (8, 1)
    put_json(folder / "statistics.wake%2Ftrain.json", content)
    assert len(ChunkDataset(Store(folder), "wake/test", normalize=True, **options)) == 1


def test_a_normalizer_is_of_any_samples(original: Path) -> None:
    store = Store(original)
    for ids in (["deep/c", "b"], ["a"]):
        normalizer = Normalizer.of(store, iter(ids), position_range=(0.0, 1.0))
        scaled = [
            normalizer.normalize(
                store.position_of(domain), store.read(sample)[f"{domain}_position"]
            )
            for sample in ids
            for domain in store.domains
        ]
        extremes = torch.stack([torch.cat(scaled).min(), torch.cat(scaled).max()])
        torch.testing.assert_close(extremes, torch.tensor([0.0, 1.0]), atol=1e-6, rtol=0)
        raw = everything(store, ids, "volume_velocity")
        values = store.read("a")["volume_velocity"]
        expected = (values.double() - raw.mean(0)) / raw.std(0)
        found = normalizer.normalize("volume_velocity", values)
        torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)
    with pytest.raises(StoreError, match="no sample 'x'"):
        Normalizer.of(store, ["x"])


def test_a_normalizer_scales_positions_into_a_range_and_takes_logarithms(original: Path) -> None:
    store = Store(original)
    normalizer = Normalizer.of(
        store, "train", position_range=(0.0, 1000.0), logscale=["volume_velocity"]
    )
    dataset = ChunkDataset(store, "train", normalize=normalizer, geometry_points=SURFACE)
    assert dataset.normalizer is normalizer
    got = items(dataset)
    positions = torch.cat([item[name] for item in got for name in item if "position" in name])
    assert positions.min() == pytest.approx(0, abs=1e-3)
    assert positions.max() == pytest.approx(1000, abs=1e-3)
    raw = store.read("b")["volume_velocity"].double()
    log = everything(store, ["a", "b"], "volume_velocity").log1p()
    torch.testing.assert_close(
        got[0]["volume_velocity"].double(),
        (raw.log1p() - log.mean(0)) / log.std(0),
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.parametrize("logscale", [[], ["volume_velocity"]])
def test_scaled_values_go_back_to_what_they_were(original: Path, logscale: list[str]) -> None:
    store = Store(original)
    normalizer = Normalizer.of(store, position_range=(-1.0, 1.0), logscale=logscale)
    for name, values in store.read("a").items():
        back = normalizer.denormalize(name, normalizer.normalize(name, values))
        torch.testing.assert_close(back, values.float(), atol=1e-2, rtol=1e-4)


def test_a_constant_component_is_only_shifted() -> None:
    normalizer = Normalizer({"p_mean": [2.0], "p_std": [0.0]}, [])
    assert normalizer.normalize("p", torch.full((3, 1), 2.0)).tolist() == [[0.0]] * 3
    # What rounding leaves of a deviation in float64, which would make of nothing millions.
    normalizer = Normalizer({"p_mean": [0.1], "p_std": [1.5e-17]}, [])
    for dtype in (torch.float32, torch.float64):
        values = torch.full((3, 1), 0.1, dtype=dtype)
        assert normalizer.normalize("p", values).abs().max() < 1e-8


@pytest.mark.parametrize(
    ("mean", "deviation", "dtype"),
    [
        (101325.0, 1e-3, "float64"),
        (1e6, 0.2, "float32"),
        (1e39, 1e38, "float64"),
        (0.0, 1e-50, "float64"),
    ],
)
def test_values_are_scaled_before_they_are_float32(
    tmp_path: Path, mean: float, deviation: float, dtype: str
) -> None:
    drawn = mean + deviation * np.random.default_rng(0).standard_normal((300, 1))
    raw = torch.from_numpy(drawn.astype(dtype))
    writer = StoreWriter(tmp_path / "store", {"field_dtypes": {"surface_pressure": dtype}})
    writer.write("a", {"surface_position": np.zeros((300, 3)), "surface_pressure": raw.numpy()})
    writer.finish()
    store = Store(tmp_path / "store")
    dataset = ChunkDataset(store, normalize=True)
    stored = store.read("a")["surface_pressure"].double()
    expected = (stored - stored.mean()) / stored.std()
    torch.testing.assert_close(
        dataset[0]["surface_pressure"].double(), expected, atol=1e-3, rtol=1e-5
    )
    assert dataset.normalizer is not None
    assert dataset[0]["surface_pressure"].dtype == torch.float32
    found = dataset.normalizer.normalize("surface_pressure", store.read("a")["surface_pressure"])
    torch.testing.assert_close(found.double(), expected, atol=1e-3, rtol=1e-5)
    plain = ChunkDataset(store, with_id=True)
    if mean > 3e38:
        with pytest.raises(StoreError, match="surface_pressure of a has a value that is too large"):
            plain[0]
    else:
        assert torch.equal(plain[0]["surface_pressure"], stored.float())


def test_a_position_is_scaled_into_a_range_or_by_logarithms(original: Path) -> None:
    store, logscale = Store(original), ["surface_position"]
    with pytest.raises(ValueError, match=r"logscale: 'surface_position' is a position"):
        Normalizer.of(store, position_range=(0.0, 1.0), logscale=logscale)
    values = store.read("a")["surface_position"]
    found = Normalizer.of(store, logscale=logscale).normalize("surface_position", values)
    torch.testing.assert_close(found, values.sign() * values.abs().log1p())


def test_a_seed_is_any_whole_number(original: Path) -> None:
    store = Store(original)
    expected = ChunkDataset(store, points={"surface": 20}, seed=4)
    dataset = ChunkDataset(store, points={"surface": 20}, seed=np.int64(4))  # type: ignore[arg-type]
    assert torch.equal(dataset[0]["surface_position"], expected[0]["surface_position"])
    state = dataset.loader(1).state_dict()
    assert type(state["loader"]["dataset_seed"]) is int
    with pytest.raises(TypeError, match=r"^seed is None; give a whole number"):
        ChunkDataset(store, seed=None)  # type: ignore[arg-type]


def test_large_whole_numbers_are_scaled_as_they_are() -> None:
    normalizer = Normalizer({"p_mean": [2.0**40], "p_std": [3.0]}, [])
    values = torch.tensor([[2**40 + 3], [2**40 - 6]])
    assert normalizer.normalize("p", values).tolist() == [[1.0], [-2.0]]


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "tests"}, "no split 'tests'. Did you mean test?"),
        ({"points": {}}, "points names no domain"),
        ({"points": {"surface": 3.5}}, "points: 3.5 is no number of points of the surface"),
        ({"geometry_points": 10**7}, "geometry_points: 10000000 points of the surface were"),
        ({"split": []}, "The list of samples is empty"),
        ({"split": "none"}, "The split 'none' is empty"),
        ({"split": [0, 1]}, "The store has no sample 0. Store.samples lists them"),
        ({"points": {"surface": True}}, "points: True is no number of points of the surface"),
        ({"points": {"surface": "most"}}, "points: 'most' is no number of points of the surface"),
        ({"split": ["a", "deep/d"]}, "no sample 'deep/d'. Did you mean deep/c?"),
        ({"fields": ["surface_presure"]}, "Did you mean surface_pressure?"),
        ({"points": {"volumes": 1}}, "Did you mean volume?"),
        ({"geometry_points": 3, "geometry_domain": "surfaces"}, "Did you mean surface?"),
    ],
)
def test_what_the_store_does_not_have_is_an_error_at_once(
    original: Path, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    folder = Path(shutil.copytree(original, tmp_path / "store"))
    put_json(folder / "splits.json", {"test": ["deep/c"], "none": []})
    with pytest.raises(StoreError) as error:
        ChunkDataset(Store(folder), **arguments)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"points": 12}, "points={'surface': 4096, 'volume': 4096}"),
        ({"points": ["surface"]}, "points is ['surface']; it takes a number, or 'all', by domain"),
        ({"normalize": "yes"}, "normalize is 'yes'; give True"),
        ({"normalize": None}, "normalize is None; give True"),
    ],
)
def test_an_argument_of_another_type_is_an_error_that_says_what_it_takes(
    original: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError) as error:
        ChunkDataset(Store(original), **arguments)
    assert message in str(error.value)


def test_a_split_of_a_store_without_splits_is_refused(folder: Path) -> None:
    (folder / "splits.json").unlink()
    with pytest.raises(
        StoreError, match=r"It has no splits: give the ids of samples.*snakemake adopt"
    ):
        ChunkDataset(Store(folder), "train")


def test_scaling_without_statistics_is_refused(folder: Path) -> None:
    for path in folder.glob("statistics*.json"):
        path.unlink()
    with pytest.raises(StoreError, match=r"holds no statistics\.json"):
        ChunkDataset(Store(folder), normalize=True)


def test_scaling_a_field_without_statistics_is_refused_by_name(folder: Path) -> None:
    put_json(folder / "statistics.train.json", {"surface_pressure_mean": [0.0]})
    dataset = ChunkDataset(Store(folder), normalize=True)
    with pytest.raises(StoreError, match=r"no 'surface_pressure_std'\. Did you mean"):
        dataset[0]
