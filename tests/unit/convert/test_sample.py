"""Specification of converting one sample: what the store then holds, and what a failure leaves."""

import errno
import hashlib
import io
import json
import math
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from aerozarr.config.fields import Field
from aerozarr.convert import permutation_file
from aerozarr.convert.fragment import Fragment, read_fragment, told_once
from aerozarr.convert.sample import convert, convert_sample
from aerozarr.errors import SourceChangedError, StoreError
from aerozarr.run_config import RunConfig
from aerozarr.source.sample_table import rows_text
from aerozarr.source.samples import UNKNOWN_SIZE, Sample
from unit.store_helpers import (
    ARRAY_NAMES,
    FILEMAP,
    PLACES,
    WIDTHS,
    Array,
    bits,
    expected_order,
    files_below,
    group_files,
    project_of,
    put_file,
    read_arrays,
    sample_of,
    save_sample,
    source_tensors,
    url_of,
)

MANIFEST = "manifest.json"
COUNTS = {"surface": 10, "surface_stl": 7, "surface_stl_resampled": 5, "volume": 23}
# With chunk_points 4 and shard_points 8: points, chunk, shard, number of chunks.
GRIDS = {
    "surface": (10, 4, 8, 3),
    "surface_stl": (7, 4, 8, 2),
    "surface_stl_resampled": (5, 4, 8, 2),
    "volume": (23, 4, 8, 6),
}

each_place = pytest.mark.parametrize("place", ["folder", "memory-url"])


@pytest.fixture
def make(tmp_path: Path, place: str) -> Callable[..., RunConfig]:
    """Makes projects that share one store."""
    url = url_of(place, tmp_path)
    return lambda **settings: project_of(url, tmp_path / "work", **settings)


def sample_on_disk(tmp_path: Path, sample_id: str, tensors: dict[str, Any]) -> Sample:
    sizes = save_sample(tmp_path / "source" / sample_id, tensors)
    return sample_of(sample_id, sizes=sizes)


def convert_from(run_config: RunConfig, sample: Sample) -> Fragment:
    load = run_config.source.loader(sample)
    return convert(sample, load, run_config.domains, run_config.settings, run_config.store)


def convert_tensors(run_config: RunConfig, sample_id: str, tensors: dict[str, Any]) -> Fragment:
    """Convert what a dictionary of file names holds; an exception in it is raised."""

    def load(field: Field) -> object:
        if isinstance(tensors[field.file], BaseException):
            raise tensors[field.file]
        return tensors[field.file]

    sample = sample_of(sample_id)
    return convert(sample, load, run_config.domains, run_config.settings, run_config.store)


N_POINTS = 70


def shaped(**shapes: tuple[int, ...]) -> dict[str, Any]:
    """The file map's tensors, all of as many points, some of other shapes."""
    usual = {
        file: (N_POINTS,) if width == 1 else (N_POINTS, width) for file, width in WIDTHS.values()
    }
    wanted = usual | {f"{name}.pt": shape for name, shape in shapes.items()}
    return {file: torch.ones(shape) for file, shape in wanted.items()}


in_a_folder = pytest.mark.parametrize("place", ["folder"])


@in_a_folder
@pytest.mark.parametrize(
    ("shapes", "file", "subject"),
    [
        (
            {"volume_position": (3, 70), "volume_velocity": (3, 70), "sdf": (1, 70)},
            "volume_position.pt",
            "all fields of volume are",
        ),
        ({"volume_velocity": (3, 70)}, "volume_velocity.pt", "it is"),
        ({"sdf": (1, 70)}, "sdf.pt", "it is"),
        ({"volume_position": (3, 70)}, "volume_position.pt", "it is"),
    ],
)
def test_fields_that_lie_on_their_side_are_broken(make, shapes, file, subject):
    fragment = convert_tensors(make(), "a", shaped(**shapes))
    assert fragment.skipped is not None
    assert fragment.skipped.file == file
    assert fragment.skipped.cause.startswith(subject)
    assert "transpose" in fragment.skipped.remedy
    tensors = shaped(**shapes)
    mended = {name: t.T.contiguous() if t.shape[0] in (1, 3) else t for name, t in tensors.items()}
    assert convert_tensors(make(), "a", mended).status == "converted"


