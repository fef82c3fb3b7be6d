"""The supervisor with real children: one that works, one that hangs, one that dies. Nobody waits for a driver."""

import json
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
from tests.fakes import Clock
from tests.probes import LONG_US, S, children, is_failure, is_full, is_sample, until
from tests.programs import wait_until

from gputally.agent.probe.child import Child
from gputally.agent.probe.main import ProbeSettings, monotonic_us
from gputally.agent.probe.message import Failure, Message
from gputally.agent.probe.supervisor import Supervisor
from gputally.agent.sample import Sample

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
from gputally.agent.probe.message import Failure
settings = json.loads(sys.argv[1])
Connection(settings["upward_fd"], readable=False).send(Failure("the driver was upgraded", fatal=True))
signal.pause()
""",
)


@pytest.fixture
def settings(tmp_path: Path) -> ProbeSettings:
    (tmp_path / "s.json").write_text(json.dumps(SCENARIO))
    return ProbeSettings(-1, -1, "/proc", 50_000, 500_000, str(tmp_path / "s.json"))


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
    child.wait(60)
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
KILLED = (-signal.SIGKILL, None)  # None: its parent was quicker to ask
HUNG = Failure("the driver did not answer in time; a new probe is started")


def test_a_child_that_hangs_is_replaced_after_its_deadline_and_not_before(make: Make) -> None:
    node = make(DEAF)
    assert node.wait(0) is None
    [child] = children()
    assert node.wait(60 * S - 1) is None
    assert node.wait(1) == HUNG
    assert child.wait(60) in KILLED
    assert node.wait(S) is None
    assert node.supervisor.starts == 2
    assert node.wait(60 * S) == HUNG


def test_children_that_cannot_be_killed_are_not_joined_by_more_and_more(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In state D a process keeps its memory: one more every minute would end the node before the driver is mended."""
    node = make(DEAF)
    with monkeypatch.context() as unkillable:
        unkillable.setattr(Child, "kill", lambda _: None)
        for _ in range(200):
            node.wait(60 * S)
        assert node.supervisor.starts == len(children()) == 16
        assert node.supervisor.problem.startswith("16 probes are stuck in the driver")
    children()[0].kill()
    wait_until(lambda: len(children()) == 15, 60, "one to end")
    node.wait(S)
    assert node.supervisor.starts == 17
    assert node.supervisor.problem == ""
    for child in children():
        child.kill()


def test_a_probe_that_cannot_be_started_is_said_and_tried_again(make: Make) -> None:
    """No descriptor is lost by it, however often that is."""
    node = make(("/nowhere/at/all",))
    fds = psutil.Process().num_fds()
    assert node.wait(0) == Failure("the probe cannot be started: No such file or directory")
    for _ in range(50):
        node.wait(30 * S)
    assert psutil.Process().num_fds() < fds + 25, "other tests' threads may have some"


def test_a_child_that_hangs_does_not_make_its_parent_wait_however_much_it_is_told(make: Make) -> None:
    """A pipe holds 64 KiB; what goes on being written to a reader that hangs would block for ever."""
    node = make(DEAF)
    node.wait(0)
    [child] = children()
    for n in range(200):
        node.supervisor.know(pods(100, n))
    assert node.wait(60 * S - 1) is None
    assert node.wait(1) == HUNG
    assert child.wait(60) in KILLED


TELLS_WHAT_IT_IS_ASKED = (
    sys.executable,
    "-c",
    """
import json, sys
from multiprocessing.connection import Connection
from gputally.agent.probe.message import Failure, Known
from gputally.agent.probe.requests import Inbox
from gputally.agent.sample import Sample
settings = json.loads(sys.argv[1])
upward, inbox = Connection(settings["upward_fd"], readable=False), Inbox(settings["downward_fd"])
upward.send(Sample(0, 0, (), full=True))
while True:
    inbox.has_mail(None)
    for asked in inbox.take():
        upward.send(Failure(f"{len(asked.uids)} {min(asked.uids)}" if isinstance(asked, Known) else str(asked)))
""",
)


