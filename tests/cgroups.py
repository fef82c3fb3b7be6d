"""Real cgroups for tests: a hierarchy mounted in a temporary folder, into which real processes are put.

/proc/<pid>/cgroup shows a process's path in every mounted hierarchy, wherever it is mounted. So a test makes the cgroup
that a kubelet and a runtime would have made, puts a sleeping process into it, and the agent finds it under /proc.

    with mounted_cgroups(tmp_path) as cgroups:
        pid = cgroups.sleeper(pod_path(uid, container_id))
"""

import ctypes
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.programs import begun

_LIBC = ctypes.CDLL(None, use_errno=True)
_MNT_DETACH = 2
_DEADLINE_S = 60.0
_NUMBERS = itertools.count()

# (version, type of file system, mount options): v1 is a named hierarchy without a controller.
_HIERARCHIES = (("v2", b"cgroup2", b""), ("v1", b"cgroup", b"none,name=gputally-test"))

# How each runtime names a container's cgroup, by the cgroup driver.
_LEAVES = {
    ("systemd", "containerd"): "cri-containerd-{}.scope",
    ("systemd", "cri-o"): "crio-{}.scope",
    ("systemd", "docker"): "docker-{}.scope",
    ("cgroupfs", "containerd"): "{}",
    ("cgroupfs", "cri-o"): "crio-{}",
    ("cgroupfs", "docker"): "{}",
}


def pod_path(
    pod_uid: str, container_id: str, qos: str = "burstable", driver: str = "systemd", runtime: str = "containerd"
) -> str:
    """The cgroup path of a container; `qos`: guaranteed, burstable or besteffort; `driver`: systemd or cgroupfs."""
    leaf = _LEAVES[driver, runtime].format(container_id)
    levels = [] if qos == "guaranteed" else [qos]
    if driver == "cgroupfs":
        return "/" + "/".join(["kubepods", *levels, f"pod{pod_uid}", leaf])
    names = ["kubepods", *levels, f"pod{pod_uid.replace('-', '_')}"]
    slices = ["-".join(names[: count + 1]) + ".slice" for count in range(len(names))]
    return "/" + "/".join([*slices, leaf])


@dataclass(frozen=True)
class Cgroups:
    """A mounted hierarchy, in which everything stands below a cgroup of our own.

    Its name is a prefix of every path, as where a node is a container itself: a kubelet on this machine would take a
    pod that it does not know for an orphan and end its processes, and two runs of the tests would meet.
    """

    mount: Path
    version: str
    prefix: str
    _sleepers: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The folder of our own cgroup."""
        return self.mount / self.prefix

    def put(self, pid: int, path: str) -> None:
        """Move a process into the cgroup `path`, which is made; /proc/<pid>/cgroup then shows /<prefix><path>."""
        folder = self.root / path.strip("/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup.procs").write_text(f"{pid}\n")

    def sleeper(self, path: str) -> int:
        """The pid of a new process that sleeps in the cgroup `path`, until `kill` or until the end."""
        process = subprocess.Popen(["sleep", "infinity"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self._sleepers[process.pid] = process
        self.put(process.pid, path)
        begun(process.pid, "sleep")
        return process.pid

    def kill(self, pid: int) -> None:
        """End a sleeper; when this returns, it is gone from /proc."""
        process = self._sleepers.pop(pid)
        process.kill()
        process.wait(_DEADLINE_S)

    def clean(self) -> None:
        """End the sleepers, move other processes out, remove our cgroups."""
        for pid in list(self._sleepers):
            self.kill(pid)
        folders = [Path(folder) for folder, _, _ in os.walk(self.root)]
        for folder in reversed(folders):
            self._empty(folder)
            _remove(folder)

    def _empty(self, folder: Path) -> None:
        for pid in (folder / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):  # it ended by itself
                (self.mount / "cgroup.procs").write_text(pid)


@contextmanager
def mounted_cgroups(tmp_path: Path) -> Iterator[Cgroups]:
    """A cgroup hierarchy mounted below `tmp_path`: v2, or a named v1 where v2 cannot be. Skips where neither can."""
    mount = tmp_path / "cgroup"
    mount.mkdir()
    cgroups = Cgroups(mount, _mount(mount), f"gputally-test-{os.getpid()}-{next(_NUMBERS)}")
    try:
        cgroups.root.mkdir()
        yield cgroups
    finally:
        try:
            cgroups.clean()
        finally:
            _LIBC.umount2(os.fsencode(mount), _MNT_DETACH)


def _mount(folder: Path) -> str:
    if sys.platform != "linux":
        pytest.skip("needs Linux: cgroups")
    if os.geteuid() != 0:
        pytest.skip("needs root: real processes are put into real cgroups (run the tests with sudo)")
    for version, kind, options in _HIERARCHIES:
        if _LIBC.mount(b"none", os.fsencode(folder), kind, ctypes.c_ulong(0), options) == 0:
            return version
    reason = os.strerror(ctypes.get_errno())
    pytest.skip(f"needs to mount cgroups: {reason} (in a container: run it with --privileged)")


def _remove(folder: Path) -> None:
    """Remove a cgroup, as soon as the kernel has let go of its last, already dead, process."""
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        try:
            return folder.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            os.sched_yield()
