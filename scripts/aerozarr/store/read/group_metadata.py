"""The metadata of a group as it is read, and errors that say where in it something is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from aerozarr.errors import StoreError
from aerozarr.store.format.layout import ROOT_METADATA
from aerozarr.store.format.scalars import MalformedScalarsError, ScalarValue, parse_scalars
from aerozarr.store.read.subsample import Subsample


class UnreadableGroup(StoreError):
    """Something of a group is missing or damaged.

    Parameters
    ----------
    message
        For a person who reads the store.
    why
        What is wrong, and nothing else; empty where the error comes from another process.
    """

    # A DataLoader makes an error of its worker's again, from the message alone.
    def __init__(self, message: str, *, why: str = "") -> None:
        super().__init__(message)
        self.why = why


def fail(draw: Subsample, what: str, why: str, shard: int | None = None) -> NoReturn:
    """Raise an error for something stored that is missing or damaged.

    Parameters
    ----------
    draw
        What was to be read.
    what, shard
        An array or a file of the sample's group, and the shard.
    why
        What is wrong with it.

    Raises
    ------
    UnreadableGroup
        In any case.
    """
    of_shard = "" if shard is None else f", shard {shard}"
    where = f"{draw.sample}, {what}{of_shard}"
    # No advice to remove anything: it may be sound, and only be read badly here.
    raise UnreadableGroup(
        f"{where}: {why}, also when it is read again. If the store is a copy, copy {draw.group} "
        "again. If you converted it, run `snakemake verify`, which tells what is wrong with it "
        "and how to have it mended.",
        why=f"{of_shard.removeprefix(', ')}: {why}".removeprefix(": "),
    )


def members_of(root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metadata of a group's members, where it is consolidated in the group's own."""
    consolidated = root.get("consolidated_metadata")
    members = consolidated.get("metadata") if isinstance(consolidated, dict) else None
    return members if isinstance(members, dict) else {}


def parse_metadata(draw: Subsample, path: str, content: bytes | None) -> dict[str, Any]:
    """Return the metadata that a file of a group holds; an error when it holds none."""
    if content is None:
        fail(draw, path, "it is not there")
    try:
        metadata = json.loads(content)
    except (ValueError, RecursionError) as error:
        fail(draw, path, f"it is no JSON: {error}")
    if not isinstance(metadata, dict):
        fail(draw, path, "it is no JSON object")
    return metadata


def scalars_in(draw: Subsample, root: Mapping[str, Any]) -> dict[str, ScalarValue]:
    """Return the scalars in the metadata of a sample's group; none where it has none.

    Raises
    ------
    StoreError
        When its attributes are malformed.
    """
    try:
        return parse_scalars(root.get("attributes"))
    except MalformedScalarsError as error:
        fail(draw, ROOT_METADATA, str(error))
