"""The fork server: who starts it, what it answers, and who ends with whom."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aerozarr.environment import process_started

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"

# A script with the shape of convert_sample.py, whose job does what the request says.
SCRIPT = """
import os, signal, sys, time, pathlib
sys.path.insert(0, {scripts!r})
from aerozarr.workflow import forkserver_client

kept = []

def job(texts):
    what, *rest = texts
    if what == "exit":
        print("the job's own words", file=sys.stderr)
        return int(rest[0])
    if what == "raise":
        raise RuntimeError("a bug")
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "wait":
        pathlib.Path(rest[0]).write_text(str(os.getpid()))
        time.sleep(600)
    if what == "worker":
        print(os.getpid(), file=sys.stderr)
        return 0
    if what == "keep":
        kept.append(bytearray(int(rest[0])))
        return 0
    if what == "pids":
        print(os.getppid(), file=sys.stderr)
        return 0

def load():
    pathlib.Path("loads").open("a").write(".")
    if pathlib.Path("cannot_load").exists():
        raise ImportError("torch is not installed")
    return job

if sys.argv[1:] == ["--serve"]:
    from aerozarr.workflow.forkserver import serve
    serve(load)
else:
    code = forkserver_client.request(sys.argv[1:], [sys.executable, __file__, "--serve"])
    sys.exit(99 if code is None else code)
"""

NO_WORKER = 99


class Bench:
    """Clients of one owner, which is a process that only sleeps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script = folder / "script.py"
        self.script.write_text(SCRIPT.format(scripts=str(SCRIPTS)))
        self.owner = subprocess.Popen(["sleep", "600"])
        self.sockets = folder / "sockets"
        self.servers: set[int] = set()
        self.environment = {
            **os.environ,
            "AEROZARR_FORKSERVER_FOLDER": str(self.sockets),
            "AEROZARR_FORKSERVER_PARENT": str(self.owner.pid),
        }

    def client(self, *texts: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-S", "-E", str(self.script), *texts],
            cwd=self.folder,
            env=self.environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    def do(self, *texts: str) -> tuple[int, str]:
        client = self.client(*texts)
        _, said = client.communicate(timeout=30)
        return client.returncode, said

    def server(self) -> int:
        code, said = self.do("pids")
        assert code == 0
        self.servers.add(int(said))
        return int(said)

    def worker(self) -> int:
        """Return the process id of the worker that does the next job."""
        code, said = self.do("worker")
        assert code == 0
        return int(said)

    def waiting_child(self) -> tuple[subprocess.Popen[str], int]:
        """Start a client whose job waits; return it and the child's process id."""
        note = self.folder / "child"
        client = self.client("wait", str(note))
        until(lambda: note.exists() and note.read_text() != "")
        return client, int(note.read_text())


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.owner.kill()
    made.owner.wait()
    until(lambda: all(gone(server) for server in made.servers))


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def gone(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize("code", [0, 1, 7])
def test_a_client_ends_with_the_jobs_exit_code_and_shows_its_words(bench: Bench, code: int) -> None:
    assert bench.do("exit", str(code)) == (code, "the job's own words\n")


def test_texts_arrive_as_they_were_sent(bench: Bench) -> None:
    (bench.folder / "spa ce ü\n'").mkdir()
    client = bench.client("wait", "spa ce ü\n'/" + "x" * 200)
    until(lambda: (bench.folder / "spa ce ü\n'" / ("x" * 200)).exists())
    client.kill()
    client.communicate()


def test_a_bug_in_a_job_is_a_traceback_in_its_log(bench: Bench) -> None:
    code, said = bench.do("raise")
    assert code == 1
    assert "RuntimeError: a bug" in said


def test_a_child_that_crashes_ends_alone(bench: Bench) -> None:
    server = bench.server()
    assert bench.do("crash")[0] == 128 + signal.SIGSEGV
    assert bench.server() == server


def test_a_worker_does_one_job_after_another(bench: Bench) -> None:
    assert len({bench.worker() for _ in range(5)}) == 1


def test_jobs_at_once_have_a_worker_each(bench: Bench) -> None:
    client, busy = bench.waiting_child()
    first = bench.worker()
    assert first != busy
    assert bench.worker() == first
    client.kill()
    client.communicate()


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param(("exit", "1"), id="that failed"),
        pytest.param(("raise",), id="with a bug"),
        pytest.param(("crash",), id="that crashed"),
        pytest.param(("keep", str(200 * 2**20)), id="that kept much memory"),
    ],
)
def test_a_worker_is_not_used_again_after_a_job(bench: Bench, texts: tuple[str, ...]) -> None:
    first = bench.worker()
    bench.do(*texts)
    until(lambda: gone(first))
    assert bench.worker() != first


