"""What raw files hold for a field: read in blocks, and by vtk; and what is refused."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import vtkmodules.all as vtk

import mesh_files
from aerozarr.config.fields import Field
from aerozarr.config.file_patterns import names_of
from aerozarr.config.filemap import parse_files
from aerozarr.convert.cast import ReusableBuffer, RoundingSample, cast_field
from aerozarr.errors import BrokenSample, SettingsError
from aerozarr.source.files import rows as rows_module
from aerozarr.source.files.blocks import Blocks
from aerozarr.source.files.raw import library, raw_files
from aerozarr.source.files.raw.child import Child
from aerozarr.source.files.raw.raw_files import RawFiles
from aerozarr.source.files.raw.resample import resample
from aerozarr.source.files.rows import as_rows, blocks_of

SURFACE = mesh_files.surface(1)
CELLS, POINTS = SURFACE.GetNumberOfCells(), SURFACE.GetNumberOfPoints()
P = np.arange(CELLS, dtype=np.float32)
SHEAR = np.random.default_rng(3).normal(size=(CELLS, 3))
BOTH = np.arange(POINTS, dtype=np.int32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One surface in every kind of file."""
    place = tmp_path_factory.mktemp("raw")
    data = mesh_files.add(mesh_files.surface(1), cell_p=P, cell_shear=SHEAR, point_p=BOTH)
    words = vtk.vtkStringArray()
    words.SetName("words")
    for _ in range(CELLS):
        words.InsertNextValue("a")
    data.GetCellData().AddArray(words)
    for name in ("b_1.vtp", "b.vtk", "b.stl", "cut.vtp"):
        mesh_files.write(data, place / name)
    mesh_files.write(data, place / "text.vtp", is_text=True)
    mesh_files.write(mesh_files.volume(), place / "v.vtu")
    mesh_files.cut_in_parts(place / "cut.vtp", 100, 3000)
    content = (place / "b_1.vtp").read_bytes()
    (place / "short.vtp").write_bytes(content[: len(content) // 2])
    head, body = b'<?xml version="1.0"?>', content[content.index(b"<VTKFile") :]
    (place / "bomb.vtp").write_bytes(head + b'<!DOCTYPE a [<!ENTITY b "c">]>' + body)
    (place / "crash.vtk").write_text(mesh_files.CRASHES)
    (place / "empty.stl").write_bytes(b"")
    return place


def field_at(text: str, width: int = 3, domain: str = "surface", name: str = "x") -> Field:
    first, *others = parse_files(text)
    patches = tuple((part.file, part.key) for part in others) or None
    made = Field(domain, name, width, first.file, "float32", first.columns, first.key)
    return replace(made, patches=patches)


def files(folder: Path, *fields: Field, by_library: bool = False) -> RawFiles:
    names = os.listdir(folder)
    return RawFiles(
        folder.joinpath, lambda e: names_of(e, names), fields, len, by_library=by_library
    )


def load(folder: Path, text: str, width: int = 3, *, by_library: bool = False) -> torch.Tensor:
    field = field_at(text, width)
    return as_rows(files(folder, field, by_library=by_library).load(field), field)


def why_broken(folder: Path, text: str, *, by_library: bool = False) -> str:
    with pytest.raises(BrokenSample) as caught:
        load(folder, text, 1, by_library=by_library)
    return str(caught.value)


each_way = pytest.mark.parametrize("by_library", [False, True], ids=["in blocks", "by vtk"])
EVERY = ("b_*.vtp", "cut.vtp", "text.vtp", "b.vtk")


@each_way
@pytest.mark.parametrize("file", EVERY)
def test_each_kind_of_file_has_the_same_values(folder: Path, file: str, by_library: bool) -> None:
    for text, width, expected in (
        (f"{file}::cell:p", 1, P[:, None]),
        (f"{file}::point:p", 1, BOTH[:, None]),
        (f"{file}::shear", 3, SHEAR),
        (f"{file}::shear[:, 1:3]", 2, SHEAR[:, 1:3]),
    ):
        rows = load(folder, text, width, by_library=by_library).numpy()
        np.testing.assert_array_equal(rows, expected, err_msg=text, strict=True)
    for derived in ("points", "cell_centers"):
        mine = load(folder, f"{file}::{derived}", by_library=by_library)
        assert torch.equal(mine, load(folder, f"b.vtk::{derived}", by_library=True)), derived


def test_normals_and_areas_are_those_of_the_triangles(folder: Path) -> None:
    points = load(folder, "b_1.vtp::points").double().numpy()
    polygons = SURFACE.GetPolys().GetConnectivityArray()
    corners = np.array([polygons.GetValue(n) for n in range(3 * CELLS)]).reshape(-1, 3)
    one, two, three = (points[corners[:, n]] for n in range(3))
    crossed = np.cross(two - one, three - one)
    length = np.linalg.norm(crossed, axis=1, keepdims=True)
    normals = load(folder, "b_1.vtp::cell_normals")
    np.testing.assert_allclose(normals, crossed / length, atol=1e-6)
    np.testing.assert_allclose(load(folder, "b_1.vtp::cell_areas", 1), length / 2, rtol=1e-6)


def test_a_resampling_is_even_and_always_the_same(folder: Path) -> None:
    made = load(folder, "b.stl::resampled(4000)")
    assert torch.equal(made, load(folder, "b.stl::resampled(4000)", by_library=True))
    # On a surface that nearly is a ball: half of its area is above, half is in front.
    for axis in range(3):
        assert 0.47 < (made[:, axis] > 0).double().mean() < 0.53
    assert (made.norm(dim=1) < 1.1 + 1e-6).all()
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float64)
    on_square = resample(square, np.array([[0, 1, 2], [0, 2, 3]]), 5, seed=7)
    # The same ones on every machine, and with every version of NumPy.
    assert on_square[0].tolist() == pytest.approx(FIRST_POINT, abs=1e-15)
    counts = (on_square[:, 0] > on_square[:, 1]).sum()
    assert counts in (2, 3), "as many in each half"


FIRST_POINT = [0.9346408108981021, 0.283226473130823, 0.0]


@pytest.mark.parametrize("association", ["point", "cell"])
def test_distances_to_a_surface_are_negative_within_it(folder: Path, association: str) -> None:
    of = load(folder, f"v.vtu::{association}:signed_distance(b*.stl)", 1)[:, 0]
    places = load(folder, "v.vtu::points" if association == "point" else "v.vtu::cell_centers")
    # The surface nearly is a ball of radius 1.1.
    assert ((of < 0) == (places.norm(dim=1) < 1.05))[(of.abs() > 0.1)].all()
    assert (of - (places.norm(dim=1) - 1.1)).abs().max() < 0.15
    assert (of < -0.1).any() and (of > 1).any()
    unlike = why_broken(folder, "v.vtu::cell:signed_distance(v.vtu)")
    assert "a surface's have 2" in unlike


def test_patches_are_one_surface_in_their_order(folder: Path) -> None:
    rows = load(folder, "b_*.vtp::cell:p + b.vtk::cell:p + b_1.vtp::cell:p", 1)
    np.testing.assert_array_equal(rows[:, 0], np.concatenate([P, P, P]))
    unlike = why_broken(folder, "b_1.vtp::shear + b.vtk::cell:p")
    assert "different numbers of columns: [1, 3]" in unlike


def test_blocks_are_cast_as_a_whole_array_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aerozarr.convert import cast

    for module in (cast, rows_module):
        monkeypatch.setattr(module, "BLOCK", 8)
    field = replace(field_at("b_1.vtp::shear"), dtype="float16")
    value = files(folder, field).load(field)
    assert isinstance(value, Blocks)
    first = [number for number, _ in blocks_of(value, field)]
    assert first == [*range(0, CELLS, 8)]
    places = np.array([0, 7, 8, CELLS - 1])
    made, of_whole = (
        cast_field(one, field, ReusableBuffer(), RoundingSample(places, CELLS))
        for one in (value, torch.from_numpy(SHEAR))
    )
    assert made.rows.tobytes() == of_whole.rows.tobytes()
    assert made.moments == of_whole.moments
    assert made.rounding == of_whole.rounding


@each_way
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("b_*.vtp::P", "(b_1.vtp): it has no array 'P'; it has point arrays p and cell arrays"),
        ("b_*.vtp::sheer", "Did you mean shear?"),
        ("b_*.vtp::p", "it has a point array and a cell array 'p'; say which in filemap: point:p"),
        ("b_*.vtp::point:shear", "has no point array 'shear', but a cell array of that name"),
        ("b.vtk::words", "its cell array 'words' are of no number type (string)"),
        ("b_*.vtp::words", "words"),
        ("b.stl::p", "it has no array 'p', nor any other"),
        ("short.vtp::cell:p", "short"),
        ("short.vtp::cell_areas", "vtk cannot read it: "),
        ("bomb.vtp::cell:p", "document type or entities, which no VTK file has"),
        ("bomb.vtp::cell_normals", "document type or entities, which no VTK file has"),
        ("crash.vtk::cell_centers", "the vtk library crashed on it (signal"),
        ("empty.stl::points", "vtk "),
        ("v.vtu::cell_normals", "its cells have 3 dimensions, and a surface's have 2"),
        ("v.vtu::cell_areas", "its cells have 3 dimensions"),
        ("v.vtu::resampled(5)", "its cells have 3 dimensions"),
    ],
)
def test_broken(folder: Path, text: str, message: str, by_library: bool) -> None:
    assert message in why_broken(folder, text, by_library=by_library)


