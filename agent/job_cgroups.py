"""Which Slurm jobs live on this machine, by the cgroups that slurmd made for them.

On v2 they stand in a scope that is there as long as slurmd is; on v1 at the root of each hierarchy, below their users.
A user cannot make one there. https://slurm.schedmd.com/cgroup_v2.html
"""

from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
_SCOPES = ("*.slice/*slurmstepd.scope", "*.slice/*.slice/*slurmstepd.scope")
_USERS = ("*/slurm/uid_*", "*/slurm_*/uid_*")


def living_jobs(root: Path = CGROUPS) -> frozenset[str] | None:
    """Their names, `job_<id>`; None where Slurm has no cgroup in sight, so that nothing can be said."""
    homes = list(_homes(root))
    return frozenset(job.name for home in homes for job in home.glob("job_*")) if homes else None


def _homes(root: Path) -> Iterator[Path]:
    """The folders in which jobs stand."""
    for pattern in _SCOPES:
        yield from (scope for scope in root.glob(pattern) if scope.relative_to(root).parts[0] != "user.slice")
    for pattern in _USERS:
        yield from root.glob(pattern)
