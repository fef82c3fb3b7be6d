"""Whether Slurm's Prolog tells which jobs hold which GPUs."""

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from gputally.agent.doctor.finding import Finding, fail, ok, warn
from gputally.agent.job_cgroups import living_jobs
from gputally.agent.slurm_jobs import JobsUnreadable, SlurmJobs

NAME = "slurm-jobs"
_PROLOG = "they hold no GPU: where they began after the Prolog was installed, name it in slurm.conf (docs/hosts.md)"
_FOLDER = "have Slurm's Prolog and Epilog keep this folder, as root (docs/hosts.md)"


def check(
    folder: Path, monotonic_us: Callable[[], int], living: Callable[[], Collection[str] | None] = living_jobs
) -> Iterator[Finding]:
    """Read the folder as the agent does, and compare it with the jobs that have a cgroup."""
    jobs = SlurmJobs(folder, monotonic_us, {0, os.geteuid()})
    try:
        said = jobs.poll()
    except JobsUnreadable as error:
        yield fail(NAME, f"{error}", _FOLDER)
        return
    if said.problem:
        yield fail(NAME, f"{said.problem}", _FOLDER)
    else:
        yield ok(NAME, f"jobs that hold GPUs: {len(said.containers)}")
    without = sorted(name for name in living() or () if jobs.of_uid(name) is None)
    if without:
        yield warn(NAME, f"jobs that run without a file: {len(without)}, as {without[0]}", _PROLOG)