def test_fields_of_points_and_of_cells_do_not_go_together(folder: Path) -> None:
    position = field_at("b_1.vtp::points", name="position")
    pressure = field_at("b_1.vtp::cell:p", 1)
    other = field_at("b_1.vtp::cell:p", 1, domain="wake")
    raw = files(folder, position, pressure, other)
    raw.load(position)
    raw.load(other)
    with pytest.raises(BrokenSample, match=r"it is cell data, and surface_position .* point data"):
        raw.load(pressure)


def test_without_vtk_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "vtkmodules.util.numpy_support", None)
    with pytest.raises(SettingsError, match=r"pip install -r requirements-vtk\.txt"):
        load(folder, "b.stl::points")
    load(folder, "b_1.vtp::points")  # which is read in blocks


def test_a_file_is_read_once_by_vtk_for_all_its_fields(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def counted(begin: Callable[[], Any], what: str) -> Child:
        begun.append(what)
        return Child(begin, what)

    monkeypatch.setattr(raw_files, "Child", counted)
    fields = [field_at("b.stl::points"), field_at("b.stl::cell_normals", domain="other")]
    raw = files(folder, *fields)
    for field in fields:
        raw.load(field)
    assert begun == ["b.stl"]


@pytest.mark.parametrize(
    ("number", "expected"),
    [(signal.SIGSEGV, BrokenSample), (signal.SIGABRT, BrokenSample), (signal.SIGKILL, MemoryError)],
)
def test_what_ends_the_reading_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception]
) -> None:
    monkeypatch.setattr(library, "_reader", lambda suffix: os.kill(os.getpid(), number))
    with pytest.raises(expected) as caught:
        load(folder, "b.stl::points")
    if isinstance(caught.value, BrokenSample):
        assert not caught.value.is_certain, "the next run tries it again"


def test_an_error_of_ours_in_the_reading_process_is_told_as_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "_reader", lambda suffix: 1 / 0)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        load(folder, "b.stl::points")
