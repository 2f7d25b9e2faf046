"""Aerozarr: simulation datasets of per-field `.pt` files as one point-shuffled Zarr store."""

__version__ = "0.1.0"
