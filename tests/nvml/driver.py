"""The real `Nvml` in a child process on the test library, with a clock that the test moves."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.nvml.library import NvmlScenario, call_counts, environment, held_by_the_library
from tests.nvml.remote import Remote

from gputally.agent.nvml.driver import Nvml
from gputally.agent.probe.glance import Answer
from gputally.agent.probe.sampler import DriverEvents
from gputally.agent.sample import CallTimes, DeviceInfo, ProcessReading, Reading


class NvmlInChild:
    """A `Driver` whose scenario stands still at `now_us` until the test moves it or plays another scenario."""

    def __init__(self, library_dir: Path, folder: Path, scenario: NvmlScenario, now_us: int) -> None:
        self._path = folder / "scenario.txt"
        self.now_us = now_us
        self.play(scenario)
        self.remote = Remote(environment(library_dir, self._path))
        self.at(now_us)

    def play(self, scenario: NvmlScenario) -> None:
        """Go on with another scenario at the same instant."""
        self._scenario = scenario
        replace(scenario, now_us=self.now_us).write(self._path)

    def at(self, now_us: int) -> None:
        """Move the library's clock and the driver's to an instant."""
        self.now_us = now_us
        self.play(self._scenario)
        self.remote.call(set_clock, now_us)

    def open(self) -> None:
        self.remote.call(open_driver)

    def close(self) -> None:
        self.remote.call(close_driver)

    def devices(self) -> Sequence[DeviceInfo]:
        devices: Sequence[DeviceInfo] = self.remote.call(list_devices)
        return devices

    @property
    def problem(self) -> str:
        problem: str = self.remote.call(problem_of_driver)
        return problem

    def events(self) -> DriverEvents:
        events: DriverEvents = self.remote.call(take_events)
        return events

    def read(self, uuid: str) -> Reading:
        reading: Reading = self.remote.call(read, uuid)
        return reading

    def read_lightly(self, uuid: str) -> Reading:
        reading: Reading = self.remote.call(read_lightly, uuid)
        return reading

    def glance(self, uuids: Sequence[str], now_us: int, *, light: bool) -> tuple[Answer, ...] | None:
        answers: tuple[Answer, ...] | None = self.remote.call(glance, uuids, now_us, light)
        return answers

    def read_processes(self, uuid: str) -> ProcessReading:
        reading: ProcessReading = self.remote.call(read_processes, uuid)
        return reading

    def call_times(self) -> tuple[CallTimes, ...]:
        times: tuple[CallTimes, ...] = self.remote.call(take_call_times)
        return times

    def held(self) -> tuple[int, int]:
        """(GPM samples, event sets) that were not freed."""
        held: tuple[int, int] = self.remote.call(held_by_the_library)
        return held

    def calls(self) -> dict[str, int]:
        """How often each NVML call was made so far."""
        counts: dict[str, int] = self.remote.call(call_counts)
        return counts


# What follows runs in the child.

_clock = [0]
_driver = Nvml(lambda: _clock[0])


def set_clock(now_us: int) -> None:
    _clock[0] = now_us


def open_driver() -> None:
    _driver.open()


def close_driver() -> None:
    _driver.close()


def list_devices() -> Sequence[DeviceInfo]:
    return _driver.devices()


def problem_of_driver() -> str:
    return _driver.problem


def take_events() -> DriverEvents:
    return _driver.events()


def read(uuid: str) -> Reading:
    return _driver.read(uuid)


def read_lightly(uuid: str) -> Reading:
    return _driver.read_lightly(uuid)


def glance(uuids: Sequence[str], now_us: int, light: bool) -> tuple[Answer, ...] | None:
    return _driver.glance(uuids, now_us, light=light)


def read_processes(uuid: str) -> ProcessReading:
    return _driver.read_processes(uuid)


def take_call_times() -> tuple[CallTimes, ...]:
    return _driver.call_times()
