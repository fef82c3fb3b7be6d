"""Days that come back: what a node did on one day, it did on others, which need not be lived through again.

Scenarios repeat each week, and most Tuesdays are like Wednesdays. A day's windows are the same then but for their
instants, for the energy counter, and for the names of pods that come and go. A test holds them against those of the day
lived through.
"""

import pickle
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from gputally.accounting.keys import REPLICA, Holding, Owner
from gputally.accounting.line import DeviceWindow, Line, Window
from gputally.agent.simulated.pattern import DAY_US, Pattern
from gputally.agent.simulated.scenario import Gpu, Pod, Scenario
from gputally.demo.backfill import MINUTE_US, live_through

Shape = tuple[tuple[int, ...], ...]
_MARGIN_US = 10 * MINUTE_US  # a day knows of what was shortly before it


class Days:
    """The days of one node, of any order; those that can come back are kept, packed."""

    def __init__(self, scenario: Scenario, cluster: str, node: str) -> None:
        self._scenario = scenario
        self._cluster = cluster
        self._node = node
        self._kept: dict[Shape, tuple[int, bytes]] = {}  # when a day of this shape began, and its windows

    def windows(self, start_us: int, end_us: int) -> Iterator[list[Window]]:
        """The windows of [start_us, end_us), which is a day or less."""
        shape = shape_of(self._scenario, start_us) if end_us - start_us == DAY_US else None
        if shape in self._kept:
            kept_us, packed = self._kept[shape]
            back = Back(self._scenario, kept_us - start_us, start_us)
            for window in pickle.loads(zlib.decompress(packed)):  # noqa: S301 - packed below
                yield [back.window(window)]
            return
        lived: list[Window] = []
        for windows in live_through(self._scenario, self._cluster, self._node, start_us, end_us):
            lived += windows
            yield windows
        if shape is not None:
            self._kept[shape] = (start_us, zlib.compress(pickle.dumps(lived), level=1))


def shape_of(scenario: Scenario, start_us: int) -> Shape:
    """All that a scenario does in the day from `start_us` on, by its offsets: days of one shape are told alike."""
    began = [pod.present.run_start(start_us) if pod.present.repeats else None for pod in scenario.pods]
    names = tuple(0 if us is None else us - start_us for us in began)  # when it began is a part of a pod's name
    patterns = [pod.present for pod in scenario.pods]
    patterns += [pattern for load in scenario.workloads for pattern in (load.busy, load.present)]
    patterns += [fault.when for gpu in scenario.gpus for fault in gpu.faults]
    return names, *(_steps(pattern, start_us) for pattern in patterns)


def _steps(pattern: Pattern, start_us: int) -> tuple[int, ...]:
    """The value as the day begins; then each offset at which there is another, and the value."""
    first_us, end_us = start_us - _MARGIN_US, start_us + DAY_US + _MARGIN_US
    found = [pattern.at(first_us)]
    bounds = (us for us in (pattern.from_us, pattern.until_us) if first_us < us < end_us)
    for edge in sorted({*pattern.changes(first_us + 1, end_us), *bounds}):
        if pattern.at(edge) != pattern.at(edge - 1):
            found += [edge - start_us, pattern.at(edge)]
    return tuple(found)


class Back:
    """Windows moved back by `by_us`, to a day of the same shape that begins at `start_us`."""

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
