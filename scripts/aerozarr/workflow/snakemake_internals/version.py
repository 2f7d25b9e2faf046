"""Which Snakemake these uses were tried with."""

from __future__ import annotations

TESTED = (9, 27)


def version_warnings(version: str) -> list[str]:
    """Return a warning when a version of Snakemake, such as `9.27.1`, is newer than those tried."""
    parts = version.split(".")[:2]
    if not all(part.isdigit() for part in parts) or tuple(map(int, parts)) <= TESTED:
        return []
    tested = ".".join(map(str, TESTED))
    return [
        (
            f"warning: Snakemake {version} is newer than {tested}, with which this aerozarr was "
            f"tried. If something fails, install that: pip install 'snakemake=={tested}.*'"
        )
    ]
