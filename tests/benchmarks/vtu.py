"""Measures what reading a large VTU file takes, block by block and with vtk.

Makes its own file: hexahedra on a warped grid, with cell arrays of which some are wanted. Each way
of reading it, and converting it, runs in a process of its own. Prints the machine's description and
a Markdown table; the README beside this file says what its columns mean.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

SCRIPTS = Path(__file__).parents[2] / "scripts"
WANTED = ("UMean", "pMean", "vorticityMean", "nutMean")
# Components of the cell arrays; all are float64.
CELL_ARRAYS = {
    "UMean": 3,
    "pMean": 1,
    "vorticityMean": 3,
    "nutMean": 1,
    "UPrime2Mean": 6,
    "gradPMean": 3,
    "gradNutMean": 3,
}
# Bytes of a cell: eight corners, an offset, a type, a point, and the arrays.
A_CELL = 8 * 8 + 8 + 1 + 12 + 8 * sum(CELL_ARRAYS.values())
# What vtk writes unless it is told otherwise.
BLOCK = 2**15

Values = npt.NDArray[Any]
Layers = Iterator[Values]


def make_vtu(path: Path, size: float, *, compressed: bool) -> None:
    """Write a VTU file of about a size in bytes before compression, a layer of cells at a time."""
    n = max(2, round((size / A_CELL) ** (1 / 3)))
    arrays: list[tuple[str, str, str, int, Layers]] = [
        ("CellData", name, "Float64", components, values_of_cells(n, components))
        for name, components in CELL_ARRAYS.items()
    ]
    arrays.append(("Points", "Points", "Float32", 3, points(n)))
    arrays.append(("Cells", "connectivity", "Int64", 1, corners(n)))
    arrays.append(("Cells", "offsets", "Int64", 1, offsets(n)))
    arrays.append(("Cells", "types", "UInt8", 1, types(n)))
    compressor = ' compressor="vtkZLibDataCompressor"' if compressed else ""
    with path.open("w+b") as file:
        line(
            file,
            '<VTKFile type="UnstructuredGrid" version="1.0" byte_order="LittleEndian" '
            f'header_type="UInt64"{compressor}>\n<UnstructuredGrid>\n'
            f'<Piece NumberOfPoints="{(n + 1) ** 3}" NumberOfCells="{n**3}">',
        )
        places = []
        section = ""
        for here, name, kind, components, _ in arrays:
            if here != section:
                line(file, f"</{section}>\n<{here}>" if section else f"<{here}>")
                section = here
            line(
                file,
                f'<DataArray type="{kind}" Name="{name}" NumberOfComponents="{components}" '
                'format="appended" offset="',
            )
            places.append(file.tell() - 1)
            line(file, f'{"":20}"/>')
        line(file, f"</{section}>\n</Piece>\n</UnstructuredGrid>\n<AppendedData encoding='raw'>")
        file.write(b"_")
        start = file.tell()
        write = write_blocks if compressed else write_plain
        for place, (*_, layers) in zip(places, arrays, strict=True):
            offset = file.tell() - start
            file.seek(place)
            file.write(b"%-20d" % offset)
            file.seek(0, 2)
            write(file, layers)
        line(file, "\n</AppendedData>\n</VTKFile>")


def line(file: BinaryIO, text: str) -> None:
    """Write a line of XML."""
    file.write(f"{text}\n".encode())


def write_plain(file: BinaryIO, layers: Layers) -> None:
    """Write an array after its size."""
    start = file.tell()
    file.write(bytes(8))
    for layer in layers:
        file.write(layer.data)
    size = file.tell() - start - 8
    file.seek(start)
    file.write(size.to_bytes(8, "little"))
    file.seek(0, 2)


def write_blocks(file: BinaryIO, layers: Layers) -> None:
    """Write an array in compressed blocks, which are kept until their sizes are written."""
    rest, sizes, packed = b"", [], []
    for layer in layers:
        rest += layer.tobytes()
        whole = len(rest) - len(rest) % BLOCK
        packed += [zlib.compress(rest[i : i + BLOCK], 1) for i in range(0, whole, BLOCK)]
        rest = rest[whole:]
    blocks = len(packed) + bool(rest)
    packed += [zlib.compress(rest, 1)] * bool(rest)
    sizes = [len(block) for block in packed]
    file.write(np.array([blocks, BLOCK, len(rest), *sizes], "<u8").data)
    file.writelines(packed)


def values_of_cells(n: int, components: int) -> Layers:
    """Yield smooth values with the noise that a solver's have."""
    rng = np.random.default_rng(components)
    for layer in range(n):
        smooth = np.sin(np.arange(n * n * components) * 1e-4 + layer)
        values = smooth + 1e-3 * rng.standard_normal(smooth.shape, np.float32)
        # Twenty bits of each value, so that they compress as those of a solver do.
        yield (values * 2**20).round() / 2**20


