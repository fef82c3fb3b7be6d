"""pid -> process, from /proc: who it is, in which container, and whether it is still the same one.

A pid alone names nobody: it is used again. A process is (pid, start time); while one is remembered it is held by a
pidfd, which goes on meaning the process it was opened for, so that a reused pid cannot be missed.
"""

import os
import select
from collections.abc import Callable, Container
from pathlib import Path
from typing import NamedTuple

from gputally.agent.probe import cgroup
from gputally.agent.sample import Process, SlurmJob

_HOST_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO of linux/proc_ns.h; every other namespace has another

_READ_BYTES = 8192
_STAT_STATE, _STAT_THREADS, _STAT_START = 0, 17, 19  # fields 3, 20 and 22 of proc(5), counted from behind the name

# What reading a process says when there is none: it ended before or while we read, or /proc is mounted with hidepid.
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


def in_host_pid_namespace(proc_root: Path) -> bool:
    """Whether this process lives in the node's own pid namespace, without which the driver hides other processes."""
    try:
        return str((proc_root / "self/ns/pid").readlink()) == _HOST_PID_NAMESPACE
    except OSError:  # no such /proc, or one in which we do not exist: then its pids are not ours either
        return False


def _has_our_pids(proc_root: Path) -> bool:
    """Whether pids mean the same there as to pidfds, which speak of our own pid namespace.

    A /proc shows us by the pid that we have in its namespace. Only that of the host can show us if we live in it.
    """
    if proc_root == Path("/proc"):
        return True
    return in_host_pid_namespace(proc_root) and (proc_root / "self").resolve().name == str(os.getpid())


class ProcessTable:
    """The processes of a /proc; implements the sampler's `Processes`. One thread calls it.

    Only what cannot change any more is remembered: a process that stands in a pod's container. A host process, which
    may become another user, or one that a runtime has not yet moved to its container, is read afresh at each call.
    """

    def __init__(
        self, proc_root: Path, login_name: Callable[[int], str], known: Container[str] = (), *, capacity: int = 512
    ) -> None:
        """`login_name` names a uid; `known` are the uids of this node's pods. `capacity`: processes remembered, a file
        descriptor each; 512 is half of the usual soft limit of 1024."""
        self.evictions = 0  # processes forgotten although they may live, because the table was full
        self._root = f"{proc_root}/"
        self._login_name = login_name
        self._known = known
        self._capacity = capacity
        self._settled: dict[int, Process] = {}
        self._held = _Held() if hasattr(os, "pidfd_open") and _has_our_pids(proc_root) else None

    def know(self, known: frozenset[str]) -> None:
        """Take another set of pod uids; what was read with the former one is read again."""
        if known == self._known:
            return
        self._known = known
        for pid in list(self._settled):
            self._forget(pid)

    def resolve(self, pid: int) -> Process | None:
        """The process with this pid now; None when there is none, when it is a zombie, or hidden from us."""
        for dead in self._held.dead() if self._held else ():
            self._forget(dead)
        process = self._settled.get(pid)
        if process is None:
            return self._look(pid)
        if (self._held and pid in self._held) or self._start_ticks(pid) == process.start_ticks:
            return process
        self._forget(pid)
        return self._look(pid)

    def close(self) -> None:
        """Forget everything and give the file descriptors back; closing twice is harmless."""
        self._settled.clear()
        if self._held:
            self._held.close()

    def _look(self, pid: int) -> Process | None:
        """Read the process; its start time is read first and last, after it is held: between them it was the same."""
        process = self._read(pid)
        if process is None:
            return None
        if process.container and process.container.pod_uid and process.container.container_id:
            self._remember(process)
        if self._start_ticks(pid) == process.start_ticks:
            return process
        self._forget(pid)
        return None

    def _read(self, pid: int) -> Process | None:
        folder = f"{self._root}{pid}/"
        try:
            stat = _parse_stat(_contents(folder + "stat"))
            if stat is None:
                return None
            text = _contents(folder + "cgroup").decode("utf-8", "replace")
            user = self._user(Path(folder).stat().st_uid, text)  # of the folder: it is always the process's
        except _GONE:
            return None
        container = cgroup.parse(text, self._known)
        return Process(pid, stat.start_ticks, container, user, cgroup.unit(text), stat.command, self._job(text, user))

    def _user(self, uid: int, text: str) -> str:
        """Who runs it. A uid that is nobody's below a user's slice is one that he was lent for his containers."""
        name = self._login_name(uid)
        home = cgroup.slice_uid(text) if name == str(uid) else None
        return name if home is None else self._login_name(home)

    def _job(self, text: str, user: str) -> SlurmJob | None:
        """The job of a process of this user: within a job one may become another user, the job's stays."""
        found = cgroup.job(text)
        if found is None:
            return None
        return SlurmJob(found.name, user if found.uid is None else self._login_name(found.uid))

    def _start_ticks(self, pid: int) -> int | None:
        try:
            stat = _parse_stat(_contents(f"{self._root}{pid}/stat"))
        except _GONE:
            return None
        return stat.start_ticks if stat else None

    def _remember(self, process: Process) -> None:
        if len(self._settled) >= self._capacity:
            self._forget(next(iter(self._settled)))
            self.evictions += 1
        self._settled[process.pid] = process
        if self._held:
            self._held.hold(process.pid)

    def _forget(self, pid: int) -> None:
        self._settled.pop(pid, None)
        if self._held:
            self._held.release(pid)


class _Held:
    """Living processes by their pidfds, and one epoll that tells which have ended."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._fds: dict[int, int] = {}
        self._pids: dict[int, int] = {}

    def __contains__(self, pid: int) -> bool:
        return pid in self._fds

    def hold(self, pid: int) -> None:
        """Hold the process that has this pid now. Where it cannot be held its start time must be read instead:
        no descriptors left, a kernel before 5.3, or a seccomp filter."""
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            return
        self._fds[pid] = fd
        self._pids[fd] = pid
        self._epoll.register(fd, select.EPOLLIN)

    def dead(self) -> list[int]:
        """The pids whose processes have ended; they are named until they are released."""
        return [self._pids[fd] for fd, _ in self._epoll.poll(0, len(self._fds))] if self._fds else []

    def release(self, pid: int) -> None:
        fd = self._fds.pop(pid, None)
        if fd is None:
            return
        del self._pids[fd]
        self._epoll.unregister(fd)
        os.close(fd)

    def close(self) -> None:
        for pid in list(self._fds):
            self.release(pid)
        self._epoll.close()


class _Stat(NamedTuple):
    start_ticks: int
    command: str


def _parse_stat(line: bytes) -> _Stat | None:
    """What /proc/<pid>/stat says; None for a zombie. The name is in brackets and may contain brackets and spaces.

    A process whose first thread has ended looks like a zombie while its other threads still run.
    """
    start, end = line.find(b"("), line.rfind(b")")
    fields = line[end + 1 :].split()
    if end < 0 or len(fields) <= _STAT_START:
        return None
    if fields[_STAT_STATE] in (b"Z", b"X") and int(fields[_STAT_THREADS]) < 2:
        return None
    return _Stat(int(fields[_STAT_START]), line[start + 1 : end].decode("utf-8", "replace"))


def _contents(path: str) -> bytes:
    """The whole file, by bare system calls: a file object would cost more than the reading."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = [os.read(fd, _READ_BYTES)]
        while len(parts[-1]) == _READ_BYTES:
            parts.append(os.read(fd, _READ_BYTES))
    finally:
        os.close(fd)
    return b"".join(parts)
