"""Specification of converting one sample: what the store then holds, and what the job does."""

import errno
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from aerozarr.convert import permutation_file
from aerozarr.convert.fragment import read_fragment
from aerozarr.convert.sample import convert, convert_sample
from aerozarr.errors import StoreError
from aerozarr.run_config import RunConfig
from aerozarr.source.sample_table import rows_text
from aerozarr.source.samples import UNKNOWN_SIZE, Sample
from unit.convert_helpers import (
    GRIDS,
    LAST,
    changed,
    convert_from,
    convert_tensors,
    each_place,
    expected_arrays,
    same,
    sample_on_disk,
    shaped,
    stored_arrays,
)
from unit.store_helpers import (
    ARRAY_NAMES,
    FILEMAP,
    PLACES,
    WIDTHS,
    expected_order,
    files_below,
    group_files,
    project_of,
    put_file,
    sample_of,
    save_sample,
    source_tensors,
    url_of,
)

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


# The job ---------------------------------------------------------------------------------------


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