@in_a_folder
def test_three_points_are_a_sample(make):
    tensors = {name: tensor[:3] for name, tensor in shaped().items()}
    assert convert_tensors(make(), "a", tensors).status == "converted"


@in_a_folder
def test_dropped_columns_are_noted(make):
    fragment = convert_tensors(make(), "a", shaped(volume_velocity=(70, 5)))
    note = fragment.fields["volume_velocity"].note
    assert note.startswith("volume_velocity (volume_velocity.pt): of 5 columns the first 3")
    read = msgspec.json.decode(fragment.to_json(), type=Fragment)
    assert told_once([read, read]) == [f"{note} (2 samples)"]


@pytest.mark.parametrize("place", ["memory-url"])
def test_bytes_read_are_counted_where_no_sizes_are_told(make, tmp_path, place):
    source = f"memory://{tmp_path.name}"
    run_config = make(source_url=source)
    contents: dict[str, bytes] = {}
    for file, tensor in shaped().items():
        stream = io.BytesIO()
        torch.save(tensor, stream)
        contents[file] = stream.getvalue()
        put_file(source, f"a/{file}", stream.getvalue())
    sample = sample_of("a", sizes=dict.fromkeys(contents, UNKNOWN_SIZE))
    (tmp_path / "work").mkdir()
    table, fragment = tmp_path / "samples.tsv", tmp_path / "a.json"
    table.write_text(rows_text([sample], Sample))
    convert_sample(run_config, table=table, key=sample.key, fragment=fragment)
    assert read_fragment(fragment).source_bytes == sum(map(len, contents.values()))


def stored_arrays(run_config: RunConfig, sample_id: str) -> dict[str, Array]:
    return read_arrays(group_files(run_config.settings.store, sample_id))


def expected_arrays(
    tensors: dict[str, Any],
    sample_id: str,
    *,
    seed: int = 0,
    coords: str = "float32",
    values: str = "float16",
    **fields: str,
) -> dict[str, Array]:
    """Row r is the source's row perm[r], cast; of `WIDTHS`' arrays."""
    expected = {}
    for name, (file, width) in WIDTHS.items():
        domain, _, short = name.partition("/")
        dtype = fields.get(f"{domain}_{short}", coords if short == "position" else values)
        rows = tensors[file].detach().double().numpy().reshape(len(tensors[file]), -1)[:, :width]
        perm = expected_order(len(rows), seed, sample_id, domain)
        expected[name] = rows[perm].astype(dtype)
    return expected


def same(read: dict[str, Array], expected: dict[str, Array]) -> bool:
    return {n: bits(a) for n, a in read.items()} == {n: bits(a) for n, a in expected.items()}


# What is stored --------------------------------------------------------------------------------


@each_place
@pytest.mark.parametrize("sample_id", ["run_12", "param1/1dc58be2", "ünï/cødé № 1", "run[1]*?"])
def test_every_array_is_the_shuffled_source_in_storage_dtype(make, tmp_path, sample_id):
    run_config, tensors = make(), source_tensors()
    fragment = convert_from(run_config, sample_on_disk(tmp_path, sample_id, tensors))
    assert fragment.status == "converted"
    assert same(stored_arrays(run_config, sample_id), expected_arrays(tensors, sample_id))


@pytest.mark.parametrize("place", ["folder"])
@pytest.mark.parametrize("seed", [0, 1, -7, 2**70])
def test_the_setting_shuffle_seed_decides_the_order(make, tmp_path, seed):
    run_config, tensors = make(shuffle_seed=seed), source_tensors()
    convert_from(run_config, sample_on_disk(tmp_path, "run_1", tensors))
    assert same(stored_arrays(run_config, "run_1"), expected_arrays(tensors, "run_1", seed=seed))


@pytest.mark.parametrize("place", ["folder"])
def test_permutations_that_are_set_aside_give_the_same_store(make, tmp_path, monkeypatch):
    monkeypatch.setattr(permutation_file, "_KEPT_POINTS", 6)
    run_config, tensors = make(), source_tensors()
    convert_from(run_config, sample_on_disk(tmp_path, "run_1", tensors))
    assert same(stored_arrays(run_config, "run_1"), expected_arrays(tensors, "run_1"))


