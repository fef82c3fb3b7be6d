"""Real processes in real cgroups of the shapes that kubelets and runtimes make, found through the real /proc."""

import errno
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cgroups import Cgroups, mounted_cgroups, pod_path

from gputally.agent.probe.cgroup import ContainerRef, parse
from gputally.agent.probe.process import ProcessTable

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: cgroups and pidfds"),
]

PROC = Path("/proc")
UID = "f6f2d169-f2ae-4afa-95ed-06ff2ed6b288"
OTHER_UID = "0cc18de4-fb54-4d74-b63f-5da1447690f8"
STATIC_UID = "9729a196c4723b60ab401eaff722982d"
ID = "b4d6d161c62525d726fa394b27df30e14f8ea5646313ada576b390de70cfc8cc"
OTHER_ID = "c74b0f5062f0bc726cae1e9369ad4a95deed6b298d247f0407475adb23fa3190"

QOS = ("guaranteed", "burstable", "besteffort")
DRIVERS = ("systemd", "cgroupfs")
RUNTIMES = ("containerd", "cri-o", "docker")


@pytest.fixture
def cgroups(tmp_path: Path) -> Iterator[Cgroups]:
    with mounted_cgroups(tmp_path) as mounted:
        yield mounted


@pytest.fixture
def table() -> Iterator[ProcessTable]:
    table = ProcessTable(PROC, str)
    yield table
    table.close()


def in_pod(runtime: str, qos: str = "burstable", uid: str = UID) -> ContainerRef:
    return ContainerRef(uid, ID, qos, runtime, "pod")


def shapes() -> list[tuple[str, ContainerRef | None]]:
    """The canonical forms of a container's path, and the forms around them, with what each means."""
    canonical = [
        (pod_path(UID, ID, qos, driver, runtime), in_pod(seen_runtime(driver, runtime), qos))
        for qos, driver, runtime in itertools.product(QOS, DRIVERS, RUNTIMES)
    ]
    colon = f"kubepods-burstable-pod{UID.replace('-', '_')}.slice:cri-containerd:{ID}"
    return [
        *canonical,
        (pod_path(STATIC_UID, ID), in_pod("containerd", uid=STATIC_UID)),
        (f"/system.slice/containerd.service/{colon}", in_pod("containerd")),
        (f"/system.slice/docker-{OTHER_ID}.scope/kubelet{pod_path(UID, ID, driver='cgroupfs')}", in_pod("unknown")),
        (pod_path(UID, ID, runtime="cri-o") + "/container", in_pod("cri-o")),
        (pod_path(UID, ID) + "/init.scope", in_pod("containerd")),
        (pod_path(UID, ID).rpartition("/")[0], ContainerRef(UID, None, "burstable", None, "pod")),
        (f"/docker/{ID}", ContainerRef(None, ID, None, "docker", "container")),
        (f"/machine.slice/libpod-{ID}.scope/container", ContainerRef(None, ID, None, "podman", "container")),
        (f"/machine.slice/libpod-conmon-{ID}.scope", ContainerRef(None, None, None, None, "monitor")),
        ("/system.slice/slurmd.service", None),
    ]


def seen_runtime(driver: str, runtime: str) -> str:
    """A bare id does not tell containerd from Docker."""
    return runtime if driver == "systemd" or runtime == "cri-o" else "unknown"


@pytest.mark.parametrize(("path", "expected"), shapes(), ids=lambda value: value[:60] if isinstance(value, str) else "")
def test_a_process_is_found_in_its_container(
    path: str, expected: ContainerRef | None, cgroups: Cgroups, table: ProcessTable
) -> None:
    process = table.resolve(cgroups.sleeper(path))
    assert process is not None
    assert process.container == expected
    assert process.command == "sleep"


def test_a_process_that_the_runtime_has_not_moved_yet_is_read_again(cgroups: Cgroups, table: ProcessTable) -> None:
    pid = cgroups.sleeper("/system.slice/containerd.service")
    early = table.resolve(pid)
    cgroups.put(pid, pod_path(UID, ID).rpartition("/")[0])
    halfway = table.resolve(pid)
    cgroups.put(pid, pod_path(UID, ID))
    late = table.resolve(pid)
    assert early is not None
    assert (early.container, early.unit) == (None, "containerd.service")
    assert halfway is not None
    assert halfway.container == ContainerRef(UID, None, "burstable", None, "pod")
    assert late is not None
    assert late.container == in_pod("containerd")


