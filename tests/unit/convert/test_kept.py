"""What a conversion keeps of a group, and what is then neither read nor written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from msgspec import structs

from aerozarr.config.fields import Field
from aerozarr.config.load_settings import load_settings
from aerozarr.convert.fragment import Fragment, read_fragment
from aerozarr.convert.kept import find_kept, held_fields, with_made_of
from aerozarr.convert.sample import convert
from aerozarr.run_config import RunConfig
from aerozarr.source.samples import Sample

FILES = {"surface_position": "points.pt", "surface_pressure": "p.pt", "surface_area": "area.pt"}
SAMPLE = Sample(
    "a", "a", "", -1, ("area.pt", "p.pt", "points.pt"), (1, 1, 1), "f", (), ("x", "y", "z")
)
CHANGES = {"area.pt": "1 1", "p.pt": "1 2", "points.pt": "1 3"}
ARRAYS = {"points.pt": torch.rand(50, 3), "p.pt": torch.rand(50), "area.pt": torch.rand(50)}


def run_config(folder: Path, **settings: object) -> RunConfig:
    given = {"filemap": FILES, "source_url": str(folder / "source"), "store": str(folder / "store")}
    return RunConfig.of(load_settings({**given, "workdir": str(folder / "work"), **settings}))


def do(
    config: RunConfig, arrays: Mapping[str, torch.Tensor], sample: Sample = SAMPLE
) -> tuple[Fragment, list[str]]:
    """Convert a sample as its job does; return the fragment, and the files that were read."""
    read: list[str] = []

    def load(field: Field) -> object:
        read.append(field.file)
        return arrays[field.file]

    kept = find_kept(config, sample, config.store, CHANGES)
    made = convert(sample, load, config.domains, config.settings, config.store, kept=kept)
    return with_made_of(config, sample, made, CHANGES), read


def set_aside(config: RunConfig, fragment: Fragment) -> Path:
    path = config.set_aside(SAMPLE.key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(fragment.to_json())
    return path


def names(config: RunConfig, fragment: Fragment, **changes: str) -> set[str]:
    now = CHANGES | {f"{name}.pt": change for name, change in changes.items()}
    return set(held_fields(config, SAMPLE, fragment, now))


def test_a_field_holds_as_long_as_its_file_and_its_settings(tmp_path: Path) -> None:
    config = run_config(tmp_path)
    fragment, read = do(config, ARRAYS)
    assert sorted(read) == sorted(FILES.values())
    everything = set(FILES)
    assert names(config, fragment) == everything
    other_file = replace(SAMPLE, fingerprint="g", prints=("x", "other", "z"))
    held = held_fields(config, other_file, fragment, CHANGES)
    assert held == everything - {"surface_pressure"}
    # Of the same size and time, but another file: it may hold anything.
    assert names(config, fragment, p="2 2") == everything - {"surface_pressure"}
    # From a file system that does not tell, size and time have to do.
    assert held_fields(config, SAMPLE, fragment, {}) == everything
    wider = run_config(tmp_path, field_dtypes={"surface_area": "float32"})
    assert names(wider, fragment) == everything - {"surface_area"}
    unit = run_config(tmp_path, fields={"surface_area": {"unit": "m2"}})
    assert names(unit, fragment) == everything


@pytest.mark.parametrize(
    "settings",
    [
        {"shuffle_seed": 1},
        {"chunk_points": 16},
        {"compression": {"cname": "lz4"}},
        {"chunk_checksums": False},
        {"store": "elsewhere"},
    ],
)
def test_what_decides_all_bytes_leaves_nothing(tmp_path: Path, settings: dict[str, object]) -> None:
    fragment, _ = do(run_config(tmp_path), ARRAYS)
    assert names(run_config(tmp_path, **settings), fragment) == set()


def test_a_broken_or_doubtful_sample_has_nothing_to_keep(tmp_path: Path) -> None:
    config = run_config(tmp_path)
    fragment, _ = do(config, ARRAYS)
    assert names(config, structs.replace(fragment, fingerprint="")) == set()
    assert names(config, structs.replace(fragment, status="broken")) == set()
    earlier = {n: structs.replace(r, made_of="") for n, r in fragment.fields.items()}
    assert names(config, structs.replace(fragment, fields=earlier)) == set()


def test_only_what_is_not_kept_is_read_and_the_group_is_the_same(tmp_path: Path) -> None:
    config = run_config(tmp_path)
    fragment, _ = do(config, ARRAYS)
    record = set_aside(config, fragment)
    changed = replace(SAMPLE, fingerprint="g", prints=("x", "other", "z"))
    arrays = {**ARRAYS, "p.pt": torch.rand(50)}
    made, read = do(config, arrays, changed)
    assert read == ["p.pt"]
    assert not record.exists()
    anew = run_config(tmp_path / "anew")
    assert made.objects == do(anew, arrays, changed)[0].objects
    assert made.fields == {
        **fragment.fields,
        "surface_pressure": made.fields["surface_pressure"],
    }


def test_of_other_points_a_domain_is_converted_whole(tmp_path: Path) -> None:
    config = run_config(tmp_path)
    fragment, _ = do(config, ARRAYS)
    set_aside(config, fragment)
    changed = replace(SAMPLE, fingerprint="g", prints=("x", "y", "other"))
    fewer = {name: array[:40] for name, array in ARRAYS.items()}
    made, read = do(config, fewer, changed)
    assert sorted(read) == sorted(FILES.values())
    assert made.domains["surface"].n_points == 40
    # As many as before, in other places: those of the others stay.
    set_aside(config, made)
    again = replace(changed, fingerprint="h", prints=("x", "y", "another"))
    _, read = do(config, {**fewer, "points.pt": torch.rand(40, 3)}, again)
    assert read == ["points.pt"]


def test_as_many_points_kept_of_another_mesh_are_other_points(tmp_path: Path) -> None:
    config = run_config(tmp_path, keep_points={"surface": 12})
    fragment, _ = do(config, ARRAYS)
    assert fragment.source_points == {"surface": 50}
    set_aside(config, fragment)
    changed = replace(SAMPLE, fingerprint="g", prints=("x", "y", "other"))
    fewer = {name: array[:40] for name, array in ARRAYS.items()}
    made, read = do(config, fewer, changed)
    assert sorted(read) == sorted(FILES.values())
    assert (made.domains, made.source_points) == (fragment.domains, {"surface": 40})
    assert made.objects == do(run_config(tmp_path / "anew", keep_points=12), fewer)[0].objects


def test_a_field_beside_kept_ones_has_the_rows_of_the_source(tmp_path: Path) -> None:
    config = run_config(tmp_path, keep_points=0.2)
    fragment, _ = do(config, ARRAYS)
    changed = replace(SAMPLE, fingerprint="g", prints=("x", "other", "z"))
    set_aside(config, fragment)
    made, read = do(config, {"p.pt": torch.rand(40)}, changed)
    assert made.skipped is not None and read == ["p.pt"]
    assert made.skipped.cause == "it has 40 rows, points.pt has 50"


def test_a_field_that_fails_leaves_the_group_and_its_record_alone(tmp_path: Path) -> None:
    config = run_config(tmp_path)
    fragment, _ = do(config, ARRAYS)
    record = set_aside(config, fragment)
    before = config.store.files_of("a")
    changed = replace(SAMPLE, fingerprint="g", prints=("x", "other", "z"))
    with pytest.raises(KeyError):
        do(config, {}, changed)  # not the sample's fault
    assert record.exists()
    assert config.store.files_of("a") == before
    assert do(config, ARRAYS, changed)[1] == ["p.pt"]


def test_a_group_that_is_not_whole_is_converted_whole(tmp_path: Path) -> None:
    config = run_config(tmp_path)
    fragment, _ = do(config, ARRAYS)
    record = set_aside(config, fragment)
    (tmp_path / "store/a.zarr/surface/area/c/0/0").unlink()
    _, read = do(config, ARRAYS)
    assert sorted(read) == sorted(FILES.values())
    record.parent.mkdir(exist_ok=True)
    record.write_text("{")
    assert sorted(do(config, ARRAYS)[1]) == sorted(FILES.values())
    assert not record.exists()


def test_without_hard_links_the_bytes_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    config = run_config(tmp_path)
    fragment, _ = do(config, ARRAYS)
    set_aside(config, fragment)
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    changed = replace(SAMPLE, fingerprint="g", prints=("x", "other", "z"))
    made, read = do(config, ARRAYS, changed)
    assert read == ["p.pt"]
    assert made.objects == fragment.objects


def test_the_group_of_a_broken_sample_stays_with_its_record(tmp_path: Path) -> None:
    """Whether all that it has holds, or some, or nothing."""
    config = run_config(tmp_path)
    fragment, _ = do(config, ARRAYS)
    more = run_config(tmp_path, fields={"surface_heat": "heat.pt"})
    wrong = {**ARRAYS, "heat.pt": torch.rand(49)}

    def found(sample: Sample, config: RunConfig = more) -> tuple[str, bool]:
        record = set_aside(config, fragment)
        made, _ = do(config, wrong, sample)
        return made.status, config.store.has_group("a") and read_fragment(record) == fragment

    files = (*SAMPLE.files[:1], "heat.pt", *SAMPLE.files[1:])
    with_heat = replace(
        SAMPLE, files=files, sizes=(1,) * 4, prints=("x", "h", "y", "z"), fingerprint="g"
    )
    assert found(with_heat) == ("broken", True)
    # The pressure is another one, too.
    changed = replace(with_heat, prints=("x", "h", "other", "z"), fingerprint="h")
    assert found(changed) == ("broken", True)
    seed = run_config(tmp_path, fields={"surface_heat": "heat.pt"}, shuffle_seed=5)
    assert not held_fields(seed, with_heat, fragment, CHANGES)
    assert found(with_heat, seed) == ("broken", True)
