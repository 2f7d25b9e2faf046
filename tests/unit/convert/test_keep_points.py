"""Specification of a part of the points: what is stored and measured, and what is not looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aerozarr.config.fields import Field
from aerozarr.config.load_settings import load_settings
from aerozarr.convert import cast
from aerozarr.convert.accumulate import moments_of
from aerozarr.convert.fragment import Fragment
from aerozarr.convert.rounding import Rounding
from aerozarr.convert.sample import convert
from aerozarr.filesystems.location import open_location
from aerozarr.run_config import RunConfig
from aerozarr.source.files import rows as rows_module
from aerozarr.source.files.read import load_file
from unit.store_helpers import expected_order, group_files, read_arrays, sample_of

FILES = {
    "volume_position": "x.pt",
    "volume_pressure": "p.pt",
    "volume_velocity": "u.pt",
    "volume_normals": "n.pt",
}
N = 61
KEPT = 17
ORDER = expected_order(N, 0, "run", "volume")[:KEPT]
REST = np.setdiff1d(np.arange(N), ORDER)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few rows, some with no row that is kept, and the file mapped anew for each."""
    for module in (cast, rows_module):
        monkeypatch.setattr(module, "BLOCK", 4)
    monkeypatch.setattr(rows_module, "_MAPPED_BYTES", 1)


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "x.pt": torch.randn(N, 3, generator=generator),  # stored as it is
        "p.pt": torch.randn(N, generator=generator, dtype=torch.float64),
        "u.pt": torch.randn(N, 3, generator=generator),  # padded and cast
        "n.pt": torch.randn(3, N, generator=generator).bfloat16().T,  # not contiguous
    }


def converted(
    folder: Path, tensors: dict[str, torch.Tensor], **settings: Any
) -> tuple[Fragment, dict[str, np.ndarray[Any, Any]]]:
    """Convert tensors from files; return the fragment, and what zarr-python reads."""
    folder.mkdir()
    for name, tensor in tensors.items():
        torch.save(tensor, folder / name)
    given = {"filemap": FILES, "source_url": str(folder), "store": str(folder / "store")}
    settings = {"chunk_points": 4, "shard_points": 8, **settings}
    config = RunConfig.of(load_settings({**given, "workdir": str(folder / "work"), **settings}))
    location = open_location(str(folder), {}, key="source_url")

    def load(field: Field) -> object:
        return load_file(location, field.file, None, field)

    made = convert(sample_of("run"), load, config.domains, config.settings, config.store)
    found = read_arrays(group_files(config.settings.store, "run")) if made.objects else {}
    return made, found


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_first_points_of_the_shuffle_are_stored(tmp_path: Path, dtype: str) -> None:
    dtypes: dict[str, Any] = {"values_dtype": dtype}
    whole, every = converted(tmp_path / "whole", tensors(), **dtypes)
    some, found = converted(tmp_path / "some", tensors(), keep_points=KEPT, **dtypes)
    assert some.source_points == {"volume": N}
    assert whole.source_points == {}
    assert (some.domains["volume"].n_points, some.domains["volume"].n_chunks) == (KEPT, 5)
    for name, values in found.items():
        np.testing.assert_array_equal(values, every[name][:KEPT], strict=True)
        source = tensors()[FILES[name.replace("/", "_")]].double().numpy().reshape(N, -1)
        record = some.fields[name.replace("/", "_")]
        assert record.moments.rows == KEPT
        expected = moments_of(values)
        assert record.moments.mean == pytest.approx(expected.mean, rel=1e-9, abs=1e-12)
        assert record.moments.m2 == pytest.approx(expected.m2, rel=1e-9)
        assert record.moments.low == expected.low
        # Of the first chunk, the rows in the source's order.
        looked_at = np.sort(ORDER[:4])
        rounding = Rounding.of(source[looked_at], source[looked_at].astype(values.dtype))
        if rounding.max_absolute:  # else there is nothing to tell
            assert record.rounding == rounding
        assert record.rounding.values == rounding.values


def test_the_same_settings_give_the_same_bytes_and_all_points_those_of_none(tmp_path: Path) -> None:
    once, _ = converted(tmp_path / "once", tensors(), keep_points={"volume": 0.28})
    again, _ = converted(tmp_path / "again", tensors(), keep_points={"volume": KEPT})
    other, _ = converted(tmp_path / "other", tensors(), keep_points=KEPT, shuffle_seed=1)
    assert once.objects == again.objects != other.objects
    whole, _ = converted(tmp_path / "whole", tensors())
    for keep in (1.0, N, 10 * N):
        every, _ = converted(tmp_path / f"every-{keep}", tensors(), keep_points=keep)
        assert (every.objects, every.fields) == (whole.objects, whole.fields)


def test_what_is_not_kept_may_be_anything(tmp_path: Path) -> None:
    wild = tensors()
    wild["u.pt"][REST] = 1e30
    wild["p.pt"][REST] = torch.nan
    expected, _ = converted(tmp_path / "tame", tensors(), keep_points=KEPT)
    made, _ = converted(tmp_path / "wild", wild, keep_points=KEPT)
    assert (made.objects, made.fields) == (expected.objects, expected.fields)


def test_what_is_kept_is_looked_at_as_ever(tmp_path: Path) -> None:
    wild = tensors()
    wild["u.pt"][int(ORDER[-1]), 1] = 1e30
    made, _ = converted(tmp_path / "large", wild, keep_points=KEPT)
    assert made.skipped is not None
    assert made.skipped.cause == "a value of 1e+30 is too large for float16"
    wild = tensors()
    wild["p.pt"][int(ORDER[0])] = torch.nan
    made, found = converted(tmp_path / "nan", wild, keep_points=KEPT)
    assert made.fields["volume_pressure"].moments.nans == [1]
    assert np.isnan(found["volume/pressure"][0])
    wild = {**tensors(), "p.pt": torch.ones(N - 1)}
    made, _ = converted(tmp_path / "short", wild, keep_points=KEPT)
    assert made.skipped is not None
    assert made.skipped.cause == f"it has {N - 1} rows, x.pt has {N}"
