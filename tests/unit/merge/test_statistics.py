"""Specification of the statistics: their names, and what they are over several samples."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aerozarr.config.fields import Domain
from aerozarr.convert.accumulate import moments_of
from aerozarr.convert.fragment import FieldRecord, Fragment
from aerozarr.convert.rounding import Rounding
from aerozarr.merge.statistics import statistics
from unit.store_helpers import Array, project_of

pytestmark = pytest.mark.filterwarnings("error")

NAN, INF = math.nan, math.inf
WIDTHS = {
    "surface_position": 3,
    "surface_pressure": 1,
    "volume_position": 3,
    "volume_velocity": 3,
}
FILEMAP = {name: f"{name}.pt" for name in WIDTHS}


@pytest.fixture
def domains(tmp_path: Path) -> tuple[Domain, ...]:
    return project_of(tmp_path / "store", tmp_path / "work", filemap=FILEMAP).domains


def sample_values(seed: int, rows: int, dtype: str = "float32") -> dict[str, Array]:
    generator = np.random.default_rng(seed)
    return {
        name: (generator.standard_normal((rows, width)) + 0.5).astype(dtype)
        for name, width in WIDTHS.items()
    }


def fragment_of(values: Mapping[str, Array]) -> Fragment:
    fields = {
        name: FieldRecord(moments=moments_of(array), rounding=Rounding())
        for name, array in values.items()
    }
    return Fragment(sample_id="run_1", status="converted", fields=fields)


def of(domains: tuple[Domain, ...], *samples: Mapping[str, Array]) -> dict[str, Any]:
    return statistics(domains, [fragment_of(values) for values in samples])


def test_the_names_are_those_of_training_recipes(domains):
    found = of(domains, sample_values(0, 5))
    keys = ("mean", "std", "min", "max", "count", "logscale_mean", "logscale_std")
    names = [f"{field}_{key}" for field in WIDTHS for key in keys]
    assert list(found) == [*names, "raw_pos_min", "raw_pos_max"]


def test_each_is_a_list_with_a_number_for_each_component_but_the_count(domains):
    found = of(domains, sample_values(0, 5), sample_values(1, 3))
    for field, width in WIDTHS.items():
        assert found.pop(f"{field}_count") == 8
        own = {key: value for key, value in found.items() if key.startswith(field)}
        assert all(len(value) == width for value in own.values())
        assert all(type(number) is float for value in own.values() for number in value)
    assert len(found["raw_pos_min"]) == len(found["raw_pos_max"]) == 1


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("rows", [[1], [2], [1, 1], [7, 300, 1, 44], [40_000, 3, 140_000]])
def test_they_are_exact_over_the_rows_of_all_samples(domains, dtype, rows):
    samples = [sample_values(seed, count, dtype) for seed, count in enumerate(rows)]
    found = of(domains, *samples)
    for name in WIDTHS:
        x = np.concatenate([sample[name] for sample in samples]).astype(np.float64)
        log = np.sign(x) * np.log1p(np.abs(x))
        ddof = 1 if len(x) > 1 else 0
        wanted = {
            "mean": x.mean(axis=0),
            "std": x.std(axis=0, ddof=ddof),
            "min": x.min(axis=0),
            "max": x.max(axis=0),
            "logscale_mean": log.mean(axis=0),
            "logscale_std": log.std(axis=0, ddof=ddof),
        }
        for key, value in wanted.items():
            assert found[f"{name}_{key}"] == pytest.approx(value.tolist(), rel=1e-9), key
        assert found[f"{name}_count"] == len(x)


def test_the_standard_deviation_divides_by_one_less_than_the_finite_values(domains):
    values = sample_values(0, 4)
    values["surface_pressure"] = np.array([[1.0], [NAN], [3.0], [INF]])
    found = of(domains, values)
    assert found["surface_pressure_mean"] == [2.0]
    assert found["surface_pressure_std"] == [math.sqrt(2)]
    assert found["surface_pressure_count"] == 4


def test_one_row_has_no_spread(domains):
    found = of(domains, sample_values(0, 1))
    assert found["volume_velocity_std"] == found["volume_velocity_logscale_std"] == [0.0] * 3


def test_the_positions_extremes_are_over_all_position_fields_and_components(domains):
    first, second = sample_values(0, 5), sample_values(1, 3)
    first["surface_position"][2, 1] = -70
    second["volume_position"][0, 2] = 80
    first["volume_velocity"][:] = 1000
    second["surface_pressure"][:] = -1000
    found = of(domains, first, second)
    assert (found["raw_pos_min"], found["raw_pos_max"]) == ([-70.0], [80.0])


def test_what_is_not_finite_is_told_of_the_fields_that_hold_some_alone(domains):
    values = sample_values(0, 4)
    values["volume_velocity"][0] = [NAN, 1.0, INF]
    values["volume_velocity"][1] = [NAN, 1.0, 1.0]
    found = of(domains, values, sample_values(1, 3))
    assert found["volume_velocity_nans"] == [2, 0, 0]
    assert found["volume_velocity_infinities"] == [0, 0, 1]
    assert sum(key.endswith(("_nans", "_infinities")) for key in found) == 2


STRANGE = {
    "all-nan": [[NAN], [NAN]],
    "all-infinite": [[INF], [-INF]],
    "squares-overflow": [[1e200], [-1e200]],
    "sum-overflows": [[1.7e308], [1.7e308]],
}


@pytest.mark.parametrize("values", STRANGE.values(), ids=STRANGE)
def test_what_cannot_be_told_is_none_and_never_nan_or_infinity(domains, values):
    sample = sample_values(0, 2)
    sample["surface_pressure"] = np.array(values)
    found = of(domains, sample, sample)
    json.dumps(found, allow_nan=False)
    assert found["surface_pressure_std"] == [None]
    assert found["surface_pressure_count"] == 4


def test_without_a_finite_value_there_is_no_mean_no_least_and_no_greatest(domains):
    sample = sample_values(0, 2)
    sample["surface_pressure"] = np.full((2, 1), NAN)
    sample["volume_velocity"][:, 1] = NAN
    found = of(domains, sample)
    for key in ("mean", "std", "min", "max", "logscale_mean", "logscale_std"):
        assert found[f"surface_pressure_{key}"] == [None]
        assert [value is None for value in found[f"volume_velocity_{key}"]] == [False, True, False]


def test_extremes_are_told_where_the_spread_cannot_be(domains):
    sample = sample_values(0, 2)
    sample["surface_pressure"] = np.array([[1e200], [-1e200]])
    found = of(domains, sample)
    assert (found["surface_pressure_min"], found["surface_pressure_max"]) == ([-1e200], [1e200])
    assert found["surface_pressure_logscale_std"] == pytest.approx(
        [math.log(1e200) * math.sqrt(2)], rel=1e-9
    )


def test_positions_without_a_finite_value_have_no_extremes(domains):
    sample = sample_values(0, 2)
    for name in ("surface_position", "volume_position"):
        sample[name][:] = NAN
    found = of(domains, sample)
    assert (found["raw_pos_min"], found["raw_pos_max"]) == ([None], [None])


def test_of_no_samples_there_are_none(domains):
    assert statistics(domains, []) == {}
