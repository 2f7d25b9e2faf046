"""Aerozarr: simulation datasets of per-field `.pt` files as one point-shuffled Zarr store."""

__version__ = "0.1.0"
__all__ = ["ChunkDataset", "LookAhead", "Normalizer", "SkipSample", "Store"]

# Not typing's, whose import takes longer than all else here: a process that is started once a
# sample imports this package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from aerozarr.errors import SkipSample
    from aerozarr.store.read.store import Store
    from aerozarr.training.dataset import ChunkDataset
    from aerozarr.training.normalizer import Normalizer
    from aerozarr.training.prefetch import LookAhead


def __getattr__(name: str) -> object:
    """Import the reader when it is first asked for: it needs torch."""
    if name == "Store":
        from aerozarr.store.read.store import Store

        return Store
    if name == "ChunkDataset":
        from aerozarr.training.dataset import ChunkDataset

        return ChunkDataset
    if name == "LookAhead":
        from aerozarr.training.prefetch import LookAhead

        return LookAhead
    if name == "Normalizer":
        from aerozarr.training.normalizer import Normalizer

        return Normalizer
    if name == "SkipSample":
        from aerozarr.errors import SkipSample

        return SkipSample
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
