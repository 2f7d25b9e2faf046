"""The same command on a real SLURM cluster of two nodes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import yaml

from cluster.slurm import Cluster, missing_programs
from remote.proxy import Proxy
from remote.s3 import KEY, SECRET, hashes, make_bucket, told, use
from workflow.harness import REPOSITORY, Run, Workspace, digests, write_sample

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        bool(missing_programs()),
        reason=f"SLURM is not installed ({', '.join(missing_programs())}): tests/system.sh",
    ),
]

SAMPLES = 40
NAMES = [f"s{number:02}" for number in range(SAMPLES)]
# The profile's default resources; naming one more replaces them all.
RESOURCES = ["serial=1", "mem_mb=1000", "runtime=10"]


@pytest.fixture(scope="module")
def running_cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(running_cluster: Cluster) -> Cluster:
    """The cluster, with nothing to do."""
    running_cluster.wait_until_idle()
    running_cluster.forget_submissions()
    return running_cluster


@pytest.fixture(scope="module")
def on_one_machine(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Forty samples, converted without a cluster; not to be changed."""
    root = tmp_path_factory.mktemp("one_machine") / "workspace"
    for seed, name in enumerate(NAMES):
        write_sample(root / "source" / name, seed)
    workspace = Workspace(root)
    workspace.run()
    return workspace


