"""Slurm's jobs on this machine and the GPUs that they hold: a folder that Slurm's Prolog and Epilog keep.

What a job holds cannot be read where its users could not have written it: the environment of its processes is theirs,
and cgroups do not tell which devices they allow (v1 lists exceptions only where all is denied, v2 has a program). The
Prolog runs as root before the job does, the Epilog after it. A file there is a job: its name is the job's id, its lines
are the Prolog's own variables, `SLURM_JOB_GPUS` and who the job is of; its time is when the job began.
"""

import os
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from gputally.accounting.keys import user_namespace
from gputally.agent.attribution.identity import job_name
from gputally.agent.job_cgroups import JobLives, Lives
from gputally.agent.kube.pods import OwnerReference, Pod
from gputally.agent.reservations.kubelet import ContainerReservation, Reservations, ReservationsUnavailable

MOST_JOBS = 4096  # a node has fewer cores
MOST_BYTES = 4096  # of a file: it has four short lines
_LONGEST_NAME = 253  # bytes, as names of Kubernetes: what is longer than a collector takes would cost the whole window
_KEEP_US = 600_000_000  # how long the user of a job that ended is known
_UNKNOWN = ("", "nobody")  # what old Slurms call a uid that they could not name just then; newer ones say it in digits
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_RESOURCE = "gres/gpu"


class JobsUnreadable(ReservationsUnavailable):
    """The folder of jobs is not there, or others than root could write to it."""


class BadJob(ValueError):
    """A file that is no job; the message says why."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job that runs here. `user` is a login name, or a uid without one; `started_us` is since the epoch.

    `device_ids` are as a device plugin's: `nvidia0` for the number 0, else as they stand there (UUIDs).
    """

    id: str
    user: str
    device_ids: tuple[str, ...]
    started_us: int

    @property
    def pod(self) -> Pod:
        """The job as what a pod is on a node of Kubernetes."""
        name = job_name(f"job_{self.id}", self.user)
        made_by = OwnerReference("slurm", "SlurmJob", self.id, name.uid, controller=True)
        return Pod(name.uid, name.namespace, name.name, owners=(made_by,), phase="Running", started_us=self.started_us)


