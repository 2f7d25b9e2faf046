"""Converts a folder of `.pt` samples into a Zarr store with a plain process pool: the yardstick.

It is the kind of script that people write for this: one function a sample, one worker a core, the
manifest at the end. It imports nothing from aerozarr and follows the store format's description
alone, so it also checks that two independent programs write the same store. It does less: a broken
sample ends it, values that overflow are not noticed, an interrupted run leaves groups that read as
zeros, and the next one converts everything again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import zarr
from zarr.codecs import BloscCodec, ShardingCodecIndexLocation
from zarr.core.array import ShardsConfigParam


class Field(NamedTuple):
    """One array of a sample: its name in the domain, its source file and its width."""

    name: str
    file: str
    width: int


Domains = dict[str, list[Field]]
"""Fields by domain, in the order of the store's manifest: the position first."""

FILE_MAPS: dict[str, Domains] = {
    "shapenet_car": {
        "surface": [
            Field("position", "surface_points.pt", 3),
            Field("pressure", "surface_pressure.pt", 1),
            Field("normals", "surface_normals.pt", 3),
        ],
        "volume": [
            Field("position", "volume_points.pt", 3),
            Field("velocity", "volume_velocity.pt", 3),
            Field("normals", "volume_normals.pt", 3),
            Field("sdf", "volume_sdf.pt", 1),
        ],
    },
    "drivaernet": {
        "surface": [
            Field("position", "surface_position.pt", 3),
            Field("pressure", "surface_p.pt", 1),
            Field("friction", "surface_wallShearStress.pt", 3),
        ],
        "volume": [
            Field("position", "volume_position.pt", 3),
            Field("pressure", "volume_p.pt", 1),
            Field("velocity", "volume_U.pt", 3),
            Field("vorticity", "volume_vorticity.pt", 3),
            Field("friction", "volume_wallShearStress.pt", 3),
        ],
    },
}


@dataclass(frozen=True)
class Options:
    """What decides the stored bytes."""

    domains: Domains
    chunk_points: int
    shard_points: int | None
    shuffle_seed: int
    coords_dtype: str
    values_dtype: str
    clevel: int
    whole_sample: bool

    def dtype_of(self, field: Field) -> str:
        """Return the storage dtype of a field."""
        return self.coords_dtype if field.name == "position" else self.values_dtype


def find_samples(source: Path, domains: Domains) -> list[str]:
    """Return the folders below `source` that hold every file, in ascending order."""
    wanted = {field.file for fields in domains.values() for field in fields}
    found = [
        Path(folder).relative_to(source).as_posix()
        for folder, _, files in os.walk(source)
        if wanted <= set(files)
    ]
    return sorted(sample_id for sample_id in found if sample_id != ".")


def permutation(n_points: int, shuffle_seed: int, sample_id: str, domain: str) -> Any:
    """Return the shuffle of a sample's domain."""
    text = f"{shuffle_seed}:{sample_id}:{domain}"
    digest = hashlib.sha256(text.encode()).digest()
    seed = int.from_bytes(digest[:8], "little") % (2**63 - 1)
    return torch.randperm(n_points, generator=torch.Generator().manual_seed(seed)).numpy()


def convert_sample(source: Path, store: Path, options: Options, sample_id: str) -> dict[str, Any]:
    """Write one sample's group, and return its entry in the manifest."""
    entry: dict[str, Any] = {"relpath": f"{sample_id}.zarr", "domains": {}}
    root = zarr.create_group(store / f"{sample_id}.zarr", overwrite=True)
    files = [field.file for fields in options.domains.values() for field in fields]

    def load(file: str) -> torch.Tensor:
        tensor: torch.Tensor = torch.load(source / sample_id / file, weights_only=True)
        return tensor

    loaded = {file: load(file) for file in files} if options.whole_sample else {}
    for domain, fields in options.domains.items():
        group = root.create_group(domain)
        perm = None
        for field in fields:
            tensor = loaded[field.file] if options.whole_sample else load(field.file)
            values = tensor.numpy()
            if values.ndim == 1:
                values = values[:, None]
            values = values[:, : field.width]
            if perm is None:
                perm = permutation(len(values), options.shuffle_seed, sample_id, domain)
                grid = make_grid(len(values), options.chunk_points, options.shard_points)
                entry["domains"][domain] = grid
            elif len(values) != len(perm):
                raise ValueError(
                    f"{sample_id}/{field.file} has {len(values)} rows, not {len(perm)}"
                )
            group.create_array(
                field.name,
                data=values[perm].astype(options.dtype_of(field)),
                chunks=(grid["chunk_points"], field.width),
                shards=ShardsConfigParam(
                    shape=(grid["shard_points"], field.width),
                    index_location=ShardingCodecIndexLocation.start,
                ),
                compressors=BloscCodec(cname="zstd", clevel=options.clevel),
            )
    zarr.consolidate_metadata(root.store)
    return entry


