"""Times small samples on a SLURM cluster of this machine's own beside one machine's --cores.

    PYTHONPATH=scripts:tests python tests/benchmarks/on_slurm.py --samples 200 --groups 10 40 100

The cluster has one node for each core, so both have the same to work with. The profile is used as
it is, with its seconds between status checks.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cluster.slurm import Cluster

REPOSITORY = Path(__file__).resolve().parents[2]


def measure(root: Path, options: list[str], environment: dict[str, str]) -> float:
    """Convert from nothing; return the wall time in seconds."""
    for name in ("results", ".snakemake"):
        shutil.rmtree(root / name, ignore_errors=True)
    snakemake = [sys.executable, "-m", "snakemake", "-s", str(REPOSITORY / "Snakefile")]
    config = [
        "--config",
        f"source_root={root}/source",
        "dataset=shapenet_car",
        "splits=[train,test]",
    ]
    start = time.perf_counter()
    done = subprocess.run(
        [*snakemake, *options, *config],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="and nodes")
    parser.add_argument("--groups", type=int, nargs="+", default=[40], help="samples in a group")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Cluster(nodes=options.cores) as cluster:
        root = Path(folder)
        make = [sys.executable, str(REPOSITORY / "tests/benchmarks/make_data.py")]
        subprocess.run(
            [*make, "--kind=shapenet", f"--samples={options.samples}", f"--out={root}/source"],
            check=True,
        )
        seconds = measure(root, [f"--cores={options.cores}"], cluster.environment)
        print(f"--cores {options.cores}: {seconds:.1f} s", flush=True)
        for size in options.groups:
            cluster.wait_until_idle()
            cluster.forget_submissions()
            profile = f"--profile={REPOSITORY}/profiles/slurm"
            group = f"--group-components=convert={size}"
            seconds = measure(root, [profile, group], cluster.environment)
            jobs = len(cluster.submissions())
            print(f"groups of {size}: {seconds:.1f} s, {jobs} SLURM jobs", flush=True)


if __name__ == "__main__":
    main()
