"""Specification of the setting `scalars`: names, files, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from aerozarr.config.load_settings import load_settings
from aerozarr.config.scalars import Scalar
from aerozarr.config.settings import settings_from_json, settings_to_json
from aerozarr.errors import SettingsError
from aerozarr.run_config import RunConfig
from aerozarr.source import datasets
from aerozarr.source.datasets import Dataset, resolve_dataset

FILEMAP = {"surface_position": "points.pt", "surface_pressure": "p.pt"}


def resolve(scalars: Any, **config: Any) -> Dataset:
    settings = {"source_url": "/data", "filemap": FILEMAP, "scalars": scalars, **config}
    return resolve_dataset(load_settings(settings))


def test_a_file_alone_or_with_more_to_say() -> None:
    dataset = resolve(
        {
            "drag": "forces.csv::Cd",
            "inflow": {"file": "c.json::inflow/U", "unit": "m/s", "long_name": "inflow velocity"},
            "params": "design.pt?",
        }
    )
    assert dataset.scalars == (
        Scalar("drag", "forces.csv", "Cd"),
        Scalar("inflow", "c.json", "inflow/U", "m/s", "inflow velocity"),
        Scalar("params", "design.pt", is_optional=True),
    )
    assert dataset.files == ["points.pt", "p.pt", "forces.csv", "c.json"]
    assert dataset.all_files == {*dataset.files, "design.pt"}


def test_a_table_of_all_samples_is_no_file_of_a_sample() -> None:
    said = {"id_column": "run", "id_format": "run_{}"}
    dataset = resolve(
        {
            "drag": {"table": "force_mom_all.csv::Cd", "unit": "N", **said},
            "lift": {"table": "zip://t/all.tsv::s3://b/t.zip::Cl?", "id_column": "name"},
        }
    )
    assert dataset.scalars == (
        Scalar("drag", "force_mom_all.csv", "Cd", "N", id_column="run", id_format="run_{}"),
        Scalar("lift", "zip://t/all.tsv::s3://b/t.zip", "Cl", is_optional=True, id_column="name"),
    )
    assert dataset.files == ["points.pt", "p.pt"]
    assert dataset.all_files == {*dataset.files}


@pytest.mark.parametrize(
    ("scalars", "message"),
    [
        (
            {"drag": "forces.csv"},
            r"scalars: drag: 'forces\.csv' names no column\. .*forces\.csv::Cd",
        ),
        ({"drag": "../forces.csv::Cd"}, "scalars: drag: .* is no file name"),
        ({"drag": "a/forces.csv::Cd"}, "is no file name"),
        ({"drag": "design.pt::"}, "names no array"),
        ({"drag": "points.pt[:, 0]"}, "names columns of points, and a scalar has none"),
        ({"drag": "a.npy"}, r"a \.npy file is read for fields alone"),
        ({"drag": "a.H5::x"}, r"a \.h5 file is read for fields alone"),
        ({"total drag": "a.json::x"}, "'total drag' is no name of a scalar"),
        ({"1": "a.json::x"}, "'1' is no name"),
        ({"surface_pressure": "a.json::x"}, "scalars: surface_pressure is the name of a field"),
        ({"drag": {"unit": "N"}}, "scalars: drag names neither a file nor a table"),
        ({"drag": {"file": "a.json", "table": "t.csv::x"}}, "names both a file and a table"),
        ({"drag": {"file": "a.csv::x", "id_column": "run"}}, "id_column is of a table with a row"),
        ({"drag": {"file": "a.csv::x", "id_format": "r_{}"}}, "id_format is of a table with a row"),
        ({"drag": {"table": "t.csv", "id_column": "run"}}, r"'t\.csv' is no column of a table"),
        ({"drag": {"table": "t.json::x", "id_column": "run"}}, "is no column of a table"),
        ({"drag": {"table": "t.csv::Cd"}}, "which sample is a row of\\? Set id_column"),
        ({"drag": {"table": "t.csv::x", "id_column": "r", "id_format": "r"}}, "id_format: 'r' can"),
        ({"drag": {"file": "a.json", "kind": "float"}}, r"scalars\.drag\.kind: 'float' cannot"),
        ({"drag": 3.5}, r"scalars\.drag: 3\.5 cannot be used"),
        ({"drag": {"file": "a.json::x", "dtype": "float32"}}, "there is no such setting"),
        ({"drag": {"table": "t.csv::x", "id_colum": "r"}}, "Did you mean id_column"),
    ],
)
def test_what_cannot_be_one_is_refused(scalars: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        resolve(scalars)


def test_a_name_of_a_field_of_ones_own_is_refused() -> None:
    with pytest.raises(SettingsError, match="surface_heat is the name of a field"):
        resolve({"surface_heat": "a.json::x"}, fields={"surface_heat": "q.pt"})


def test_without_a_source_there_is_nothing_that_has_them() -> None:
    with pytest.raises(SettingsError, match="nothing to convert"):
        load_settings({"scalars": {"drag": "forces.csv::Cd"}})


def test_a_preset_may_have_some_which_the_settings_replace(monkeypatch: pytest.MonkeyPatch) -> None:
    content = {
        "filemap": FILEMAP,
        "scalars": {"drag": "forces.csv::Cd", "lift": {"file": "forces.csv::Cl"}},
    }
    preset = datasets.Preset.model_validate(content)
    monkeypatch.setattr(datasets, "load_preset", lambda name: preset)
    dataset = resolve({"drag": "mine.json::drag"}, filemap=None, dataset="cars")
    assert dataset.scalars == (
        Scalar("drag", "mine.json", "drag"),
        Scalar("lift", "forces.csv", "Cl"),
    )
    # They are of the files that the preset's own file map names.
    assert resolve({}, dataset="cars").scalars == ()


def test_a_job_has_fields_and_scalars_in_the_order_of_the_settings() -> None:
    said = {
        "source_url": "/data",
        "filemap": FILEMAP,
        "fields": {"surface_z": "z.pt", "surface_b": "b.pt"},
        "scalars": {"lift": "forces.csv::Cl", "drag": "forces.csv::Cd"},
    }
    settings = load_settings(said)
    own, of_job = (
        RunConfig.of(settings),
        RunConfig.of(settings_from_json(settings_to_json(settings))),
    )
    assert [scalar.name for scalar in of_job.dataset.scalars] == ["lift", "drag"]
    # Else each run would take what its jobs stored for stored with other settings.
    assert of_job.stored_as == own.stored_as
    assert of_job.listed_as == own.listed_as


def test_they_decide_what_is_converted_and_nothing_does_without_them() -> None:
    def stored_as(scalars: Any) -> str:
        settings = {"source_url": "/data", "filemap": FILEMAP, "scalars": scalars}
        return RunConfig.of(load_settings(settings)).stored_as

    without = stored_as({})
    assert "scalars" not in without
    said = [
        {"drag": "forces.csv::Cd"},
        {"drag": "forces.csv::Cl"},
        {"drag": "forces.csv::Cd?"},
        {"drag": {"file": "forces.csv::Cd", "unit": "N"}},
        {"lift": "forces.csv::Cd"},
        {"drag": {"file": "forces.csv::Cd", "kind": "number"}},
        {"drag": {"table": "forces.csv::Cd", "id_column": "run"}},
        {"drag": {"table": "forces.csv::Cd", "id_column": "name"}},
        {"drag": {"table": "forces.csv::Cd", "id_column": "run", "id_format": "run_{}"}},
    ]
    assert len({without, *map(stored_as, said)}) == 10
    assert stored_as({"drag": {"file": "forces.csv::Cd"}}) == stored_as(said[0])
