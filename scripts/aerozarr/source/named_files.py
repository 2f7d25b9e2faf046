"""Files that a setting names: a name below the dataset's root, a path, or a URL."""

from __future__ import annotations

from aerozarr.errors import SettingsError
from aerozarr.filesystems.location import Location, StorageOptions, read_text
from aerozarr.messages import redacted


def read_named(key: str, file: str, root: Location, options: StorageOptions, holds: str) -> str:
    """Return the text of a file that a setting names; one below the root comes first.

    Parameters
    ----------
    key, file
        The setting, and its value.
    root
        The dataset's root.
    options
        The setting `storage_options`.
    holds
        What the file should hold, for the error message: `one sample id a line`.

    Raises
    ------
    SettingsError
        When it is not there, or is no UTF-8 text.
    """
    text = None
    try:
        if "://" not in file:
            text = root.read_text(file)
        if text is None:
            text = read_text(file, options, key=key)
    except UnicodeDecodeError:
        raise SettingsError(
            f"{key}: {redacted(file)!r} is no UTF-8 text. Save it as UTF-8."
        ) from None
    if text is None:
        raise SettingsError(
            f"{key}: {redacted(file)!r} is neither below {redacted(root.url)} nor a file of its "
            f"own. Give a file with {holds}."
        )
    return text


def normal_id(text: str) -> str:
    """Return an id without `./` at its beginning and slashes at its end."""
    while text.startswith("./"):
        text = text[2:].lstrip("/")
    return text.rstrip("/") or text
