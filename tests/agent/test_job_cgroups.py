"""Which jobs live, by the folders below /sys/fs/cgroup: as slurmd makes them on v2 and v1, and nobody else."""

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
    assert living_jobs(tmp_path) == expected


def test_without_cgroups_nothing_is_said(tmp_path: Path) -> None:
    assert living_jobs(tmp_path / "nowhere") is None
