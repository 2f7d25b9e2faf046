"""Attributes of Snakemake's objects: only those that are there are set."""

from __future__ import annotations

from typing import Any

Workflow = Any
"""Snakemake's `Workflow`, which is not imported here: it is handed over by the rules."""


def set_existing(holder: Any, name: str, value: object) -> None:
    """Set an attribute that is there; setting one that is not would do nothing, unnoticed."""
    getattr(holder, name)
    setattr(holder, name, value)
