"""Whether Slurm's Prolog tells which jobs hold which GPUs."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from gputally.agent.doctor.finding import Finding, fail, ok
from gputally.agent.slurm_jobs import JobsUnreadable, SlurmJobs

NAME = "slurm-jobs"
_FOLDER = "have Slurm's Prolog and Epilog keep this folder, as root (docs/hosts.md)"


def check(folder: Path, monotonic_us: Callable[[], int]) -> Iterator[Finding]:
    """Read the folder as the agent does."""
    try:
        said = SlurmJobs(folder, monotonic_us, {0, os.geteuid()}).poll()
    except JobsUnreadable as error:
        yield fail(NAME, f"{error}", _FOLDER)
        return
    if said.problem:
        yield fail(NAME, f"{said.problem}", _FOLDER)
    else:
        yield ok(NAME, f"jobs that hold GPUs: {len(said.containers)}")
