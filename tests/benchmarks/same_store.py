"""Says whether two stores hold the same: the manifest's bytes, and every array's decoded values.

A script of its own, so that `compare.py`, whose memory its children's peaks would inherit, stays
small.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zarr


def differences(one: Path, other: Path) -> Iterator[str]:
    """Yield what two stores do not have in common."""
    manifests = [(store / "manifest.json").read_bytes() for store in (one, other)]
    if manifests[0] != manifests[1]:
        yield "manifest.json: other bytes"
        return
    manifest = json.loads(manifests[0])
    arrays = [
        array["array_name"]
        for domain in manifest["domains"].values()
        for array in domain["arrays"].values()
    ]
    for sample in manifest["samples"].values():
        groups = [
            zarr.open_group(store / sample["relpath"], mode="r", use_consolidated=True)
            for store in (one, other)
        ]
        for name in arrays:
            difference = array_difference(*(group[name] for group in groups))
            if difference:
                yield f"{sample['relpath']}/{name}: {difference}"


def array_difference(one: object, other: object) -> str | None:
    """Return in what two arrays differ, or None."""
    if not (isinstance(one, zarr.Array) and isinstance(other, zarr.Array)):
        return "is no array"
    for what in ("shape", "dtype", "chunks", "shards"):
        if getattr(one, what) != getattr(other, what):
            return f"{what} {getattr(one, what)} and {getattr(other, what)}"
    # By their bytes: so a NaN equals itself, and a negative zero is not a positive one.
    if np.asarray(one[:]).tobytes() != np.asarray(other[:]).tobytes():
        return "other values"
    return None


def main() -> None:
    """Compare two stores; end with 1 if they differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", type=Path, nargs=2, metavar="store")
    found = list(differences(*parser.parse_args().stores))
    for difference in found:
        print(difference)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
