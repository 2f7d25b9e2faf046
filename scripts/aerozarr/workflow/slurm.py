"""A run's jobs on a SLURM cluster: what is checked before, and what a killed run leaves behind.

SLURM's jobs outlive the Snakemake that submitted them. Two runs that write the same samples must
not meet, so a run that submits jobs puts their name, which is its own, into a folder of the work
folder (`begin_run`). Whoever starts next in that work folder takes the name out of force, and then
ends all jobs of that name (`end_left_jobs`). A job that starts later, because it was on its way
meanwhile, finds its name no longer in force and does nothing (`check_run`).
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import time
from pathlib import Path

from aerozarr.environment import SBATCH_TIMELIMIT, SLURM_RUN
from aerozarr.errors import SettingsError, StoreError
from aerozarr.messages import did_you_mean
from aerozarr.workflow.resources import GROUP_MINUTES
from aerozarr.workflow.snakemake_internals import cluster
from aerozarr.workflow.snakemake_internals.attributes import Workflow

_FOLDER = ".slurm"
_REVOKED = ".ended"

# What the executor plugin and this module call.
_PROGRAMS = ("sbatch", "scancel", "scontrol", "squeue", "sinfo", "sacct", "sacctmgr")
# SLURM kills what does not end by itself after KillWait, by default half a minute.
_END_SECONDS = 120.0


def begin_run(workdir: Path, name: str) -> None:
    """Write down under which name this run's jobs are submitted, and hand it on to them."""
    folder = workdir / _FOLDER
    folder.mkdir(exist_ok=True)
    (folder / name).touch()
    os.environ[SLURM_RUN] = name


def end_run(workdir: Path) -> None:
    """Forget the run's name: all of its jobs have ended."""
    shutil.rmtree(workdir / _FOLDER, ignore_errors=True)
    os.environ.pop(SLURM_RUN, None)


def check_run(workdir: Path) -> None:
    """Refuse to do a job of a run that another run has taken the place of.

    Raises
    ------
    StoreError
        When the run's name is no longer in force.
    """
    name = os.environ.get(SLURM_RUN)
    if name is not None and not (workdir / _FOLDER / name).exists():
        raise StoreError(
            f"this job was submitted by the run {name}, and another run has taken its place in "
            f"{workdir}. Nothing is done. (On a cluster, {workdir} must be a folder that all "
            "nodes share.)"
        )


def end_left_jobs(workdir: Path) -> list[str]:
    """End the jobs that earlier runs in this work folder have left on the cluster.

    Called with the work folder's lock held, so that those runs themselves have ended.

    Returns
    -------
    list of str
        What the person should know.

    Raises
    ------
    StoreError
        When the cluster cannot be asked, or a job does not end.
    """
    folder = workdir / _FOLDER
    if not folder.is_dir():
        return []
    for path in folder.iterdir():
        if path.suffix != _REVOKED:
            path.rename(path.with_name(path.name + _REVOKED))
    names = sorted(path.name.removesuffix(_REVOKED) for path in folder.iterdir())
    messages = []
    if names and (jobs := _jobs_of(names, folder)):
        _call(["scancel", *jobs], folder)
        deadline = time.monotonic() + _END_SECONDS
        while left := _jobs_of(names, folder):
            if time.monotonic() > deadline:
                raise StoreError(
                    f"SLURM jobs of an earlier run in {workdir} were cancelled and do not end: "
                    f"{' '.join(left)}. They may still write. See squeue --jobs={','.join(left)}; "
                    "start again when they are gone."
                )
            time.sleep(1)  # one squeue a second, for as long as SLURM takes to kill
        messages.append(f"cancelled SLURM jobs that an earlier run left: {' '.join(jobs)}")
    shutil.rmtree(folder)
    return messages


def _jobs_of(names: list[str], folder: Path) -> list[str]:
    """Return the numbers of the jobs with these names that have not ended."""
    own = ["squeue", "--me", "--noheader", "--format=%i", f"--name={','.join(names)}"]
    return sorted(set(_call(own, folder).split()))


def _call(command: list[str], folder: Path) -> str:
    try:
        return _output(command)
    except (OSError, subprocess.SubprocessError) as error:
        raise StoreError(
            f"the last run in {folder.parent} submitted SLURM jobs and did not end, and they "
            f"cannot be looked for: {_reason(error)}. Start where SLURM answers; or, if you know "
            f"that none of your jobs is left (squeue --me), remove {folder}."
        ) from None


