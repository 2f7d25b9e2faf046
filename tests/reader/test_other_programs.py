"""Other programs read a store, as docs/reading-elsewhere.md shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import zarr

from workflow.harness import REPOSITORY

PAGE = (REPOSITORY / "docs/reading-elsewhere.md").read_text("utf-8")
CODE = dict(re.findall(r"^## (\S+)\n(?:(?!^## ).)*?^```python\n(.*?)^```", PAGE, re.M | re.S))


def test_the_page_has_code_for_each() -> None:
    assert sorted(CODE) == ["TensorStore", "xarray", "zarr-python", "zarrs"]


@pytest.mark.parametrize("program", sorted(CODE))
def test_it_reads_what_is_stored(program: str, original: Path) -> None:
    said: dict[str, object] = {}
    code = CODE[program].replace("results/store/param0/car_00.zarr", f"{original}/a.zarr")
    exec(compile(code.replace("1024", "500"), program, "exec"), said)
    pressure = np.asarray(said["pressure"])
    assert pressure.dtype == np.float16
    assert len(set(pressure[:, 0].tolist())) == 500
    # Each value tells its point, and so do the positions; see `source_tensors`.
    position = zarr.open_array(f"{original}/a.zarr/surface/position", mode="r")[:500, :1]
    np.testing.assert_array_equal(pressure, np.asarray(position).astype(np.float16))


@pytest.mark.skipif("ZARR_PYTHON" not in os.environ, reason="see CONTRIBUTING.md")
def test_another_zarr_python_reads_what_this_one_does(original: Path) -> None:
    """As of a newer Python: the newest zarr-python asks for one."""
    code = f"""
import json, zarr
group = zarr.open_consolidated({str(original / "a.zarr")!r}, mode="r")
print(json.dumps([zarr.__version__, group["surface/pressure"][:].tolist()]))
"""
    command = [os.environ["ZARR_PYTHON"], "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    version, values = json.loads(done.stdout)
    assert version != zarr.__version__
    assert values == zarr.open_array(f"{original}/a.zarr/surface/pressure", mode="r")[:].tolist()


def test_a_domain_is_a_group_whose_arrays_are_direct(original: Path) -> None:
    # What PhysicsNeMo's reader goes by: a path with zarr.json, and `array_keys` of the group there.
    found = sorted(path for path in original.glob("**/surface") if (path / "zarr.json").exists())
    samples = [f"{path.parent.relative_to(original)}" for path in found]
    assert samples == ["a.zarr", "b.zarr", "deep/c.zarr"]
    group = zarr.open(found[0], mode="r")
    assert isinstance(group, zarr.Group)
    assert sorted(group.array_keys()) == ["position", "pressure"]
    assert list(zarr.open_group(found[0].parent, mode="r").array_keys()) == []