@pytest.mark.parametrize("place", ["folder"])
@pytest.mark.parametrize(
    ("settings", "dtypes"),
    [
        ({}, {}),
        ({"coords_dtype": "float64", "values_dtype": "float32"},) * 2,
        ({"coords_dtype": "float16", "values_dtype": "float64"},) * 2,
        ({"field_dtypes": {"volume_velocity": "float32"}}, {"volume_velocity": "float32"}),
        (
            {"field_dtypes": {"volume_position": "float64", "surface_pressure": "float32"}},
            {"volume_position": "float64", "surface_pressure": "float32"},
        ),
        (
            {"values_dtype": "float64", "field_dtypes": {"volume_sdf": "float16"}},
            {"values_dtype": "float64", "volume_sdf": "float16"},
        ),
    ],
    ids=["defaults", "both-wider", "swapped", "one-field", "two-fields", "over-values-dtype"],
)
def test_storage_dtypes_are_those_of_the_settings(make, tmp_path, settings, dtypes):
    run_config, tensors = make(**settings), source_tensors()
    convert_from(run_config, sample_on_disk(tmp_path, "run_1", tensors))
    names = {"coords_dtype": "coords", "values_dtype": "values"}
    wanted = {names.get(name, name): dtype for name, dtype in dtypes.items()}
    assert same(stored_arrays(run_config, "run_1"), expected_arrays(tensors, "run_1", **wanted))


@pytest.mark.parametrize("place", ["folder"])
@pytest.mark.parametrize(("chunk", "shard"), [(1, None), (4, None), (4, 3), (5, 100), (4096, 1)])
def test_values_do_not_depend_on_the_grid(make, chunk, shard):
    run_config, tensors = make(chunk_points=chunk, shard_points=shard), source_tensors()
    convert_tensors(run_config, "run_1", tensors)
    assert same(stored_arrays(run_config, "run_1"), expected_arrays(tensors, "run_1"))


@pytest.mark.parametrize("place", ["folder"])
def test_sources_of_other_shapes_and_dtypes_give_the_same_arrays(make):
    run_config, tensors = make(), source_tensors()
    reshaped = {
        **tensors,
        "surface_pressure.pt": tensors["surface_pressure.pt"][:, 0],
        "sdf.pt": torch.nn.Parameter(tensors["sdf.pt"].double()),
        "volume_velocity.pt": torch.cat([tensors["volume_velocity.pt"], torch.ones(23, 2)], dim=1),
        "volume_position.pt": tensors["volume_position.pt"].T.contiguous().T,
    }
    convert_tensors(run_config, "run_1", reshaped)
    assert same(stored_arrays(run_config, "run_1"), expected_arrays(tensors, "run_1"))


@pytest.mark.parametrize("place", ["folder"])
def test_rows_of_a_domain_stay_aligned_and_domains_are_shuffled_apart(make):
    run_config, tensors = make(), source_tensors(surface=23, stl=23)
    rows = torch.arange(23.0)[:, None].expand(23, 3)
    for name, (file, width) in WIDTHS.items():
        if not name.startswith("surface_stl_resampled"):
            tensors[file] = rows[:, :width]
    convert_tensors(run_config, "run_1", tensors)
    arrays = stored_arrays(run_config, "run_1")
    orders = {name: array[:, 0].astype(int).tolist() for name, array in arrays.items()}
    assert orders["volume/position"] == orders["volume/velocity"] == orders["volume/sdf"]
    assert orders["surface/position"] == orders["surface/pressure"]
    assert orders["volume/position"] != orders["surface/position"]
    assert orders["surface_stl/position"] != orders["surface/position"]
    assert sorted(orders["volume/position"]) == list(range(23))


@each_place
def test_the_design_parameters_are_never_stored(make):
    run_config = make()
    convert_tensors(run_config, "run_1", source_tensors())
    assert set(stored_arrays(run_config, "run_1")) == set(ARRAY_NAMES)
    assert "design_parameters" in FILEMAP


def test_every_place_gets_the_same_bytes(tmp_path):
    stores = [url_of(place, tmp_path) for place in (*PLACES, "folder")]
    for url in stores:
        convert_tensors(project_of(url, tmp_path / "work"), "a/b", source_tensors())
    first, *others = [group_files(url, "a/b") for url in stores]
    assert first
    assert all(files == first for files in others)


