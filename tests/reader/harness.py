"""Stores for the reader's tests: where they are, what is in them, and how they are damaged."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import numpy as np
import torch
import zarr
from obstore.store import LocalStore, S3Store

from aerozarr import Store
from aerozarr.filesystems.byte_ranges import ByteRange, Fetcher

SURFACE, VOLUME, CHUNK = 1000, 2500, 256
KEYS = {"key": "reader", "secret": "not-a-secret"}


def source_tensors(shift: float) -> dict[str, torch.Tensor]:
    """A sample's files: every value tells the row of the source that it comes from."""
    surface, volume = (torch.arange(n, dtype=torch.float32) for n in (SURFACE, VOLUME))
    return {
        "points.pt": torch.stack([surface, surface + shift, -surface], dim=1),
        "p.pt": surface,
        "cells.pt": torch.stack([volume, volume * 2, volume + shift], dim=1),
        "U.pt": torch.stack([volume % 512, volume // 512, volume % 7], dim=1),
    }


def assert_aligned(draw: dict[str, torch.Tensor]) -> None:
    """Check each row of a draw against the others, by the row of the source that they tell."""
    if "surface_position" in draw and "surface_pressure" in draw:
        torch.testing.assert_close(
            draw["surface_pressure"].float(), draw["surface_position"][:, :1], rtol=0, atol=0
        )
    if "volume_position" in draw and "volume_velocity" in draw:
        row = draw["volume_position"][:, 0]
        expected = torch.stack([row % 512, row // 512, row % 7], dim=1)
        torch.testing.assert_close(draw["volume_velocity"].float(), expected, rtol=0, atol=0)


def put_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def statistics(store: Path, samples: list[str]) -> dict[str, Any]:
    """What a store's statistics say, by the contract, computed in one go with numpy."""
    found: dict[str, Any] = {}
    positions = []
    manifest = json.loads((store / "manifest.json").read_bytes())
    for domain in manifest["domains"].values():
        for name, array in domain["arrays"].items():
            parts = [
                zarr.open_array(store / f"{sample}.zarr" / array["array_name"], mode="r")[:]
                for sample in samples
            ]
            values = np.concatenate(parts).astype(np.float64)
            log = np.sign(values) * np.log1p(np.abs(values))
            found |= {
                f"{name}_mean": values.mean(axis=0).tolist(),
                f"{name}_std": values.std(axis=0, ddof=1).tolist(),
                f"{name}_min": values.min(axis=0).tolist(),
                f"{name}_max": values.max(axis=0).tolist(),
                f"{name}_count": len(values),
                f"{name}_logscale_mean": log.mean(axis=0).tolist(),
                f"{name}_logscale_std": log.std(axis=0, ddof=1).tolist(),
            }
            if name == domain["position"]:
                positions.append(values)
    found["raw_pos_min"] = [min(values.min() for values in positions)]
    found["raw_pos_max"] = [max(values.max() for values in positions)]
    return found


def answers(endpoint: str) -> bool:
    try:
        urllib.request.urlopen(endpoint, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@dataclass
class Place:
    """A copy of the store somewhere, and how to open it."""

    name: str
    place: Any
    options: dict[str, dict[str, Any]] = field(default_factory=dict)

    def open(self, **settings: Any) -> Store:
        return Store(self.place, self.options, **settings)


PLACES = ("folder", "memory", "s3", "obstore-folder", "obstore-s3")


def copy_to(folder: Path, name: str, endpoint: str | None = None) -> Place:
    """Copy a store to a kind of place; an S3 one needs the server's endpoint."""
    if name == "folder":
        return Place(name, folder)
    if name == "obstore-folder":
        return Place(name, LocalStore(folder))
    if name == "memory":
        place = Place(name, f"memory://reader/{uuid4().hex}")
        upload(folder, fsspec.filesystem("memory"), place.place.removeprefix("memory:/"))
        return place
    bucket = f"reader-{uuid4().hex}"
    options = {**KEYS, "endpoint_url": endpoint}
    fs = fsspec.filesystem("s3", **options)
    fs.mkdir(bucket)
    upload(folder, fs, f"{bucket}/some/store")
    if name == "s3":
        return Place(name, f"s3://{bucket}/some/store", {"s3": options})
    store = S3Store(
        bucket,
        prefix="some/store",
        endpoint=endpoint,
        access_key_id=KEYS["key"],
        secret_access_key=KEYS["secret"],
        region="us-east-1",
        client_options={"allow_http": True},
    )
    return Place(name, store)


def upload(folder: Path, fs: fsspec.AbstractFileSystem, root: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            fs.pipe_file(f"{root}/{path.relative_to(folder).as_posix()}", path.read_bytes())


def shard(folder: Path, array: str = "volume/velocity", number: int = 0, sample: str = "a") -> Path:
    path = folder / f"{sample}.zarr" / array / "c" / str(number) / "0"
    assert path.is_file()
    return path


def flip(path: Path, byte: int) -> None:
    """Flip the bits of one byte of a file."""
    with path.open("r+b") as stream:
        stream.seek(byte)
        (value,) = stream.read(1)
        stream.seek(byte)
        stream.write(bytes([value ^ 0xFF]))


class Recorder(Fetcher):
    """Passes on what is asked of a fetcher, and notes it, round by round."""

    def __init__(self, fetcher: Fetcher) -> None:
        self.fetcher = fetcher
        self.rounds: list[Sequence[ByteRange]] = []
        self.fetched = 0

    def fetch(self, spans: Sequence[ByteRange]) -> list[bytes | None]:
        self.rounds.append(spans)
        contents = list(self.fetcher.fetch(spans))
        self.fetched += sum(len(content or b"") for content in contents)
        return contents


def recorded(store: Store) -> Recorder:
    recorder = Recorder(store._reader.fetcher)
    store._reader.fetcher = recorder
    return recorder
