"""Slurm's jobs are read as the agent reads them: a folder that is missing, or a file that is no job, is told."""

from pathlib import Path

from gputally.agent.doctor.finding import Level
from gputally.agent.doctor.slurm import check


def test_jobs_are_counted_and_what_is_none_is_told(tmp_path: Path) -> None:
    (missing,) = check(tmp_path / "jobs", lambda: 0)
    assert missing.level is Level.FAIL
    folder = tmp_path / "jobs"
    folder.mkdir(mode=0o755)
    (folder / "12").write_text("SLURM_JOB_GPUS=0,1\nSLURM_JOB_USER=ann\n")
    (folder / "13").write_text("SLURM_JOB_USER=bob\n")
    for path in folder.iterdir():
        path.chmod(0o644)
    (fine,) = check(folder, lambda: 0)
    assert (fine.level, fine.found) == (Level.OK, "jobs that hold GPUs: 1")
    (folder / "notes").write_text("")
    (folder / "notes").chmod(0o644)
    (bad,) = check(folder, lambda: 0)
    assert (bad.level, "no number" in bad.found) == (Level.FAIL, True)


def test_jobs_that_run_without_a_file_are_told(tmp_path: Path) -> None:
    """Slurm that runs no Prolog looks like a machine without jobs."""
    folder = tmp_path / "jobs"
    folder.mkdir(mode=0o755)
    (folder / "12").write_text("SLURM_JOB_GPUS=0\nSLURM_JOB_USER=ann\n")
    (folder / "12").chmod(0o644)
    (_, missing) = check(folder, lambda: 0, lambda: {"job_12", "job_7"})
    assert (missing.level, missing.found) == (Level.WARN, "jobs that run without a file: 1, as job_7")
    (fine,) = check(folder, lambda: 0, lambda: {"job_12"})
    assert fine.level is Level.OK