def test_a_client_that_is_killed_takes_no_other_worker_along(bench: Bench) -> None:
    first = bench.worker()
    client, busy = bench.waiting_child()
    assert busy == first
    other = bench.worker()
    client.kill()
    client.communicate()
    until(lambda: gone(busy))
    assert bench.worker() == other


def test_an_idle_worker_ends_with_the_owner(bench: Bench) -> None:
    idle = bench.worker()
    bench.owner.kill()
    bench.owner.wait()
    until(lambda: gone(idle))


def test_a_client_that_says_nothing_costs_nobody_anything(bench: Bench) -> None:
    bench.server()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(f"{bench.sockets}/socket")
    assert bench.do("exit", "0")[0] == 0


def test_clients_that_start_at_once_share_one_server(bench: Bench) -> None:
    clients = [bench.client("exit", "0") for _ in range(12)]
    assert [client.wait(timeout=30) for client in clients] == [0] * 12
    for client in clients:
        client.communicate()
    assert (bench.folder / "loads").read_text() == "."


def test_a_client_that_is_killed_takes_its_child_along(bench: Bench) -> None:
    client, child = bench.waiting_child()
    client.kill()
    client.communicate()
    until(lambda: gone(child))
    assert bench.do("exit", "0")[0] == 0


def test_an_owner_that_is_killed_takes_server_and_children_along(bench: Bench) -> None:
    server = bench.server()
    client, child = bench.waiting_child()
    bench.owner.kill()
    bench.owner.wait()
    until(lambda: gone(server) and gone(child) and not bench.sockets.exists())
    assert client.wait(timeout=10) != 0
    client.communicate()


def test_an_owner_that_ended_and_is_not_waited_for_is_gone(bench: Bench) -> None:
    server = bench.server()
    bench.owner.kill()  # and not waited for: it stays as a zombie
    until(lambda: gone(server))


def test_a_server_that_is_killed_takes_its_children_along_and_its_client_knows(
    bench: Bench,
) -> None:
    client, child = bench.waiting_child()
    os.kill(bench.server(), signal.SIGKILL)
    until(lambda: gone(child))
    client.communicate(timeout=10)
    assert client.returncode == NO_WORKER


def test_after_a_server_was_killed_the_next_client_starts_another(bench: Bench) -> None:
    first = bench.server()
    os.kill(first, signal.SIGKILL)
    until(lambda: gone(first))
    assert bench.server() != first


def test_a_server_that_cannot_load_is_named_and_there_is_no_worker(bench: Bench) -> None:
    (bench.folder / "cannot_load").touch()
    code, said = bench.do("exit", "0")
    assert code == NO_WORKER
    assert "torch is not installed" in said


def test_without_an_owner_there_is_no_worker(bench: Bench) -> None:
    del bench.environment["AEROZARR_FORKSERVER_FOLDER"]
    assert bench.do("exit", "0") == (NO_WORKER, "")


def test_a_folder_that_cannot_be_made_means_no_worker(bench: Bench) -> None:
    bench.environment["AEROZARR_FORKSERVER_FOLDER"] = str(bench.script / "below_a_file")
    code, said = bench.do("exit", "0")
    assert code == NO_WORKER
    assert "no fork server" in said


def test_the_client_imports_next_to_nothing() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(SCRIPTS)!r}); before = set(sys.modules);"
        "import aerozarr.workflow.forkserver_client; print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", code], capture_output=True, text=True, check=True
    )
    heavy = {"torch", "numpy", "pydantic", "subprocess", "tempfile", "uuid", "json", "asyncio"}
    assert heavy.isdisjoint(done.stdout.split())


def test_a_job_of_a_run_that_is_gone_is_not_done(bench: Bench) -> None:
    bench.owner.kill()
    bench.owner.wait()
    code, said = bench.do("pids")
    assert code != 0
    assert "done in a plain process" not in said
    assert not bench.sockets.exists(), "no server was started for it"


def test_another_process_with_the_number_of_the_run_is_not_the_run(bench: Bench) -> None:
    bench.environment["AEROZARR_FORKSERVER_PARENT_STARTED"] = "1"
    code, _ = bench.do("pids")
    assert code != 0
    assert not bench.sockets.exists()
    bench.environment["AEROZARR_FORKSERVER_PARENT_STARTED"] = process_started(bench.owner.pid)
    assert bench.do("pids")[0] == 0
