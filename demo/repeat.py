"""Days that come back: what a node did on one day, it did a week before, so it need not be lived through again.

Scenarios repeat each week, some each day. A day's windows are the same then but for their instants, for the energy
counter, and for the names of pods that come and go. A test holds them against those of the day lived through.
"""

import pickle
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from gputally.accounting.keys import REPLICA, Holding, Owner
from gputally.accounting.line import DeviceWindow, Line, Window
from gputally.agent.simulated.pattern import DAY_US, FOREVER_US, WEEK_US, Pattern
from gputally.agent.simulated.scenario import Gpu, Pod, Scenario
from gputally.demo.backfill import MINUTE_US, live_through


class Days:
    """The days of one node, of any order; those that can come back are kept, packed."""

    def __init__(self, scenario: Scenario, cluster: str, node: str) -> None:
        self._scenario = scenario
        self._cluster = cluster
        self._node = node
        self._period_us = period_us(scenario)
        self._kept: dict[int, tuple[int, bytes]] = {}  # by its place in the period: when it began, its windows

    def windows(self, start_us: int, end_us: int) -> Iterator[list[Window]]:
        """The windows of [start_us, end_us), which is a day or less."""
        place = start_us % self._period_us if self._period_us and end_us - start_us == DAY_US else None
        if place in self._kept:
            kept_us, packed = self._kept[place]
            back = Back(self._scenario, kept_us - start_us, start_us)
            for window in pickle.loads(zlib.decompress(packed)):  # noqa: S301 - packed below
                yield [back.window(window)]
            return
        lived: list[Window] = []
        for windows in live_through(self._scenario, self._cluster, self._node, start_us, end_us):
            lived += windows
            yield windows
        if place is not None:
            self._kept[place] = (start_us, zlib.compress(pickle.dumps(lived), level=1))


def period_us(scenario: Scenario) -> int | None:
    """The shortest time after which all that a scenario does comes back: a day, a week, or None: something never does.

    What begins or ends at an instant does not come back.
    """
    patterns = [pod.present for pod in scenario.pods]
    patterns += [pattern for load in scenario.workloads for pattern in (load.busy, load.present)]
    patterns += [fault.when for gpu in scenario.gpus for fault in gpu.faults]
    if any((pattern.from_us, pattern.until_us) != (0, FOREVER_US) for pattern in patterns):
        return None
    return DAY_US if all(_is_daily(pattern) for pattern in patterns) else WEEK_US


def _is_daily(pattern: Pattern) -> bool:
    """Whether it changes in the same way on every day."""
    ways = ({pattern.at(edge % DAY_US + day * DAY_US) for day in range(1, 8)} for edge in pattern.edges)
    return all(len(values) == 1 for values in ways)


class Back:
    """Windows moved back by `by_us`, whole periods of a scenario, to a day that begins at `start_us`."""

    def __init__(self, scenario: Scenario, by_us: int, start_us: int) -> None:
        self._by_us = by_us
        self._pods = [pod for pod in scenario.pods if pod.present.repeats]
        self._energy_mj = {gpu.info.uuid: _grown_mj(gpu, start_us, by_us) for gpu in scenario.gpus}
        self._renamed: dict[Owner, Owner] = {}

    def window(self, window: Window) -> Window:
        """The window as it was then."""
        devices = tuple(self._device(device, window) for device in window.devices)
        return replace(
            window, start_us=window.start_us - self._by_us, end_us=window.end_us - self._by_us, devices=devices
        )

    def _device(self, device: DeviceWindow, window: Window) -> DeviceWindow:
        grown_mj = self._energy_mj[device.uuid]
        moved = replace(
            device,
            energy_start_mj=None if device.energy_start_mj is None else device.energy_start_mj - grown_mj,
            energy_end_mj=None if device.energy_end_mj is None else device.energy_end_mj - grown_mj,
        )
        if not self._pods:
            return moved
        return replace(
            moved,
            lines=tuple(sorted((self._line(line, window) for line in device.lines), key=lambda line: line.key.text)),
            start_holders=self._holders(device.start_holders, window),
            end_holders=self._holders(device.end_holders, window),
        )

    def _line(self, line: Line, window: Window) -> Line:
        owner = self._owner(line.key.owner, window)
        return line if owner is line.key.owner else replace(line, key=replace(line.key, owner=owner))

    def _holders(self, holders: Sequence[Holding], window: Window) -> tuple[Holding, ...]:
        """In the order of names; MIG devices stay in theirs."""
        moved = [self._holding(each, window) for each in holders]
        if all(each.partition == REPLICA for each in moved):
            moved.sort(key=lambda each: each.owner.text)
        return tuple(moved)

    def _holding(self, holding: Holding, window: Window) -> Holding:
        owner = self._owner(holding.owner, window)
        return holding if owner is holding.owner else replace(holding, owner=owner)

    def _owner(self, owner: Owner, window: Window) -> Owner:
        if owner not in self._renamed:
            self._renamed[owner] = next(
                (found for pod in self._pods if (found := self._then(owner, pod, window))), owner
            )
        return self._renamed[owner]

    def _then(self, owner: Owner, pod: Pod, window: Window) -> Owner | None:
        """The owner's name then, if it is this pod; one that just ended may still be told of."""
        for us in (window.start_us - MINUTE_US, window.start_us, window.end_us):
            run, then = pod.run(us), pod.run(us - self._by_us)
            if run and then and run.uid == owner.pod_uid:
                return replace(owner, pod=then.name, pod_uid=then.uid)
        return None


def _grown_mj(gpu: Gpu, start_us: int, by_us: int) -> int:
    return gpu.energy_mj(start_us + by_us) - gpu.energy_mj(start_us)