def points(n: int) -> Layers:
    """Yield the points of a warped grid."""
    y, x = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 1, n + 1), indexing="ij")
    for z in np.linspace(0, 1, n + 1):
        warp = 0.3 / n * np.sin(20 * (x + 2 * y + 3 * z))
        yield np.stack((x + warp, y - warp, z + warp), axis=-1).astype(np.float32)


def corners(n: int) -> Layers:
    """Yield the corners of hexahedra."""
    row, column = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    first = (row * (n + 1) + column).reshape(-1, 1)
    face = np.array([0, 1, n + 2, n + 1])
    above = (n + 1) ** 2
    for layer in range(n):
        yield first + layer * above + np.concatenate((face, face + above))


def offsets(n: int) -> Layers:
    """Yield where each cell's corners end."""
    for layer in range(n):
        yield 8 * np.arange(layer * n * n + 1, (layer + 1) * n * n + 1)


def types(n: int) -> Layers:
    """Yield the type of a hexahedron."""
    for _ in range(n):
        yield np.full(n * n, 12, np.uint8)


def read_blocks(path: Path) -> int:
    """Read the wanted arrays and the cell centres a block at a time."""
    sys.path.insert(0, str(SCRIPTS))
    from aerozarr.source.files.vtk.xml import open_xml

    rows = 0
    with open_xml([path]) as file:
        for name in WANTED:
            rows += sum(len(block) for block in file.blocks("cell", name))
        rows += sum(len(block) for block in file.cell_centers())
    return rows


def read_vtk(path: Path, wanted: tuple[str, ...] = tuple(CELL_ARRAYS)) -> int:
    """Read the file with vtk, and nothing else."""
    from vtkmodules.vtkIOXML import vtkXMLUnstructuredGridReader

    reader: Any = vtkXMLUnstructuredGridReader()
    reader.SetFileName(str(path))
    reader.UpdateInformation()
    for name in CELL_ARRAYS:
        reader.SetCellArrayStatus(name, int(name in wanted))
    reader.Update()
    return int(reader.GetOutput().GetNumberOfCells())


def read_vtk_wanted(path: Path) -> int:
    """Read only the wanted arrays with vtk."""
    return read_vtk(path, WANTED)


def read_vtk_centers(path: Path) -> int:
    """Read the file with vtk, and compute the cell centres with it."""
    from vtkmodules.vtkFiltersCore import vtkCellCenters
    from vtkmodules.vtkIOXML import vtkXMLUnstructuredGridReader

    reader: Any = vtkXMLUnstructuredGridReader()
    reader.SetFileName(str(path))
    centers = vtkCellCenters()
    centers.SetInputConnection(reader.GetOutputPort())
    centers.Update()
    return int(centers.GetOutput().GetNumberOfPoints())


