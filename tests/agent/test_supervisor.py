"""The supervisor with real children: one that works, one that hangs, one that dies. Nobody waits for a driver."""

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from tests.fakes import Clock

from gputally.agent.message import Failure, Message
from gputally.agent.probe import ProbeSettings, monotonic_us
from gputally.agent.sample import Sample
from gputally.agent.supervisor import Supervisor

S = 1_000_000
LONG_US = 30 * S  # far longer than anything here takes; a test that is right never waits for it
UUID = "GPU-00000000-0000-4000-8000-000000000001"
SCENARIO = {
    "gpus": [{"uuid": UUID, "model": "H100", "idle_watts": 70, "max_watts": 700, "memory_gib": 80}],
    "workloads": [{"host": {"user": "user-1000"}, "gpus": [0], "busy_percent": 50}],
}
DEAF = (sys.executable, "-c", "import signal; signal.pause()")
ENDS = (sys.executable, "-c", "")
FATAL = (
    sys.executable,
    "-c",
    """
import json, signal, sys
from multiprocessing.connection import Connection
from gputally.agent.message import Failure
settings = json.loads(sys.argv[1])
Connection(settings["upward_fd"], readable=False).send(Failure("the driver was upgraded", fatal=True))
signal.pause()
""",
)


@pytest.fixture
def settings(tmp_path: Path) -> ProbeSettings:
    (tmp_path / "s.json").write_text(json.dumps(SCENARIO))
    return ProbeSettings(-1, -1, "/proc", 50_000, 500_000, str(tmp_path / "s.json"))


def until(supervisor: Supervisor, wanted: Callable[[Message], bool]) -> Message:
    """The first message that is wanted; others are read past."""
    end_us = monotonic_us() + LONG_US
    while monotonic_us() < end_us:
        message = supervisor.receive(S)
        if message is not None and wanted(message):
            return message
    raise AssertionError("no such message came")


def is_sample(message: Message) -> bool:
    return isinstance(message, Sample)


def is_failure(message: Message) -> bool:
    return isinstance(message, Failure)


def children() -> list[psutil.Process]:
    """The probes that run now; other tests may have children of their own."""
    return [child for child in psutil.Process().children() if _is_probe(child)]


def _is_probe(child: psutil.Process) -> bool:
    try:
        return child.status() != psutil.STATUS_ZOMBIE and "upward_fd" in " ".join(child.cmdline())
    except psutil.NoSuchProcess:  # it ended while we looked
        return False


@pytest.fixture
def live(settings: ProbeSettings) -> Iterator[Supervisor]:
    """A supervisor of real probes, by the real clock."""
    supervisor = Supervisor(settings, LONG_US, LONG_US, monotonic_us, time.sleep)
    with closing(supervisor):
        yield supervisor


def test_samples_arrive(live: Supervisor) -> None:
    sample = until(live, is_sample)
    assert isinstance(sample, Sample)
    assert sample.devices[0].info.uuid == UUID
    assert live.starts == 1


def test_a_child_that_is_killed_is_said_and_another_takes_its_place(live: Supervisor) -> None:
    until(live, is_sample)
    [child] = children()
    child.send_signal(signal.SIGKILL)
    child.wait(30)
    assert until(live, is_failure) == Failure("the probe ended unexpectedly; a new one is started")
    until(live, is_sample)
    assert live.starts == 2
    assert [each.pid for each in children()] != [child.pid]


def test_a_flush_brings_the_samples_on_the_way_and_a_full_one_taken_after_it_was_asked(live: Supervisor) -> None:
    last = until(live, is_sample)
    asked_us = monotonic_us()
    samples = live.flush(LONG_US)
    assert samples[-1].full
    assert samples[-1].monotonic_us >= asked_us
    times = [last.monotonic_us, *(sample.monotonic_us for sample in samples)]
    assert times == sorted(set(times))


def test_a_flush_is_answered_though_no_device_can_tell_its_processes(settings: ProbeSettings, tmp_path: Path) -> None:
    faults = [{"kind": "lost", "gpus": [0], "when": {}}]
    (tmp_path / "s.json").write_text(json.dumps({**SCENARIO, "faults": faults}))
    with closing(Supervisor(settings, LONG_US, LONG_US, monotonic_us, time.sleep)) as supervisor:
        until(supervisor, is_sample)
        assert supervisor.flush(LONG_US)[-1].devices[0].unavailable


