"""Specification of the lock of a work folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from aerozarr.errors import StoreError
from aerozarr.filesystems.files import lock

REPOSITORY = Path(__file__).parents[3]

HOLDER = """
    import sys, time
    from pathlib import Path
    from aerozarr.filesystems.files import lock
    held = lock(Path(sys.argv[1]))
    print("held", flush=True)
    time.sleep(120)  # the test ends it long before
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(tmp_path / ".lock")],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(REPOSITORY / "scripts")},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_holder_of_a_lock_is_refused_with_the_process_of_the_first(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    for _ in range(2):  # being refused does not take the name of the first away
        with pytest.raises(StoreError) as caught:
            lock(tmp_path / ".lock")
        assert re.search(rf"\bprocess {holder.pid}\b", str(caught.value))
        assert str(tmp_path) in str(caught.value)
        assert "workdir" in str(caught.value)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_lock_is_free_again_when_its_holder_is_ended_by(
    number: signal.Signals, holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    holder.send_signal(number)
    holder.wait(timeout=30)
    with lock(tmp_path / ".lock"):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
        with pytest.raises(StoreError, match=rf"\bprocess {os.getpid()}\b"):
            lock(tmp_path / ".lock")


def test_a_lock_is_free_again_when_it_is_closed(tmp_path: Path) -> None:
    lock(tmp_path / ".lock").close()
    lock(tmp_path / ".lock").close()


def test_locks_of_two_work_folders_are_independent(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    lock(other / ".lock").close()
    assert holder.poll() is None


def test_a_lock_does_not_pass_to_the_programs_that_its_holder_starts(tmp_path: Path) -> None:
    held = lock(tmp_path / ".lock")
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        held.close()
        lock(tmp_path / ".lock").close()
        child.kill()