def test_a_child_that_is_slow_to_read_is_kept_and_learns_at_last_what_it_must_know(make: Make) -> None:
    """However many pods came and went meanwhile, and however many there are: it only ran late."""
    node = make(TELLS_WHAT_IT_IS_ASKED)
    until(node.supervisor, is_sample)
    [child] = children()
    child.suspend()
    for n in range(200):
        node.supervisor.know(pods(100, n))
    assert node.supervisor.flush(0) == []
    node.supervisor.know(pods(3000, 200))
    assert node.supervisor.rest_us == 0  # what it was not asked yet is not kept from it for long
    child.resume()
    told = [str(until(node.supervisor, is_failure)) for _ in range(2)]
    while "flush" not in told[-1]:
        told.append(str(until(node.supervisor, is_failure)))
    assert told[-2] == str(Failure(f"3000 {min(pods(3000, 200))}"))
    assert len(told) < 30
    assert (node.supervisor.starts, children()) == (1, [child])


def test_each_probe_that_is_given_up_is_in_the_log_with_its_reason(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Also one that fails as the one before did, which is no news to who looks at the agent's state."""
    node = make(ENDS)
    for _ in range(2):
        while not isinstance(node.supervisor.receive(LONG_US), Failure):
            pass
    assert caplog.messages == ["a probe is given up: the probe ended unexpectedly; a new one is started"] * 2


def pods(number: int, generation: int) -> frozenset[str]:
    return frozenset(str(uuid.UUID(int=generation << 64 | i)) for i in range(number))


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
    node = make((sys.executable, "-m", "gputally.agent.probe.main"))
    for _ in range(3):
        while not isinstance(node.supervisor.receive(LONG_US), Sample):
            pass
        [child] = children()
        child.kill()
        child.wait(60)
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
    without = "import sys; sys.modules['pynvml'] = None; from gputally.agent.probe.main import main; main()"
    real = ProbeSettings(-1, -1, str(tmp_path), 1_000_000, 5_000_000)
    command = (sys.executable, "-c", without)
    with closing(Supervisor(real, LONG_US, LONG_US, monotonic_us, time.sleep, command)) as supervisor:
        told = until(supervisor, is_failure)
    assert told == Failure("pynvml is not installed: pip install 'gputally[agent]'", fatal=True)


def test_samples_may_wait_until_the_next_process_lists_and_none_is_lost(settings: ProbeSettings) -> None:
    """The parent is woken once for many samples; what waits in the pipe comes in its order."""
    rare = replace(settings, processes_us=2 * S)
    with closing(Supervisor(rare, LONG_US, LONG_US, monotonic_us, time.sleep)) as live:
        assert live.rest_us == 0  # nothing has come yet: the first is waited for
        fulls = [until(live, is_full)]
        asked_us, rest_us = wait_until(lambda: rest_after(live, fulls), 60, "a moment without a waiting sample")
        due_us = fulls[-1].monotonic_us + rare.processes_us + 100_000
        assert asked_us + rest_us <= due_us
        wait_until(lambda: monotonic_us() > due_us, 60, "the rest")
        assert live.rest_us == 0
        times = [sample.monotonic_us for sample in live.flush(LONG_US)]
    assert len(times) >= 3
    assert times == sorted(set(times))


def test_nobody_rests_while_a_probe_is_in_trouble(make: Make) -> None:
    node = make(DEAF)
    assert node.wait(0) is None
    assert node.supervisor.rest_us == 0


ONE_SAMPLE = (
    sys.executable,
    "-c",
    """
import json, signal, sys
from multiprocessing.connection import Connection
from gputally.agent.sample import Sample
settings = json.loads(sys.argv[1])
upward = Connection(settings["upward_fd"], readable=False)  # by a name, or its end is closed at once
upward.send(Sample(0, 0, (), full=True))
signal.pause()
""",
)


def test_a_driver_that_hangs_is_noticed_in_time_though_process_lists_are_rare(settings: ProbeSettings) -> None:
    clock = Clock()
    rare = replace(settings, sample_us=S, processes_us=3600 * S)
    with closing(Supervisor(rare, 10 * S, 60 * S, clock, lambda _: None, ONE_SAMPLE)) as supervisor:
        until(supervisor, is_sample)
        while rest_us := supervisor.rest_us:
            clock.now_us += rest_us
        assert clock.now_us == 10 * S
        assert supervisor.receive(0) == HUNG


def rest_after(live: Supervisor, fulls: list[Message]) -> tuple[int, int] | None:
    """When it was asked for, and how long to rest once all that waits was taken; None while something did."""
    asked_us, us = monotonic_us(), live.rest_us
    message = None if us else live.receive(0)
    if message is not None and is_full(message):
        fulls.append(message)
    return (asked_us, us) if us else None