def test_closing_ends_the_child_and_closing_twice_is_harmless(live: Supervisor) -> None:
    until(live, is_sample)
    live.close()
    assert children() == []
    live.close()


def test_a_probe_that_cannot_be_built_is_tried_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings = ProbeSettings(-1, -1, "/proc", S, S, str(tmp_path / "missing.json"))
    with closing(Supervisor(settings, LONG_US, LONG_US, monotonic_us, lambda _: None)) as supervisor:
        until(supervisor, is_failure)
        until(supervisor, is_failure)
    assert "missing.json" in capfd.readouterr().err


@dataclass
class Stepped:
    """A supervisor of stand-ins, by a clock that moves when the test or a pause moves it."""

    supervisor: Supervisor
    clock: Clock
    pauses: list[float]

    def wait(self, us: int) -> Message | None:
        self.clock.now_us += us
        return self.supervisor.receive(0)


@pytest.fixture
def make(settings: ProbeSettings) -> Iterator[Callable[[tuple[str, ...]], Stepped]]:
    made: list[Stepped] = []

    def make(command: tuple[str, ...]) -> Stepped:
        clock, pauses = Clock(), list[float]()

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            clock.now_us += round(seconds * S)

        supervisor = Supervisor(settings, 10 * S, 60 * S, clock, pause, command)
        made.append(Stepped(supervisor, clock, pauses))
        return made[-1]

    yield make
    for each in made:
        each.supervisor.close()


Make = Callable[[tuple[str, ...]], Stepped]
HUNG = Failure("the driver did not answer in time; a new probe is started")


def test_a_child_that_hangs_is_replaced_after_its_deadline_and_not_before(make: Make) -> None:
    node = make(DEAF)
    assert node.wait(0) is None
    [child] = children()
    assert node.wait(60 * S - 1) is None
    assert node.wait(1) == HUNG
    assert child.wait(30) == -signal.SIGKILL
    assert node.wait(S) is None
    assert node.supervisor.starts == 2
    assert node.wait(60 * S) == HUNG


def test_a_child_that_hangs_does_not_make_its_parent_wait_however_much_it_is_told(make: Make) -> None:
    """A pipe holds 64 KiB; what goes on being written to a reader that hangs would block for ever."""
    node = make(DEAF)
    node.wait(0)
    [child] = children()
    for n in range(200):
        node.supervisor.know(frozenset(f"uid-{n}-{i}" for i in range(100)))
    assert child.wait(30) == -signal.SIGKILL


def test_a_flush_of_a_child_that_hangs_ends_in_time(settings: ProbeSettings) -> None:
    with closing(Supervisor(settings, LONG_US, LONG_US, monotonic_us, time.sleep, DEAF)) as supervisor:
        supervisor.receive(0)
        assert supervisor.flush(50_000) == []


def test_children_that_die_are_replaced_ever_more_rarely(make: Make) -> None:
    node = make(ENDS)
    for _ in range(9):
        while not isinstance(node.supervisor.receive(LONG_US), Failure):
            pass
    assert node.pauses == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert node.supervisor.starts == 9


def test_waiting_for_a_new_child_keeps_to_the_callers_time(make: Make) -> None:
    node = make(ENDS)
    assert isinstance(node.supervisor.receive(LONG_US), Failure)
    assert node.supervisor.receive(100_000) is None
    assert node.pauses == [0.1]


def test_a_driver_that_was_upgraded_gets_a_new_child(make: Make) -> None:
    node = make(FATAL)
    assert node.supervisor.receive(LONG_US) == Failure("the driver was upgraded", fatal=True)
    assert psutil.wait_procs(children(), 30)[1] == []
    assert node.supervisor.receive(LONG_US) is None
    assert node.supervisor.receive(LONG_US) == Failure("the driver was upgraded", fatal=True)
    assert node.supervisor.starts == 2


