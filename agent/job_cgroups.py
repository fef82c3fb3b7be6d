"""Which Slurm jobs live on this machine, by the cgroups that slurmd made for them.

On v2 they stand in a scope that is there as long as slurmd is; on v1 at the root of each hierarchy, below their users.
A user cannot make one there. https://slurm.schedmd.com/cgroup_v2.html
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
_OVER_US = 600_000_000  # a Prolog that takes longer is rare, and a job has a cgroup until it ends


@dataclass(frozen=True, slots=True)
class Lives:
    """Of some jobs, by name, those that are over, and those that run or are about to; neither: its Epilog is at work.

    `running` is None where that cannot be told. `others` have run for ten minutes, and were not asked for.
    """

    over: frozenset[str] = frozenset()
    running: frozenset[str] | None = None
    others: frozenset[str] = frozenset()


class JobLives:
    """Remembers which jobs had a cgroup, and since when they have none. One thread calls it.

    A job that never had one may be in its Prolog; after ten minutes without one any job is over.
    """

    def __init__(self, living: Callable[[], Collection[str] | None], monotonic_us: Callable[[], int]) -> None:
        self._living = living
        self._monotonic_us = monotonic_us
        self._lived: frozenset[str] = frozenset()
        self._without_us: dict[str, int] = {}
        self._others_us: dict[str, int] = {}

    def of(self, names: Collection[str]) -> Lives:
        """How it stands with these; others are forgotten."""
        living = self._living()
        if living is None:
            self._without_us.clear()
            self._others_us.clear()
            return Lives()
        now_us = self._monotonic_us()
        self._others_us = {name: self._others_us.get(name, now_us) for name in living if name not in names}
        self._lived = frozenset(name for name in names if name in living or name in self._lived)
        self._without_us = {name: self._without_us.get(name, now_us) for name in names if name not in living}
        over, others = _long(self._without_us, now_us), _long(self._others_us, now_us)
        starting = self._without_us.keys() - self._lived - over
        return Lives(over, frozenset(name for name in names if name in living or name in starting), others)


def _long(since_us: Mapping[str, int], now_us: int) -> frozenset[str]:
    return frozenset(name for name, us in since_us.items() if now_us - us >= _OVER_US)


def living_jobs(root: Path = CGROUPS) -> frozenset[str] | None:
    """Their names, `job_<id>`; None where Slurm has no cgroup in sight, so that nothing can be said.

    With `PrologFlags=Contain` a job has a process as long as it lasts; on v1 empty cgroups may be left behind.
    """
    homes = list(_homes(root))
    jobs = (job for home in homes for job in _folders(home, "job_*"))
    return frozenset(job.name for job in jobs if _has_process(job)) if homes else None


def _homes(root: Path) -> Iterator[Path]:
    """The folders in which jobs stand: a scope below a slice of the system, or a user of Slurm's in a hierarchy."""
    for top in _folders(root):
        if top.name.endswith(".slice") and top.name != "user.slice":
            for parent in (top, *_folders(top, "*.slice")):
                yield from _folders(parent, "*slurmstepd.scope")
        for slurm in (top / "slurm", *_folders(top, "slurm_*")):
            yield from _folders(slurm, "uid_*")


def _folders(parent: Path, pattern: str = "*") -> list[Path]:
    """Its folders; none where it went away meanwhile, as cgroups do."""
    try:
        with os.scandir(parent) as entries:
            return [parent / each.name for each in entries if fnmatchcase(each.name, pattern) and each.is_dir()]
    except OSError:
        return []


def _has_process(job: Path) -> bool:
    for folder, _, files in os.walk(job):
        if "cgroup.procs" in files:
            try:
                if Path(folder, "cgroup.procs").read_bytes():
                    return True
            except (FileNotFoundError, ProcessLookupError, NotADirectoryError):  # a step that ended meanwhile
                continue
            except OSError:  # a threaded cgroup, which tells nobody its processes and has some
                return True
    return False
