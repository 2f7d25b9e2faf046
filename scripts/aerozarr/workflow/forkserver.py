"""The fork server and its workers; `forkserver_client` describes the protocol."""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from aerozarr.environment import FORKSERVER_FOLDER, FORKSERVER_PARENT
from aerozarr.processes import die_with_parent

Job = Callable[[list[str]], int]
"""Does what a request asks for, and returns an exit code."""

# A worker that holds more memory than it began with, by so much, is not used again: other jobs were
# promised theirs.
KEPT_BYTES = 128 * 2**20

_PARENT_CHECK_SECONDS = 0.5
_REQUEST_SECONDS = 10.0


def serve(load: Callable[[], Job]) -> None:
    """Do jobs until the parent process ends.

    Parameters
    ----------
    load
        Imports what jobs need, and returns what does a job. Clients can connect meanwhile, and wait
        for it. It must not start a thread: workers are forked.
    """
    folder, parent = os.environ[FORKSERVER_FOLDER], int(os.environ[FORKSERVER_PARENT])
    listener = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    # Collections while importing find nothing, and take a fifth of its time.
    gc.disable()
    job = load()
    gc.freeze()  # or a collection in a worker would copy every page
    gc.enable()
    _Server(folder, parent, listener, job).run()


@dataclass
class _Worker:
    """A forked process, the server's end of the line to it, and the client it works for."""

    process: int
    line: socket.socket
    client: socket.socket | None = None