HANGS = """
import json, signal, sys, time
from multiprocessing.connection import Connection
from pathlib import Path
from gputally.agent.board import Board
from gputally.agent.message import Failure, TakeUp
from gputally.agent.probe import Touch, monotonic_us
from gputally.agent.sample import DeviceInfo, DeviceSample, Reading, Sample
settings = json.loads(sys.argv[1])
up, down = Connection(settings["upward_fd"], readable=False), Connection(settings["downward_fd"], writable=False)
touch = Touch(Board(settings["board_fd"]), settings["left_out"], settings["only"])
sick = Path(settings["proc_root"])
while True:
    devices = []
    for index in range(3):
        if touch(index):
            while (sick / str(index)).exists():
                time.sleep(0.01)
            devices.append(DeviceSample(DeviceInfo(f"GPU-{index}", index, "H100"), Reading()))
    touch.rest()
    up.send(Sample(monotonic_us(), 0, tuple(devices), True))
    if settings["only"] is not None:
        break
    if down.poll(0.02):
        request = down.recv()
        if isinstance(request, TakeUp):
            touch.take_up(request.index)
"""


@dataclass
class Sick:
    """A node of three GPUs of which some hang, as long as a file is there, and a clock that the test moves."""

    supervisor: Supervisor
    clock: Clock
    folder: Path

    def hang(self, index: int) -> None:
        (self.folder / str(index)).touch()

    def mend(self, index: int) -> None:
        (self.folder / str(index)).unlink()

    def sample(self, wanted: Callable[[Sample], bool]) -> Sample:
        found = until(self.supervisor, lambda message: isinstance(message, Sample) and wanted(message))
        assert isinstance(found, Sample)
        return found

    def silence(self, deadline_us: int = 10 * S) -> Message:
        """Let the deadline pass once the child has come to a stop."""
        while self.supervisor.receive(S) is not None:
            pass
        self.clock.now_us += deadline_us
        return until(self.supervisor, is_failure)


@pytest.fixture
def sick(tmp_path: Path) -> Iterator[Sick]:
    clock = Clock()

    def pause(seconds: float) -> None:
        clock.now_us += round(seconds * S)

    told = ProbeSettings(-1, -1, str(tmp_path), S, S)
    supervisor = Supervisor(told, 10 * S, 60 * S, clock, pause, (sys.executable, "-c", HANGS))
    with closing(supervisor):
        yield Sick(supervisor, clock, tmp_path)


def read(sample: Sample) -> list[int]:
    """The GPUs that were read."""
    return [device.info.index for device in sample.devices if device.reading]


def test_a_gpu_that_hangs_costs_the_others_one_deadline(sick: Sick) -> None:
    """The next child leaves it out; it stays in the samples as one that did not answer, and is said."""
    assert read(sick.sample(lambda _: True)) == [0, 1, 2]
    sick.hang(1)
    assert sick.silence() == Failure("GPU 1 (GPU-1) did not answer in time; a new probe is started without it")
    sample = sick.sample(lambda _: True)
    assert read(sample) == [0, 2]
    assert [device.info.uuid for device in sample.devices if device.error] == ["GPU-1"]
    assert sick.supervisor.problem.startswith("GPU 1 (GPU-1): it did not answer in time")
    assert sick.supervisor.starts == 2


def test_a_gpu_that_is_left_out_is_asked_alone_and_comes_back_when_it_answers(sick: Sick) -> None:
    """While the scout hangs the others go on; the child that samples them is the same before and after."""
    sick.sample(lambda _: True)
    sick.hang(1)
    sick.silence()
    sick.sample(lambda _: True)
    sick.sample(lambda sample: len(children()) == 2 and read(sample) == [0, 2])
    sick.mend(1)
    assert read(sick.sample(lambda sample: 1 in read(sample))) == [0, 1, 2]
    assert sick.supervisor.problem == ""
    assert sick.supervisor.starts == 2
    assert len(children()) == 1


