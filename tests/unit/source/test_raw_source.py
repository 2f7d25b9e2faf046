"""Sources of raw files, in a folder and behind a URL: what is listed, and what is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vtkmodules.all as vtk

import mesh_files
from aerozarr.config.load_settings import load_settings
from aerozarr.errors import BrokenSample
from aerozarr.merge.unused_arrays import unused_arrays
from aerozarr.run_config import RunConfig
from aerozarr.source.files.rows import as_rows
from aerozarr.source.files.scalars import as_scalar
from aerozarr.source.samples import Sample
from aerozarr.workflow import resources
from aerozarr.workflow.resources import BASE_MB, arrays_of, memory_mb
from unit.store_helpers import put_file, url_of

FILEMAP = {
    "surface_position": "boundary_*.vtp::cell_centers",
    "surface_pressure": "boundary_*.vtp::p",
    "surface_position_stl": "body.stl::points",
    "volume_position": "volume.vtu::points",
}
MB = 2**20


@pytest.fixture(params=["folder", "memory-url"])
def run_config(request: pytest.FixtureRequest, tmp_path: Path) -> RunConfig:
    """A source of one sample, and of what are none."""
    url, raw = url_of(request.param, tmp_path / "source"), tmp_path / "raw"
    surface = mesh_files.surface(2)
    cells = surface.GetNumberOfCells()
    mesh_files.add(surface, cell_p=np.arange(cells), point_T=np.ones(surface.GetNumberOfPoints()))
    mesh_files.write(surface, raw / "boundary_1.vtp")
    mesh_files.write(surface, raw / "body.stl")
    mesh_files.write(mesh_files.volume(), raw / "volume.vtu")
    mesh_files.cut_in_parts(raw / "volume.vtu", 500)
    for path in raw.iterdir():
        put_file(url, f"a/{path.name}", path.read_bytes())
        put_file(url, f"two/{path.name}", path.read_bytes())
        if path.suffix != ".vtp":
            put_file(url, f"near/{path.name}", path.read_bytes())
    put_file(url, "two/boundary_2.vtp", b"")
    put_file(url, "near/boundary_1.vtp.part", b"")
    put_file(url, "a/forces_1.csv", b"Cd\n0.3\n")
    put_file(url, "two/forces_1.csv", b"Cd\n0.3\n")
    put_file(url, "near/forces_1.csv", b"Cd\n0.3\n")
    config: dict[str, Any] = {"source_url": url, "filemap": FILEMAP}
    return RunConfig.of(load_settings({**config, "scalars": {"drag": "forces_*.csv::Cd"}}))


def test_what_is_listed_and_loaded(run_config: RunConfig) -> None:
    listing = run_config.source.list()
    (sample,) = listing.samples
    assert sample.files == (
        *("body.stl", "boundary_1.vtp", "forces_1.csv"),
        *("volume.vtu.00.part", "volume.vtu.01.part"),
    )
    why = {one.id: (one.kind, one.cause) for one in listing.skipped}
    kind, cause = why["two"]
    assert kind == "broken"
    assert cause == "it names 2 files of the sample: boundary_1.vtp, boundary_2.vtp"
    kind, cause = why["near"]
    assert kind == "incomplete"
    assert cause == "is not there; there is boundary_1.vtp.part for boundary_*.vtp"
    source, domains = run_config.source, run_config.domains
    assert source.still_holds("a") and not source.still_holds("near")
    read: dict[str, int] = {}
    load = source.loader(sample, domains, read)
    of_library = source.library_loader(sample, domains)
    (scalar,) = source.scalars_of(sample)
    assert as_scalar(load(scalar), scalar) == as_scalar(of_library(scalar), scalar) == 0.3
    for field in (field for domain in domains for field in domain.fields):
        rows = as_rows(load(field), field)
        assert rows.equal(as_rows(of_library(field), field))
        assert len(rows) > 10
    if "://" in run_config.source_url:
        assert {name: read[name] for name in sample.files} == dict(
            zip(sample.files, sample.sizes, strict=True)
        )
    names = source.array_names(sample, domains)["boundary_*.vtp"]
    assert names == {"point": ["T"], "cell": ["p"]}
    assert [*unused_arrays(run_config, sample)] == ["boundary_*.vtp: T (point)"]


@pytest.mark.parametrize("position", ["cell_centers", "C", "cell:C", "points", "P"])
@pytest.mark.parametrize("kind", ["block-wise", "by vtk"])
def test_a_field_goes_with_the_fields_that_are_kept(
    tmp_path: Path, position: str, kind: str
) -> None:
    solid = vtk.vtkPlatonicSolidSource()  # a tetrahedron, with as many cells as points
    solid.SetSolidTypeToTetrahedron()
    solid.Update()
    four, places = np.arange(4.0), np.ones((4, 3))
    arrays = {"cell_pc": four, "point_pp": four, "cell_C": places, "point_P": places}
    data = mesh_files.add(solid.GetOutput(), **arrays)
    mesh_files.write(data, tmp_path / "source/a/b.vtp", is_text=kind == "by vtk")
    filemap = {"surface_position": f"b.vtp::{position}", "surface_pressure": "b.vtp::pc"}
    config: dict[str, Any] = {"source_url": str(tmp_path / "source"), "filemap": filemap}
    run_config = RunConfig.of(load_settings({**config, "fields": {"surface_h": "b.vtp::pp"}}))
    (sample,) = run_config.source.list().samples
    (domain,) = run_config.domains
    load = run_config.source.loader(sample, run_config.domains, kept={"surface_position"})
    _, of_cells, of_points = domain.fields
    fits, other = of_cells, of_points
    if position in ("points", "P"):
        fits, other = other, fits
    assert len(as_rows(load(fits), fits)) == 4
    with pytest.raises(BrokenSample) as error:
        load(other)
    what = "cell data" if fits is of_cells else "point data"
    assert error.value.cause.endswith(f"and surface_position (b.vtp::{position}) is {what}")


def test_one_file_changes_its_fields_alone(run_config: RunConfig) -> None:
    (sample,) = run_config.source.list().samples
    before = run_config.made_of(sample)
    for name in ("body.stl", "volume.vtu.01.part", "boundary_1.vtp"):
        place = sample.files.index(name)
        prints = (*sample.prints[:place], "new", *sample.prints[place + 1 :])
        after = run_config.made_of(Sample(**{**vars(sample), "prints": prints}))
        assert {field for field in after if after[field] != before[field]} == {
            "body.stl": {"surface_stl_position"},
            "volume.vtu.01.part": {"volume_position"},
            "boundary_1.vtp": {"surface_position", "surface_pressure"},
        }[name]


def test_memory_is_that_of_arrays_where_they_are_read_in_blocks(
    run_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sample,) = run_config.source.list().samples
    assert arrays_of(run_config.source, sample, run_config.domains) == {}, "it is small"
    monkeypatch.setattr(resources, "LARGE_RAW", 1)
    arrays = arrays_of(run_config.source, sample, run_config.domains)
    if "://" in run_config.source_url:
        assert arrays == {}, "nothing is read for that"
        return
    cells, points = mesh_files.surface(2).GetNumberOfCells(), 5 * 4 * 6
    assert arrays["volume.vtu.00.part"] == [points * 12]
    assert arrays["volume.vtu.01.part"] == [0]
    assert arrays["boundary_1.vtp"][1] == cells * 8
    assert "body.stl" not in arrays, "which is read whole"
    whole = arrays_of(run_config.source, sample, run_config.domains, is_whole=True)
    assert whole["volume.vtu.00.part"][0] > sum(sample.sizes[-2:]) + points * 12
    large = Sample("a", "a", "", -1, ("v.vtu.00.part", "v.vtu.01.part"), (30_000 * MB,) * 2, "0")
    held = {"v.vtu.00.part": [500 * MB, 100 * MB], "v.vtu.01.part": [0]}
    assert memory_mb(large, attempt=1, arrays=held) == BASE_MB + 1500
    assert memory_mb(large, attempt=1, arrays=held, buffers_sample=True) == BASE_MB + 2100
    assert memory_mb(large, attempt=1, arrays=held, reads_ahead=True) == BASE_MB + 1500
    assert memory_mb(large, attempt=1) > 60_000
