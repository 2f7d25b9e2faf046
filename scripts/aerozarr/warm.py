"""A warm worker: a process that has torch and the rest imported, and forks one child a job.

A job that starts Python and imports torch pays more than a second for it; a fork pays milliseconds.

Protocol
--------
The process that runs jobs (Snakemake: the *owner*) names a folder and itself in the environment
(`name_owner`). Nothing is started yet.

A *client* (one a job, importing next to nothing) connects to `socket` in that folder. If no server
answers, it takes the lock on `lock` there, looks again, and starts one. It then sends, in one
message, its standard error as a file descriptor and its request: a 4-byte length, and that many
bytes of NUL-separated texts.

The *server* imports everything once and starts no thread. For each request it forks a child, which
takes the client's standard error for its own, does the job and exits. The server answers with one
byte, the child's exit code, and closes.

Who ends whom: a client that goes away has its child killed; an owner that goes away has the server,
which kills all children and removes the folder; a server that goes away takes its children along
(Linux), and its clients run their job in a plain process, as they do when none can be started.
Since the folder is named anew by each run, no server outlives the code and credentials it knows.
"""

from __future__ import annotations

# A client is started once a sample, so what is imported here counts: 16 ms with socket, contextlib
# and collections.abc, 9 ms without, of which Python's own start is 8. Everything else is imported
# where it is used, and `_socket` is what `socket` is made of.
import _socket
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    Job = Callable[[list[str]], int]
    """Does what a request asks for, and returns an exit code."""

FOLDER = "AEROZARR_WARM_FOLDER"
OWNER = "AEROZARR_WARM_OWNER"

_START_SECONDS = 30.0
_OWNER_CHECK_SECONDS = 0.5


def name_owner() -> None:
    """Make this process the owner of a worker that its jobs may start."""
    # Imported here: a client needs none of it.
    import atexit
    import shutil
    import tempfile
    import uuid

    folder = f"{tempfile.gettempdir()}/aerozarr-{os.getuid()}-{uuid.uuid4().hex[:16]}"
    os.environ[FOLDER] = folder
    os.environ[OWNER] = str(os.getpid())
    # The server does this too; it may have died, or never have started.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def start(serve_command: list[str]) -> None:
    """Start a worker before the first job wants it; called by the owner.

    Its imports then go on beside what the owner does until then. Harmless if it fails: the first
    job tries again.
    """
    try:
        connection = _start(os.environ[FOLDER], serve_command)
    except OSError:
        return
    if connection is not None:
        connection.close()


# --- the client ------------------------------------------------------------------------------


def request(texts: list[str], serve_command: list[str]) -> int | None:
    """Have a job done by the warm worker.

    Parameters
    ----------
    texts
        The request, for the server's `Job`; without NUL characters.
    serve_command
        What starts a server; it calls `serve`.

    Returns
    -------
    int or None
        The job's exit code; None when there is no worker to be had, or it went away: then the job
        was not finished.
    """
    folder = os.environ.get(FOLDER)
    if folder is None:
        return None
    try:
        connection = _connect(folder) or _start(folder, serve_command)
    except OSError as error:
        print(f"aerozarr: no warm worker: {error}", file=sys.stderr)
        return None
    if connection is None:
        return None
    content = "\0".join(texts).encode("utf-8", "surrogateescape")
    message = len(content).to_bytes(4, "big") + content
    stderr = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, (2).to_bytes(4, sys.byteorder))
    try:
        sent = connection.sendmsg([message], [stderr])
        if sent < len(message):
            # Not otherwise: a job may be done by now, and its connection closed.
            connection.sendall(message[sent:])
        answer = connection.recv(1)
    except OSError:
        answer = b""
    connection.close()
    if not answer:
        print(f"aerozarr: the warm worker went away. {_tail(folder)}", file=sys.stderr)
        return None
    return answer[0]


def _connect(folder: str) -> _socket.socket | None:
    connection = _socket.socket(_socket.AF_UNIX)
    try:
        connection.connect(f"{folder}/socket")
    except OSError:
        connection.close()
        return None
    return connection


