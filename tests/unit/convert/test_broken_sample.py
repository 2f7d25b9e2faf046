"""Specification of samples that cannot be converted: told, or failed, and nothing is left."""

import math
import warnings

import numpy as np
import pytest
import torch

from aerozarr.convert.sample import convert
from aerozarr.errors import SourceChangedError
from unit.convert_helpers import (
    FIRST,
    LAST,
    changed,
    convert_from,
    convert_tensors,
    each_place,
    expected_arrays,
    in_a_folder,
    same,
    sample_on_disk,
    shaped,
    stored_arrays,
)
from unit.store_helpers import WIDTHS, files_below, sample_of, source_tensors

MANIFEST = "manifest.json"


# Broken samples --------------------------------------------------------------------------------


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
def test_a_cloud_of_columns_that_lies_on_its_side_is_broken(make):
    filemap = {"surface_position": "c.npy[:, 0:3]", "surface_pressure": "c.npy[:, 3]"}
    config = make(filemap=filemap)
    told = convert_tensors(config, "a", {"c.npy": torch.rand(7, 5000)}).skipped
    assert told is not None
    assert told.cause.startswith("all fields of surface are of shape (columns, 5000)")
    assert convert_tensors(config, "a", {"c.npy": torch.rand(5000, 7)}).status == "converted"
    assert convert_tensors(config, "a", {"c.npy": torch.rand(7, 9)}).status == "converted"


@in_a_folder
def test_three_points_are_a_sample(make):
    tensors = {name: tensor[:3] for name, tensor in shaped().items()}
    assert convert_tensors(make(), "a", tensors).status == "converted"


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
def test_a_sample_that_broke_leaves_its_earlier_group_as_it_was(make, file, change, field, words):
    run_config = make()
    convert_tensors(run_config, "run_1", source_tensors())
    convert_tensors(run_config, "run_2", source_tensors())
    run_config.store.publish(MANIFEST, b"{}")
    before = files_below(run_config.settings.store)
    assert convert_tensors(run_config, "run_1", changed(file, change)).status == "broken"
    assert files_below(run_config.settings.store) == before


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
