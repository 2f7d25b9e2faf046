"""Processes that read files for another one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[5] / "scripts"

# The first of two is closed first, while the second lives.
CODE = """
from aerozarr.source.files.raw.child import Child

def begin():
    return lambda question: ({"sum": sum(question)}, None)

first, second = Child(begin, "a"), Child(begin, "b")
assert first.ask(1, 2)[0] == {"sum": 3}
assert first.close() == 0
assert second.ask(3, 4)[0] == {"sum": 7}
assert second.close() == 0
"""


def test_one_of_several_is_closed_while_the_others_go_on() -> None:
    # In a process of its own: it waited for ever where one child held another's line.
    subprocess.run([sys.executable, "-c", CODE], cwd=SCRIPTS, check=True, timeout=60)