class OnCluster:
    """A workspace whose runs submit their jobs."""

    def __init__(self, workspace: Workspace, cluster: Cluster) -> None:
        self.workspace = workspace
        self.cluster = cluster
        self.environment = cluster.environment

    def command(self, *options: str, group: int = 10) -> list[str]:
        python, dash_m, snakemake, *rest = self.workspace.command()
        profile = [f"--profile={REPOSITORY}/profiles/slurm", f"--group-components=convert={group}"]
        # The profile's own is for real clusters, where minutes do not matter.
        often = ["--slurm-init-seconds-before-status-checks=1"]
        rest = rest[: rest.index("--cores")] + rest[rest.index("--cores") + 2 :]
        return [python, dash_m, snakemake, *profile, *often, *rest, *options]

    def run(self, *options: str, group: int = 10, ok: bool | None = True) -> Run:
        before = self.workspace.logs()
        done = subprocess.run(
            self.command(*options, group=group),
            env=self.environment,
            cwd=self.workspace.root,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        log = self.workspace.text_of_logs(since=before)
        run = Run(done.returncode, done.stdout + done.stderr, log)
        assert ok is None or (run.returncode == 0) is ok, run.output + self.slurm_logs()
        return run

    def start(self, *options: str, group: int = 10) -> subprocess.Popen[bytes]:
        with (self.workspace.root / "output.txt").open("wb") as output:
            return subprocess.Popen(
                self.command(*options, group=group),
                env=self.environment,
                cwd=self.workspace.root,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def finish(self, process: subprocess.Popen[bytes]) -> Run:
        process.wait(timeout=300)
        run = Run(process.returncode, (self.workspace.root / "output.txt").read_text())
        assert run.returncode == 0, run.output + self.slurm_logs()
        return run

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        def holds() -> bool:
            return condition()

        try:
            self.cluster.wait_for(holds, what)
        except TimeoutError:
            print((self.workspace.root / "output.txt").read_text(), self.slurm_logs())
            raise

    def fragments(self) -> int:
        return len(list(self.workspace.work.glob("fragments/*/*.json")))

    def slurm_logs(self) -> str:
        logs = self.workspace.root.glob(".snakemake/slurm_logs/**/*.log")
        return "\n".join(log.read_text(errors="replace") for log in logs)

    def has_the_groups_of(self, other: Workspace, count: int) -> bool:
        """Whether the store holds the first samples exactly as another does, and lists them."""
        listed = NAMES[:count]
        here, there = (
            {path: digest for path, digest in digests(store).items() if ".zarr/" in path}
            for store in (self.workspace.store, other.store)
        )
        wanted = {path: there[path] for path in there if path.partition(".zarr/")[0] in listed}
        return self.workspace.listed() == listed and here == wanted


@pytest.fixture
def forty(cluster: Cluster, on_one_machine: Workspace, tmp_path: Path) -> OnCluster:
    """A workspace with the same forty samples, to be converted on the cluster."""
    workspace = Workspace(tmp_path / "workspace")
    workspace.root.mkdir()
    workspace.source.symlink_to(on_one_machine.source)
    return OnCluster(workspace, cluster)


class WorkerWatch(threading.Thread):
    """Collects the fork servers that anything on the cluster starts."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(daemon=True)
        self.path = f"PATH={cluster.bin}:".encode()
        self.seen: dict[int, str] = {}
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.05):
            for process in self.alive():
                if process not in self.seen:
                    self.seen[process] = _variable(process, "SLURM_JOB_ID")

    def alive(self) -> list[int]:
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    serves = b"\0--serve\0" in (folder / "cmdline").read_bytes()
                    ours = serves and self.path in (folder / "environ").read_bytes()
                except OSError:  # ended since
                    continue
                # Those that are forked for a job look the same; their parent is a worker.
                if ours and not _is_child_of_worker(int(folder.name)):
                    found.append(int(folder.name))
        return found


def _variable(process: int, name: str) -> str:
    try:
        variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    values = (value.partition(b"=") for value in variables)
    return next((value.decode() for key, _, value in values if key.decode() == name), "")


def _is_child_of_worker(process: int) -> bool:
    try:
        parent = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1]
        return b"\0--serve\0" in Path(f"/proc/{parent}/cmdline").read_bytes()
    except OSError:
        return False


def test_forty_samples_on_two_nodes_give_the_same_bytes_as_one_machine(
    forty: OnCluster, on_one_machine: Workspace
) -> None:
    cluster = forty.cluster
    watch = WorkerWatch(cluster)
    watch.start()
    try:
        run = forty.run()
    finally:
        watch.ended.set()
        watch.join()
    assert run.converted == NAMES
    assert digests(forty.workspace.store) == digests(on_one_machine.store)
    assert "aerozarr: converting 40 samples" in run.said
    assert any(line.startswith("aerozarr: converted 40 samples in ") for line in run.said)

    # Four groups of ten: four submissions, each of one core and one job's memory.
    submissions = cluster.submissions()
    assert len(submissions) == 4
    for submission in submissions:
        assert "--ntasks=1 --cpus-per-task=1" in submission
        assert re.search(r" -t 3\d --mem 600 ", submission)  # half an hour, and some seconds each
        assert "--job-name aerozarr_" in submission
    done = cluster.run("squeue", "--noheader", "--states=all", "--format=%i %T %N").splitlines()
    latest = [line.split() for line in sorted(done, key=lambda line: int(line.split()[0]))[-4:]]
    assert {state for _, state, _ in latest} == {"COMPLETED"}
    assert {node for _, _, node in latest} == {"node1", "node2"}

    # One worker for each group, in the group's own job, and one for merging; none is left.
    owners = sorted(watch.seen.values())
    assert owners == sorted(["", *(number for number, _, _ in latest)])
    cluster.wait_for(lambda: not watch.alive(), "end of the workers")

    again = forty.run()
    assert again.nothing_to_do
    assert len(cluster.submissions()) == 4


def test_a_later_run_puts_each_sample_that_is_left_into_one_group(
    forty: OnCluster, on_one_machine: Workspace
) -> None:
    workspace = forty.workspace
    workspace.run()
    lost = NAMES[5:38]
    for name in lost:
        shutil.rmtree(workspace.store / f"{name}.zarr")
    run = forty.run(group=17)
    assert run.converted == lost
    assert len(forty.cluster.submissions()) == 2
    assert digests(workspace.store) == digests(on_one_machine.store)


def test_a_broken_sample_in_a_group_costs_the_others_nothing(
    cluster: Cluster, tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path / "workspace")
    for seed in range(4):
        write_sample(workspace.source / f"s{seed}", seed)
    write_sample(workspace.source / "s4", 4, p=torch.ones(7))
    on_cluster = OnCluster(workspace, cluster)
    # Neither a home that nodes share, nor any home at all.
    cache = tmp_path / "cache"
    on_cluster.environment |= {"HOME": "/dev/null/nowhere", "XDG_CACHE_HOME": str(cache)}
    run = on_cluster.run(
        "--config", "storage_options={s3: {secret: open-sesame}}", "shuffle_seed=5", group=5
    )
    assert workspace.listed() == ["s0", "s1", "s2", "s3"]
    assert workspace.manifest()["shuffle_seed"] == 5
    assert list(workspace.skipped()["id"]) == ["s4"]
    assert len(cluster.submissions()) == 1

    # What was given on the command line stays out of logs, job scripts and command lines.
    number = cluster.run("squeue", "--noheader", "--states=all", "--format=%i").split()[0]
    script = cluster.run("scontrol", "write", "batch_script", number, "-")
    assert "--target-jobs" in script
    records = [*workspace.work.rglob("*"), *workspace.root.glob(".snakemake/**/*")]
    texts = [path.read_text(errors="replace") for path in records if path.is_file()]
    for text in (run.output, script, *cluster.submissions(), *texts):
        assert "open-sesame" not in text


def test_from_bucket_to_bucket_on_two_nodes_without_a_home(
    cluster: Cluster, on_one_machine: Workspace, tmp_path: Path, s3_server: int
) -> None:
    workspace = Workspace(tmp_path / "workspace")
    workspace.root.mkdir()
    with Proxy(s3_server) as proxy:
        bucket = make_bucket(proxy)
        for path in on_one_machine.source.rglob("*.pt"):
            bucket.put(f"source/{path.relative_to(on_one_machine.source)}", path.read_bytes())
        use(workspace, bucket, source_url="source", store="store")
        on_cluster = OnCluster(workspace, cluster)
        cache = tmp_path / "cache"
        on_cluster.environment |= {"HOME": "/dev/null/nowhere", "XDG_CACHE_HOME": str(cache)}
        run = on_cluster.run(group=20)
        assert run.converted == NAMES
        assert hashes(bucket.objects("store")) == digests(on_one_machine.store)
    assert not workspace.source.exists()
    assert not workspace.store.exists()

    done = cluster.run("squeue", "--noheader", "--states=all", "--format=%i %N").splitlines()
    latest = sorted((line.split() for line in done), key=lambda job: int(job[0]))[-2:]
    assert {node for _, node in latest} == {"node1", "node2"}
    texts = {**told(workspace, run.output), "sbatch": "\n".join(cluster.submissions())}
    for number, _ in latest:
        texts[number] = cluster.run("scontrol", "write", "batch_script", number, "-")
    for log in (*cluster.root.glob("*.log"), *cluster.root.glob("*.out")):
        texts[str(log)] = log.read_text(errors="replace")
    for place, text in texts.items():
        assert KEY not in text, place
        assert SECRET not in text, place


def test_a_cancelled_job_is_noticed_and_tried_again(
    forty: OnCluster, on_one_machine: Workspace
) -> None:
    forty.workspace.config["limit"] = 20
    process = forty.start(group=20)
    forty.wait_for(lambda: forty.fragments() > 0, "first fragment")
    forty.cluster.run("scancel", *forty.cluster.jobs())
    run = forty.finish(process)
    assert "CANCELLED" in run.output
    assert len(forty.cluster.submissions()) == 2
    assert forty.has_the_groups_of(on_one_machine, 20)


@pytest.mark.slow
@pytest.mark.parametrize("retries", [2, 0], ids=["retry", "rerun"])
def test_what_a_job_had_no_time_for_is_done_by_a(
    forty: OnCluster, on_one_machine: Workspace, retries: int
) -> None:
    cluster = forty.cluster
    process = forty.start(f"--retries={retries}", group=SAMPLES)
    forty.wait_for(lambda: forty.fragments() > 0, "first fragment")
    (number,) = cluster.jobs("RUNNING")
    stopped = cluster.stall(number)
    # The end of its time, which SLURM looks for every half a minute.
    cluster.run("scontrol", "update", f"jobid={number}", "endtime=now+1")
    forty.wait_for(lambda: number in cluster.jobs("TIMEOUT"), "job whose time has run out")
    for left in stopped:  # SLURM's simplest way of tracking loses a worker that is stopped
        with suppress(ProcessLookupError):
            os.kill(left, signal.SIGKILL)
    assert 0 < forty.fragments() < SAMPLES
    if retries:
        said = forty.finish(process).output
    else:
        assert process.wait(timeout=300) != 0
        said = (forty.workspace.root / "output.txt").read_text()
        assert not (forty.workspace.store / "manifest.json").exists()
        forty.run(group=SAMPLES)
    assert "Error in group convert" in said
    assert len(cluster.submissions()) == 2
    assert digests(forty.workspace.store) == digests(on_one_machine.store)


def test_the_jobs_of_a_node_that_dies_are_done_on_another(
    forty: OnCluster, on_one_machine: Workspace
) -> None:
    cluster = forty.cluster
    process = forty.start(group=20)
    try:
        forty.wait_for(lambda: forty.fragments() > 0, "first fragment")
        assert len(cluster.jobs("RUNNING")) == 2
        (doomed,) = cluster.run("squeue", "--noheader", "--nodelist=node1", "--format=%i").split()
        cluster.kill_node("node1")
        # What the controller finds by itself after a while: the node is gone, its job starts anew.
        cluster.run("scontrol", "update", "nodename=node1", "state=down", "reason=power")
        cluster.wait_for(lambda: doomed in cluster.jobs("PENDING"), "job that waits again")
        cluster.run("scontrol", "update", f"jobid={doomed}", "starttime=now")
        forty.finish(process)
    finally:
        if "node1" not in cluster.processes:
            cluster.bring_back("node1")
    assert len(cluster.submissions()) == 2
    assert digests(forty.workspace.store) == digests(on_one_machine.store)


def test_a_killed_run_is_started_again_and_its_jobs_do_not_meet_the_new_ones(
    forty: OnCluster, on_one_machine: Workspace
) -> None:
    cluster = forty.cluster
    process = forty.start(group=14)
    forty.wait_for(lambda: forty.fragments() > 0, "first fragment")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(cluster.jobs()) == 3
    (waiting,) = cluster.jobs("PENDING")
    # Or it may have begun, and ended, before the next run looks.
    cluster.run("scontrol", "hold", waiting)
    script = cluster.run("scontrol", "write", "batch_script", waiting, "-")
    (name,) = (path.name for path in (forty.workspace.work / ".slurm").iterdir())

    run = forty.run(group=20)
    assert any("cancelled SLURM jobs that an earlier run left" in said for said in run.said)
    assert waiting in cluster.jobs("CANCELLED")
    assert digests(forty.workspace.store) == digests(on_one_machine.store)
    assert not (forty.workspace.work / ".slurm").exists()

    # A submission that was on its way when its run was killed comes too late.
    before = {path: path.stat().st_mtime_ns for path in forty.workspace.store.rglob("*")}
    late = forty.workspace.root / "late.sh"
    late.write_text(script)
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(
            ["sbatch", "--wait", "-D", str(forty.workspace.root), "-o", "late.log", str(late)],
            env={**forty.environment, "AEROZARR_SLURM_RUN": name},
            check=True,
            capture_output=True,
        )
    said = (forty.workspace.root / "late.log").read_text()
    assert "another run has taken its place" in said
    assert before == {path: path.stat().st_mtime_ns for path in forty.workspace.store.rglob("*")}


def test_a_run_on_one_machine_ends_the_jobs_that_a_killed_run_left_waiting(
    forty: OnCluster, on_one_machine: Workspace
) -> None:
    cluster = forty.cluster
    nodes = ",".join(cluster.nodes)
    cluster.run("scontrol", "update", f"nodename={nodes}", "state=drain", "reason=test")
    try:
        forty.workspace.config["limit"] = 6
        process = forty.start(group=3)
        forty.wait_for(lambda: len(cluster.jobs("PENDING")) == 2, "waiting jobs")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

        # Without SLURM's programs nobody knows whether those jobs still run.
        refused = forty.workspace.run(ok=False)
        assert "submitted SLURM jobs and did not end" in refused.output
        assert "squeue --me" in refused.output
        assert len(cluster.jobs("PENDING")) == 2

        done = subprocess.run(
            forty.workspace.command(),
            env=forty.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        assert "cancelled SLURM jobs that an earlier run left" in done.stderr
    finally:
        cluster.run("scontrol", "update", f"nodename={nodes}", "state=resume")
    assert cluster.jobs() == []
    assert forty.has_the_groups_of(on_one_machine, 6)


def test_a_partition_that_is_not_there_ends_the_run_before_anything_is_submitted(
    forty: OnCluster,
) -> None:
    run = forty.run("--default-resources", "slurm_partition=shrot", *RESOURCES, ok=False)
    assert "there is no partition 'shrot' here. Did you mean short?" in run.output
    assert "Traceback" not in run.output
    assert forty.cluster.submissions() == []


def test_a_machine_without_slurm_is_told_so(forty: OnCluster, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("bash", "which"):
        (programs / name).symlink_to(str(shutil.which(name)))
    forty.environment = dict(os.environ) | {"PATH": str(programs)}
    run = forty.run(ok=False)
    assert "sinfo" in run.output
    assert "not found. Start where jobs can be submitted" in run.output


def cluster_commands(page: str) -> list[str]:
    """Return the commands of a page that talk to a cluster or run on one."""
    blocks = re.findall(r"^```\n(.*?)^```", (REPOSITORY / page).read_text(), re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith(("sbatch ", "snakemake "))]


@pytest.mark.parametrize(
    "command", sorted({*cluster_commands("README.md"), *cluster_commands("docs/clusters.md")})
)
def test_each_command_of_the_documents_runs_on_a_cluster(
    cluster: Cluster, on_one_machine: Workspace, tmp_path: Path, command: str
) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(
        REPOSITORY, checkout, ignore=shutil.ignore_patterns(".*", "results", "tests", "docs")
    )
    workspace = Workspace(checkout)
    workspace.source.symlink_to(on_one_machine.source)
    workspace.config["limit"] = 3
    (checkout / "mine.yaml").write_text(yaml.safe_dump(workspace.config))
    # A node here has one core.
    command = command.replace("=16 ", "=1 ").replace("--cores 16", "--cores 1")
    command = command.replace("--mem=32G", "--mem=2G").replace("--time=4:00:00", "--time=10")
    command = command.replace("sbatch ", "sbatch --wait ")
    if command.startswith("snakemake"):
        command += " --slurm-init-seconds-before-status-checks=1"
    programs = f"{cluster.environment['PATH']}{os.pathsep}{Path(sys.executable).parent}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=checkout,
        env={**cluster.environment, "PATH": programs},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(cluster.submissions()) == 1
    assert workspace.listed() == NAMES[:3]


@pytest.fixture(scope="module")
def with_accounts() -> Iterator[Cluster]:
    with Cluster(nodes=1, account="physics") as cluster:
        yield cluster


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        (["slurm_account=chemistry"], "slurm_account: you may not use 'chemistry'."),
        (["slurm_account=physic"], "Did you mean physics?"),
        ([], "slurm_account is not set, and this cluster keeps accounts."),
    ],
    ids=["another", "misspelt", "none"],
)
def test_a_wrong_account_ends_the_run_before_anything_is_submitted(
    with_accounts: Cluster,
    on_one_machine: Workspace,
    tmp_path: Path,
    resources: list[str],
    said: str,
) -> None:
    on_cluster = OnCluster(Workspace(tmp_path), with_accounts)
    on_cluster.workspace.source.symlink_to(on_one_machine.source)
    with_accounts.forget_submissions()
    run = on_cluster.run("--default-resources", *resources, *RESOURCES, ok=False)
    assert said in run.output
    assert "one of: physics, root" in run.output
    assert with_accounts.submissions() == []


def test_a_cluster_with_accounts_is_asked_through_its_database(
    with_accounts: Cluster, on_one_machine: Workspace, tmp_path: Path
) -> None:
    on_cluster = OnCluster(Workspace(tmp_path), with_accounts)
    on_cluster.workspace.source.symlink_to(on_one_machine.source)
    on_cluster.workspace.config["limit"] = 4
    with_accounts.forget_submissions()
    on_cluster.run(
        "--slurm-status-command=sacct",
        *("--default-resources", "slurm_account=physics", *RESOURCES),
        group=4,
    )
    (submission,) = with_accounts.submissions()
    assert "-A physics" in submission
    assert "COMPLETED" in with_accounts.run("sacct", "-n", "-X", "--format=state")
    assert on_cluster.has_the_groups_of(on_one_machine, 4)