class _Server:
    def __init__(self, folder: str, parent: int, listener: socket.socket, job: Job) -> None:
        self.folder = folder
        self.parent = parent
        self.listener = listener
        self.job = job
        self.workers: dict[int, _Worker] = {}
        self.idle: list[_Worker] = []
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ, self.accept)
        # A worker that ends wakes the selector through this pipe.
        self.wakeup, write_end = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(write_end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        self.selector.register(
            self.wakeup, selectors.EVENT_READ, lambda: os.read(self.wakeup, 4096)
        )
        # So does, on Linux, the parent's end; elsewhere it is looked for from time to time.
        self.parent_seen = -_PARENT_CHECK_SECONDS
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                self.selector.register(
                    os.pidfd_open(parent), selectors.EVENT_READ, self.suspect_parent
                )

    def run(self) -> None:
        while self.parent_is_there():
            for key, _ in self.selector.select(_PARENT_CHECK_SECONDS):
                key.data()
            self.reap()
        for process in self.workers:
            os.kill(process, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def parent_is_there(self) -> bool:
        """Whether the parent was alive not long ago: a look for each job would cost a file each."""
        now = time.monotonic()
        if now - self.parent_seen >= _PARENT_CHECK_SECONDS:
            if not _is_alive(self.parent):
                return False
            self.parent_seen = now
        return True

    def suspect_parent(self) -> None:
        """Look again whether the parent is there."""
        self.parent_seen = -_PARENT_CHECK_SECONDS

    def accept(self) -> None:
        """Give a client's request to a worker."""
        # Before the client is accepted: a new process would keep a copy of its connection. Of those
        # that are idle, the one that worked last: its memory is still in the cache.
        worker = self.idle.pop() if self.idle else self.fork()
        client, _ = self.listener.accept()
        client.settimeout(_REQUEST_SECONDS)  # one that stops halfway must not hold up the others
        try:
            content, stderr = _receive(client)
        except (OSError, ValueError):
            client.close()
            self.idle.append(worker)
            return
        client.settimeout(None)
        worker.client = client
        with contextlib.suppress(OSError):  # it has died, and will be reaped
            _send(worker.line, content, stderr)
        os.close(stderr)
        # A client never sends twice: when it is readable, it is gone.
        self.selector.register(
            client, selectors.EVENT_READ, lambda: self.kill_worker_of(worker, client)
        )

    def kill_worker_of(self, worker: _Worker, client: socket.socket) -> None:
        """End the worker of a client that is gone; it is reaped later."""
        if worker.client is client:  # not when it has answered in the same moment
            os.kill(worker.process, signal.SIGKILL)

    def fork(self) -> _Worker:
        ours, theirs = socket.socketpair()
        process = os.fork()
        if process == 0:
            ours.close()
            self.be_worker(theirs)
        theirs.close()
        worker = self.workers[process] = _Worker(process, ours)
        self.selector.register(ours, selectors.EVENT_READ, lambda: self.receive_answer(worker))
        return worker

    def receive_answer(self, worker: _Worker) -> None:
        """Pass a worker's answer on."""
        try:
            answer = worker.line.recv(2)
        except OSError:
            answer = b""
        if len(answer) < 2:  # it has ended
            self.selector.unregister(worker.line)
            worker.line.close()
            return
        self.answer(worker, answer[0])
        if answer[1]:
            self.idle.append(worker)
        else:
            self.selector.unregister(worker.line)
            worker.line.close()  # which ends the worker

    def answer(self, worker: _Worker, code: int) -> None:
        client, worker.client = worker.client, None
        if client is not None:
            self.selector.unregister(client)
            with client, contextlib.suppress(OSError):  # the client may be gone
                client.sendall(bytes([code]))

    def reap(self) -> None:
        """Forget workers that ended, and answer the clients of those that were at work."""
        while self.workers:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                return
            worker = self.workers.pop(process)
            if worker in self.idle:
                self.idle.remove(worker)
            if worker.line.fileno() >= 0:
                self.selector.unregister(worker.line)
                worker.line.close()
            code = os.waitstatus_to_exitcode(status)
            # As shells count it: 128 and the signal's number.
            self.answer(worker, code if code > 0 else 128 - code)

    # In a worker

    def be_worker(self, line: socket.socket) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            die_with_parent()
            self.listener.close()
            self.selector.close()
            for other in self.workers.values():
                other.line.close()
                if other.client is not None:
                    other.client.close()
            start, own_stderr = _memory(), os.dup(2)
            while True:
                content, stderr = _receive(line)
                exit_code = self.do(content, stderr)
                # An idle worker must not hold its last job's log open: its end may be waited for.
                os.dup2(own_stderr, 2)
                os.dup2(own_stderr, 1)
                kept = _memory() - start if start else KEPT_BYTES
                line.sendall(bytes([exit_code, exit_code == 0 and kept < KEPT_BYTES]))
        except (OSError, ValueError):  # the server has closed the line
            code = 0
        except BaseException:  # noqa: BLE001 - the worker ends here, whatever happened
            traceback.print_exc()
        finally:
            os._exit(code)

    def do(self, content: bytes, stderr: int) -> int:
        """Do one job, and return its exit code."""
        os.dup2(stderr, 2)
        os.dup2(stderr, 1)
        os.close(stderr)
        try:
            return self.job(content.decode("utf-8", "surrogateescape").split("\0"))
        except SystemExit as error:
            return error.code if isinstance(error.code, int) else 1
        except BaseException:  # noqa: BLE001 - whatever it was, the client is told
            traceback.print_exc()
            return 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()


def _send(line: socket.socket, content: bytes, stderr: int) -> None:
    message = len(content).to_bytes(4, "big") + content
    sent = socket.send_fds(line, [message], [stderr])
    line.sendall(message[sent:])


def _receive(line: socket.socket) -> tuple[bytes, int]:
    """Return a request, and the standard error that came with it.

    Raises
    ------
    ValueError
        When there is no request, or half of one.
    OSError
        When the other side is gone.
    """
    content, descriptors, _, _ = socket.recv_fds(line, 65536, 1)
    if len(descriptors) != 1:
        raise ValueError("a request without a standard error")
    try:
        while len(content) < 4 or len(content) < 4 + int.from_bytes(content[:4], "big"):
            more = line.recv(65536)
            if not more:
                raise ValueError("half a request")
            content += more
    except BaseException:
        os.close(descriptors[0])
        raise
    return content[4:], descriptors[0]


def _memory() -> int:
    """Return the resident memory of this process in bytes, without files; 0 where none can tell."""
    try:
        _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as stat:
            state = stat.read().rpartition(")")[2].split()[0]
    except OSError:
        return True  # no /proc: the signal has to do
    return state != "Z"  # ended, and not yet waited for