@pytest.mark.parametrize("place", ["folder"])
def test_files_that_are_listed_without_a_size_are_read(make, tmp_path):
    run_config, tensors = make(), source_tensors()
    sample_on_disk(tmp_path, "run_1", tensors)
    assert convert_from(run_config, sample_of("run_1")).status == "converted"


def test_a_source_behind_a_url_gives_the_same_arrays(tmp_path):
    source, store = url_of("memory-url", tmp_path), str(tmp_path / "store")
    tensors = source_tensors()
    sizes = save_sample(tmp_path / "local", tensors)
    for file in sizes:
        put_file(source, f"a/run_1/{file}", (tmp_path / "local" / file).read_bytes())
    run_config = project_of(store, tmp_path / "work", source_url=source)
    convert_from(run_config, sample_of("a/run_1", sizes=sizes))
    assert same(stored_arrays(run_config, "a/run_1"), expected_arrays(tensors, "a/run_1"))


# The fragment ----------------------------------------------------------------------------------


@each_place
def test_the_fragment_of_a_converted_sample(make, tmp_path):
    run_config = make()
    sample = sample_on_disk(tmp_path, "a/run_1", source_tensors())
    fragment = convert_from(run_config, sample)
    assert (fragment.sample_id, fragment.status, fragment.skipped) == (
        "a/run_1",
        "converted",
        None,
    )
    grids = {
        name: (grid.n_points, grid.chunk_points, grid.shard_points, grid.n_chunks)
        for name, grid in fragment.domains.items()
    }
    assert grids == GRIDS
    assert fragment.source_bytes == sum(
        path.stat().st_size for path in (tmp_path / "source").rglob("*.pt")
    )
    files = group_files(run_config.settings.store, "a/run_1")
    assert fragment.stored_bytes == sum(map(len, files.values()))
    assert 0 < fragment.seconds < 60
    assert 20 < fragment.peak_memory_mb < 100_000  # MiB: a Python with torch, not kB or bytes


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("place", ["folder"])
def test_peak_memory_is_that_of_this_conversion_in_mib(make):
    before = bytearray(b"x") * (512 * 2**20)  # what the process needed earlier does not count
    del before
    fragment = convert_tensors(make(), "run_1", source_tensors())
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    assert fragment.peak_memory_mb == pytest.approx(int(line.split()[1]) / 1024, rel=0.1)


# What is learnt of each field ------------------------------------------------------------------


@each_place
def test_the_fragment_has_size_and_checksum_of_every_file_of_the_group(make):
    run_config = make()
    fragment = convert_tensors(run_config, "ü/run 1", source_tensors())
    files = group_files(run_config.settings.store, "ü/run 1")
    assert "zarr.json" in files
    assert fragment.objects == {
        path: (len(content), hashlib.sha256(content).hexdigest()) for path, content in files.items()
    }


@pytest.mark.parametrize("place", ["folder"])
@pytest.mark.parametrize("values", ["float16", "float32", "float64"])
def test_moments_are_of_the_values_as_stored(make, values):
    run_config, tensors = make(values_dtype=values), source_tensors()
    tensors["sdf.pt"][3] = math.nan
    tensors["volume_velocity.pt"][5, 1] = -math.inf
    fragment = convert_tensors(run_config, "run_1", tensors)
    arrays = stored_arrays(run_config, "run_1")
    assert list(fragment.fields) == [name.replace("/", "_") for name in ARRAY_NAMES]
    for name, array in arrays.items():
        moments = fragment.fields[name.replace("/", "_")].moments
        wide = np.where(np.isfinite(array), array, np.nan).astype(np.float64)
        count = np.isfinite(array).sum(axis=0)
        assert moments.rows == len(array)
        assert moments.finite == count.tolist()
        assert moments.nans == np.isnan(array).sum(axis=0).tolist()
        assert moments.infinities == np.isinf(array).sum(axis=0).tolist()
        assert moments.mean == pytest.approx(np.nanmean(wide, axis=0).tolist(), rel=1e-9)
        m2 = np.nanvar(wide, axis=0) * count
        assert moments.m2 == pytest.approx(m2.tolist(), rel=1e-9)
        assert moments.low == np.nanmin(wide, axis=0).tolist()
        assert moments.high == np.nanmax(wide, axis=0).tolist()


