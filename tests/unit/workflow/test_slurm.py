"""Specification of how a run's SLURM jobs are told from another's; tests/cluster has real ones."""

from pathlib import Path

import pytest

from aerozarr.environment import SLURM_RUN
from aerozarr.errors import StoreError
from aerozarr.workflow.slurm import begin_run, check_run, end_left_jobs, end_run


@pytest.fixture(autouse=True)
def no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SLURM_RUN, "")
    monkeypatch.delenv(SLURM_RUN)


def test_a_job_outside_of_slurm_belongs_to_no_run(tmp_path: Path) -> None:
    check_run(tmp_path)


def test_a_job_of_the_run_at_work_may_go_on(tmp_path: Path) -> None:
    begin_run(tmp_path, "aerozarr_1")
    check_run(tmp_path)


def test_a_job_of_an_earlier_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_run(tmp_path, "aerozarr_1")
    end_run(tmp_path)
    begin_run(tmp_path, "aerozarr_2")
    monkeypatch.setenv(SLURM_RUN, "aerozarr_1")
    with pytest.raises(StoreError, match="aerozarr_1, and another run has taken its place"):
        check_run(tmp_path)


def test_a_run_that_ended_leaves_nothing_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # SLURM is not asked
    begin_run(tmp_path, "aerozarr_1")
    end_run(tmp_path)
    assert end_left_jobs(tmp_path) == []


def test_jobs_that_nobody_can_ask_for_stay_refused_but_out_of_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    begin_run(tmp_path, "aerozarr_1")
    for _ in range(2):
        with pytest.raises(StoreError, match="squeue --me"):
            end_left_jobs(tmp_path)
        with pytest.raises(StoreError, match="another run has taken its place"):
            check_run(tmp_path)