def prepare_submission(workflow: Workflow, workdir: Path, rule: str = "convert_sample") -> None:
    """Check what jobs are submitted with, and make the run's jobs known by their name.

    Does nothing where jobs are not submitted to SLURM.

    Parameters
    ----------
    workflow
        Snakemake's own object.
    workdir
        The work folder.
    rule
        The name of the rule that converts, whose resources all jobs have.

    Raises
    ------
    SettingsError
        When jobs cannot be submitted from this machine, or not so.
    """
    if cluster.executor_name(workflow) != "slurm":
        return
    check_submission(
        cluster.given_resource(workflow, rule, "slurm_account"),
        cluster.given_resource(workflow, rule, "slurm_partition"),
    )
    cluster.keep_config_off_command_lines(workflow)
    # For a group of so few samples that they add up to no time at all.
    os.environ.setdefault(SBATCH_TIMELIMIT, str(GROUP_MINUTES))
    begin_run(workdir, cluster.run_name(workflow))


def check_submission(account: str | None, partition: str | None) -> None:
    """Check what every job is going to be submitted with.

    The executor plugin finds a wrong account only when it submits, and then waits for ever.

    Parameters
    ----------
    account, partition
        The resources `slurm_account` and `slurm_partition`, or None where they are not given.

    Raises
    ------
    SettingsError
        When jobs cannot be submitted from this machine, or not with these.
    """
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        raise SettingsError(
            f"SLURM's {', '.join(missing)} not found. Start where jobs can be submitted, usually "
            "on a login node; or convert on this machine alone: --cores, and no --profile."
        )
    try:
        listed = _output(["sinfo", "--noheader", "--format=%P"]).split()
    except (OSError, subprocess.SubprocessError) as error:
        raise SettingsError(f"SLURM does not answer: {_reason(error)}") from None
    _check_partition(partition, listed)
    _check_account(account, _accounts())


def _check_partition(partition: str | None, listed: list[str]) -> None:
    known = sorted({name.removesuffix("*") for name in listed})
    if partition is None:
        if not any(name.endswith("*") for name in listed):
            raise SettingsError(
                "slurm_partition is not set, and this cluster has no default partition. Set it in "
                f"the profile, under default-resources, to one of: {', '.join(known)}"
            )
        return
    for name in partition.split(","):
        if name not in known:
            raise SettingsError(
                f"slurm_partition: there is no partition {name!r} here.{did_you_mean(name, known)} "
                f"Set it in the profile, under default-resources, to one of: {', '.join(known)}"
            )


def _check_account(account: str | None, known: list[str] | None) -> None:
    remedy = "Set it in the profile, under default-resources, to one of"
    if account is None:
        if known:
            raise SettingsError(
                f"slurm_account is not set, and this cluster keeps accounts. {remedy}: "
                f"{', '.join(known)}"
            )
        return
    if known is None:
        raise SettingsError(
            f"slurm_account: {account!r} cannot be checked, because neither sacctmgr nor sshare "
            "answers. If this cluster keeps no accounts, leave slurm_account out."
        )
    if known and account.lower() not in known:
        raise SettingsError(
            f"slurm_account: you may not use {account!r}.{did_you_mean(account, known)} "
            f"{remedy}: {', '.join(known)}"
        )


def _accounts() -> list[str] | None:
    """Return the accounts that this person may use, in lower case; None when nobody can say.

    None are known where the cluster keeps no accounts. Asks as the executor plugin does.
    """
    columns = ["--noheader", "--parsable2", "format=account"]
    person = getpass.getuser()
    answered = False
    for command in (
        ["sacctmgr", "show", "associations", f"user={person}", *columns],
        ["sshare", "-U", "--noheader", "--parsable2", "--format=Account"],
    ):
        try:
            accounts = {line.strip().lower() for line in _output(command).splitlines()} - {""}
        except (OSError, subprocess.SubprocessError):
            continue
        if accounts:
            return sorted(accounts)
        answered = True
    return [] if answered else None


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def _reason(error: OSError | subprocess.SubprocessError) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return f"{error.cmd[0]}: {error.stderr.strip()}"
    return str(error)