def test_a_process_that_ends_is_gone_at_the_next_question(cgroups: Cgroups, table: ProcessTable) -> None:
    ended, other = cgroups.sleeper(pod_path(UID, ID)), cgroups.sleeper(pod_path(UID, ID))
    assert table.resolve(ended)
    before = table.resolve(other)
    cgroups.kill(ended)
    assert table.resolve(ended) is None
    assert table.resolve(other) is before, "the other one is still held, and not read again"


def test_another_set_of_known_pods_changes_which_nested_pod_counts(cgroups: Cgroups, table: ProcessTable) -> None:
    pid = cgroups.sleeper(pod_path(UID, ID) + pod_path(OTHER_UID, OTHER_ID))

    def found() -> str | None:
        process = table.resolve(pid)
        return process.container.pod_uid if process and process.container else None

    assert found() == OTHER_UID
    table.know(frozenset({UID}))
    assert found() == UID


def descriptors() -> int:
    """Those of the kinds that a table has: what threads of other tests leave open ends at any time."""
    found = [str(fd.readlink()) for fd in (PROC / "self/fd").iterdir() if fd.is_symlink()]
    return sum(name in ("anon_inode:[pidfd]", "anon_inode:[eventpoll]") for name in found)


def test_the_table_is_bounded_counts_what_it_forgets_and_gives_its_descriptors_back(cgroups: Cgroups) -> None:
    pids = [cgroups.sleeper(pod_path(UID, ID)) for _ in range(5)]
    before = descriptors()
    table = ProcessTable(PROC, str, capacity=2)
    first = [table.resolve(pid) for pid in pids]
    assert table.evictions == 3
    assert descriptors() <= before + 1 + 2, "the epoll and two pidfds"
    assert [table.resolve(pid) for pid in pids] == first, "what was forgotten is read again"
    table.close()
    table.close()
    assert descriptors() == before


def test_where_no_process_can_be_held_the_start_time_is_read_instead(
    cgroups: Cgroups, table: ProcessTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(pid: int, flags: int = 0) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pidfd_open", refused)
    pid = cgroups.sleeper(pod_path(UID, ID))
    process = table.resolve(pid)
    assert process is not None
    assert table.resolve(pid) is process
    cgroups.kill(pid)
    assert table.resolve(pid) is None


# A reader that makes its own cgroup the root of what it sees, as a container has it on cgroup v2.
_READER = """
import ctypes, json, sys
CLONE_NEWCGROUP = 0x02000000
sys.stdin.readline()  # until we have been put into our cgroup
if ctypes.CDLL(None).unshare(CLONE_NEWCGROUP):
    sys.exit("unshare")
print(json.dumps([open(f"/proc/{pid}/cgroup").read() for pid in sys.argv[1:]]))
"""


def seen_from(cgroups: Cgroups, path: str, pids: list[int]) -> list[str]:
    """The cgroup files of these processes, as a reader in a cgroup namespace of its own at `path` sees them."""
    command = [sys.executable, "-c", _READER, *map(str, pids)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        cgroups.put(reader.pid, path)
        out, _ = reader.communicate("go\n", timeout=60)
    if reader.returncode:
        pytest.skip("needs cgroup namespaces: unshare(CLONE_NEWCGROUP) was refused")
    return json.loads(out)


@pytest.mark.parametrize("reader_qos", QOS)
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_reader_in_a_cgroup_namespace_finds_the_same_pods(driver: str, reader_qos: str, cgroups: Cgroups) -> None:
    own = pod_path(OTHER_UID, OTHER_ID, reader_qos, driver)
    pause = own.replace(OTHER_ID, ID)
    paths = [pod_path(UID, ID, qos, driver) for qos in QOS]
    pids = [cgroups.sleeper(path) for path in [*paths, pause, own]]
    *pods, sibling, itself = [parse(text) for text in seen_from(cgroups, own, pids)]
    assert [(ref.pod_uid, ref.container_id) for ref in pods if ref] == [(UID, ID)] * len(QOS)
    assert sibling is not None
    assert (sibling.pod_uid, sibling.container_id, sibling.kind) == (None, ID, "container")
    assert itself is None
