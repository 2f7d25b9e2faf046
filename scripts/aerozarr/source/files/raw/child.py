"""A process that reads a file for another one, which outlives its crash.

A C++ library that is given a damaged file may end its process. So the library works in a fork of
the job's process: that is then a broken sample, and not a failed job.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import math
import mmap
import os
import resource
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from aerozarr.processes import die_with_parent
from aerozarr.source.files.raw.choose import Unreadable

Answer = tuple[dict[str, Any], npt.NDArray[Any] | None]
"""What JSON can say of an answer, and the array that goes with it."""

# What says nothing of the file: somebody, or the system for want of memory, ended the process.
_KILLED = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LENGTH = 8


# To the children that this process has.
_lines: set[socket.socket] = set()


class _Reply(NamedTuple):
    said: dict[str, Any]
    array: npt.NDArray[Any] | None


class Child:
    """A forked process that answers questions until it is closed.

    Parameters
    ----------
    begin
        Called in the child: returns what answers. A question is a list of what JSON can say.
    what
        What it reads, for messages.
    """

    def __init__(self, begin: Callable[[], Callable[[Sequence[Any]], Answer]], what: str) -> None:
        self._what = what
        self._line, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        self._process = os.fork()
        if self._process == 0:
            # Those to other children too: a child ends when no process holds its line any more.
            for line in (self._line, *_lines):
                line.close()
            _be_child(theirs, begin)
        theirs.close()
        _lines.add(self._line)

    def ask(self, *question: Any) -> Answer:
        """Return the answer to a question.

        Raises
        ------
        Unreadable
            As the child raised it; and when it crashed.
        MemoryError
            When the child was killed, most likely because memory ran out.
        RuntimeError
            When the child raised anything else.
        """
        try:
            _send(self._line, {"question": question})
            reply = _receive(self._line)
        except (OSError, EOFError):
            raise self._why_ended() from None
        if "unreadable" in reply.said:
            cause, remedy = reply.said["unreadable"]
            raise Unreadable(cause, remedy)
        if "out_of_memory" in reply.said:
            raise MemoryError(f"{self._what}: memory ran out while it was read")
        if "failed" in reply.said:
            raise RuntimeError(f"{self._what} could not be read:\n{reply.said['failed']}")
        return reply

    def _why_ended(self) -> Exception:
        code = self.close()
        if code in {-number for number in _KILLED}:
            return MemoryError(
                f"{self._what}: the process that read it was killed, most likely because memory "
                "ran out. Run fewer jobs at the same time: with fewer --cores, or with "
                "--resources mem_mb=N"
            )
        ended = f"signal {-code}" if code < 0 else f"exit code {code}"
        return Unreadable(
            f"the vtk library crashed on it ({ended})",
            "it is most likely damaged: get the file again, or exclude the sample",
            is_certain=False,
        )

    def close(self) -> int:
        """End the child; return its exit code, minus the number of the signal that ended it."""
        _lines.discard(self._line)
        self._line.close()
        if not self._process:
            return 0
        process, self._process = self._process, 0
        with contextlib.suppress(ChildProcessError):
            return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        return 0


def _be_child(
    line: socket.socket, begin: Callable[[], Callable[[Sequence[Any]], Answer]]
) -> NoReturn:
    try:
        die_with_parent()
        faulthandler.disable()
        # A crash is no news here, and a core would be as large as the file.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        answer = None
        while True:
            question = _receive(line).said["question"]
            try:
                answer = answer or begin()
                _send(line, *answer(question))
            except Unreadable as error:
                _send(line, {"unreadable": [error.cause, error.remedy]})
            except MemoryError:
                _send(line, {"out_of_memory": True})
            except Exception:  # noqa: BLE001 - raised where it was asked
                _send(line, {"failed": traceback.format_exc()})
    except BaseException:  # noqa: BLE001 - the parent has closed the line, or is gone
        pass
    finally:
        os._exit(0)


def _send(line: socket.socket, said: dict[str, Any], array: npt.NDArray[Any] | None = None) -> None:
    descriptors = []
    if array is not None:
        # Before the copy is made: it may be as large as all that there is.
        said = {**said, "dtype": array.dtype.str, "shape": array.shape}
        descriptors.append(_shared(array))
    content = json.dumps(said).encode()
    message = len(content).to_bytes(_LENGTH, "big") + content
    sent = socket.send_fds(line, [message], descriptors)
    line.sendall(message[sent:])
    for descriptor in descriptors:
        os.close(descriptor)


def _shared(array: npt.NDArray[Any]) -> int:
    """Return a file without a name that holds an array: in memory where the system has such."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("aerozarr")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    if array.nbytes:
        os.ftruncate(descriptor, array.nbytes)
        with mmap.mmap(descriptor, array.nbytes) as mapped:
            copy = np.frombuffer(mapped, array.dtype).reshape(array.shape)
            copy[...] = array
            del copy
    return descriptor


def _receive(line: socket.socket) -> _Reply:
    content, descriptors, _, _ = socket.recv_fds(line, 65536, 1)
    while len(content) < _LENGTH or len(content) < _LENGTH + int.from_bytes(content[:_LENGTH]):
        more = line.recv(65536)
        if not more:
            raise EOFError
        content += more
    said = json.loads(content[_LENGTH:])
    array = None
    for descriptor in descriptors:
        dtype, shape = np.dtype(said["dtype"]), said["shape"]
        nbytes = math.prod(shape) * dtype.itemsize
        # Private, because torch has no tensors that cannot be written to; nobody writes.
        buffer = mmap.mmap(descriptor, nbytes, mmap.MAP_PRIVATE) if nbytes else bytearray()
        array = np.frombuffer(buffer, dtype).reshape(shape)
        os.close(descriptor)
    return _Reply(said, array)
