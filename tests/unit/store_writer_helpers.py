"""What the tests of `StoreWriter` give one."""

from __future__ import annotations

import torch

from workflow.harness import FILEMAP, tensors

SETTINGS = {"chunk_points": 16, "shard_points": 32}
NAMES = {file: attribute for attribute, file in FILEMAP.items()}


def arrays_of(seed: int) -> dict[str, torch.Tensor]:
    """Return the arrays of a sample, by field."""
    return {NAMES[file]: tensor for file, tensor in tensors(seed).items()}
