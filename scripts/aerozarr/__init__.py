"""Aerozarr: simulation datasets of per-field `.pt` files as one point-shuffled Zarr store."""

__version__ = "0.1.0"

# Not typing's, whose import takes longer than all else here: a process that is started once a
# sample imports this package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from aerozarr.errors import (
        AerozarrError,
        BrokenSample,
        RemoteError,
        SettingsError,
        SkipSample,
        StoreError,
    )
    from aerozarr.store.read.store import Store
    from aerozarr.store_writer.writer import StoreWriter
    from aerozarr.training.dataset import ChunkDataset
    from aerozarr.training.normalizer import Normalizer
    from aerozarr.training.prefetch import LookAhead

__all__ = [
    "AerozarrError",
    "BrokenSample",
    "ChunkDataset",
    "LookAhead",
    "Normalizer",
    "RemoteError",
    "SettingsError",
    "SkipSample",
    "Store",
    "StoreError",
    "StoreWriter",
]

# Where each public name is; imported when it is first asked for, because the reader needs torch.
_MODULES = {
    "Store": "store.read.store",
    "StoreWriter": "store_writer.writer",
    "ChunkDataset": "training.dataset",
    "LookAhead": "training.prefetch",
    "Normalizer": "training.normalizer",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"aerozarr.{_MODULES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
