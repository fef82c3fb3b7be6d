"""SAMPLE: the child process that owns the driver. A driver call that never returns stops this process, not the agent.

It is started as `python -m gputally.agent.probe.main` with its settings as one JSON argument, and talks over two
inherited pipes: samples go up, requests come down. It ends when the parent's end of the pipe closes.
"""

import json
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from gputally.agent.probe import frame
from gputally.agent.probe.board import Board
from gputally.agent.probe.login_names import LoginNames
from gputally.agent.probe.message import BEGIN, Failure, Known, TakeUp, Told, pack
from gputally.agent.probe.process import ProcessTable, in_host_pid_namespace
from gputally.agent.probe.requests import Inbox
from gputally.agent.probe.sampler import Cadence, Driver, DriverError, DriverReplaced, Processes, Sampler

NAME = "gputally-probe"  # as `top` and `pgrep` show it
_OWN_NAME = Path("/proc/self/comm")
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux has the former
LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"  # of both processes: their lines stand in one log


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """What the child is told. `scenario` is a file of simulated GPUs, counted from `scenario_start_us`; empty: NVML.

    `left_out`: indices of GPUs that are not touched. `only`: nothing but this one is, for one sample. `waits`: nothing
    is touched before its parent says so.
    """

    upward_fd: int
    downward_fd: int
    proc_root: str
    sample_us: int
    processes_us: int
    scenario: str = ""
    scenario_start_us: int = 0
    board_fd: int = -1
    left_out: tuple[int, ...] = ()
    only: int | None = None
    waits: bool = False

    @staticmethod
    def of_json(text: str) -> "ProbeSettings":
        """The settings of the child's one argument."""
        told = json.loads(text)
        return ProbeSettings(**{**told, "left_out": tuple(told["left_out"])})

    def to_json(self) -> str:
        """The settings as the child's one argument."""
        return json.dumps(asdict(self))


def monotonic_us() -> int:
    """A clock that is never set, microseconds; the same for all processes of a machine.

    It goes on while the machine is suspended: that time is a gap, not a step of the wall clock.
    """
    return time.clock_gettime_ns(_CLOCK) // 1000


def wall_us() -> int:
    """The wall clock, microseconds since the epoch."""
    return time.time_ns() // 1000


class Touch:
    """Says on the board which GPU is about to be touched, and whether it may be."""

    def __init__(self, board: Board, left_out: Iterable[int], only: int | None) -> None:
        self._board = board
        self._left_out = set(left_out)
        self._only = only

    def __call__(self, index: int) -> bool:
        if index in self._left_out or (self._only is not None and index != self._only):
            return False
        self._board.write(index)
        return True

    def rest(self) -> None:
        """No GPU is touched."""
        self._board.write(None)

    def take_up(self, index: int) -> None:
        """This one is not left out any more."""
        self._left_out.discard(index)


class Probe:
    """The child's loop: a sample at each tick of a fixed grid, requests in between."""

    def __init__(
        self,
        driver: Driver,
        sampler: Sampler,
        tell: Callable[[bytes], None],
        requests: Inbox,
        know: Callable[[frozenset[str]], None],
        touch: Touch,
    ) -> None:
        self._driver = driver
        self._sampler = sampler
        self._tell = tell
        self._requests = requests
        self._know = know
        self._touch = touch

    def look_once(self) -> None:
        """One sample, and the end."""
        try:
            self._tick(full=False)
        except BrokenPipeError:
            return  # nobody wants to know any more
        finally:
            self._driver.close()

    def run(self, interval_us: int, *, waits: bool = False) -> None:
        """Sample until the parent closes its pipe, or the driver was replaced (then only a new process helps).

        `waits`: not before the parent says anything.
        """
        try:
            if waits and self._requests.has_mail(None):
                self._answer_all()
            due_us = monotonic_us()
            while self._tick(full=False):
                due_us = max(due_us + interval_us, monotonic_us() - interval_us)
                while self._requests.has_mail(max(0, due_us - monotonic_us())):
                    if not self._answer_all():
                        return
        except (EOFError, BrokenPipeError):
            return  # the parent is gone, or wants us to go
        finally:
            self._driver.close()

    def _answer_all(self) -> bool:
        return all(map(self._answer, self._requests.take()))

    def _answer(self, request: object) -> bool:
        if request == BEGIN:
            return True
        if isinstance(request, Known):
            self._know(request.uids)
            return True
        if isinstance(request, TakeUp):
            self._touch.take_up(request.index)
            self._sampler.enumerate_next()
            return True
        return self._tick(full=True)

    def _tick(self, *, full: bool) -> bool:
        told: Told
        try:
            self._driver.open()
            told = self._sampler.glance(full=full) or self._sampler.sample(full=full)
        except DriverReplaced as error:
            told = Failure(str(error), fatal=True)
        except DriverError as error:
            told = Failure(str(error))
        finally:
            self._touch.rest()
        self._tell(pack(told))
        return not (isinstance(told, Failure) and told.fatal)


def namespace_warning(proc_root: Path) -> str:
    """One line when this process cannot see the host's processes; empty when it can."""
    if in_host_pid_namespace(proc_root):
        return ""
    return (
        "not in the host's pid namespace: the driver hides other pods' processes from here. "
        "Set hostPID: true for the agent's pod (or run it on the host)"
    )


def build(
    settings: ProbeSettings, touch: Callable[[int], bool]
) -> tuple[Driver, Processes, Callable[[frozenset[str]], None]]:
    """The driver and the process table that the settings ask for. Nothing is simulated unless a scenario is named."""
    if settings.scenario:
        from gputally.agent.simulated.gpus import SimulatedGpus, SimulatedProcesses
        from gputally.agent.simulated.scenario_file import load

        scenario = load(Path(settings.scenario), settings.scenario_start_us)
        return SimulatedGpus(scenario, wall_us), SimulatedProcesses(scenario, wall_us), lambda _: None
    from gputally.agent.nvml.driver import Nvml

    table = ProcessTable(Path(settings.proc_root), LoginNames(monotonic_us).of)
    return Nvml(wall_us, touch), table, table.know


def main() -> None:
    """The program."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)
    serve(ProbeSettings.of_json(sys.argv[1]))


def serve(settings: ProbeSettings) -> None:
    """Build the child's parts and run until the parent goes: signals to the group are for the parent to answer."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):  # a copy of its parent looks like it, but for this name
        _OWN_NAME.write_text(NAME)
    tell = partial(frame.write, settings.upward_fd)
    requests = Inbox(settings.downward_fd)
    touch = Touch(Board(settings.board_fd), settings.left_out, settings.only)
    try:
        driver, processes, know = build(settings, touch)
    except ModuleNotFoundError as error:
        tell(pack(Failure(f"{error.name} is not installed: pip install 'gputally[agent]'", fatal=True)))
        return
    cadence = Cadence(settings.sample_us, settings.processes_us)
    sampler = Sampler(driver, processes, cadence, monotonic_us, wall_us)
    probe = Probe(driver, sampler, tell, requests, know, touch)
    if settings.only is None:
        probe.run(settings.sample_us, waits=settings.waits)
    else:
        probe.look_once()


if __name__ == "__main__":
    main()
