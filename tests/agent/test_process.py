"""pid -> process: identity, and what is remembered of it; on recorded /proc trees and on real processes."""

import json
import os
import pwd
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.programs import begun

from gputally.agent.probe.cgroup import slice_uid
from gputally.agent.probe.login_names import LoginNames
from gputally.agent.probe.process import ProcessTable, in_host_pid_namespace
from gputally.agent.sample import ContainerRef

DATA = Path(__file__).parents[1] / "data/cgroup"
NODES = ("v1-cgroupfs", "v1-cgroupfs-nested", "v2-cgroupfs", "v2-systemd")

UID = "f6f2d169-f2ae-4afa-95ed-06ff2ed6b288"
ID = "b4d6d161c62525d726fa394b27df30e14f8ea5646313ada576b390de70cfc8cc"
IN_POD = f"0::/kubepods/burstable/pod{UID}/{ID}\n"
ON_HOST = "0::/system.slice/slurmd.service\n"
NOBODY = 4_294_000_000  # a uid without a name
LOGIN_NAME = LoginNames(lambda: 0).of

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: /proc")


class FakeProc:
    """A /proc in a folder: processes come, go, move and are replaced as the test says."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, pid: int, start: int = 4242, cgroup: str = IN_POD, command: bytes = b"train") -> None:
        folder = self.root / str(pid)
        folder.mkdir(exist_ok=True)
        (folder / "cgroup").write_text(cgroup)
        self.start(pid, start, command)

    def start(self, pid: int, start: int, command: bytes = b"train", state: bytes = b"S", threads: int = 1) -> None:
        fields = b"%d (%s) %s 1 1 1 0 -1 4194560 903 0 1 0 0 0 0 0 20 0 %d 0 %d 1011712 137 1 1\n"
        (self.root / str(pid) / "stat").write_bytes(fields % (pid, command, state, threads, start))

    def remove(self, pid: int) -> None:
        for file in (self.root / str(pid)).iterdir():
            file.unlink()
        (self.root / str(pid)).rmdir()


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path)


@pytest.fixture
def table(proc: FakeProc) -> Iterator[ProcessTable]:
    table = ProcessTable(proc.root, LOGIN_NAME)
    yield table
    table.close()


@pytest.mark.parametrize("view", ["proc-host", "proc-pod"])
@pytest.mark.parametrize("node", NODES)
def test_every_process_of_a_recorded_node_has_its_start_time_and_name(node: str, view: str, tmp_path: Path) -> None:
    for name, text in json.loads((DATA / node / f"{view}.json").read_text()).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    table = ProcessTable(tmp_path, LOGIN_NAME)
    for row in json.loads((DATA / node / "expected.json").read_text()):
        process = table.resolve(row["pid"])
        assert process is not None
        assert (process.start_ticks, process.command) == (row["start_ticks"], row["comm"])


def test_a_process_in_a_pod_is_known_with_everything_that_proc_says(proc: FakeProc, table: ProcessTable) -> None:
    proc.add(7, start=99, command=b"train")
    process = table.resolve(7)
    assert process is not None
    assert (process.pid, process.start_ticks, process.command) == (7, 99, "train")
    assert process.container == ContainerRef(UID, ID, "burstable", "unknown", "pod")


def test_a_host_process_has_the_name_of_its_user_and_its_unit(proc: FakeProc, table: ProcessTable) -> None:
    proc.add(7, cgroup=ON_HOST)
    process = table.resolve(7)
    assert process is not None
    assert (process.container, process.user, process.unit) == (None, real_user(), "slurmd.service")


@given(st.binary(min_size=1, max_size=63).filter(lambda name: b"\0" not in name))
def test_the_start_time_is_found_behind_any_name(name: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        proc = FakeProc(Path(folder))
        proc.add(7, start=123456, command=name)
        process = ProcessTable(proc.root, LOGIN_NAME).resolve(7)
    assert process is not None
    assert process.start_ticks == 123456
    assert process.command == name.decode("utf-8", "replace")


def test_a_missing_process_is_none_and_asked_for_again(proc: FakeProc, table: ProcessTable) -> None:
    assert table.resolve(7) is None
    proc.add(7)
    assert table.resolve(7) is not None
    proc.remove(7)
    assert table.resolve(7) is None


def test_a_process_in_a_container_is_read_once_while_its_start_time_stays(proc: FakeProc, table: ProcessTable) -> None:
    proc.add(7)
    process = table.resolve(7)
    (proc.root / "7/cgroup").write_text(ON_HOST)
    assert table.resolve(7) is process


@pytest.mark.parametrize(
    ("cgroup", "name", "expected"),
    [
        ("0::/user.slice/user-1000.slice/user@1000.service/user.slice/train.scope\n", "", "alice"),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", "bob", "bob"),
        (f"0::/system.slice/docker-{ID}.scope/user-1000.slice\n", "", str(os.getuid())),
    ],
)
def test_a_uid_that_is_nobodys_is_the_users_in_whose_slice_it_runs(
    cgroup: str, name: str, expected: str, proc: FakeProc
) -> None:
    """In a container of his own a user has uids that were lent to him, which have no name and would pay no bill."""
    names = {1000: "alice", os.getuid(): name or str(os.getuid())}
    proc.add(7, cgroup=cgroup)
    process = ProcessTable(proc.root, names.__getitem__).resolve(7)
    assert process is not None
    assert process.user == expected


def test_a_process_outside_pods_is_read_each_time_as_it_may_become_another_user(proc: FakeProc) -> None:
    """An entrypoint that gives root up keeps its pid and its start time."""
    users = iter(["root", "alice"])
    table = ProcessTable(proc.root, lambda _: next(users))
    proc.add(7, cgroup=f"0::/system.slice/docker-{ID}.scope\n")
    found = [table.resolve(7), table.resolve(7)]
    assert [process.user for process in found if process] == ["root", "alice"]


def test_a_reused_pid_is_another_process(proc: FakeProc, table: ProcessTable) -> None:
    proc.add(7, start=100)
    first = table.resolve(7)
    proc.add(7, start=200, cgroup=IN_POD.replace(ID, ID[::-1]))
    second = table.resolve(7)
    assert first is not None
    assert second is not None
    assert (first.start_ticks, second.start_ticks) == (100, 200)
    assert second.container is not None
    assert second.container.container_id == ID[::-1]


@pytest.mark.parametrize("early", ["0::/\n", ON_HOST, f"0::/kubepods/pod{UID}\n"])
def test_a_process_not_yet_in_its_container_is_read_again(early: str, proc: FakeProc, table: ProcessTable) -> None:
    proc.add(7, cgroup=early)
    before = table.resolve(7)
    (proc.root / "7/cgroup").write_text(IN_POD)
    after = table.resolve(7)
    assert before is not None
    assert before.container is None or before.container.container_id is None
    assert after is not None
    assert after.container is not None
    assert after.container.container_id == ID


@linux
@pytest.mark.parametrize("text", [IN_POD, ON_HOST])
def test_a_pid_that_is_reused_while_it_is_read_is_nobody(text: str, proc: FakeProc, table: ProcessTable) -> None:
    proc.add(7, start=100)
    (proc.root / "7/cgroup").unlink()
    os.mkfifo(proc.root / "7/cgroup")

    def replace_while_read() -> None:
        with (proc.root / "7/cgroup").open("w") as pipe:  # opens once the table reads it: behind the first start time
            proc.start(7, start=200)
            pipe.write(text)

    other = threading.Thread(target=replace_while_read)
    other.start()
    assert table.resolve(7) is None
    other.join(60)
    proc.remove(7)
    proc.add(7, start=200, cgroup=text)
    after = table.resolve(7)
    assert after is not None
    assert after.start_ticks == 200


def test_a_zombie_is_no_process_but_one_whose_first_thread_ended_is(proc: FakeProc, table: ProcessTable) -> None:
    proc.add(7)
    proc.start(7, 4242, state=b"Z", threads=0)
    assert table.resolve(7) is None
    proc.start(7, 4242, state=b"Z", threads=3)
    assert table.resolve(7) is not None


def test_the_table_is_bounded_and_counts_what_it_forgets(proc: FakeProc) -> None:
    table = ProcessTable(proc.root, LOGIN_NAME, capacity=3)
    for pid in range(1, 6):
        proc.add(pid)
        assert table.resolve(pid) is not None
    assert table.evictions == 2
    assert all(table.resolve(pid) for pid in range(1, 6))


def test_other_known_pods_make_it_read_again(proc: FakeProc, table: ProcessTable) -> None:
    outer, inner = UID, UID[::-1]
    proc.add(7, cgroup=f"0::/kubepods/pod{outer}/{ID}/kubepods/pod{inner[:8]}-{UID[9:]}/{ID}\n")
    first = table.resolve(7)
    table.know(frozenset({outer}))
    second = table.resolve(7)
    table.know(frozenset({outer}))
    assert table.resolve(7) is second, "the same pods change nothing"
    assert first is not None
    assert first.container is not None
    assert first.container.pod_uid != outer
    assert second is not None
    assert second.container is not None
    assert second.container.pod_uid == outer


def test_a_cgroup_file_of_any_length_is_read_to_its_end(proc: FakeProc, table: ProcessTable) -> None:
    proc.add(7, cgroup="".join(f"{number}:c{number}:/{'x' * 4000}\n" for number in range(12, 0, -1)) + IN_POD)
    process = table.resolve(7)
    assert process is not None
    assert process.container is not None


@pytest.mark.parametrize(("namespace", "expected"), [("pid:[4026531836]", True), ("pid:[4026532198]", False)])
def test_only_the_initial_pid_namespace_is_the_hosts(namespace: str, expected: bool, tmp_path: Path) -> None:
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "self/ns/pid").symlink_to(namespace)
    assert in_host_pid_namespace(tmp_path) is expected


def test_without_a_proc_it_is_not_the_hosts_namespace(tmp_path: Path) -> None:
    assert in_host_pid_namespace(tmp_path) is False


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def real() -> Iterator[ProcessTable]:
    table = ProcessTable(Path("/proc"), LOGIN_NAME)
    yield table
    table.close()


@linux
def test_a_real_process_is_found_until_it_is_a_zombie(real: ProcessTable) -> None:
    with running("sleep", "infinity") as process:
        begun(process.pid, "sleep")
        found = real.resolve(process.pid)
        assert found is not None
        assert (found.command, found.user) == ("sleep", real_user())
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet waited for
        assert real.resolve(process.pid) is None
    assert real.resolve(process.pid) is None


def real_user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


# Only the first thread ends (exit, not exit_group); the other one says so and stays until it is killed.
_HEADLESS = """
import ctypes, threading, time
libc, ended = ctypes.CDLL(None), threading.Event()
main = threading.main_thread().native_id
def stay():
    while open(f"/proc/self/task/{main}/stat").read().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.001)
    print("alone", flush=True)
    libc.pause()
threading.Thread(target=stay).start()
libc.pthread_exit.argtypes = [ctypes.c_void_p]
libc.syscall({SYS_exit}, 0)
"""
_SYS_EXIT = {"x86_64": 60, "aarch64": 93}


@linux
@pytest.mark.skipif(os.uname().machine not in _SYS_EXIT, reason="needs x86_64 or aarch64: the number of a system call")
def test_a_real_process_without_its_first_thread_is_still_one(real: ProcessTable) -> None:
    code = _HEADLESS.replace("{SYS_exit}", str(_SYS_EXIT[os.uname().machine]))
    with running(sys.executable, "-c", code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"alone\n"
        assert real.resolve(process.pid) is not None


@linux
@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a process that changes its user (run the tests with sudo)")
def test_a_user_without_a_name_stays_in_digits(real: ProcessTable) -> None:
    code = f"import os, signal; os.setuid({NOBODY}); print('changed', flush=True); signal.pause()"
    with running(sys.executable, "-c", code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"changed\n"
        found = real.resolve(process.pid)
        assert found is not None
        home = slice_uid(Path("/proc/self/cgroup").read_text())
        assert found.user == (str(NOBODY) if home is None else LOGIN_NAME(home))
