"""Jobs that Snakemake's own process gives to the fork server.

The command of a sample's rule starts a shell and a Python that do no more than ask the fork server:
half of what a small sample costs. Where nothing else is asked of Snakemake (no conda environment,
no container), it asks the server itself, in the thread in which it would wait for the command. What
the rule says stays what is done, and stays what runs where there is no server.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from aerozarr.workflow import forkserver_client
from aerozarr.workflow.entry_point import why_killed

# What a client ends with when it is interrupted.
_INTERRUPTED = 130


class Request(NamedTuple):
    """What the command of a rule asks the fork server for, before the values of a job are put in.

    Attributes
    ----------
    texts
        For `forkserver_client.ask`.
    log
        Where the job's standard error goes.
    """

    texts: list[str]
    log: str

    def of(self, values: Mapping[str, Any]) -> Request:
        """Return what a job asks for, given the values that its command names."""
        # Not in a shell, so nothing is quoted.
        return Request(
            [text.format_map(values) for text in self.texts], self.log.format_map(values)
        )


def request_of(command: str, job: str) -> Request | None:
    """Return what a command asks for, None when it is not that of a client.

    Parameters
    ----------
    command
        As a rule has it: `exec {params.python:q} -S -E {params.script:q} --key={wildcards.key:q}
        2> {log:q}`.
    job
        The name of the rule's job, and of its script.
    """
    words = command.replace(":q}", "}").split(" ")
    is_client = words[:1] == ["exec"] and words[2:4] == ["-S", "-E"] and words[-2] == "2>"
    return Request([job, *words[5:-2]], words[-1]) if is_client else None


class DirectJobs:
    """The jobs that this process has asked the fork server for, and waits for in its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[socket.socket] = set()
        self._is_interrupted = False

    def do(self, command: Request, values: Mapping[str, Any]) -> int | None:
        """Do what a rule's command would with the values of a job, and return its exit code.

        None when the command has to be run after all: the fork server is not there, or has ended.
        """
        request = command.of(values)
        connection = forkserver_client.connect()
        if connection is None:
            return None
        # The socket module's own kind, to be shut down by another thread.
        with socket.socket(fileno=connection.detach()) as line, open(request.log, "wb") as log:
            with self._lock:
                if self._is_interrupted:  # before it was among those that are ended
                    return _INTERRUPTED
                self._waiting.add(line)
            code = forkserver_client.ask(line, request.texts, stderr=log.fileno())
            with self._lock:
                self._waiting.remove(line)
            if self._is_interrupted:
                return _INTERRUPTED
            if code is not None and code > 128:
                log.write(f"aerozarr: {why_killed(code - 128)}\n".encode())
        return code

    def interrupt(self) -> None:
        """End all jobs: a server kills the worker of a client that is gone."""
        with self._lock:
            self._is_interrupted = True
            for line in self._waiting:
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)

    def end_when_interrupted(self, note: Callable[[], object]) -> None:
        """End all jobs at Ctrl-C, as the terminal does with commands; call it in the main thread.

        Snakemake waits for them before it ends. `note` is called first.
        """
        before = signal.getsignal(signal.SIGINT)

        def interrupt(number: int, frame: object) -> None:
            note()
            # Not here: the lock may be held by this very thread.
            threading.Thread(target=self.interrupt, daemon=True).start()
            if callable(before):
                before(number, frame)  # type: ignore[arg-type] # what the system handed over

        if threading.current_thread() is threading.main_thread() and callable(before):
            signal.signal(signal.SIGINT, interrupt)