def make_grid(n_points: int, chunk_points: int, shard_points: int | None) -> dict[str, int]:
    """Return how a domain's points are cut, as the manifest says it."""
    chunk = min(chunk_points, n_points)
    n_chunks = -(-n_points // chunk)
    in_shard = n_chunks
    if shard_points is not None:
        in_shard = max(1, min(n_chunks, shard_points // chunk))
    return {
        "n_points": n_points,
        "chunk_points": chunk,
        "shard_points": in_shard * chunk,
        "n_chunks": n_chunks,
    }


def make_manifest(name: str, options: Options, samples: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest of the converted samples."""
    return {
        "dataset_name": name,
        "format_version": 1,
        "shuffle_seed": options.shuffle_seed,
        "coords_dtype": options.coords_dtype,
        "values_dtype": options.values_dtype,
        "compressor": f"blosc-zstd-{options.clevel}",
        "domains": {
            domain: {
                "position": f"{domain}_position",
                "arrays": {
                    f"{domain}_{field.name}": {
                        "array_name": f"{domain}/{field.name}",
                        "field": f"{domain}_{field.name}",
                        "dtype": options.dtype_of(field),
                        "dim": field.width,
                    }
                    for field in fields
                },
            }
            for domain, fields in options.domains.items()
        },
        "samples": samples,
    }


def start_worker() -> None:
    """Keep each worker to one core, and quiet."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="folder with the samples")
    parser.add_argument("--store", type=Path, required=True, help="folder to write")
    parser.add_argument("--dataset", choices=FILE_MAPS, default="shapenet_car", help="file map")
    parser.add_argument("--dataset-name", help="name in the manifest; default: the file map's")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    # With fork, torch and zarr are imported once; with spawn, once in every worker.
    methods = multiprocessing.get_all_start_methods()
    start = "fork" if "fork" in methods else "spawn"
    parser.add_argument("--start-method", choices=methods, default=start)
    # As a script does that converts what a torch Dataset returns for a sample.
    parser.add_argument("--whole-sample", action="store_true", help="load all fields first")
    parser.add_argument("--chunk-points", type=int, default=4096)
    parser.add_argument("--shard-points", type=int, help="default: one shard an array")
    parser.add_argument("--shuffle-seed", type=int, default=0)
    parser.add_argument("--coords-dtype", default="float32")
    parser.add_argument("--values-dtype", default="float16")
    parser.add_argument("--clevel", type=int, default=5, help="level of Blosc zstd")
    return parser.parse_args()


def main() -> None:
    """Convert every sample of the source, then write the manifest."""
    arguments = parse_arguments()
    options = Options(
        domains=FILE_MAPS[arguments.dataset],
        chunk_points=arguments.chunk_points,
        shard_points=arguments.shard_points,
        shuffle_seed=arguments.shuffle_seed,
        coords_dtype=arguments.coords_dtype,
        values_dtype=arguments.values_dtype,
        clevel=arguments.clevel,
        whole_sample=arguments.whole_sample,
    )
    samples = find_samples(arguments.source, options.domains)
    if not samples:
        sys.exit(f"no sample of {arguments.dataset} below {arguments.source}")
    convert = partial(convert_sample, arguments.source, arguments.store, options)
    with ProcessPoolExecutor(
        arguments.workers,
        mp_context=multiprocessing.get_context(arguments.start_method),
        initializer=start_worker,
    ) as pool:
        entries = dict(zip(samples, pool.map(convert, samples), strict=True))
    name = arguments.dataset_name or arguments.dataset
    manifest = make_manifest(name, options, entries)
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    (arguments.store / "manifest.json").write_text(text, encoding="utf-8")
    print(f"{len(samples)} samples in {arguments.store}")


if __name__ == "__main__":
    main()
