"""The example of docs/store-format.md is what aerozarr writes, byte for byte."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from aerozarr.config.load_settings import load_settings
from aerozarr.convert.sample import convert
from aerozarr.run_config import RunConfig
from aerozarr.source.samples import Sample
from aerozarr.store.format.layout import MANIFEST, ROOT_METADATA, shard_path
from aerozarr.store.format.manifest import Manifest
from aerozarr.store.format.shard_index import decode_index, encode_index, new_index

TEXT = (Path(__file__).parents[4] / "docs/store-format.md").read_text("utf-8")
MANIFEST_TEXT, ARRAY_TEXT = re.findall(r"^```json\n(.*?)\n```$", TEXT, re.MULTILINE | re.DOTALL)
INDEX_TEXT = re.search(r"^```text\n(.*?)\n```$", TEXT, re.MULTILINE | re.DOTALL)[1]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("example")
    run_config = RunConfig.of(
        load_settings(
            {
                "source_url": str(folder),
                "store": str(folder / "store"),
                "workdir": str(folder / "work"),
                "filemap": {"surface_position": "x.pt", "surface_pressure": "p.pt"},
                "dataset_name": "wind_tunnel",
                "chunk_points": 4,
                "shard_points": 8,
            }
        )
    )
    tensors = {"x.pt": torch.rand(10, 3), "p.pt": torch.rand(10)}
    sample = Sample("run_1", "run_1", "", -1, tuple(tensors), (120, 40), "")
    fragment = convert(
        sample,
        lambda field: tensors[field.file],
        run_config.domains,
        run_config.settings,
        run_config.store,
    )
    manifest = Manifest.build(
        "wind_tunnel", run_config.settings, run_config.domains, [("run_1", fragment.domains)]
    )
    run_config.store.publish(MANIFEST, manifest.to_bytes())
    return folder / "store"


def test_the_manifest(store: Path) -> None:
    assert (store / MANIFEST).read_bytes() == MANIFEST_TEXT.encode()
    assert Manifest.parse(MANIFEST_TEXT.encode(), MANIFEST).to_bytes() == MANIFEST_TEXT.encode()


def test_the_metadata_of_an_array(store: Path) -> None:
    written = (store / "run_1.zarr/surface/pressure" / ROOT_METADATA).read_bytes()
    assert written == json.dumps(json.loads(ARRAY_TEXT)).encode()
    assert json.dumps(json.loads(ARRAY_TEXT), indent=2) == ARRAY_TEXT


def test_the_index_of_a_shard(store: Path) -> None:
    documented = bytes.fromhex(INDEX_TEXT)
    index = new_index(2)
    index[0], index[1] = (36, 28), (64, 26)
    assert encode_index(index) == documented
    # Its place, and that chunks follow it without gaps.
    shard = (store / "run_1.zarr" / shard_path("surface/pressure", 0)).read_bytes()
    (first, length), (second, last) = decode_index(shard[: len(documented)], 2).tolist()
    assert (first, second, second + last) == (len(documented), first + length, len(shard))


def test_the_index_of_the_last_shard_marks_the_chunk_past_the_end(store: Path) -> None:
    shard = (store / "run_1.zarr" / shard_path("surface/pressure", 1)).read_bytes()
    assert shard[16:32] == b"\xff" * 16


def test_the_name_of_a_long_split_is_the_documented_one() -> None:
    from hashlib import sha256

    from aerozarr.store.format.layout import safe_name

    split = "ü" + "s" * 300
    digest = sha256(split.encode()).hexdigest()[:32]
    assert safe_name(split) == ("%C3%BC" + "s" * 300)[:146] + "%~" + digest


def test_rows_are_in_the_documented_order() -> None:
    from hashlib import sha256

    from aerozarr.store.format.shuffle import permutation, seed_of

    digest = sha256(b"0:run_1:surface").digest()
    seed = int.from_bytes(digest[:8], "little") % (2**63 - 1)
    expected = torch.randperm(10, generator=torch.Generator().manual_seed(seed))
    np.testing.assert_array_equal(permutation(10, seed_of(0, "run_1", "surface")), expected)