@pytest.mark.parametrize("place", ["folder"])
@pytest.mark.parametrize("chunk", [1, 4, 4096])
def test_the_rounding_error_is_that_of_the_points_of_the_first_chunk(make, chunk):
    run_config, tensors = make(chunk_points=chunk, shard_points=None), source_tensors()
    tensors["sdf.pt"] *= 1e-8  # some are flushed to zero
    fragment = convert_tensors(run_config, "run_1", tensors)
    for name, (file, _) in WIDTHS.items():
        domain, _, short = name.partition("/")
        look = expected_order(COUNTS[domain], 0, "run_1", domain)[:chunk]
        source = tensors[file].numpy()[look].astype(np.float64)
        dtype = "float32" if short == "position" else "float16"
        error = np.abs(source.astype(dtype).astype(np.float64) - source)
        found = fragment.fields[f"{domain}_{short}"].rounding
        assert found.values == source.size
        assert found.max_absolute == error.max()
        assert found.max_relative == pytest.approx((error / np.abs(source)).max(), rel=1e-12)
        assert found.flushed == np.count_nonzero(source.astype(dtype) == 0)
        assert (error.max() > 0) == (dtype == "float16")


@pytest.mark.parametrize("place", ["folder"])
@pytest.mark.parametrize(
    "dtype", ["bfloat16", "float8_e5m2", "float8_e4m3fn", "uint16", "uint64", "int8", "bool"]
)
def test_fields_of_any_source_dtype_have_moments_and_a_rounding_error(make, dtype):
    tensors = source_tensors()
    tensors["sdf.pt"] = tensors["sdf.pt"].abs().to(getattr(torch, dtype))
    fragment = convert_tensors(make(), "run_1", tensors)
    record = fragment.fields["volume_sdf"]
    wide = tensors["sdf.pt"].double().numpy()
    assert record.moments.mean == pytest.approx([wide.mean()], rel=1e-9, abs=1e-12)
    assert record.rounding.values == 4
    assert record.rounding.max_absolute == 0.0


@pytest.mark.parametrize("place", ["folder"])
def test_values_whose_squares_overflow_leave_a_fragment_that_can_be_read(make, tmp_path):
    tensors = source_tensors()
    tensors["sdf.pt"] = tensors["sdf.pt"].double() * 1e300
    fragment = convert_tensors(make(values_dtype="float64"), "run_1", tensors)
    path = tmp_path / "fragment.json"
    path.write_bytes(fragment.to_json())
    read = read_fragment(path)
    assert repr(read) == repr(fragment)
    assert read.fields["volume_sdf"].moments.low == [tensors["sdf.pt"].min().item()]


@each_place
def test_what_is_learnt_does_not_depend_on_the_conversion(make):
    run_config, tensors = make(), source_tensors()
    first = convert_tensors(run_config, "run_1", tensors)
    again = convert_tensors(run_config, "run_1", tensors)
    assert (again.fields, again.objects) == (first.fields, first.objects)


@pytest.mark.parametrize("place", ["folder"])
def test_of_a_broken_sample_nothing_is_learnt(make):
    fragment = convert_tensors(make(), "run_1", changed("sdf.pt", lambda t: t[:2]))
    assert (fragment.fields, fragment.objects, fragment.stored_bytes) == ({}, {}, 0)


# Broken samples --------------------------------------------------------------------------------


def changed(file: str, change: Callable[[torch.Tensor], object]) -> dict[str, Any]:
    tensors = source_tensors()
    return {**tensors, file: change(tensors[file])}


def with_one(tensor: torch.Tensor, value: float) -> torch.Tensor:
    tensor = tensor.clone()
    tensor[-1, -1] = value
    return tensor


