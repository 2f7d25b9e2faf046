"""What Snakemake writes to the terminal, and by which handler."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from aerozarr.workflow.snakemake_internals.attributes import Workflow


def quietness(workflow: Workflow) -> frozenset[str]:
    """Return what `--quiet` names, in small letters: `all`, `host`, `progress`, `reason`, `rules`.

    `output_settings.quiet` is public for logger plugins (since 9.0).
    """
    return frozenset(one.name.lower() for one in workflow.output_settings.quiet or ())


def tells_everything(workflow: Workflow) -> bool:
    """Whether `--verbose` or `--debug-dag` is given (`output_settings`, as above)."""
    settings = workflow.output_settings
    return bool(settings.verbose or settings.debug_dag)


def wrap_stream_handler(
    wrap: Callable[[logging.StreamHandler[Any]], logging.Handler],
) -> logging.Handler | None:
    """Put another handler in the place of the one with which Snakemake writes to the terminal.

    It is the handler `DefaultStreamHandler` of the logger `snakemake.logging` (since 9.0). Nothing
    is done, and None returned, where there is none, because a logger plugin writes to the terminal.
    """
    logger = logging.getLogger("snakemake.logging")
    for handler in logger.handlers:
        if handler.name == "DefaultStreamHandler" and isinstance(handler, logging.StreamHandler):
            new = wrap(handler)
            logger.removeHandler(handler)
            logger.addHandler(new)
            return new
    return None
