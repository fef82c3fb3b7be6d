"""The probe: a tick and its answer in this process, and the child as it really runs, with its pipes and signals."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from tests.fakes import Clock, FakeDriver, FakeProcesses

from gputally.accounting.states import Source
from gputally.agent.probe.board import Board, new_board_fd
from gputally.agent.probe.main import NAME, Probe, ProbeSettings, Touch, build, monotonic_us, namespace_warning
from gputally.agent.probe.message import FLUSH, Failure, Known, Message, TakeUp
from gputally.agent.probe.process import ProcessTable
from gputally.agent.probe.requests import Inbox
from gputally.agent.probe.sampler import Cadence, DriverReplaced, DriverUnavailable, Sampler
from gputally.agent.sample import DeviceInfo, Sample

S = 1_000_000
LONG_S = 60.0  # far longer than anything here takes; a test that is right never waits for it
UUID = "GPU-00000000-0000-4000-8000-000000000001"
SCENARIO = {
    "gpus": [{"uuid": UUID, "model": "H100", "idle_watts": 70, "max_watts": 700, "memory_gib": 80}],
    "pods": [{"namespace": "research", "name": "train", "containers": [{"name": "main", "gpus": [0]}]}],
    "workloads": [{"container": "research/train/main", "gpus": [0], "busy_percent": 50, "memory_gib": 8}],
}


@contextmanager
def board() -> Iterator[Board]:
    fd = new_board_fd()
    try:
        with closing(Board(fd)) as it:
            yield it
    finally:
        os.close(fd)


@dataclass
class Inside:
    """A probe in this process. What is asked of it is put into its pipe before it runs; it ends when that is closed."""

    driver: FakeDriver = field(default_factory=lambda: FakeDriver([DeviceInfo(UUID, 0, "H100")]))
    clock: Clock = field(default_factory=Clock)
    known: list[frozenset[str]] = field(default_factory=list)
    left_out: tuple[int, ...] = ()
    touched: list[bool] = field(default_factory=list)

    def run(self, *requests: object) -> list[Message]:
        upward, up = Pipe(duplex=False)
        down, downward = Pipe(duplex=False)
        with closing(upward), closing(down):
            for request in requests:
                downward.send(request)
            downward.close()
            sampler = Sampler(self.driver, FakeProcesses(), Cadence(), self.clock, self.clock)
            with closing(up), board() as on:
                touch = Touch(on, self.left_out, None)
                Probe(self.driver, sampler, up.send_bytes, Inbox(down.fileno()), self.known.append, touch).run(S)
                self.touched.append(touch(1))
            return list(_all(upward))


def _all(upward: Connection) -> Iterator[Message]:
    try:
        while True:
            yield upward.recv()
    except EOFError:
        return


def test_it_samples_at_once_and_ends_when_its_parent_closes_the_pipe() -> None:
    inside = Inside()
    [sample] = inside.run()
    assert isinstance(sample, Sample)
    assert not inside.driver.is_open


def test_a_flush_is_answered_by_a_full_sample_outside_the_grid() -> None:
    first, flushed = Inside().run(FLUSH)
    assert isinstance(flushed, Sample)
    assert (flushed.full, flushed.devices[0].detail is not None) == (True, True)
    assert first is not flushed


def test_the_pods_of_the_node_are_handed_on_and_ask_for_no_sample() -> None:
    inside = Inside()
    assert len(inside.run(Known(frozenset({"uid-a"})), Known(frozenset()))) == 1
    assert inside.known == [frozenset({"uid-a"}), frozenset()]


def test_a_driver_that_is_not_there_is_said_and_looked_for_again() -> None:
    inside = Inside()
    inside.driver.broken["open", ""] = DriverUnavailable("no driver: install one")
    assert inside.run(FLUSH) == [Failure("no driver: install one"), Failure("no driver: install one")]


def test_a_driver_that_was_replaced_ends_the_child_whatever_is_still_asked() -> None:
    inside = Inside()
    inside.driver.broken["read", UUID] = DriverReplaced("the driver was upgraded")
    assert inside.run(FLUSH, FLUSH) == [Failure("the driver was upgraded", fatal=True)]
    assert not inside.driver.is_open


def test_a_gpu_is_on_the_board_while_it_is_touched_and_one_that_is_left_out_never_is() -> None:
    with board() as on:
        touch = Touch(on, (1, 2), None)
        assert (on.read(), touch(0), on.read()) == (None, True, 0)
        assert (touch(1), on.read()) == (False, 0)
        touch.rest()
        touch.take_up(1)
        assert (on.read(), touch(1), on.read(), touch(2)) == (None, True, 1, False)


def test_a_scout_touches_one_gpu_and_no_other() -> None:
    with board() as on:
        touch = Touch(on, (), 3)
        assert [touch(index) for index in range(5)] == [False, False, False, True, False]


def test_a_gpu_that_is_taken_up_again_is_looked_for_at_once() -> None:
    inside = Inside(left_out=(1,))
    inside.run(TakeUp(1), FLUSH)
    assert inside.touched == [True]
    assert inside.driver.count("devices") == 2


def test_a_scout_looks_once_and_ends() -> None:
    upward, up = Pipe(duplex=False)
    down, downward = Pipe(duplex=False)
    driver = FakeDriver([DeviceInfo(UUID, 3, "H100")])
    sampler = Sampler(driver, FakeProcesses(), Cadence(), Clock(), Clock())
    with closing(upward), closing(down), closing(downward), board() as on:
        with closing(up):
            Probe(
                driver, sampler, up.send_bytes, Inbox(down.fileno()), list[object]().append, Touch(on, (), 3)
            ).look_once()
        [sample] = _all(upward)
    assert isinstance(sample, Sample)
    assert not driver.is_open


def test_what_the_driver_cannot_list_is_part_of_the_sample() -> None:
    inside = Inside()
    inside.driver.problem = "1 GPU may not be opened"
    [sample] = inside.run()
    assert isinstance(sample, Sample)
    assert sample.problem == "1 GPU may not be opened"


def test_a_parent_that_reads_no_more_ends_it() -> None:
    upward, up = Pipe(duplex=False)
    down, downward = Pipe(duplex=False)
    upward.close()
    driver = FakeDriver([])
    sampler = Sampler(driver, FakeProcesses(), Cadence(), Clock(), Clock())
    with closing(up), closing(down), closing(downward), board() as on:
        Probe(driver, sampler, up.send_bytes, Inbox(down.fileno()), list[object]().append, Touch(on, (), None)).run(S)
    assert not driver.is_open


def test_outside_the_hosts_pid_namespace_it_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "self/ns/pid").symlink_to("pid:[4026531836]")
    assert namespace_warning(tmp_path) == ""
    (tmp_path / "self/ns/pid").unlink()
    (tmp_path / "self/ns/pid").symlink_to("pid:[4026532000]")
    assert "hostPID: true" in namespace_warning(tmp_path)


SETTINGS = ProbeSettings(-1, -1, "/proc", 50_000, 500_000)


def test_nothing_is_simulated_unless_a_scenario_is_named(tmp_path: Path) -> None:
    driver, processes, _ = build(SETTINGS, lambda _: True)
    assert "nvml" in type(driver).__module__
    assert isinstance(processes, ProcessTable)
    processes.close()
    (tmp_path / "s.json").write_text(json.dumps(SCENARIO))
    driver, processes, know = build(replace(SETTINGS, scenario=str(tmp_path / "s.json")), bool)
    assert [info.uuid for info in driver.devices()] == [UUID]
    know(frozenset())


def test_the_settings_come_through_the_argument_as_they_were() -> None:
    told = replace(SETTINGS, left_out=(1, 3), only=3)
    assert ProbeSettings.of_json(told.to_json()) == told


@dataclass
class Child:
    """The real child process and its two pipes."""

    process: subprocess.Popen[bytes]
    upward: Connection
    downward: Connection

    def receive(self) -> Message:
        assert self.upward.poll(LONG_S), "the child said nothing"
        message: Message = self.upward.recv()
        return message

    def sample(self) -> Sample:
        message = self.receive()
        assert isinstance(message, Sample)
        return message


@contextmanager
def running(settings: ProbeSettings) -> Iterator[Child]:
    up_read, up_write = os.pipe()
    down_read, down_write = os.pipe()
    board_fd = new_board_fd()
    told = replace(settings, upward_fd=up_write, downward_fd=down_read, board_fd=board_fd)
    command = [sys.executable, "-m", "gputally.agent.probe.main", told.to_json()]
    process = subprocess.Popen(command, pass_fds=(up_write, down_read, board_fd))
    os.close(board_fd)
    os.close(up_write)
    os.close(down_read)
    with (
        Connection(up_read, writable=False) as upward,
        Connection(down_write, readable=False) as downward,
    ):
        try:
            yield Child(process, upward, downward)
        finally:
            process.kill()
            process.wait(LONG_S)


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    (tmp_path / "s.json").write_text(json.dumps(SCENARIO))
    with running(replace(SETTINGS, scenario=str(tmp_path / "s.json"))) as it:
        yield it


def test_the_child_samples_on_a_grid_and_its_pipe_carries_whole_samples(child: Child) -> None:
    samples = [child.sample() for _ in range(5)]
    assert samples[0].full
    [device] = samples[-1].devices
    assert (device.info.uuid, device.info.model) == (UUID, "H100")
    assert device.reading is not None
    assert device.reading.busy_source is Source.DEVICE_SAMPLES
    times = [sample.monotonic_us for sample in samples]
    assert times == sorted(set(times))


def test_a_flush_does_not_wait_for_the_next_tick(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps(SCENARIO))
    hour = replace(SETTINGS, sample_us=3600 * S, processes_us=3600 * S, scenario=str(tmp_path / "s.json"))
    with running(hour) as child:
        child.sample()
        asked_us = monotonic_us()
        child.downward.send(FLUSH)
        flushed = child.sample()
    assert flushed.full
    assert flushed.monotonic_us >= asked_us  # one clock for both processes
    [process] = flushed.devices[0].detail.processes
    assert process.process.container.kind == "pod"


def test_signals_to_the_whole_group_are_for_the_parent_to_answer(child: Child) -> None:
    """Ctrl-C and a release reach the child too; it goes on, so that the parent can have one last sample."""
    child.sample()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        child.process.send_signal(number)
    asked_us = monotonic_us()
    child.downward.send(FLUSH)
    while child.sample().monotonic_us < asked_us:
        pass
    assert child.process.poll() is None


def test_the_child_has_a_name_of_its_own(child: Child) -> None:
    """The first one is a copy of its parent: whoever looks for the agent by name is to find one process."""
    child.sample()
    assert Path(f"/proc/{child.process.pid}/comm").read_text() == f"{NAME}\n"


def test_the_child_ends_when_its_parent_is_gone(child: Child) -> None:
    child.sample()
    child.downward.close()
    assert child.process.wait(LONG_S) == 0


LEAN = """
import sys
import gputally.agent.probe.main as probe
probe.build(probe.ProbeSettings(-1, -1, "/proc", 1, 1), bool)
probe.build(probe.ProbeSettings(-1, -1, "/proc", 1, 1, sys.argv[1]), bool)
print("\\n".join(sys.modules))
"""


def test_the_child_is_lean(tmp_path: Path) -> None:
    """It is a second interpreter on every node: it loads neither gRPC nor anything else that only the parent needs."""
    (tmp_path / "s.json").write_text(json.dumps(SCENARIO))
    listed = subprocess.run(
        [sys.executable, "-c", LEAN, tmp_path / "s.json"], capture_output=True, text=True, check=True, timeout=LONG_S
    )
    packages = {name.partition(".")[0] for name in listed.stdout.split()}
    assert "gputally" in packages
    heavy = {"grpc", "google", "prometheus_client", "psutil", "sqlite3", "ssl", "http", "asyncio", "sqlalchemy"}
    assert not packages & heavy
