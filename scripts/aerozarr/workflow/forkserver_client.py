"""The fork server's client, and the protocol: jobs are done in processes that have torch imported.

A job that starts Python and imports torch pays more than a second for it. Here a *server* does so
once, and forks *workers*. A worker whose job went well waits for the next one, because a new
process also pays for every page of memory that it touches first (for a small sample, more than for
its conversion).

Protocol
--------
The process that runs jobs (Snakemake, the *parent process*) names a folder and itself in the
environment (`become_parent`). Nothing is started yet.

A *client* (one a job, importing next to nothing; this module) connects to `socket` in that folder.
If nobody listens, it takes the lock on `lock` there, tries again, and starts a server, which it
hands a listening socket as standard input: so nobody has to wait until the server listens. It then
sends, in one message, its standard error as a file descriptor and its request: a 4-byte length, and
that many bytes of NUL-separated texts.

The *server* (`forkserver`) imports everything once and starts no thread. It passes each request on
to a worker that is idle, or to a new one; so there are never more workers than there were clients
at the same time. The worker takes the client's standard error for its own, does the job, and
answers with two bytes: the exit code, and whether it can be used again. It cannot after a job that
failed, nor when it has kept much memory. The server answers the client with one byte, the exit
code, and closes.

When a client ends, its worker is killed. When the parent process ends, so does the server, which
kills all workers and removes the folder. When the server ends, so do its workers (Linux), and its
clients run their jobs in plain processes, as they do when no server can be started. A worker that
crashes fails its client's job alone. Since each run names a new folder, no server outlives the code
and credentials that it knows.
"""

from __future__ import annotations

# A client is started once a sample, so what is imported here counts: 16 ms with socket, contextlib
# and collections.abc, 9 ms without, of which Python's own start is 8. Everything else is imported
# where it is used, and `_socket` is what `socket` is made of.
import _socket
import os
import sys

from aerozarr.environment import (
    FORKSERVER_FOLDER,
    FORKSERVER_PARENT,
    FORKSERVER_PARENT_STARTED,
    process_started,
)


def become_parent() -> None:
    """Make this process the parent of a fork server that its jobs may start."""
    # Imported here: a client needs none of it.
    import atexit
    import shutil
    import tempfile
    import uuid

    folder = f"{tempfile.gettempdir()}/aerozarr-{os.getuid()}-{uuid.uuid4().hex[:16]}"
    os.environ[FORKSERVER_FOLDER] = folder
    os.environ[FORKSERVER_PARENT] = str(os.getpid())
    os.environ[FORKSERVER_PARENT_STARTED] = process_started(os.getpid())
    # The server does this too; it may have died, or never have started.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def start(server_command: list[str]) -> None:
    """Start a server before the first job needs it; called by the parent process.

    Its imports then go on beside what the parent does until then. Harmless if it fails: the first
    job tries again.
    """
    try:
        _start(os.environ[FORKSERVER_FOLDER], server_command).close()
    except OSError:
        return


def request(texts: list[str], server_command: list[str]) -> int | None:
    """Have a job done by the fork server.

    Parameters
    ----------
    texts
        The request, for the server's `Job`; without NUL characters.
    server_command
        What starts a server; it calls `serve`.

    Returns
    -------
    int or None
        The job's exit code; None when there is no server, or it ended: then the job was not
        finished.
    """
    folder = os.environ.get(FORKSERVER_FOLDER)
    if folder is None:
        return None
    connection = _connect(folder)
    if connection is None and parent_has_ended():
        return None
    try:
        connection = connection or _start(folder, server_command)
    except OSError as error:
        print(f"aerozarr: no fork server: {error}", file=sys.stderr)
        return None
    answer = ask(connection, texts, stderr=2)
    connection.close()
    if answer is None:
        print(f"aerozarr: the fork server ended. {_tail(folder)}", file=sys.stderr)
    return answer


def connect() -> _socket.socket | None:
    """Connect to the fork server; None where none listens."""
    folder = os.environ.get(FORKSERVER_FOLDER)
    return None if folder is None else _connect(folder)


def ask(connection: _socket.socket, texts: list[str], *, stderr: int) -> int | None:
    """Have a job done by the server at the other end, and wait for it.

    Parameters
    ----------
    connection
        To the server; it serves one job.
    texts
        As for `request`.
    stderr
        Descriptor of what is the job's standard output and error.

    Returns
    -------
    int or None
        As of `request`.
    """
    content = "\0".join(texts).encode("utf-8", "surrogateescape")
    message = len(content).to_bytes(4, "big") + content
    descriptors = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, stderr.to_bytes(4, sys.byteorder))
    try:
        sent = connection.sendmsg([message], [descriptors])
        if sent < len(message):
            # Not otherwise: a job may be done by now, and its connection closed.
            connection.sendall(message[sent:])
        answer = connection.recv(1)
    except OSError:
        answer = b""
    return answer[0] if answer else None


def parent_has_ended() -> bool:
    """Whether the run that this job belongs to is gone: then nobody wants it done."""
    parent = os.environ.get(FORKSERVER_PARENT)
    if parent is None:
        return False  # started by hand
    try:
        os.kill(int(parent), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    # By now another process may have its number.
    started = os.environ.get(FORKSERVER_PARENT_STARTED)
    return bool(started) and process_started(int(parent)) != started


def _connect(folder: str) -> _socket.socket | None:
    connection = _socket.socket(_socket.AF_UNIX)
    try:
        connection.connect(f"{folder}/socket")
    except OSError:
        connection.close()
        return None
    return connection


def _start(folder: str, command: list[str]) -> _socket.socket:
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
        if os.path.exists(f"{folder}/socket"):
            os.unlink(f"{folder}/socket")  # of a server that died
        listener = _socket.socket(_socket.AF_UNIX)
        listener.bind(f"{folder}/socket")
        listener.listen(4096)
        with open(f"{folder}/log", "ab") as log:
            subprocess.Popen(
                command, stdin=listener.fileno(), stdout=log, stderr=log, start_new_session=True
            )
        connection = _socket.socket(_socket.AF_UNIX)
        connection.connect(f"{folder}/socket")
        listener.close()  # it is the server's now
    return connection


def _tail(folder: str) -> str:
    """Return the last that a server said, for its client's log."""
    try:
        with open(f"{folder}/log", encoding="utf-8", errors="replace") as log:
            return log.read()[-2000:].strip()
    except OSError:
        return ""
