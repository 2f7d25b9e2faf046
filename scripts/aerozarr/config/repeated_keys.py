"""Keys that a file of settings names twice, of which YAML takes the last, and says nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from aerozarr.errors import SettingsError

# The one in C, where PyYAML was built with it, takes a tenth of the time.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_no_key_twice(files: Iterable[Path]) -> None:
    """Refuse files of settings in which a mapping has a key twice.

    Parameters
    ----------
    files
        YAML or JSON. One that is not there, or cannot be read, is left to who reads its values.

    Raises
    ------
    SettingsError
        With the key, and the lines on which it stands.
    """
    for path in files:
        try:
            with path.open(encoding="utf-8") as file:
                node = yaml.compose(file, Loader=_Loader)
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            continue
        for name, first, again in _repeated(node, (), set()):
            raise SettingsError(
                f"{path}: {name} stands there twice, on lines {first} and {again}, and the last "
                "alone would hold. Write one, with what both say."
            )


def _repeated(
    node: yaml.Node | None, above: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[str, int, int]]:
    """Yield each key that its mapping has already, with those above it, and both lines.

    `seen` are the nodes that were looked at: an alias may name one that it is in.
    """
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated(item, above, seen)
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[tuple[str, str], int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue  # which no setting has
        name = (*above, key.value)
        line = key.start_mark.line + 1
        # `1` and `'1'` are two keys, and so they have different tags.
        same = key.tag, key.value
        if same in lines:
            yield ".".join(name), lines[same], line
        lines[same] = line
        yield from _repeated(value, name, seen)