class SlurmJobs:
    """The folder's jobs as the last poll found them: who holds what, and whose each job is.

    One thread polls; any thread asks. `owner_uids`: whose files are believed. `living`: the names of the jobs that have
    a cgroup, or None where that cannot be told. A job that has had none for ten minutes is over, whatever its file
    says, and of what several that have one are given none holds anything. `login_name` is for a file that has a uid.
    """

    def __init__(
        self,
        folder: Path,
        monotonic_us: Callable[[], int],
        owner_uids: Collection[int] = (0,),
        living: Callable[[], Collection[str] | None] = lambda: None,
        login_name: Callable[[int], str] = str,
    ) -> None:
        self._folder = folder
        self._monotonic_us = monotonic_us
        self._owner_uids = owner_uids
        self._login_name = login_name
        self._lives = JobLives(living, monotonic_us)
        self._current: Mapping[str, Pod] = {}
        self._gone: Mapping[str, tuple[Pod, int]] = {}  # jobs without a file any more, and since when
        self._pods: Mapping[str, Pod] = {}  # both

    def poll(self) -> Reservations:
        """What is held now; raises JobsUnreadable."""
        jobs, problem = self._read()
        self._know({job.pod.uid: job.pod for job in jobs})
        lives = self._lives.of(self._current)
        shared = _shared([job for job in jobs if job.pod.uid in (lives.running or ())])
        held = tuple(
            ContainerReservation(job.pod.namespace, job.pod.name, "", _RESOURCE, device_ids)
            for job in jobs
            if job.pod.uid not in lives.over and (device_ids := tuple(i for i in job.device_ids if i not in shared))
        )
        problem = problem or self._problem(lives)
        return Reservations(self._monotonic_us(), stale=False, containers=held, allocatable=(), problem=problem)

    def of_uid(self, uid: str) -> Pod | None:
        """The job `job_<id>`, for a while after its end too: what it left running is its user's."""
        return self._pods.get(uid)

    def of_name(self, namespace: str, name: str) -> Pod | None:
        """The same by both its names."""
        pod = self._pods.get(name)
        return pod if pod and pod.namespace == namespace else None

    def of_container(self, container_id: str) -> tuple[Pod, str] | None:  # noqa: ARG002 - the protocol's name
        """A container within a job is the job's."""
        return None

    def known(self) -> Collection[str]:
        """No UIDs of pods: jobs are told by their own cgroups."""
        return ()

    def _problem(self, lives: Lives) -> str:
        """What the files and the cgroups of jobs do not agree on, in one line."""
        if lives.over:
            return (
                f"--slurm-jobs {self._folder}: jobs that are over have files, as {min(lives.over)}: did an Epilog fail?"
            )
        if lives.others:
            why = "they began before there was a Prolog, or slurm.conf names none"
            return f"--slurm-jobs {self._folder}: jobs that run have no file, as {min(lives.others)}: {why}"
        return ""

    def _know(self, current: Mapping[str, Pod]) -> None:
        now_us = self._monotonic_us()
        lost = {uid: (pod, now_us) for uid, pod in self._current.items()}
        gone = [(uid, pod, since_us) for uid, (pod, since_us) in {**self._gone, **lost}.items() if uid not in current]
        kept = [entry for entry in gone if now_us - entry[2] <= _KEEP_US][-MOST_JOBS:]
        self._gone = {uid: (pod, since_us) for uid, pod, since_us in kept}
        self._current = current
        self._pods = {**{uid: pod for uid, pod, _ in kept}, **current}

    def _read(self) -> tuple[list[Job], str]:
        """The jobs in the order of their ids, and what is wrong with the folder, in one line."""
        try:
            self._check(self._folder.stat())
            names = list(islice((entry.name for entry in os.scandir(self._folder)), 2 * MOST_JOBS))
        except OSError as error:
            what = f"{error.strerror}: does Slurm's Prolog write there?"
            raise JobsUnreadable(f"--slurm-jobs {self._folder}: {what}") from error
        except BadJob as error:
            raise JobsUnreadable(f"--slurm-jobs {self._folder}: {error}") from error
        wanted = sorted((name for name in names if not name.startswith(".")), key=lambda name: (len(name), name))
        jobs, bad = [], [f"{name}: one of more than {MOST_JOBS} files" for name in wanted[MOST_JOBS:]]
        for name in wanted[:MOST_JOBS]:
            try:
                jobs += self._job(name)
            except (OSError, BadJob) as error:
                bad.append(f"{name}: {error}")
        return jobs, f"--slurm-jobs {self._folder}: {len(bad)} files are no jobs, as {bad[0]}" if bad else ""

    def _job(self, name: str) -> list[Job]:
        """The job of a file; none where the Epilog was faster."""
        try:
            fd = os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return []
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            self._check(status)
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise BadJob(f"longer than {MOST_BYTES} bytes")
        job = parse_job(name, text.decode("utf-8", "replace"), status.st_mtime_ns // 1000)
        return [replace(job, user=self._login_name(int(job.user))) if job.user.isdecimal() else job]

    def _check(self, status: os.stat_result) -> None:
        """Who pays must not rest on what anybody else can write."""
        if status.st_uid not in self._owner_uids:
            raise BadJob(f"it belongs to uid {status.st_uid}, and not to root")
        if status.st_mode & _WRITABLE_BY_OTHERS:
            raise BadJob("others than its owner may write to it")


def _shared(running: Iterable[Job]) -> set[str]:
    """The GPUs that several jobs have at one time, by shards or MPS. Nobody tells how much of it each has."""
    counts = Counter(device_id for job in running for device_id in set(job.device_ids))
    return {device_id for device_id, jobs in counts.items() if jobs > 1}


def parse_job(name: str, text: str, started_us: int) -> Job:
    """The job of a file by its name and its lines NAME=VALUE, of which others than ours are left; raises BadJob."""
    if not (name.isascii() and name.isdecimal()):
        raise BadJob("its name is no number")
    fields = dict(line.strip().split("=", 1) for line in text.splitlines() if "=" in line)
    named, uid = fields.get("SLURM_JOB_USER", ""), fields.get("SLURM_JOB_UID", "")
    user = uid if named in _UNKNOWN and uid else named
    if not user or len(user_namespace(user).encode()) > _LONGEST_NAME:
        raise BadJob("SLURM_JOB_USER and SLURM_JOB_UID name no user")
    gpus = [gpu.strip() for gpu in fields.get("SLURM_JOB_GPUS", "").split(",") if gpu.strip()]
    return Job(str(int(name)), user, tuple(f"nvidia{gpu}" if gpu.isdecimal() else gpu for gpu in gpus), started_us)