# Name -> file, what becomes of it, the field at fault, words of the cause.
BROKEN = {
    "fewer-rows-than-its-position": (
        "volume_velocity.pt",
        lambda t: t[:-1],
        "volume_velocity",
        ("22 rows", "23", "volume_position.pt"),
    ),
    "more-rows-than-its-position": (
        "sdf.pt",
        lambda t: torch.cat([t, t]),
        "volume_sdf",
        ("46 rows", "23", "volume_position.pt"),
    ),
    "one-row": ("surface_pressure.pt", lambda t: t[:1], "surface_pressure", ("1 row", "10")),
    "position-shorter-than-the-rest": (
        "surface_position.pt",
        lambda t: t[:3],
        "surface_pressure",
        ("10 rows", "3", "surface_position.pt"),
    ),
    "overflow": (
        "volume_velocity.pt",
        lambda t: with_one(t, 1e6),
        "volume_velocity",
        ("1e+06", "float16"),
    ),
    "overflow-of-a-position": (
        "stl.pt",
        lambda t: with_one(t.double(), 1e39),
        "surface_stl_position",
        ("1e+39", "float32"),
    ),
    "too-narrow": ("volume_position.pt", lambda t: t[:, :2], "volume_position", ("columns",)),
    "three-dimensions": (
        "stl_resampled.pt",
        lambda t: t[None],
        "surface_stl_resampled_position",
        (),
    ),
    "empty": ("surface_position.pt", lambda t: t[:0], "surface_position", ()),
    "complex": ("sdf.pt", lambda t: torch.complex(t, t), "volume_sdf", ("complex",)),
    "not-a-tensor": ("sdf.pt", lambda t: {"sdf": t}, "volume_sdf", ("dict",)),
}
FILE_OF = {
    f"{name.partition('/')[0]}_{name.partition('/')[2]}": file for name, (file, _) in WIDTHS.items()
}
each_fault = pytest.mark.parametrize(
    ("file", "change", "field", "words"), BROKEN.values(), ids=BROKEN
)


@each_place
@each_fault
def test_a_broken_sample_says_so_and_leaves_no_group(make, tmp_path, file, change, field, words):
    run_config = make()
    sample = sample_on_disk(tmp_path, "a/run_1", changed(file, change))
    fragment = convert_from(run_config, sample)
    assert (fragment.status, fragment.sample_id, fragment.domains) == ("broken", "a/run_1", {})
    skipped = fragment.skipped
    assert skipped is not None
    assert (skipped.id, skipped.kind) == ("a/run_1", "broken")
    assert (skipped.field, skipped.file) == (field, FILE_OF[field])
    assert all(word in skipped.cause for word in words)
    assert skipped.remedy
    assert files_below(run_config.settings.store) == {}


@pytest.mark.parametrize("place", ["folder"])
def test_a_broken_sample_keeps_its_split(make):
    run_config = make()
    sample = sample_of("run_1", split="val")
    fragment = convert(
        sample, lambda field: None, run_config.domains, run_config.settings, run_config.store
    )
    assert fragment.skipped is not None
    assert fragment.skipped.split == "val"


@each_place
@each_fault
def test_a_sample_that_broke_loses_its_earlier_group_and_the_manifest(
    make, file, change, field, words
):
    run_config = make()
    convert_tensors(run_config, "run_1", source_tensors())
    convert_tensors(run_config, "run_2", source_tensors())
    run_config.store.publish(MANIFEST, b"{}")
    assert convert_tensors(run_config, "run_1", changed(file, change)).status == "broken"
    assert run_config.store.group_ids() == {"run_2"}
    left = files_below(run_config.settings.store)
    assert all(path.startswith("run_2.zarr/") for path in left)


@each_place
def test_a_broken_sample_without_an_earlier_group_leaves_the_manifest_alone(make):
    run_config = make()
    convert_tensors(run_config, "run_2", source_tensors())
    run_config.store.publish(MANIFEST, b"{}")
    before = files_below(run_config.settings.store)
    convert_tensors(run_config, "run_1", changed("sdf.pt", lambda t: t[:2]))
    assert files_below(run_config.settings.store) == before


@each_place
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"garbage" * 2000], ids=len)
def test_a_damaged_file_is_a_broken_sample(make, tmp_path, content):
    run_config, tensors = make(), source_tensors()
    sample_on_disk(tmp_path, "run_1", tensors)
    (tmp_path / "source/run_1/sdf.pt").write_bytes(content)
    fragment = convert_from(run_config, sample_of("run_1"))
    assert fragment.status == "broken"
    assert fragment.skipped is not None
    assert (fragment.skipped.field, fragment.skipped.file) == ("volume_sdf", "sdf.pt")
    assert files_below(run_config.settings.store) == {}


