"""A SLURM cluster of this machine's own, from Debian's packages, without systemd.

Its daemons listen on the loopback interface, on ports of their own, and know nothing of the
machine's SLURM configuration, so several clusters can run beside each other. Clients find their
cluster through the scripts of `Cluster.bin`, which comes first on PATH.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd", "slurmdbd", "mariadbd")
CLIENTS = (
    "sbatch",
    "srun",
    "squeue",
    "scancel",
    "sinfo",
    "scontrol",
    "sacct",
    "sacctmgr",
    "sshare",
)

CONFIGURATION = """\
ClusterName=aerozarr
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={root}/munge/socket
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
{accounting}
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
MpiDefault=none
SwitchType=switch/none
EnforcePartLimits=ALL
ReturnToService=2
MinJobAge=300
SlurmdTimeout=30
KillWait=2
UnkillableStepTimeout=10
SchedulerParameters=sched_interval=2,batch_sched_delay=0
{nodes}
PartitionName=short Nodes=ALL Default=YES MaxTime=60 State=UP LLN=YES
"""

WITHOUT_ACCOUNTS = "AccountingStorageType=accounting_storage/none"
WITH_ACCOUNTS = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={root}/munge/socket
AccountingStorageEnforce=associations"""
DATABASE_DAEMON = """\
AuthType=auth/munge
AuthInfo=socket={root}/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser={user}
LogFile={root}/slurmdbd.log
PidFile={root}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={storage_port}
StorageUser=slurm
StorageLoc=slurm
"""


def missing_programs() -> list[str]:
    """Return which of SLURM's programs this machine lacks."""
    path = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
    return [name for name in (*DAEMONS, *CLIENTS) if shutil.which(name, path=path) is None]


