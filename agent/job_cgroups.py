"""Which Slurm jobs live on this machine, by the cgroups that slurmd made for them.

On v2 they stand in a scope that is there as long as slurmd is; on v1 at the root of each hierarchy, below their users.
A user cannot make one there. https://slurm.schedmd.com/cgroup_v2.html
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
_SCOPES = ("*.slice/*slurmstepd.scope", "*.slice/*.slice/*slurmstepd.scope")
_USERS = ("*/slurm/uid_*", "*/slurm_*/uid_*")
_OVER_US = 600_000_000  # a Prolog that takes longer is rare, and a job has a cgroup until it ends


@dataclass(frozen=True, slots=True)
class Lives:
    """Of some jobs, by name, those that are over, and those that run or are about to; neither: its Epilog is at work.

    `running` is None where that cannot be told.
    """

    over: frozenset[str] = frozenset()
    running: frozenset[str] | None = None


class JobLives:
    """Remembers which jobs had a cgroup, and since when they have none. One thread calls it.

    A job that never had one may be in its Prolog; after ten minutes without one any job is over.
    """

    def __init__(self, living: Callable[[], Collection[str] | None], monotonic_us: Callable[[], int]) -> None:
        self._living = living
        self._monotonic_us = monotonic_us
        self._lived: frozenset[str] = frozenset()
        self._without_us: dict[str, int] = {}

    def of(self, names: Collection[str]) -> Lives:
        """How it stands with these; others are forgotten."""
        living = self._living()
        if living is None:
            self._without_us.clear()
            return Lives()
        now_us = self._monotonic_us()
        self._lived = frozenset(name for name in names if name in living or name in self._lived)
        self._without_us = {name: self._without_us.get(name, now_us) for name in names if name not in living}
        over = frozenset(name for name, since_us in self._without_us.items() if now_us - since_us >= _OVER_US)
        starting = self._without_us.keys() - self._lived - over
        return Lives(over, frozenset(name for name in names if name in living or name in starting))


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