@pytest.mark.parametrize("place", ["folder"])
def test_a_mended_sample_is_converted(make):
    run_config = make()
    convert_tensors(run_config, "run_1", changed("sdf.pt", lambda t: t[:2]))
    assert convert_tensors(run_config, "run_1", source_tensors()).status == "converted"
    assert same(stored_arrays(run_config, "run_1"), expected_arrays(source_tensors(), "run_1"))


@pytest.mark.parametrize("place", ["folder"])
def test_nan_and_infinity_of_the_source_break_nothing_and_are_kept(make):
    run_config = make()
    tensors = changed("volume_velocity.pt", lambda t: with_one(t, math.nan))
    tensors["sdf.pt"] = with_one(tensors["sdf.pt"], -math.inf)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert_tensors(run_config, "run_1", tensors)
    arrays = stored_arrays(run_config, "run_1")
    np.testing.assert_equal(arrays, expected_arrays(tensors, "run_1"))
    assert np.isnan(arrays["volume/velocity"]).sum() == 1
    assert np.isneginf(arrays["volume/sdf"]).sum() == 1


# What is not the sample's fault ----------------------------------------------------------------

FAULTS = (OSError, ConnectionError, PermissionError, MemoryError, ValueError, KeyboardInterrupt)
FIRST, LAST = "surface_position.pt", "sdf.pt"


@each_place
@pytest.mark.parametrize("file", [FIRST, "volume_velocity.pt", LAST])
@pytest.mark.parametrize("kind", FAULTS)
def test_another_error_propagates_and_leaves_nothing(make, file, kind):
    run_config, fault = make(), kind("not the sample's fault")
    with pytest.raises(kind) as caught:
        convert_tensors(run_config, "run_1", {**source_tensors(), file: fault})
    assert caught.value is fault
    assert files_below(run_config.settings.store) == {}
    assert run_config.store.group_ids() == set()


@each_place
@pytest.mark.parametrize("file", [FIRST, LAST])
def test_another_error_leaves_an_earlier_group_and_the_manifest(make, file):
    run_config = make()
    convert_tensors(run_config, "run_1", source_tensors())
    run_config.store.publish(MANIFEST, b"{}")
    before = files_below(run_config.settings.store)
    with pytest.raises(OSError, match="disk"):
        convert_tensors(run_config, "run_1", {**source_tensors(seed=1), file: OSError("disk")})
    assert files_below(run_config.settings.store) == before


@each_place
def test_a_file_that_went_away_is_not_the_samples_fault(make, tmp_path):
    run_config = make()
    sample = sample_on_disk(tmp_path, "run_1", source_tensors())
    (tmp_path / "source/run_1" / LAST).unlink()
    with pytest.raises(FileNotFoundError):
        convert_from(run_config, sample)
    assert files_below(run_config.settings.store) == {}


@each_place
def test_a_file_that_changed_since_it_was_listed_is_not_the_samples_fault(make, tmp_path):
    run_config = make()
    sample = sample_on_disk(tmp_path, "run_1", source_tensors())
    path = tmp_path / "source/run_1" / LAST
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(SourceChangedError):
        convert_from(run_config, sample)
    assert files_below(run_config.settings.store) == {}


# The job ---------------------------------------------------------------------------------------


def run_job(run_config: RunConfig, tmp_path: Path, samples: list[Sample], key: str) -> Path:
    table, fragment = tmp_path / "work/samples.tsv", tmp_path / f"work/fragments/{key}.json"
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(rows_text(samples, Sample), encoding="utf-8", newline="")
    convert_sample(run_config, table=table, key=key, fragment=fragment)
    return fragment


@each_place
@pytest.mark.parametrize("sample_id", ["run_2", 'ünï/"a\tb"'])
def test_the_job_converts_the_sample_of_its_key(make, tmp_path, sample_id):
    run_config, tensors = make(), source_tensors()
    samples = [sample_on_disk(tmp_path, name, tensors) for name in ("run_1", sample_id, "run_3")]
    fragment = run_job(run_config, tmp_path, samples, samples[1].key)
    content = json.loads(fragment.read_bytes())
    assert (content["sample_id"], content["status"]) == (sample_id, "converted")
    assert run_config.store.group_ids() == {sample_id}
    assert same(stored_arrays(run_config, sample_id), expected_arrays(tensors, sample_id))
    assert [path.name for path in fragment.parent.iterdir()] == [fragment.name]