def _start(folder: str, command: list[str]) -> _socket.socket | None:
    """Start a server, unless another client has; return a connection to it."""
    import fcntl
    import subprocess

    os.makedirs(folder, mode=0o700, exist_ok=True)
    if os.stat(folder).st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to someone else")
    with open(f"{folder}/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        connection = _connect(folder)
        if connection is not None:
            return connection
        with open(f"{folder}/log", "ab") as log:
            server = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and server.poll() is None:
            connection = _connect(folder)
            if connection is not None:
                return connection
            time.sleep(0.005)
    print(f"aerozarr: the warm worker did not start. {_tail(folder)}", file=sys.stderr)
    return None


def _tail(folder: str) -> str:
    """Return the last that a server said, for its client's log."""
    try:
        with open(f"{folder}/log", encoding="utf-8", errors="replace") as log:
            return log.read()[-2000:].strip()
    except OSError:
        return ""


# --- the server ------------------------------------------------------------------------------


def serve(load: Callable[[], Job]) -> None:
    """Serve jobs until the owner is gone.

    Parameters
    ----------
    load
        Imports what jobs need, and returns what does a job. Called when clients can already
        connect, so that they wait for it. It must not start a thread: children are forked.
    """
    import gc
    import socket

    folder, owner = os.environ[FOLDER], int(os.environ[OWNER])
    listener = socket.socket(socket.AF_UNIX)
    if os.path.exists(f"{folder}/socket"):
        os.unlink(f"{folder}/socket")  # of a server that died
    listener.bind(f"{folder}/socket")
    listener.listen(4096)
    # Collections while importing find nothing, and take a fifth of its time.
    gc.disable()
    job = load()
    gc.freeze()  # or a collection in a child would copy every page
    gc.enable()
    _Server(folder, owner, listener, job).run()


class _Server:
    def __init__(self, folder: str, owner: int, listener: socket.socket, job: Job) -> None:
        import selectors
        import signal

        self.folder = folder
        self.owner = owner
        self.listener = listener
        self.job = job
        self.children: dict[int, socket.socket] = {}
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ)
        # A child that ends wakes the selector through this pipe.
        self.wakeup, write_end = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(write_end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        self.selector.register(self.wakeup, selectors.EVENT_READ)

    def run(self) -> None:
        import shutil

        while _is_alive(self.owner):
            for key, _ in self.selector.select(_OWNER_CHECK_SECONDS):
                if key.fileobj is self.listener:
                    connection, _ = self.listener.accept()
                    self.begin(connection)
                elif key.fileobj == self.wakeup:
                    os.read(self.wakeup, 4096)
                else:  # a client never sends twice: this one is gone
                    self.kill(key.data)
            self.reap()
        for child in self.children:
            self.kill(child)
        shutil.rmtree(self.folder, ignore_errors=True)

    def begin(self, connection: socket.socket) -> None:
        import selectors

        try:
            texts, stderr = _receive(connection)
        except (OSError, ValueError):
            connection.close()
            return
        child = os.fork()
        if child == 0:
            self.be_child(stderr, texts)
        os.close(stderr)
        self.children[child] = connection
        self.selector.register(connection, selectors.EVENT_READ, data=child)

    def be_child(self, stderr: int, texts: list[str]) -> None:
        import signal
        import traceback

        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _die_with_parent()
            os.dup2(stderr, 2)
            os.dup2(stderr, 1)
            os.close(stderr)
            self.listener.close()
            self.selector.close()
            for connection in self.children.values():
                connection.close()
            code = self.job(texts)
        except BaseException:  # noqa: BLE001 - the child ends here, whatever happened
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def reap(self) -> None:
        import contextlib

        while self.children:
            child, status = os.waitpid(-1, os.WNOHANG)
            if child == 0:
                return
            connection = self.children.pop(child)
            self.selector.unregister(connection)
            code = os.waitstatus_to_exitcode(status)
            # As shells count it: 128 and the signal's number.
            answer = code if code >= 0 else 128 - code
            with connection, contextlib.suppress(OSError):  # the client may be gone
                connection.sendall(bytes([answer]))

    def kill(self, child: int) -> None:
        import signal

        # Its connection stays readable until it is reaped: look no more.
        os.kill(child, signal.SIGKILL)


def _receive(connection: socket.socket) -> tuple[list[str], int]:
    """Return a request's texts, and the client's standard error."""
    import socket

    connection.settimeout(10)
    content, descriptors, _, _ = socket.recv_fds(connection, 65536, 1)
    if len(descriptors) != 1:
        raise ValueError("a request without a standard error")
    while len(content) < 4 or len(content) < 4 + int.from_bytes(content[:4], "big"):
        more = connection.recv(65536)
        if not more:
            os.close(descriptors[0])
            raise ValueError("half a request")
        content += more
    connection.settimeout(None)
    return content[4:].decode("utf-8", "surrogateescape").split("\0"), descriptors[0]


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


def _die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends; Linux only."""
    if sys.platform == "linux":
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
