"""Each message that the code has for people is in the page on troubleshooting, and the other way.

A message is a text given to an error, with `…` for what a run puts into it; where the text is in a
variable, what the function assigns to that. An entry of the page names a part of it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

from documents.pages import REPOSITORY

PAGE = "docs/troubleshooting.md"
ERRORS = {"SettingsError", "StoreError", "RemoteError", "SourceChangedError"}
# What makes a BrokenSample of a field or scalar, a cause, and a remedy.
BROKEN = {"broken", "_broken", "_without"}
# Where arguments of Python's own kinds of error are a user's.
PYTHON_ERRORS = {"TypeError", "ValueError", "RuntimeError", "IndexError"}
FOR_USERS_OF_PYTHON = ("training/", "store/read/store.py", "store/read/contents.py", "splits")
# Entries about messages of other programs, or that functions outside of this test put together.
ELSEWHERE = {
    "its log … says nothing: it was killed, or the log not written (disk full?)",
    "PermissionError",
    "OSError",
    "No module named 'aerozarr'",
    "snakemake: command not found",
}


def text_of(node: ast.AST) -> str:
    """Return a text of the source with … for what is not known there."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    return "…"


def texts_given(call: ast.Call, path: str) -> list[ast.expr]:
    """Return what a call gives an error to say; nothing where it makes none."""
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    if name in ERRORS or (name in PYTHON_ERRORS and path.startswith(FOR_USERS_OF_PYTHON)):
        return call.args[:1]
    if name in BROKEN:
        return call.args[1:2]
    if name == "BrokenSample":
        return [keyword.value for keyword in call.keywords if keyword.arg == "cause"]
    return []


def texts_in(function: ast.AST, path: str) -> Iterator[str]:
    assigned: dict[str, list[str]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            assigned.setdefault(node.targets[0].id, []).append(text_of(node.value))
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            for given in texts_given(node, path):
                is_known = isinstance(given, ast.Name) and given.id in assigned
                yield from assigned[given.id] if is_known else [text_of(given)]


@cache
def messages() -> dict[str, str]:
    """Return each message that has words of its own, and the module that it is in."""
    found = {}
    library = REPOSITORY / "scripts/aerozarr"
    for path in sorted(library.rglob("*.py")):
        name = str(path.relative_to(library))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                found |= dict.fromkeys(texts_in(node, name), name)
    return {text: name for text, name in found.items() if len(re.findall(r"[a-z]{2,}", text)) > 2}


@cache
def entries() -> list[str]:
    """Return the parts of messages that the page names in the first column of its tables."""
    text = (REPOSITORY / PAGE).read_text(encoding="utf-8")
    cells = re.findall(r"^\| (.*?) \|", text, re.MULTILINE)
    return [entry for cell in cells for entry in re.findall(r"`([^`]+)`", cell)]


def is_part(entry: str, message: str) -> bool:
    """Return whether an entry is a part of a message."""
    start = 0
    for piece in entry.split("…"):
        place = message.find(piece, start)
        if place < 0:
            return False
        start = place + len(piece)
    return True


def test_each_message_has_an_entry() -> None:
    assert len(messages()) > 150
    missing = [
        f"{name}: {message}"
        for message, name in messages().items()
        if not any(is_part(entry, message) for entry in entries())
    ]
    assert not missing, f"say in {PAGE} what these mean:\n" + "\n".join(missing)


def test_each_entry_is_of_a_message_that_there_is() -> None:
    texts = [
        text_of(node)
        for path in (REPOSITORY / "scripts/aerozarr").rglob("*.py")
        for node in strings_of(ast.parse(path.read_text(encoding="utf-8")))
    ]
    stale = {*entries()} - ELSEWHERE
    stale -= {entry for entry in stale if any(is_part(entry, text) for text in texts)}
    assert not stale, f"no message has these words of {PAGE}"


def strings_of(tree: ast.AST) -> list[ast.AST]:
    """Return the texts of a module, longer ones whole."""
    whole = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    parts = {id(part) for node in whole for part in node.values}
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in parts
    ]
