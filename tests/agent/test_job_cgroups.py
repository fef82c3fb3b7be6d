"""Which jobs live, by the folders below /sys/fs/cgroup: as slurmd makes them on v2 and v1, and nobody else."""

import shutil
import threading
from pathlib import Path

import pytest

from gputally.agent.job_cgroups import living_jobs


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["system.slice/slurmstepd.scope/system"], set()),
        (["system.slice/slurmstepd.scope/job_4/step_0/user/task_0"], {"job_4"}),
        (
            ["system.slice/gpu07_slurmstepd.scope/job_4", "system.slice/gpu08_slurmstepd.scope/job_5"],
            {"job_4", "job_5"},
        ),
        (["hpc.slice/hpc-slurm.slice/slurmstepd.scope/job_4"], {"job_4"}),
        (["memory/slurm/uid_1000/job_4/step_0", "freezer/slurm/uid_1000/job_4"], {"job_4"}),
        (["memory/slurm_gpu07/uid_1000/job_4", "memory/slurm_gpu07/uid_1001"], {"job_4"}),
        (["memory/slurm/uid_1000"], set()),
        (["memory/slurm"], None),
        (["system.slice/slurmd.service", "system.slice/slurm_exporter.service"], None),
        (["user.slice/user-1000.slice/slurmstepd.scope/job_4"], None),
        (["user.slice/user-1000.slice/user@1000.service/slurmstepd.scope/job_4"], None),
        (["system.slice/foo.service/slurmstepd.scope/job_4"], None),
        ([], None),
    ],
)
def test_jobs_are_known_by_the_cgroups_that_slurmd_makes(
    folders: list[str], expected: set[str] | None, tmp_path: Path
) -> None:
    """None where nothing of Slurm's is in sight: then nothing can be said of any job."""
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "cgroup.procs").write_text("7\n")
    assert living_jobs(tmp_path) == expected


def test_a_cgroup_that_was_left_behind_is_no_job(tmp_path: Path) -> None:
    """As Slurm does on v1; who waits for it would have the job hold its GPU for ever."""
    for folder, processes in (("job_1", ""), ("job_1/step_0", ""), ("job_2", ""), ("job_2/step_extern", "7\n")):
        (tmp_path / "memory/slurm/uid_1000" / folder).mkdir(parents=True)
        (tmp_path / "memory/slurm/uid_1000" / folder / "cgroup.procs").write_text(processes)
    assert living_jobs(tmp_path) == {"job_2"}


def test_a_cgroup_that_goes_away_while_it_is_read_is_no_job_and_no_error(tmp_path: Path) -> None:
    """The thread that asks would end by it, and with it all news of reservations."""
    job = tmp_path / "memory/slurm/uid_1000/job_1"
    (job / "step_0").mkdir(parents=True)
    (job / "step_0/cgroup.procs").symlink_to(tmp_path / "gone")
    (job / "step_1").symlink_to(tmp_path / "gone")
    assert living_jobs(tmp_path) == frozenset()


def test_jobs_that_come_and_go_while_they_are_counted_break_nothing(tmp_path: Path) -> None:
    home = tmp_path / "system.slice/slurmstepd.scope"
    home.mkdir(parents=True)
    ended = threading.Event()

    def churn() -> None:
        while not ended.is_set():
            (home / "job_1/step_0/user").mkdir(parents=True)
            shutil.rmtree(home / "job_1")

    churner = threading.Thread(target=churn)
    churner.start()
    try:
        assert {living_jobs(tmp_path) for _ in range(300)} <= {frozenset()}
    finally:
        ended.set()
        churner.join()


def test_without_cgroups_nothing_is_said(tmp_path: Path) -> None:
    assert living_jobs(tmp_path / "nowhere") is None
