"""Specification of what a conversion learns of each field: moments, rounding, and notes."""

import hashlib
import math

import msgspec
import numpy as np
import pytest
import torch

from aerozarr.convert.fragment import Fragment, read_fragment, told_once
from unit.convert_helpers import (
    COUNTS,
    changed,
    convert_tensors,
    each_place,
    in_a_folder,
    shaped,
    stored_arrays,
)
from unit.store_helpers import ARRAY_NAMES, WIDTHS, expected_order, group_files, source_tensors


@in_a_folder
def test_dropped_columns_are_noted(make):
    fragment = convert_tensors(make(), "a", shaped(volume_velocity=(70, 5)))
    note = fragment.fields["volume_velocity"].note
    assert note.startswith("volume_velocity (volume_velocity.pt): of 5 columns the first 3")
    read = msgspec.json.decode(fragment.to_json(), type=Fragment)
    assert told_once([read, read]) == [f"{note} (2 samples)"]


@in_a_folder
@pytest.mark.parametrize(
    ("dtype", "largest", "said"),
    [
        (torch.int64, 2048, "whole numbers from 2,048 on are rounded as float16; to keep them: "),
        (torch.int16, -2049, "field_dtypes: {surface_pressure: float32}"),
        (torch.int64, 2047, ""),
        (torch.bool, 1, ""),
        (torch.float32, 2049, ""),
    ],
)
def test_whole_numbers_that_become_others_are_noted(make, dtype, largest, said):
    tensors = shaped() | {"surface_pressure.pt": torch.ones(len(shaped()["surface_pressure.pt"]))}
    tensors["surface_pressure.pt"][3] = largest
    tensors["surface_pressure.pt"] = tensors["surface_pressure.pt"].to(dtype)
    note = convert_tensors(make(), "a", tensors).fields["surface_pressure"].note
    assert said in note if said else not note


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