def convert(path: Path, clevel: int = 5) -> int:
    """Convert the wanted arrays and the cell centres, as a job of the workflow does."""
    from aerozarr.convert.encode import use_one_thread
    from aerozarr.convert.sample import convert_from_source
    from aerozarr.run_config import RunConfig

    use_one_thread()
    names = ("velocity", "pressure", "vorticity", "nut")
    arrays = zip(names, WANTED, strict=True)
    files = {f"volume_{name}": f"{path.name}::cell:{array}" for name, array in arrays}
    fields = {"volume_nut": files.pop("volume_nut")}
    with tempfile.TemporaryDirectory(dir=path.parent.parent) as out:
        config = RunConfig.from_config(
            {
                "source_url": str(path.parent.parent),
                "filemap": {"volume_position": f"{path.name}::cell_centers", **files},
                "fields": fields,
                "dataset_name": "vtu",
                "store": f"{out}/store",
                "workdir": f"{out}/work",
                "compression": {"cname": "zstd", "clevel": clevel},
            }
        )
        (sample,) = config.source.list().samples
        fragment = convert_from_source(config, sample, config.store)
        assert fragment.status == "converted", fragment.skipped
    return fragment.domains["volume"].n_points


def convert_lightly(path: Path) -> int:
    """Convert with the fastest compression."""
    return convert(path, clevel=1)


READERS: dict[str, Callable[[Path], int]] = {
    "block by block": read_blocks,
    "vtk, all arrays": read_vtk,
    "vtk, wanted arrays": read_vtk_wanted,
    "vtk, all arrays and centres": read_vtk_centers,
    "converted, zstd 5": convert,
    "converted, zstd 1": convert_lightly,
}


def memory(key: str) -> int:
    """Return what the system says of this process's memory, in bytes."""
    for entry in Path("/proc/self/status").read_text().splitlines():
        if entry.startswith(key):
            return int(entry.split()[1]) * 1024
    raise KeyError(key)


def measure_here(name: str, path: Path) -> dict[str, float]:
    """Read in this process, which did nothing before; return seconds and bytes above its own."""
    if "converted" in name:  # a job begins with all of it imported
        sys.path.insert(0, str(SCRIPTS))
        importlib.import_module("aerozarr.convert.sample")
        importlib.import_module("aerozarr.source.by_class")
    before = memory("VmRSS")
    start, used = time.perf_counter(), time.process_time()
    READERS[name](path)
    return {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - used,
        "peak": memory("VmHWM") - before,
    }


def measure(name: str, path: Path) -> dict[str, float]:
    """Read in a process of its own."""
    command = [sys.executable, __file__, "--read", name, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def median(runs: list[dict[str, float]], key: str) -> float:
    """Return the median of what was measured."""
    return statistics.median(run[key] for run in runs)


def main() -> None:
    """Make a file, and read it in every way in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=float, default=2.0, help="GB of the file; default: 2")
    parser.add_argument("--compressed", action="store_true", help="with zlib, as vtk does")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--scratch", type=Path, help="folder for the file; default: temporary")
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        print(json.dumps(measure_here(options.read[0], Path(options.read[1]))))
        return
    from compare import describe_machine  # it imports more than a measured process may

    with tempfile.TemporaryDirectory(dir=options.scratch, prefix="aerozarr-benchmark-") as scratch:
        path = Path(scratch) / "run_1" / "volume.vtu"
        path.parent.mkdir()
        start = time.perf_counter()
        make_vtu(path, options.size * 1e9, compressed=options.compressed)
        size = path.stat().st_size
        print(f"made {size / 1e9:.2f} GB in {time.perf_counter() - start:.0f} s", file=sys.stderr)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in READERS}
        for _ in range(options.repeat):
            for name, runs in found.items():
                runs.append(measure(name, path))
    print(describe_machine())
    print("| read | median s | single runs | CPU s | of vtk's time, CPU s | peak MiB |")
    print("|---|---:|---|---:|---:|---:|")
    whole = {key: median(found["vtk, all arrays"], key) for key in ("seconds", "cpu")}
    for name, runs in found.items():
        seconds, cpu = median(runs, "seconds"), median(runs, "cpu")
        peak = max(run["peak"] for run in runs) / 2**20
        single = ", ".join(f"{run['seconds']:.2f}" for run in runs)
        print(
            f"| {name} | {seconds:.2f} | {single} | {cpu:.2f} | {seconds / whole['seconds']:.2f}, "
            f"{cpu / whole['cpu']:.2f} | {peak:.0f} |"
        )


if __name__ == "__main__":
    main()
