"""Makes docs/picture.png from the converted example; needs matplotlib, which nothing else does.

make demo && .venv/bin/pip install matplotlib && .venv/bin/python docs/make_picture.py
"""

from pathlib import Path

import matplotlib.pyplot as plt
import zarr

REPOSITORY = Path(__file__).resolve().parents[1]
CAR = "param1/car_04"
RUN = 512


def main() -> None:
    """Draw all surface points of one body beside one run of its stored points."""
    store = REPOSITORY / "results" / "store"
    group = zarr.open_consolidated(store / f"{CAR}.zarr", mode="r")["surface"]
    position, pressure = group["position"][:], group["pressure"][:, 0].astype("float32")
    figure = plt.figure(figsize=(10, 2.8), layout="constrained")
    bounds = {"vmin": pressure.min(), "vmax": pressure.max()}
    for place, count in enumerate((len(position), RUN), start=1):
        axes = figure.add_subplot(1, 2, place, projection="3d")
        points = axes.scatter(*position[:count].T, c=pressure[:count], s=4, cmap="turbo", **bounds)
        axes.set_box_aspect(position.max(axis=0) - position.min(axis=0), zoom=1.25)
        axes.view_init(elev=22, azim=-60)
        axes.set_axis_off()
        axes.set_title(f"surface/position[:{count}]", family="monospace", fontsize=10)
    figure.colorbar(points, ax=figure.axes, label="pressure (Pa)", shrink=0.75)
    figure.savefig(REPOSITORY / "docs" / "picture.png", dpi=110)


if __name__ == "__main__":
    main()