class Cluster:
    """A controller and its nodes; used as a context, which ends every process that it started.

    With `account`, it keeps accounts in a database, and this is the one to use.
    """

    def __init__(
        self, nodes: int = 2, cpus: int = 1, memory_mb: int = 4000, account: str | None = None
    ) -> None:
        # Short: munge's socket is in it, and the path of a socket may have 107 characters.
        self.root = Path(tempfile.mkdtemp(prefix="aerozarr-slurm-"))
        self.bin = self.root / "bin"
        self.configuration = self.root / "slurm.conf"
        self.nodes = [f"node{number}" for number in range(1, nodes + 1)]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.account = account
        self.user = pwd.getpwuid(os.getuid()).pw_name
        port, self.database_port, self.storage_port, *ports = _free_ports(nodes + 3)
        lines = [
            f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} "
            f"CPUs={cpus} RealMemory={memory_mb} State=UNKNOWN"
            for name, port in zip(self.nodes, ports, strict=True)
        ]
        accounting = WITH_ACCOUNTS if account else WITHOUT_ACCOUNTS
        self.configuration.write_text(
            CONFIGURATION.format(
                port=port,
                user=self.user,
                root=self.root,
                nodes="\n".join(lines),
                accounting=accounting.format(root=self.root, port=self.database_port),
            )
        )

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which commands talk to this cluster."""
        return {**os.environ, "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}"}

    def __enter__(self) -> Cluster:
        with ExitStack() as undo:
            undo.callback(self.stop)
            for folder in ("bin", "munge", "state", *(f"spool/{name}" for name in self.nodes)):
                (self.root / folder).mkdir(parents=True)
            self._write_clients()
            self._start_munge()
            if self.account is not None:
                self._start_accounting(self.account)
            self._start("slurmctld", "-D", "-f", str(self.configuration))
            for node in self.nodes:
                self.start_node(node)
            self.wait_for(self._is_ready, "the nodes")
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _write_clients(self) -> None:
        for name in CLIENTS:
            script = self.bin / name
            # The clients that jobs call have lost the variable by then: SLURM's plugin for
            # Snakemake keeps few of SLURM's variables.
            note = f'echo "$@" >>{self.root}/sbatch.calls\n' if name == "sbatch" else ""
            script.write_text(
                f'#!/bin/sh\n{note}SLURM_CONF={self.configuration} exec {shutil.which(name)} "$@"\n'
            )
            script.chmod(0o755)

    def _start(self, name: str, *arguments: str, called: str = "") -> None:
        with (self.root / f"{called or name}.out").open("ab") as output:
            self.processes[called or name] = subprocess.Popen(
                [_program(name), *arguments],
                env={**os.environ, "SLURM_CONF": str(self.configuration)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def _start_munge(self) -> None:
        folder = self.root / "munge"
        key = folder / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self.root.chmod(0o755)
        files = [f"--{name}-file={folder}/{name}" for name in ("key", "pid", "log", "seed")]
        # Forced: it would not have a temporary folder that others can write.
        self._start("munged", "--foreground", "--force", f"--socket={folder}/socket", *files)
        self.wait_for((folder / "socket").exists, "munge's socket")

    def _start_accounting(self, account: str) -> None:
        folder = self.root / "database"
        own = ["--no-defaults", f"--datadir={folder}", f"--user={self.user}"]
        folder.mkdir()
        # What mariadb-install-db does, without the programs of the client's package.
        tables = Path("/usr/share/mysql/mysql_system_tables.sql").read_text()
        subprocess.run(
            [_program("mariadbd"), *own, "--bootstrap", "--skip-grant-tables"],
            input=f"create database mysql;\nuse mysql;\n{tables}",
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        )
        port = ["--bind-address=127.0.0.1", f"--port={self.storage_port}", "--skip-grant-tables"]
        small = ["--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M"]
        self._start("mariadbd", *own, *port, *small, f"--socket={self.root}/sql")
        self.wait_for(lambda: _answers(self.storage_port), "database")
        configuration = self.root / "slurmdbd.conf"
        configuration.write_text(
            DATABASE_DAEMON.format(
                root=self.root,
                user=self.user,
                port=self.database_port,
                storage_port=self.storage_port,
            )
        )
        configuration.chmod(0o600)
        self._start("slurmdbd", "-D")
        self.wait_for(lambda: _answers(self.database_port), "SLURM's database daemon")
        for what in (
            ["cluster", "aerozarr"],
            ["account", account, "cluster=aerozarr"],
            ["user", self.user, f"account={account}", "cluster=aerozarr"],
        ):
            self.run("sacctmgr", "--immediate", "add", *what)

    def start_node(self, node: str) -> None:
        """Start a node's daemon."""
        self._start("slurmd", "-D", "-f", str(self.configuration), "-N", node, called=node)

    def bring_back(self, node: str) -> None:
        """Start a node's daemon again, and wait until the node takes jobs."""
        self.start_node(node)
        # One that has registered by now takes them already, and cannot be resumed.
        with suppress(subprocess.CalledProcessError):
            self.run("scontrol", "update", f"nodename={node}", "state=resume")
        self.wait_until_idle()

    def kill_node(self, node: str) -> None:
        """Kill a node as a power cut does: its daemon, and every process of its jobs."""
        daemon = self.processes.pop(node)
        doomed = [daemon.pid, *self._processes_of(node)]
        for process in doomed:
            _kill(process)
        daemon.wait()

    def stall(self, job: str) -> list[int]:
        """Stop a job's processes where they are, and return them; SLURM can still end them."""
        stopped = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                variables = (folder / "environ").read_bytes().split(b"\0")
            except OSError:  # ended since
                continue
            if f"SLURM_JOB_ID={job}".encode() in variables and self._is_mine(variables):
                with suppress(ProcessLookupError):
                    os.kill(int(folder.name), signal.SIGSTOP)
                    stopped.append(int(folder.name))
        return stopped

    def _is_mine(self, variables: list[bytes]) -> bool:
        """Whether a process with these variables belongs to a job of this cluster."""
        path = f"PATH={self.bin}:".encode()
        return any(value.startswith(path) for value in variables)

    def _processes_of(self, node: str) -> list[int]:
        """Return the processes of a node's jobs, and the supervisors that SLURM gave them."""
        name = f"SLURMD_NODENAME={node}".encode()
        parents: dict[int, int] = {}
        supervisors, found = set(), set()
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            process = int(folder.name)
            try:
                command, fields = (folder / "stat").read_text().rsplit(")", 1)
                variables = (folder / "environ").read_bytes().split(b"\0")
            except OSError:  # ended since
                continue
            parents[process] = int(fields.split()[1])
            if command.endswith("(slurmstepd"):
                supervisors.add(process)
            if name in variables and self._is_mine(variables):
                found.add(process)
        return [*found, *(supervisors & {parents[process] for process in found})]

    def run(self, *command: str) -> str:
        """Run a client, and return what it says."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    def jobs(self, *states: str) -> list[str]:
        """Return the numbers of the jobs in these states; of those not ended by default."""
        chosen = ",".join(states) or "PENDING,RUNNING,COMPLETING,SUSPENDED"
        return self.run("squeue", "--noheader", "--format=%i", f"--states={chosen}").split()

    def submissions(self) -> list[str]:
        """Return the arguments of each call of sbatch that submitted something."""
        try:
            calls = (self.root / "sbatch.calls").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [call for call in calls if "--test-only" not in call]

    def forget_submissions(self) -> None:
        """Count the calls of sbatch from here on."""
        (self.root / "sbatch.calls").unlink(missing_ok=True)

    def _is_ready(self) -> bool:
        done = subprocess.run(
            [f"{self.bin}/sinfo", "--noheader", "--Node", "--format=%N %t"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        states = dict(line.split() for line in done.stdout.splitlines())
        return done.returncode == 0 and states == dict.fromkeys(self.nodes, "idle")

    def wait_until_idle(self) -> None:
        """Wait until all nodes are up and no job is left."""
        self.wait_for(lambda: self._is_ready() and not self.jobs(), "idle nodes")

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
        """Wait for a condition; fail with the daemons' last words when it does not come."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                words = [
                    f"{file.name}: {file.read_text(errors='replace')[-1500:]}"
                    for pattern in ("*.log", "*.out", "munge/log")
                    for file in sorted(self.root.glob(pattern))
                ]
                raise TimeoutError(f"no {what} within {seconds} s\n" + "\n".join(words))
            time.sleep(0.05)

    def stop(self) -> None:
        """End every process, the jobs' too, and remove the cluster's folder."""
        for node in self.nodes:
            if node in self.processes:
                self.kill_node(node)
        for process in reversed(self.processes.values()):
            process.send_signal(signal.SIGKILL)
            process.wait()
        self.processes.clear()
        shutil.rmtree(self.root, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listener.getsockname()[1]) for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


def _program(name: str) -> str:
    return str(shutil.which(name, path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin"))


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def _die_with_parent() -> None:
    """Have the kernel end this process with the tests, which may be killed themselves."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _kill(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
