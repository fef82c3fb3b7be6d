"""Counters for Prometheus: finished windows folded into totals that only grow while the agent lives."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from gputally.accounting.invariants import conservation_error_us
from gputally.accounting.keys import Owner
from gputally.accounting.line import DeviceWindow, Line, Window
from gputally.accounting.states import Basis, OwnerKind, State
from gputally.agent.attribution.process_track import Owners
from gputally.agent.held import Held
from gputally.agent.idle_spell import IdleSpell
from gputally.agent.last_sample import LastSample
from gputally.agent.sample import CallTimes, Sample
from gputally.agent.snapshot import DeviceSnapshot, PodSnapshot
from gputally.agent.spell_file import SpellFile

KEEP_US = 600_000_000  # a pod without a window for so long (monotonic clock) is gone
KEEP_SERIES = 4096  # containers × devices at one time; a node has a few hundred
LARGEST_XID = 999  # NVML's word for "unknown"; known codes are below 200
_OF_PODS = (State.USED, State.IDLE, State.UNOBSERVED)  # the states that an owner pays for

_PodKey = tuple[str, str, str, str]  # namespace, pod, container, uuid


@dataclass(slots=True)
class _Total:
    """Time by state, microseconds, and energy, millijoules: None until some of it was known."""

    time_us: dict[State, int]
    energy_mj: int | None = None
    unreserved_us: Counter[OwnerKind] = field(default_factory=Counter)
    intruder_us: Counter[OwnerKind] = field(default_factory=Counter)
    seen_us: int = 0

    def add(self, line: Line) -> None:
        for state, us in _states(line):
            if us or state in self.time_us:
                self.time_us[state] = self.time_us.get(state, 0) + us
        if line.energy_mj is not None:
            self.energy_mj = (self.energy_mj or 0) + line.energy_mj
        if line.key.basis is Basis.PROCESS:
            self.unreserved_us[line.key.owner.kind] += line.used_us
            self.intruder_us[line.key.owner.kind] += line.intruder_us


def _states(line: Line) -> tuple[tuple[State, int], ...]:
    return (
        (State.USED, line.used_us),
        (State.IDLE, line.idle_us),
        (State.UNALLOCATED, line.unallocated_us),
        (State.UNAVAILABLE, line.unavailable_us),
        (State.UNOBSERVED, line.unobserved_us),
    )


@dataclass(slots=True)
class _Calls:
    """All calls of one name, as in `CallTimes`."""

    counts: list[int]
    total_us: int = 0

    def add(self, times: CallTimes) -> None:
        self.counts = [total + more for total, more in zip(self.counts, times.counts, strict=True)]
        self.total_us += times.total_us


class Totals:
    """What was counted since the agent started, by device and by container. Whoever calls it holds the agent's lock.

    A device stays for ever; a pod's series end when it had no window for ten minutes. `series_refused` counts lines of
    pods for which there was no room, `conservation_error_us` must stay 0 (I1).
    """

    def __init__(self, owners: Owners, spell_file: SpellFile) -> None:
        self.conservation_error_us = 0
        self.series_refused = 0
        self._models: dict[str, str] = {}
        self._devices: dict[str, _Total] = {}
        self._pods: dict[_PodKey, _Total] = {}
        self._spell_file = spell_file
        self._spells = spell_file.read()
        self._xids: dict[str, Counter[int]] = {}
        self._last_xid: dict[str, int] = {}
        self._calls: dict[str, _Calls] = {}
        self._last = LastSample(owners)

    def observe(self, sample: Sample, held: Callable[[str], Held]) -> None:
        """Take what a sample tells beside usage; `held` says who holds a device now."""
        self._last.take(sample, held)
        for device in sample.devices:
            if device.xids:
                self._last_xid[device.info.uuid] = device.xids[-1]
                codes = (min(code, LARGEST_XID) for code in device.xids)
                self._xids.setdefault(device.info.uuid, Counter()).update(codes)
        for times in sample.calls:
            self._calls.setdefault(times.call, _Calls([0] * len(times.counts))).add(times)

    def unsample(self) -> None:
        """Nothing is sampled now, so nothing is known of now."""
        self._last.forget()

    def fold(self, windows: Iterable[Window], now_us: int) -> None:
        """Add finished windows; `now_us` by the monotonic clock."""
        for window in windows:
            self.conservation_error_us += conservation_error_us(window)
            for device in window.devices:
                self._add_device(device, now_us)
            self._spells.fold([window])
        self._spell_file.write(self._spells)
        self._pods = {key: total for key, total in self._pods.items() if now_us - total.seen_us <= KEEP_US}

    def _add_device(self, device: DeviceWindow, now_us: int) -> None:
        self._models[device.uuid] = device.model
        total = self._devices.setdefault(device.uuid, _Total(dict.fromkeys(State, 0)))
        for line in device.lines:
            total.add(line)
            if line.key.owner.kind is OwnerKind.POD:
                self._add_pod(device.uuid, line, now_us)

    def _add_pod(self, uuid: str, line: Line, now_us: int) -> None:
        key = _pod_key(line.key.owner, uuid)
        total = self._pods.get(key)
        if total is None:
            if len(self._pods) >= KEEP_SERIES:
                self.series_refused += 1
                return
            total = self._pods[key] = _Total(dict.fromkeys(_OF_PODS, 0))
        total.add(line)
        total.seen_us = now_us

    def devices(self) -> tuple[DeviceSnapshot, ...]:
        """Every device ever counted or now sampled, with the values of the last samples."""
        return tuple(self._device(uuid) for uuid in sorted({*self._devices, *self._last.models}))

    def _device(self, uuid: str) -> DeviceSnapshot:
        total = self._devices.get(uuid)
        counted = DeviceSnapshot(
            uuid,
            self._last.models.get(uuid) or self._models[uuid],
            _copy(total),
            total.energy_mj if total else None,
            dict(total.unreserved_us) if total else {},
            dict(total.intruder_us) if total else {},
            dict(self._xids.get(uuid, {})),
            last_xid=self._last_xid.get(uuid),
        )
        return self._last.complete(counted)

    def pods(self) -> tuple[PodSnapshot, ...]:
        """Every container that had a device within the last ten minutes, with the memory that it holds now."""
        memory = {_pod_key(owner, uuid): held for uuid, owner, held in self._last.memory()}
        return tuple(_pod(key, total, memory.get(key)) for key, total in sorted(self._pods.items()))

    def spells(self) -> tuple[IdleSpell, ...]:
        """Who holds what, and since when without using it, as of the last window."""
        return self._spells.now()

    def calls(self) -> tuple[CallTimes, ...]:
        """How long the driver's calls took, by name."""
        return tuple(CallTimes(name, tuple(c.counts), c.total_us) for name, c in sorted(self._calls.items()))


def _pod_key(owner: Owner, uuid: str) -> _PodKey:
    return (owner.namespace, owner.pod, owner.container, uuid)


def _pod(key: _PodKey, total: _Total, memory_bytes: int | None) -> PodSnapshot:
    unreserved_us, intruder_us = total.unreserved_us.total(), total.intruder_us.total()
    return PodSnapshot(*key, _copy(total), total.energy_mj, unreserved_us, intruder_us, memory_bytes)


def _copy(total: _Total | None) -> Mapping[State, int]:
    return dict(total.time_us) if total else {}
