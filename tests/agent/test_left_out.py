"""GPUs that make a probe hang, with real children: the others lose one deadline, and each is asked again alone."""

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.fakes import Clock
from tests.probes import S, children, is_failure, until
from tests.programs import wait_until

from gputally.agent.probe.child import Child
from gputally.agent.probe.main import ProbeSettings
from gputally.agent.probe.message import Failure, Message
from gputally.agent.probe.supervisor import Supervisor
from gputally.agent.sample import Sample

HANGS = """
import json, os, signal, sys, time
from multiprocessing.connection import Connection
from pathlib import Path
from gputally.agent.probe.board import Board
from gputally.agent.probe.message import Failure, TakeUp
from gputally.agent.probe.main import Touch, monotonic_us
from gputally.agent.sample import DeviceInfo, DeviceSample, Reading, Sample
settings = json.loads(sys.argv[1])
up, down = Connection(settings["upward_fd"], readable=False), Connection(settings["downward_fd"], writable=False)
touch = Touch(Board(settings["board_fd"]), settings["left_out"], settings["only"])
sick = Path(settings["proc_root"])
while True:
    devices = []
    for index in range(3):
        if touch(index):
            if settings["only"] is None and (sick / str(index)).exists():
                (sick / f"stuck-{os.getpid()}").touch()
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
        wait_until(self._is_stuck, 60, "the child to hang")
        while self.supervisor.receive(0) is not None:
            pass
        self.clock.now_us += deadline_us
        return until(self.supervisor, is_failure)

    def _is_stuck(self) -> bool:
        """Whether the child that samples has come to a GPU that hangs; where there is none, one is started."""
        self.supervisor.receive(10_000)
        return any((self.folder / f"stuck-{child.pid}").exists() for child in children())


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
    wait_until(lambda: len(children()) == 1, 30, "the scout to end")


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


def test_scouts_that_cannot_be_killed_are_not_joined_by_more_and_more(
    sick: Sick, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One every quarter of an hour, for days: each keeps its memory. Once the GPU answers they end, and it is asked."""
    sick.sample(lambda _: True)
    sick.hang(1)
    monkeypatch.setattr(Child, "kill", lambda _: None)
    sick.silence()
    for _ in range(300):
        sick.clock.now_us += 9 * S
        sick.sample(lambda _: True)
    assert len(children()) == 1 + 4
    assert sick.supervisor.starts == 2
    sick.mend(1)
    sick.clock.now_us += 9 * S
    assert read(sick.sample(lambda sample: 1 in read(sample))) == [0, 1, 2]


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