@each_place
def test_the_job_of_a_broken_sample_succeeds_and_says_why(make, tmp_path, capsys):
    run_config = make()
    sample = sample_on_disk(tmp_path, "run_1", changed("sdf.pt", lambda t: t[:2]))
    fragment = run_job(run_config, tmp_path, [sample], sample.key)
    assert json.loads(fragment.read_bytes())["status"] == "broken"
    message = capsys.readouterr().err
    assert all(part in message for part in ("run_1", "volume_sdf", "sdf.pt", "2 rows"))


@each_place
def test_with_on_broken_sample_fail_the_job_fails_and_leaves_no_fragment(make, tmp_path):
    run_config = make(on_broken_sample="fail")
    sample = sample_on_disk(tmp_path, "run_1", changed("sdf.pt", lambda t: t[:2]))
    with pytest.raises(StoreError, match=r"run_1.*sdf\.pt.*on_broken_sample"):
        run_job(run_config, tmp_path, [sample], sample.key)
    assert not (tmp_path / "work/fragments").exists()
    assert files_below(run_config.settings.store) == {}


@pytest.mark.parametrize("place", ["folder"])
def test_a_key_that_is_not_in_the_table_is_refused(make, tmp_path):
    with pytest.raises(StoreError, match="nosuch"):
        run_job(make(), tmp_path, [sample_of("run_1")], "nosuch")


@pytest.mark.parametrize("place", ["folder"])
def test_no_fragment_is_left_when_the_job_dies(make, tmp_path):
    run_config = make()
    sample = sample_on_disk(tmp_path, "run_1", source_tensors())
    (tmp_path / "source/run_1" / LAST).unlink()
    with pytest.raises(FileNotFoundError):
        run_job(run_config, tmp_path, [sample], sample.key)
    assert not (tmp_path / "work/fragments").exists()


# Samples that a class brings -------------------------------------------------------------------

CLASS = """
import torch

class Cars:
    FILEMAP = {"surface_position": "points.pt", "surface_pressure": "p.pt"}

    def __init__(self, root, split):
        self.root, self.split = root, split

    def __len__(self):
        return 2

    def _load(self, index, file):
        if file == "missing.pt":
            raise FileNotFoundError(file)
        n = 9 + index + (self.split == "test")
        rows = torch.arange(float(n))
        return rows if file == "p.pt" else rows[:, None].expand(n, 3) * 2
"""


def test_a_class_brings_its_samples_by_split_and_position(tmp_path, monkeypatch):
    (tmp_path / "brought_by_class.py").write_text(CLASS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    run_config = project_of(
        tmp_path / "store",
        tmp_path / "work",
        source_url=None,
        source_root=str(tmp_path),
        dataset="brought_by_class.Cars",
        filemap=None,
    )
    for split, position in (("train", 0), ("test", 1)):
        name = f"{split}_{position}"
        sample = Sample(name, name, split, position, (), (), "")
        assert convert_from(run_config, sample).status == "converted"
        count = 9 + position + (split == "test")
        order = expected_order(count, 0, name, "surface")
        arrays = stored_arrays(run_config, name)
        np.testing.assert_array_equal(arrays["surface/pressure"][:, 0], order)
        np.testing.assert_array_equal(
            arrays["surface/position"], np.repeat(order[:, None], 3, 1) * 2
        )


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_file_that_cannot_be_read_costs_its_sample_and_is_tried_again(tmp_path, number):
    run_config = project_of(tmp_path / "store", tmp_path / "work")

    def refuse(field):
        raise OSError(number, os.strerror(number), field.file)

    sample = Sample("a", "a", "", -1, (), (), "fingerprint")
    fragment = convert(sample, refuse, run_config.domains, run_config.settings, run_config.store)
    assert fragment.status == "broken"
    assert fragment.fingerprint == ""
    assert fragment.skipped.kind == "unreadable"
    assert "cannot be read" in fragment.skipped.cause


def test_a_full_disk_is_not_the_samples_fault(tmp_path):
    run_config = project_of(tmp_path / "store", tmp_path / "work")

    def fail(field):
        raise OSError(errno.ENOSPC, "No space left on device", field.file)

    sample = Sample("a", "a", "", -1, (), (), "fingerprint")
    with pytest.raises(OSError, match="No space left"):
        convert(sample, fail, run_config.domains, run_config.settings, run_config.store)