def test_a_scout_that_hangs_is_ended_and_the_next_one_comes_later(sick: Sick) -> None:
    sick.sample(lambda _: True)
    sick.hang(1)
    sick.silence()
    for wait_us in (0, 15 * S, 30 * S, 60 * S):
        assert len(children()) <= 1
        sick.clock.now_us += wait_us - 1 if wait_us else 0
        sick.sample(lambda _: True)
        assert len(children()) == 1 if wait_us else True
        sick.clock.now_us += 1
        sick.sample(lambda _: len(children()) == 2)
        for _ in range(6):  # the scout's deadline, in steps within that of the others
            sick.clock.now_us += 9 * S
            sick.sample(lambda _: True)
        sick.clock.now_us += 6 * S
        sick.sample(lambda _: len(children()) == 1)
    assert sick.supervisor.starts == 2


def test_two_gpus_that_hang_are_both_left_out(sick: Sick) -> None:
    sick.sample(lambda _: True)
    sick.hang(0)
    sick.hang(2)
    sick.silence()
    sick.clock.now_us += S
    sick.silence(60 * S)
    sample = sick.sample(lambda _: True)
    assert read(sample) == [1]
    assert len(sample.devices) == 3
    assert "GPU 0 (GPU-0), GPU 2 (GPU-2)" in sick.supervisor.problem


def test_a_release_ends_every_child_and_no_new_one_is_started_until_it_is_taken_up(sick: Sick) -> None:
    """A driver that is to be replaced must not be open anywhere, by the scout neither."""
    sick.sample(lambda _: True)
    sick.hang(1)
    sick.silence()
    sick.sample(lambda _: len(children()) == 2)
    assert sick.supervisor.release()
    assert children() == []
    assert sick.supervisor.receive(S) is None
    assert children() == []
    sick.mend(1)
    sick.supervisor.take_up()
    assert read(sick.sample(lambda _: True)) == [0, 1, 2]
    assert sick.supervisor.problem == ""


def test_nobody_waits_for_a_last_sample_where_there_was_none(make: Make) -> None:
    node = make(DEAF)
    node.wait(0)
    assert node.supervisor.flush(LONG_US) == []
    assert node.pauses == []


def test_a_flush_ends_when_the_driver_says_that_it_cannot(settings: ProbeSettings) -> None:
    breaks = (
        FATAL[2]
        .replace("import json", "import json, time")
        .replace(
            'Connection(settings["upward_fd"], readable=False).send(',
            'up = Connection(settings["upward_fd"], readable=False)\n'
            "from gputally.agent.sample import Sample\n"
            "up.send(Sample(0, 0, ()))\n"
            "up.send(",
        )
    )
    command = (sys.executable, "-c", breaks)
    with closing(Supervisor(settings, LONG_US, LONG_US, monotonic_us, time.sleep, command)) as supervisor:
        until(supervisor, is_sample)
        asked_us = monotonic_us()
        assert supervisor.flush(LONG_US) == []
        assert monotonic_us() - asked_us < LONG_US


def test_a_sample_makes_the_next_replacement_quick_again(make: Make, settings: ProbeSettings) -> None:
    node = make((sys.executable, "-m", "gputally.agent.probe"))
    for _ in range(3):
        while not isinstance(node.supervisor.receive(LONG_US), Sample):
            pass
        [child] = children()
        child.kill()
        child.wait(30)
        while not isinstance(node.supervisor.receive(LONG_US), Failure):
            pass
    assert set(node.pauses) == {0.5}


def test_what_is_told_to_nobody_is_harmless(settings: ProbeSettings) -> None:
    supervisor = Supervisor(settings, S, S, Clock(), time.sleep)
    supervisor.know(frozenset({"uid-a"}))
    assert supervisor.flush(S) == []
    supervisor.close()
    assert supervisor.starts == 0


def test_a_missing_package_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    without = "import sys; sys.modules['pynvml'] = None; from gputally.agent.probe import main; main()"
    real = ProbeSettings(-1, -1, str(tmp_path), 1_000_000, 5_000_000)
    command = (sys.executable, "-c", without)
    with closing(Supervisor(real, LONG_US, LONG_US, monotonic_us, time.sleep, command)) as supervisor:
        told = until(supervisor, is_failure)
    assert told == Failure("pynvml is not installed: pip install 'gputally[agent]'", fatal=True)
