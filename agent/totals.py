"""Counters for Prometheus: finished windows folded into totals that only grow while the agent lives."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gputally.accounting.invariants import conservation_error_us
from gputally.accounting.line import DeviceWindow, Line, Window
from gputally.accounting.states import OwnerKind, State
from gputally.agent.sample import DeviceSample, ProcessReading, Reading, Sample
from gputally.agent.snapshot import DeviceSnapshot, PodSnapshot

KEEP_US = 600_000_000  # a pod without a window for so long (monotonic clock) is gone
KEEP_SERIES = 4096  # containers × devices at one time; a node has a few hundred
_OF_PODS = (State.USED, State.IDLE, State.UNOBSERVED)  # the states that an owner pays for

_PodKey = tuple[str, str, str, str]  # namespace, pod, container, uuid


@dataclass(slots=True)
class _Total:
    """Time by state, microseconds, and energy, millijoules: None until some of it was known."""

    time_us: dict[State, int]
    energy_mj: int | None = None
    seen_us: int = 0

    def add(self, line: Line) -> None:
        for state, us in _states(line):
            if us or state in self.time_us:
                self.time_us[state] = self.time_us.get(state, 0) + us
        if line.energy_mj is not None:
            self.energy_mj = (self.energy_mj or 0) + line.energy_mj


def _states(line: Line) -> tuple[tuple[State, int], ...]:
    return (
        (State.USED, line.used_us),
        (State.IDLE, line.idle_us),
        (State.UNALLOCATED, line.unallocated_us),
        (State.UNAVAILABLE, line.unavailable_us),
        (State.UNOBSERVED, line.unobserved_us),
    )


@dataclass(slots=True)
class Totals:
    """What was counted since the agent started, by device and by container. One thread writes and reads it.

    A device stays for ever; a pod's series end when it had no window for ten minutes. `series_refused` counts lines of
    pods for which there was no room, `conservation_error_us` must stay 0 (I1).
    """

    conservation_error_us: int = 0
    series_refused: int = 0
    _models: dict[str, str] = field(default_factory=dict)
    _devices: dict[str, _Total] = field(default_factory=dict)
    _pods: dict[_PodKey, _Total] = field(default_factory=dict)

    def fold(self, windows: Iterable[Window], now_us: int) -> None:
        """Add finished windows; `now_us` by the monotonic clock."""
        for window in windows:
            self.conservation_error_us += conservation_error_us(window)
            for device in window.devices:
                self._add_device(device, now_us)
        self._pods = {key: total for key, total in self._pods.items() if now_us - total.seen_us <= KEEP_US}

    def _add_device(self, device: DeviceWindow, now_us: int) -> None:
        self._models[device.uuid] = device.model
        total = self._devices.setdefault(device.uuid, _Total(dict.fromkeys(State, 0)))
        for line in device.lines:
            total.add(line)
            if line.key.owner.kind is OwnerKind.POD:
                self._add_pod(device.uuid, line, now_us)

    def _add_pod(self, uuid: str, line: Line, now_us: int) -> None:
        owner = line.key.owner
        key = (owner.namespace, owner.pod, owner.container, uuid)
        total = self._pods.get(key)
        if total is None:
            if len(self._pods) >= KEEP_SERIES:
                self.series_refused += 1
                return
            total = self._pods[key] = _Total(dict.fromkeys(_OF_PODS, 0))
        total.add(line)
        total.seen_us = now_us

    def devices(self, sample: Sample | None, full: Sample | None = None) -> tuple[DeviceSnapshot, ...]:
        """Every device ever counted or now sampled, with the values of the last sample, and of the last `full` one."""
        now = _by_uuid(sample)
        listed = _by_uuid(full)
        return tuple(self._device(uuid, now.get(uuid), listed.get(uuid)) for uuid in sorted({*self._devices, *now}))

    def _device(self, uuid: str, device: DeviceSample | None, listed: DeviceSample | None) -> DeviceSnapshot:
        total = self._devices.get(uuid)
        reading = (device and device.reading) or Reading()
        detail = (device and device.reading and listed and listed.detail) or ProcessReading()
        return DeviceSnapshot(
            uuid,
            device.info.model if device else self._models[uuid],
            _copy(total),
            total.energy_mj if total else None,
            reading.memory_used_bytes,
            reading.utilization_percent,
            reading.power_mw,
            detail.ghost_memory_bytes,
        )

    def pods(self) -> tuple[PodSnapshot, ...]:
        """Every container that had a device within the last ten minutes."""
        return tuple(PodSnapshot(*key, _copy(total), total.energy_mj) for key, total in sorted(self._pods.items()))


def _by_uuid(sample: Sample | None) -> dict[str, DeviceSample]:
    return {device.info.uuid: device for device in sample.devices} if sample else {}


def _copy(total: _Total | None) -> Mapping[State, int]:
    return dict(total.time_us) if total else {}
