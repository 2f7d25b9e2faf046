"""Real runs of snakemake without its two seconds of imports, which the tests have hundreds of.

A process imports what `python -m snakemake` imports, and forks: each run is a process of its own,
which does what that command does from there on. The run's fork server is forked from it in turn,
and spares the import of torch. What is to be killed, and what users type, is run as a command
(`Workspace.start`, the tests of the README).
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NoReturn

# What Snakemake imports with any Snakefile, and what aerozarr's own modules import at its start.
IMPORTED = ("snakemake.cli", "fsspec", "pydantic", "yaml", "smart_open", "numpy", "pandas")
# What its fork server imports.
IMPORTED_BY_JOBS = ("torch", "numcodecs", "google_crc32c", "jinja2")


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
    for name in (*IMPORTED, *IMPORTED_BY_JOBS):
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

    subprocess.Popen = _Popen  # type: ignore[misc] # in this process, and for no test
    sys.path[0] = str(request["cwd"])
    sys.argv = [f"{snakemake.__path__[0]}/__main__.py", *request["arguments"]]
    main()
    sys.exit(0)


class _Popen(subprocess.Popen):  # type: ignore[type-arg] # as it is called here
    """Starts programs, but forks this process where the program is a fork server."""

    def __init__(self, args: Any, *rest: Any, **options: Any) -> None:
        is_server = isinstance(args, list) and args[-1:] == ["--serve"]
        if not is_server or _has_event_loop():
            super().__init__(args, *rest, **options)
            return
        self.returncode = None
        self.stdin = self.stdout = self.stderr = None
        self.args = args
        self.pid = os.fork()
        if self.pid == 0:
            _be_fork_server(args[-2], options["stdin"], options["stdout"].fileno())
        self._child_created = False  # nobody waits for it: its parent process does not outlive it


def _has_event_loop() -> bool:
    """Whether fsspec has begun to ask remote stores: its threads do not survive a fork."""
    asyn = sys.modules.get("fsspec.asyn")
    return asyn is not None and asyn.iothread[0] is not None


def _forget_modules_of_the_run() -> None:
    """Forget aerozarr, and a dataset class's module: a program that starts has neither."""
    here = tuple({sys.prefix, sys.base_prefix})
    for name, module in [*sys.modules.items()]:
        file = getattr(module, "__file__", None)
        if name != "__main__" and file is not None and not file.startswith(here):
            del sys.modules[name]


def _be_fork_server(script: str, listener: int, log: int) -> NoReturn:
    """Do what `python script --serve` does."""
    code = 1
    try:
        os.setsid()
        for number, descriptor in enumerate((listener, log, log)):
            os.dup2(descriptor, number)
        os.closerange(3, 4096)  # the lock on the work folder among them
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        _forget_modules_of_the_run()
        subprocess.Popen = _Popen.__base__  # type: ignore[misc]
        sys.path[0] = os.path.dirname(script)
        sys.argv = [script, "--serve"]
        runpy.run_path(script, run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - this process ends here, whatever happened
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
