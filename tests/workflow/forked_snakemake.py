"""Real runs of snakemake without its two seconds of imports, which the tests have hundreds of.

A process imports what `python -m snakemake` imports, and forks: each run is a process of its own,
which does what that command does from there on. What is to be killed, and what users type, is run
as a command (`Workspace.start`, the tests of the README).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NoReturn

# What Snakemake imports with any Snakefile, and what aerozarr's own modules import at its start.
IMPORTED = ("snakemake.cli", "fsspec", "pydantic", "yaml", "smart_open", "numpy", "pandas")


def run_forked(
    arguments: Sequence[str], cwd: str, environment: Mapping[str, str], timeout: float
) -> tuple[int, str]:
    """Run `python -m snakemake` with arguments, to its end.

    Returns
    -------
    exit code, output
        The output is standard output, then standard error.

    Raises
    ------
    subprocess.TimeoutExpired
        When it has not ended in time; it is killed.
    """
    python = json.dumps({key: environment[key] for key in environment if key.startswith("PYTHON")})
    line = _server(python, os.getpid())
    request = {"arguments": [*arguments], "cwd": cwd, "environment": {**environment}}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        content = json.dumps(request).encode()
        line.settimeout(timeout)
        try:
            socket.send_fds(line, [len(content).to_bytes(4, "big")], [out.fileno(), err.fileno()])
            line.sendall(content)
            process = int.from_bytes(_read(line, 4), "big")
            try:
                code = int.from_bytes(_read(line, 4), "big", signed=True)
            except TimeoutError:
                os.kill(process, signal.SIGKILL)
                line.settimeout(None)
                _read(line, 4)
                raise subprocess.TimeoutExpired([*arguments], timeout) from None
        finally:
            line.settimeout(None)
        out.seek(0)
        err.seek(0)
        return code, (out.read() + err.read()).decode("utf-8", "replace")


@cache
def _server(python: str, _process: int) -> socket.socket:
    """Return the line to a server, whose interpreter has the variables of its environment."""
    ours, theirs = socket.socketpair()
    environment = {key: os.environ[key] for key in os.environ if not key.startswith("PYTHON")}
    command = [sys.executable, __file__, str(theirs.fileno())]
    subprocess.Popen(
        command,
        env=environment | json.loads(python),
        stdin=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    return ours


def _read(line: socket.socket, length: int) -> bytes:
    content = b""
    while len(content) < length:
        more = line.recv(length - len(content))
        if not more:
            raise ConnectionError("the server of forked runs has ended")
        content += more
    return content


# In the server


def serve(line: socket.socket) -> None:
    """Fork a run for each request, until nobody can ask any more."""
    for name in IMPORTED:
        __import__(name)
    while True:
        try:
            head, descriptors, _, _ = socket.recv_fds(line, 4, 2)
            if not head:
                return
            request = json.loads(_read(line, int.from_bytes(head, "big")))
        except ConnectionError:
            return
        process = os.fork()
        if process == 0:
            line.close()
            be_snakemake(request, *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        line.sendall(process.to_bytes(4, "big"))
        _, status = os.waitpid(process, 0)
        line.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))


def be_snakemake(request: Mapping[str, Any], out: int, err: int) -> NoReturn:
    """Do what `python -m snakemake` does."""
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    os.chdir(str(request["cwd"]))
    os.environ.clear()
    os.environ.update(request["environment"])
    import snakemake
    from snakemake.cli import main

    sys.path[0] = str(request["cwd"])
    sys.argv = [f"{snakemake.__path__[0]}/__main__.py", *request["arguments"]]
    main()
    sys.exit(0)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
